//! What a requester makes of the frames that come.

use super::{Check, Download, Due, Expect, Open, Requester, Then, Upload};
use crate::secure::Security;
use crate::session::link::misbehaved;
use crate::session::{Error, Event, Failure, Reply};
use crate::storage::RequestId;
use crate::trace;
use crate::transfer::{Fault, Receiver, Sender};
use crate::wire::{Answer, CHUNK, Close, Code, FILE_SIZE_MAX, Header, Kind, Signal};

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize, S: Security> Requester<B, N, S> {
    pub(super) fn handle_signal(&mut self, request: u16, signal: Signal) {
        if let Signal::Abort(code) = signal {
            self.aborted = Some(code);
            return;
        }
        let Some(id) = self.open.iter().map(|open| open.id).find(|id| id.low() == request) else {
            return;
        };
        match signal {
            Signal::Progress { received, durable } => {
                self.due = Due::Event(Event::Progress { request: id, received, durable });
            }
            Signal::Working { done, total } => {
                self.link.refresh();
                self.due = Due::Event(Event::Working { request: id, done, total });
            }
            // A responder stops an upload by answering it, and the link has dealt with the rest.
            Signal::Stop | Signal::Credit(_) | Signal::Abort(_) => {
                self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
            }
        }
    }

    /// Acts on the first frame of the queue, and says whether there was one to act on.
    pub(super) fn handle_front(&mut self) -> bool {
        let Some(front) = self.link.front() else { return false };
        let Header { kind, request, index } = front.header;
        let Some(&open) = self.open.front() else {
            self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
            return false;
        };
        let handled = if request != open.id.low() {
            Err(Error::PeerMisbehaved(Code::OutOfOrder))
        } else {
            match kind {
                Kind::Answer => Answer::decode(front.payload)
                    .map_err(misbehaved)
                    .and_then(|answer| self.handle_answer(open, answer)),
                Kind::Close => Close::decode(front.payload)
                    .map_err(misbehaved)
                    .and_then(|close| self.handle_close(close)),
                Kind::Data => {
                    let len = front.payload.len();
                    self.handle_data(index, len)
                }
                Kind::Page if open.expect == Expect::Listed => {
                    self.due = Due::Entries(open.id);
                    Ok(())
                }
                _ => Err(Error::PeerMisbehaved(Code::OutOfOrder)),
            }
        };
        match handled {
            Ok(()) => {
                // Data and pages stay in front until the port has taken them.
                if !matches!(self.due, Due::Write(_) | Due::Entries(_)) {
                    self.link.pop();
                }
                true
            }
            Err(error) => {
                self.link.fail(error);
                false
            }
        }
    }

    pub(super) fn handle_answer(&mut self, open: Open, answer: Answer) -> Result<(), Error> {
        let id = open.id;
        let reply = match (open.expect, answer) {
            (_, Answer::Failed(code)) => {
                if !matches!(self.download, Download::None) {
                    return Err(Error::PeerMisbehaved(Code::OutOfOrder));
                }
                self.refuse_upload(id);
                let failure = match open.fault {
                    Some(fault) if code == Code::Cancelled => Failure::Local(fault),
                    _ => Failure::Peer(code),
                };
                self.finish(id, Err(failure));
                return Ok(());
            }
            (Expect::Done, Answer::Done) => Reply::Done,
            (Expect::Goodbye, Answer::Done) => {
                self.finish(id, Ok(Reply::Done));
                return Ok(());
            }
            (Expect::Stat | Expect::Hash, Answer::Stat { meta, digest }) => {
                Reply::Stat { meta, digest }
            }
            (Expect::Listed, Answer::Listed { entries, skipped }) if entries == self.listed => {
                Reply::Listed { entries, skipped }
            }
            (Expect::Space, Answer::Space(space)) => Reply::Space(space),
            (Expect::Stored, Answer::Ready { from, root }) => {
                let Upload::Asked { id: asked, size } = self.upload else {
                    return Err(Error::PeerMisbehaved(Code::OutOfOrder));
                };
                if asked != id {
                    return Err(Error::PeerMisbehaved(Code::OutOfOrder));
                }
                if size.is_some_and(|size| u64::from(from) * CHUNK as u64 > size) {
                    return Err(Error::PeerMisbehaved(Code::Malformed));
                }
                let sender = Sender::start(0, size, &mut self.hasher);
                self.upload = match from {
                    _ if open.stopped => Upload::None,
                    0 => Upload::Sending { id, sender },
                    chunks => {
                        let end = u64::from(from) * CHUNK as u64;
                        let then = Then::Send { chunks, size };
                        Upload::Checking(Check { id, at: 0, end, root, then })
                    }
                };
                return Ok(());
            }
            (Expect::Stored, Answer::Unchanged) if matches!(self.upload, Upload::Asked { id: asked, .. } if asked == id) =>
            {
                self.upload = Upload::None;
                Reply::Unchanged
            }
            (Expect::Stored, Answer::Stored { size, root, suffix }) if open.sent == Some(size) => {
                Reply::Stored { size, root, suffix }
            }
            // An earlier attempt was stored, and only the answer was lost.
            (Expect::Stored, Answer::Stored { size, root, suffix }) if matches!(self.upload, Upload::Asked { id: asked, size: declared } if asked == id && declared.is_none_or(|declared| declared == size)) =>
            {
                self.upload = Upload::None;
                self.hasher.reset();
                let then = Then::Stored { suffix };
                self.due = Due::Compare(Check { id, at: 0, end: size, root, then });
                return Ok(());
            }
            #[cfg(feature = "host")]
            (Expect::Ticket, Answer::Ticket(ticket)) => Reply::Ticket(ticket),
            #[cfg(feature = "host")]
            (Expect::Begun { .. }, Answer::Done) => Reply::Done,
            #[cfg(feature = "host")]
            (Expect::Begun { .. }, Answer::Unchanged) => Reply::Unchanged,
            #[cfg(feature = "host")]
            (Expect::Run(run), Answer::Sending { size, file_size, modified })
                if matches!(self.download, Download::None) =>
            {
                let end = run.offset().saturating_add(run.size);
                if size != run.size || !(end..=FILE_SIZE_MAX).contains(&file_size) {
                    return Err(Error::PeerMisbehaved(Code::Malformed));
                }
                let receiver = Receiver::start(run.first, Some(size), &mut self.hasher);
                self.hasher.begin_run(run.offset());
                self.download = Download::Receiving { id, receiver };
                self.due = Due::Event(Event::Sending { request: id, size, file_size, modified });
                return Ok(());
            }
            (Expect::Sending { first, count }, Answer::Sending { size, file_size, modified })
                if matches!(self.download, Download::None) =>
            {
                if !is_range(first, count, size, file_size) {
                    return Err(Error::PeerMisbehaved(Code::Malformed));
                }
                let receiver = Receiver::start(first, Some(size), &mut self.hasher);
                self.download = Download::Receiving { id, receiver };
                self.due = Due::Event(Event::Sending { request: id, size, file_size, modified });
                return Ok(());
            }
            (Expect::Resumed { first }, Answer::Sending { size, file_size, modified })
                if matches!(self.download, Download::None) =>
            {
                if !is_range(first, None, size, file_size) {
                    return Err(Error::PeerMisbehaved(Code::Malformed));
                }
                // The hash is that of what is there since the request was made.
                let receiver = Receiver::resume(first, Some(file_size));
                self.download = Download::Receiving { id, receiver };
                self.due = Due::Event(Event::Sending { request: id, size, file_size, modified });
                return Ok(());
            }
            _ => return Err(Error::PeerMisbehaved(Code::OutOfOrder)),
        };
        self.finish(id, Ok(reply));
        Ok(())
    }

    pub(super) fn handle_data(&mut self, index: u32, len: usize) -> Result<(), Error> {
        match self.download {
            Download::Receiving { id, receiver } => match receiver.check(index, len) {
                Ok(()) => {
                    self.due = Due::Write(id);
                    Ok(())
                }
                Err(Fault::Request(code)) => {
                    self.due = Due::Drop { id, code };
                    Ok(())
                }
                Err(Fault::Link(code)) => Err(Error::PeerMisbehaved(code)),
            },
            Download::Discarding { .. } => Ok(()),
            Download::None => Err(Error::PeerMisbehaved(Code::OutOfOrder)),
        }
    }

    pub(super) fn handle_close(&mut self, close: Close) -> Result<(), Error> {
        match (self.download, close) {
            (Download::Receiving { id, receiver }, Close::End { size, root }) => {
                self.due = match receiver.finish(size, root, &self.hasher) {
                    Ok(()) => Due::Commit { id, size, root },
                    Err(code) => Due::Abort { id, failure: Failure::Local(code) },
                };
            }
            (Download::Receiving { id, .. }, Close::Reset(code)) => {
                self.due = Due::Abort { id, failure: Failure::Peer(code) };
            }
            (Download::Discarding { id, code }, _) => {
                self.download = Download::None;
                self.finish(id, Err(Failure::Local(code)));
            }
            (Download::None, _) => return Err(Error::PeerMisbehaved(Code::OutOfOrder)),
        }
        Ok(())
    }

    /// The responder wants no data of this upload: what was begun is closed.
    pub(super) fn refuse_upload(&mut self, refused: RequestId) {
        match self.upload {
            Upload::Asked { id, .. } if id == refused => self.upload = Upload::None,
            Upload::Sending { id, .. } | Upload::Checking(Check { id, .. }) if id == refused => {
                self.upload = Upload::Closing { id, close: Close::Reset(Code::Cancelled) };
            }
            _ => {}
        }
    }

    /// The source of the upload failed: what was begun is closed.
    pub(super) fn fail_upload(&mut self, id: RequestId, code: Code) {
        self.upload = Upload::Closing { id, close: Close::Reset(code) };
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.fault = Some(code);
        }
    }

    /// The first open request is over.
    pub(super) fn finish(&mut self, id: RequestId, result: Result<Reply, Failure>) {
        self.note(id, result);
        self.close_first();
        self.due = Due::Event(Event::Done { request: id, result });
    }

    /// Nothing more comes of the first open request.
    pub(super) fn close_first(&mut self) {
        self.open.pop_front();
        self.listed = 0;
        self.due = Due::Nothing;
    }

    /// Says what came of a request.
    pub(super) fn note(&self, id: RequestId, result: Result<Reply, Failure>) {
        match result {
            Ok(_) => trace::debug!("request {} is done", id),
            Err(failure) => trace::warning!("request {} failed: {}", id, failure),
        }
    }
}

/// Whether `size` bytes are what was asked for of a file of `file_size`.
fn is_range(first: u32, count: Option<u32>, size: u64, file_size: u64) -> bool {
    let start = u64::from(first) * CHUNK as u64;
    let most = count.map_or(u64::MAX, |count| u64::from(count) * CHUNK as u64);
    file_size <= FILE_SIZE_MAX
        && file_size.checked_sub(start).map(|rest| rest.min(most)) == Some(size)
}
