//! What a requester sends, and its operations on the port.

use super::{Check, Download, Due, Requester, Then, Upload};
use crate::secure::Security;
use crate::session::link::PROGRESS_LEN;
use crate::session::{Error, Event, Failure, Reply};
use crate::storage::{Files, RequestId};
use crate::transfer::Sender;
use crate::wire::{CHUNK, Close, Code, Digest, Entry, Header, Kind, Path, Signal};
use core::task::Poll;

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize, S: Security> Requester<B, N, S> {
    /// Queues what needs no port, and says whether the port has data to read.
    pub(super) fn prepare(&mut self) -> bool {
        if let Download::Discarding { id, .. } = self.download {
            self.queue_stop(id);
        }
        if self.link.grant()
            && let Download::Receiving { id, receiver } = self.download
        {
            self.link.queue_signal(id.low(), receiver.progress());
        }
        if let Upload::Sending { id, sender } = self.upload
            && sender.is_done()
        {
            self.upload = Upload::Closing { id, close: sender.end(&self.hasher) };
        }
        match self.upload {
            Upload::Closing { id, close } => {
                if self.link.queue_close(id.low(), &close) {
                    self.upload = Upload::None;
                    if let Close::End { size, .. } = close
                        && let Some(open) = self.open.iter_mut().find(|open| open.id == id)
                    {
                        open.sent = Some(size);
                    }
                }
                false
            }
            Upload::Sending { sender, .. } => {
                let len = sender.next_len(self.link.batch(), self.link.credit());
                len > 0 && (self.link.room() >= len || !self.link.has_output())
            }
            // The source is read through what is free of the send buffer.
            Upload::Checking(_) => self.link.room() >= CHUNK,
            Upload::None | Upload::Asked { .. } => false,
        }
    }

    /// Reads what the responder has already, to find out whether it is the same.
    pub(super) fn check_source<P: Files>(&mut self, check: Check, port: &mut P) -> Poll<()> {
        let Check { id, at, end, root, then } = check;
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let buf = self.link.payload_mut((self.link.room() / CHUNK * CHUNK).min(left));
        let outcome = match (left, buf.len()) {
            (0, _) => Ok(0),
            // The link has ended, and what it was to send takes all the room.
            (_, 0) => Err(Code::Internal),
            _ => match port.read(id, at, buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(outcome) => outcome,
            },
        };
        let outcome = outcome.and_then(|n| {
            self.hasher.update(buf);
            let at = at.saturating_add(buf.len() as u64);
            let is_it = n >= buf.len() && (at < end || self.hasher.digest() == root);
            if is_it { Ok(at) } else { Err(Code::Changed) }
        });
        match (outcome, then) {
            (Ok(at), Then::Send { .. }) if at < end => {
                self.upload = Upload::Checking(Check { at, ..check });
                self.link.report_work(id.low(), at, end);
            }
            // The responder waits for nothing.
            (Ok(at), Then::Stored { .. }) if at < end => {
                self.due = Due::Compare(Check { at, ..check });
            }
            (Ok(_), Then::Send { chunks, size }) => {
                self.upload = Upload::Sending { id, sender: Sender::resume(chunks, size) };
                self.due = Due::Event(Event::Resumed { request: id, chunks });
            }
            (Ok(size), Then::Stored { suffix }) => {
                self.finish(id, Ok(Reply::Stored { size, root, suffix }));
            }
            (Err(code), Then::Send { .. }) => self.fail_upload(id, code),
            (Err(code), Then::Stored { .. }) => self.finish(id, Err(Failure::Local(code))),
        }
        Poll::Ready(())
    }

    pub(super) fn read<P: Files>(&mut self, port: &mut P) -> Poll<()> {
        if let Upload::Checking(check) = self.upload {
            return self.check_source(check, port);
        }
        let Upload::Sending { id, mut sender } = self.upload else { return Poll::Ready(()) };
        let len = sender.next_len(self.link.batch(), self.link.credit());
        let buf = self.link.payload_mut(len);
        let outcome = match port.read(id, sender.at(), buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(outcome) => outcome.map(|n| n.min(buf.len())),
        };
        let n = match outcome {
            Ok(n) if n > 0 && sender.is_exhausted() => {
                self.fail_upload(id, Code::TooLarge);
                return Poll::Ready(());
            }
            Ok(n) => n,
            Err(code) => {
                self.fail_upload(id, code);
                return Poll::Ready(());
            }
        };
        let ended = n < buf.len();
        if n > 0 && (!ended || sender.is_open_ended()) {
            let header = Header { kind: Kind::Data, request: id.low(), index: sender.index() };
            sender.advance(buf.get(..n).unwrap_or(&[]), &mut self.hasher);
            self.link.finish_frame(header, n);
        }
        match (ended, sender.is_open_ended()) {
            (false, _) => self.upload = Upload::Sending { id, sender },
            (true, true) => {
                self.upload = Upload::Closing { id, close: sender.end(&self.hasher) };
            }
            // The source has become shorter than was declared.
            (true, false) => self.fail_upload(id, Code::Changed),
        }
        Poll::Ready(())
    }

    pub(super) fn tell_entries<P: Files>(&mut self, request: RequestId, port: &mut P) {
        let mut rest = self.link.front().map_or(&[][..], |front| front.payload);
        while !rest.is_empty() {
            match Entry::decode(rest) {
                Ok((entry, tail)) if Path::name(entry.name).is_ok() => {
                    self.listed = self.listed.saturating_add(1);
                    port.handle_event(Event::Entry { request, entry });
                    rest = tail;
                }
                _ => {
                    self.link.fail(Error::PeerMisbehaved(Code::Malformed));
                    return;
                }
            }
        }
        self.link.pop();
    }

    pub(super) fn write<P: Files>(&mut self, id: RequestId, port: &mut P) -> Poll<()> {
        let (Some(front), Download::Receiving { receiver, .. }) =
            (self.link.front(), &mut self.download)
        else {
            return Poll::Ready(());
        };
        match port.write(id, receiver.at(), front.payload) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {
                receiver.advance(id, front.payload, &mut self.hasher, port);
                self.due = Due::Nothing;
            }
            Poll::Ready(Err(code)) => self.due = Due::Drop { id, code },
        }
        self.link.pop();
        Poll::Ready(())
    }

    pub(super) fn commit<P: Files>(
        &mut self,
        id: RequestId,
        size: u64,
        root: Digest,
        port: &mut P,
    ) -> Poll<()> {
        #[cfg(feature = "host")]
        if self.set_aside(id, size, root, port) {
            self.download = Download::None;
            self.close_first();
            return Poll::Ready(());
        }
        #[cfg(feature = "host")]
        if self.owes() {
            return self.settle(port);
        }
        let result = match port.commit(id, size, root) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(suffix)) => {
                self.send_receipt(id, size);
                Ok(Reply::Got { size, root, suffix })
            }
            Poll::Ready(Err(code)) => Err(Failure::Local(code)),
        };
        self.download = Download::None;
        self.finish(id, result);
        Poll::Ready(())
    }

    /// The sender's receipt. Where it does not fit now the sender goes without it.
    pub(super) fn send_receipt(&mut self, id: RequestId, size: u64) {
        let received = u32::try_from(size.div_ceil(CHUNK as u64)).unwrap_or(u32::MAX);
        let receipt = Signal::Progress { received, durable: received };
        if self.link.queue_signal(id.low(), receipt) {
            self.count_written(PROGRESS_LEN);
        }
    }

    /// Whether the port must still hear something although the session is over: what came before
    /// its end, and what becomes of a download.
    pub(super) fn owes_port(&self) -> bool {
        matches!(self.due, Due::Event(_) | Due::Compare(_))
            || matches!(self.download, Download::Receiving { .. })
            || self.owes()
    }
}
