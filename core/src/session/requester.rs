//! The end that asks.

use core::fmt;
use core::task::Poll;

use heapless::Deque;

use super::link::{
    ANSWER_LEN_MAX, FRAME_OVERHEAD, Link, PROGRESS_LEN, STOP_LEN, Waiting, misbehaved,
    room_for_answers, room_for_requests,
};
use super::{Action, BuffersTooSmall, Config, Error, Event, Failure, Perform, Reply, Session};
use crate::storage::{Files, RequestId};
use crate::time::Instant;
use crate::transfer::{Fault, Hasher, Receiver, Sender};
use crate::wire::{
    Answer, Ask, CHUNK, Close, Code, Digest, Entry, FILE_SIZE_MAX, Header, Kind, Path, Request,
    Role, Signal,
};

/// Why a request could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// Not now: drive the session and ask again. Either the session is not open yet, or as many
    /// requests are under way as fit, or an earlier request must be finished first.
    Later,
    /// Not ever: the request itself is not legal, or longer than the peer takes.
    Refused(Code),
    /// The session is over.
    Over,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later => f.write_str("the session cannot take another request now"),
            Self::Refused(code) => write!(f, "{code}"),
            Self::Over => f.write_str("the session is over"),
        }
    }
}

impl core::error::Error for RequestError {}

/// What an open request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Done,
    Stat,
    /// A stat with its digest.
    Hash,
    Listed,
    Space,
    Stored,
    Sending {
        first: u32,
        count: Option<u32>,
    },
    Goodbye,
}

impl Expect {
    /// Whether the responder may block while it answers: by data, by pages, or by reports on a
    /// hash that takes as long as it takes.
    fn is_stream(self) -> bool {
        matches!(self, Self::Listed | Self::Sending { .. } | Self::Hash)
    }
}

/// A request that is not fully answered.
#[derive(Debug, Clone, Copy)]
struct Open {
    id: RequestId,
    expect: Expect,
    /// [`Requester::written`] behind its frame.
    end: u32,
    stopped: bool,
    /// Why its upload was broken off here.
    fault: Option<Code>,
    /// What its upload was closed with: nothing else may be said to be stored.
    sent: Option<(u64, Digest)>,
}

impl Open {
    /// Bytes that may yet be sent for it, whatever the responder does: a stop, and a receipt.
    fn len_owed(&self) -> usize {
        let stop = if self.stopped { 0 } else { STOP_LEN };
        let receipt = if matches!(self.expect, Expect::Sending { .. }) { PROGRESS_LEN } else { 0 };
        stop + receipt
    }
}

/// The upload whose data are not fully queued.
#[derive(Debug, Clone, Copy)]
enum Upload {
    None,
    /// Until the responder answers, even if it was stopped: nothing may be sent behind it that
    /// could block while the responder reports on a hash.
    Asked {
        id: RequestId,
        size: Option<u64>,
    },
    Sending {
        id: RequestId,
        sender: Sender,
    },
    /// Its close is to be queued.
    Closing {
        id: RequestId,
        close: Close,
    },
}

/// The download that the responder is sending.
#[derive(Debug, Clone, Copy)]
enum Download {
    None,
    Receiving {
        id: RequestId,
        receiver: Receiver,
    },
    /// It failed here; what still comes is discarded up to its close.
    Discarding {
        id: RequestId,
        code: Code,
    },
}

/// What [`Perform::perform`] is to do next for what came in.
#[derive(Debug, Clone, Copy)]
enum Due {
    Nothing,
    Event(Event<'static>),
    /// The entries of the page in front.
    Entries(RequestId),
    /// The data in front.
    Write(RequestId),
    Commit {
        id: RequestId,
        size: u64,
        root: Digest,
    },
    /// Tell the port that a download is worth nothing, then go on discarding it.
    Drop {
        id: RequestId,
        code: Code,
    },
    /// The same, when its close has come.
    Abort {
        id: RequestId,
        failure: Failure,
    },
}

/// The end that asks, over two buffers `B` of at least 1052 bytes each, with at most `N` requests
/// under way.
///
/// A request is encoded straight into the send buffer by [`request`](Self::request); what becomes
/// of it is told as an [`Event::Done`]. Requests may be sent before earlier ones are answered; the
/// answers come in the order asked. An upload's data are read through
/// [`Files::read`] as soon as its request was taken, a download's are written through
/// [`Files::write`] and made permanent by [`Files::commit`].
#[derive(Debug)]
pub struct Requester<B, const N: usize> {
    link: Link<B>,
    hasher: Hasher,
    /// The number of the request sent last.
    last: RequestId,
    open: Deque<Open, N>,
    /// Bytes of requests, stops and receipts at their longest, modulo 2^32.
    written: u32,
    upload: Upload,
    download: Download,
    /// Entries that were told of the listing in front.
    listed: u64,
    due: Due,
    /// The port was not done; nothing is performed before the next wait.
    parked: bool,
    opened: bool,
    goodbye: bool,
    /// The peer is about to close the link; what it said before that still counts.
    aborted: Option<Code>,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Requester<B, N> {
    /// A session over the buffers `rx` and `tx`.
    ///
    /// # Errors
    /// [`BuffersTooSmall`].
    pub fn new(rx: B, tx: B, config: &Config) -> Result<Self, BuffersTooSmall> {
        Ok(Self {
            link: Link::new(Role::Requester, rx, tx, config)?,
            hasher: Hasher::new(),
            last: RequestId(0),
            open: Deque::new(),
            written: 0,
            upload: Upload::None,
            download: Download::None,
            listed: 0,
            due: Due::Nothing,
            parked: false,
            opened: false,
            goodbye: false,
            aborted: None,
        })
    }

    /// Sends a request and gives its number.
    ///
    /// # Errors
    /// [`RequestError::Later`] where it has to wait for earlier ones: drive the session and try
    /// again.
    pub fn request(&mut self, request: &Request<'_>) -> Result<RequestId, RequestError> {
        if self.link.is_over() || self.goodbye {
            return Err(RequestError::Over);
        }
        if !self.link.is_open() {
            return Err(RequestError::Later);
        }
        self.check(request).map_err(RequestError::Refused)?;
        if self.open.is_full()
            || self.open.len() >= usize::from(self.link.theirs().requests_max)
            || !matches!(self.upload, Upload::None)
            || (self.open.len() + 1) * ANSWER_LEN_MAX
                > room_for_answers(self.link.ours().reply_room)
        {
            return Err(RequestError::Later);
        }
        let behind = self.len_behind_stream();
        if behind.is_some() && matches!(request, Request::Put(_)) {
            return Err(RequestError::Later);
        }
        let id = RequestId(self.last.0.wrapping_add(1));
        let expect = expectation(request);
        let mut open = Open { id, expect, end: 0, stopped: false, fault: None, sent: None };
        let room = behind.map(|behind| {
            room_for_requests(self.link.theirs().reply_room)
                .saturating_sub(behind + FRAME_OVERHEAD + open.len_owed())
        });
        let mut len = 0;
        let queued = self.link.queue_request(id.low(), |buf| {
            len = request.encode(buf)?;
            (len <= room.unwrap_or(usize::MAX)).then_some(len)
        });
        if !queued {
            return Err(RequestError::Later);
        }
        // The deadline of its answer begins now, however long the session was idle.
        self.link.touch();
        self.last = id;
        self.count_written(len + FRAME_OVERHEAD);
        open.end = self.written;
        // There is room: `is_full` was asked above.
        let _ = self.open.push_back(open);
        self.goodbye = matches!(request, Request::Goodbye);
        if let Request::Put(put) = request {
            self.upload = match put.ask {
                Ask::Now => {
                    Upload::Sending { id, sender: Sender::start(0, put.size, &mut self.hasher) }
                }
                Ask::Time | Ask::Digest(_) => Upload::Asked { id, size: put.size },
            };
        }
        Ok(id)
    }

    /// Cancels a request. It is answered all the same: by `Cancelled`, or by its true outcome where
    /// that was already decided. A request that is over is left alone.
    ///
    /// # Errors
    /// [`RequestError::Later`] where the stop does not fit the send buffer now.
    pub fn stop(&mut self, id: RequestId) -> Result<(), RequestError> {
        match self.upload {
            Upload::Sending { id: sending, .. } if sending == id => {
                self.upload = Upload::Closing { id, close: Close::Reset(Code::Cancelled) };
                return Ok(());
            }
            Upload::Closing { id: closing, .. } if closing == id => return Ok(()),
            _ => {}
        }
        if self.queue_stop(id) { Ok(()) } else { Err(RequestError::Later) }
    }

    /// Ends the session at once; whatever is under way is lost, and the peer is told.
    pub fn abort(&mut self, reason: Code) {
        self.link.fail(Error::Closed(reason));
    }

    /// Whether every request was answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && matches!(self.due, Due::Nothing)
    }

    /// Requests that are not fully answered.
    #[must_use]
    pub fn requests_open(&self) -> usize {
        self.open.len()
    }

    /// The upload whose source is still being read, if any: its source must stay in place.
    #[must_use]
    pub fn uploading(&self) -> Option<RequestId> {
        match self.upload {
            Upload::None | Upload::Closing { .. } => None,
            Upload::Asked { id, .. } | Upload::Sending { id, .. } => Some(id),
        }
    }

    /// Whether the request is legal and short enough for the peer.
    fn check(&self, request: &Request<'_>) -> Result<(), Code> {
        let theirs = self.link.theirs();
        let too_long = request.paths()?.iter().any(|path| {
            path.as_str().len() > usize::from(theirs.path_len_max)
                || path.components().any(|name| name.len() > usize::from(theirs.name_len_max))
        });
        if too_long { Err(Code::NameTooLong) } else { Ok(()) }
    }

    /// Bytes that the responder may find no time to read while it answers the first stream: what
    /// was sent behind that request, for others that are over too, and what may yet be. None where
    /// no stream is open.
    fn len_behind_stream(&self) -> Option<usize> {
        let mut open = self.open.iter().skip_while(|open| !open.expect.is_stream()).peekable();
        let sent = self.written.wrapping_sub(open.peek()?.end);
        Some(open.fold(sent as usize, |len, open| len.saturating_add(open.len_owed())))
    }

    fn count_written(&mut self, len: usize) {
        self.written = self.written.wrapping_add(len as u32);
    }

    /// Queues a stop of `id` if it is open and has none; false where that does not fit now.
    fn queue_stop(&mut self, id: RequestId) -> bool {
        let Some(open) = self.open.iter_mut().find(|open| open.id == id) else { return true };
        if !open.stopped {
            open.stopped = self.link.queue_signal(id.low(), Signal::Stop);
            if !open.stopped {
                return false;
            }
            self.count_written(STOP_LEN);
        }
        true
    }

    fn waiting(&self) -> Waiting {
        if !matches!(self.due, Due::Nothing) || self.parked {
            Waiting::Us
        } else if self.open.is_empty() {
            Waiting::Free
        } else {
            Waiting::Peer
        }
    }

    // What comes in.

    fn handle_signal(&mut self, request: u16, signal: Signal) {
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
                self.due = Due::Event(Event::Working { request: id, done, total });
            }
            // A responder stops an upload by answering it, and the link has dealt with the rest.
            Signal::Stop | Signal::Credit(_) | Signal::Abort(_) => {
                self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
            }
        }
    }

    /// Acts on the first frame of the queue, and says whether there was one to act on.
    fn handle_front(&mut self) -> bool {
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

    fn handle_answer(&mut self, open: Open, answer: Answer) -> Result<(), Error> {
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
            (Expect::Stored, Answer::Ready { from: 0, .. }) => {
                return match self.upload {
                    Upload::Asked { id: asked, .. } if asked == id && open.stopped => {
                        self.upload = Upload::None;
                        Ok(())
                    }
                    Upload::Asked { id: asked, size } if asked == id => {
                        let sender = Sender::start(0, size, &mut self.hasher);
                        self.upload = Upload::Sending { id, sender };
                        Ok(())
                    }
                    _ => Err(Error::PeerMisbehaved(Code::OutOfOrder)),
                };
            }
            (Expect::Stored, Answer::Unchanged) if matches!(self.upload, Upload::Asked { id: asked, .. } if asked == id) =>
            {
                self.upload = Upload::None;
                Reply::Unchanged
            }
            (Expect::Stored, Answer::Stored { size, root, suffix })
                if open.sent == Some((size, root)) =>
            {
                Reply::Stored { size, root, suffix }
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
            _ => return Err(Error::PeerMisbehaved(Code::OutOfOrder)),
        };
        self.finish(id, Ok(reply));
        Ok(())
    }

    fn handle_data(&mut self, index: u32, len: usize) -> Result<(), Error> {
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

    fn handle_close(&mut self, close: Close) -> Result<(), Error> {
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
    fn refuse_upload(&mut self, refused: RequestId) {
        match self.upload {
            Upload::Asked { id, .. } if id == refused => self.upload = Upload::None,
            Upload::Sending { id, .. } if id == refused => {
                self.upload = Upload::Closing { id, close: Close::Reset(Code::Cancelled) };
            }
            _ => {}
        }
    }

    /// The source of the upload failed: what was begun is closed.
    fn fail_upload(&mut self, id: RequestId, code: Code) {
        self.upload = Upload::Closing { id, close: Close::Reset(code) };
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.fault = Some(code);
        }
    }

    /// The first open request is over.
    fn finish(&mut self, id: RequestId, result: Result<Reply, Failure>) {
        self.open.pop_front();
        self.listed = 0;
        self.due = Due::Event(Event::Done { request: id, result });
    }

    // What goes out.

    /// Queues what needs no port, and says whether the port has data to read.
    fn prepare(&mut self) -> bool {
        if let Download::Discarding { id, .. } = self.download {
            self.queue_stop(id);
        }
        if self.link.grant()
            && let Download::Receiving { id, receiver } = self.download
        {
            let received = receiver.chunks();
            self.link.queue_signal(id.low(), Signal::Progress { received, durable: 0 });
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
                    if let Close::End { size, root } = close
                        && let Some(open) = self.open.iter_mut().find(|open| open.id == id)
                    {
                        open.sent = Some((size, root));
                    }
                }
                false
            }
            Upload::Sending { sender, .. } => {
                let len = sender.next_len(self.link.batch(), self.link.credit());
                len > 0 && (self.link.room() >= len || !self.link.has_output())
            }
            Upload::None | Upload::Asked { .. } => false,
        }
    }

    fn read<P: Files>(&mut self, port: &mut P) -> Poll<()> {
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

    fn tell_entries<P: Files>(&mut self, request: RequestId, port: &mut P) {
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

    fn write<P: Files>(&mut self, id: RequestId, port: &mut P) -> Poll<()> {
        let (Some(front), Download::Receiving { receiver, .. }) =
            (self.link.front(), &mut self.download)
        else {
            return Poll::Ready(());
        };
        match port.write(id, receiver.at(), front.payload) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {
                receiver.advance(front.payload, &mut self.hasher);
                self.due = Due::Nothing;
            }
            Poll::Ready(Err(code)) => self.due = Due::Drop { id, code },
        }
        self.link.pop();
        Poll::Ready(())
    }

    fn commit<P: Files>(
        &mut self,
        id: RequestId,
        size: u64,
        root: Digest,
        port: &mut P,
    ) -> Poll<()> {
        let result = match port.commit(id, size, root) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(suffix)) => {
                // The sender's receipt. Where it does not fit now the sender goes without it.
                let received = u32::try_from(size.div_ceil(CHUNK as u64)).unwrap_or(u32::MAX);
                let receipt = Signal::Progress { received, durable: received };
                if self.link.queue_signal(id.low(), receipt) {
                    self.count_written(PROGRESS_LEN);
                }
                Ok(Reply::Got { size, root, suffix })
            }
            Poll::Ready(Err(code)) => Err(Failure::Local(code)),
        };
        self.download = Download::None;
        self.finish(id, result);
        Poll::Ready(())
    }

    /// Whether the port must still hear something although the session is over: what came before
    /// its end, and what becomes of a download.
    fn owes_port(&self) -> bool {
        matches!(self.due, Due::Event(_)) || matches!(self.download, Download::Receiving { .. })
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Session for Requester<B, N> {
    fn recv_slice(&mut self) -> &mut [u8] {
        self.link.recv_slice()
    }

    fn recv_advance(&mut self, n: usize) {
        self.link.recv_advance(n);
    }

    fn wants_input(&self) -> bool {
        self.link.front().is_none()
    }

    fn recv_end(&mut self) {
        self.link.recv_end();
    }

    fn poll(&mut self, now: Instant) -> Action<'_> {
        self.link.set_now(now, self.waiting());
        loop {
            if self.link.is_over() {
                return match (self.owes_port(), self.parked) {
                    (false, _) => self.link.finish(),
                    (true, false) => Action::Perform,
                    (true, true) => {
                        self.parked = false;
                        Action::Wait(None)
                    }
                };
            }
            while matches!(self.due, Due::Nothing) && !self.link.is_over() {
                if self.aborted.is_none()
                    && let Some((request, signal)) = self.link.next_signal()
                {
                    self.handle_signal(request, signal);
                } else if self.link.is_open() && !self.opened {
                    self.opened = true;
                    self.due = Due::Event(Event::Opened(*self.link.theirs()));
                } else if self.link.is_over() || !self.handle_front() {
                    if let Some(code) = self.aborted {
                        self.link.fail(Error::PeerClosed(code));
                    }
                    break;
                }
            }
            if self.link.is_over() {
                continue;
            }
            if self.goodbye && self.open.is_empty() && matches!(self.due, Due::Nothing) {
                self.link.end();
                continue;
            }
            // To a peer that is about to close the link nothing more is said.
            let speaks = self.aborted.is_none();
            let readable = speaks && self.prepare();
            if speaks && self.link.is_urgent() {
                return self.link.send();
            }
            if !self.parked && (readable || !matches!(self.due, Due::Nothing)) {
                return Action::Perform;
            }
            if speaks && self.link.has_output() {
                return self.link.send();
            }
            self.parked = false;
            if let Some(action) = self.link.wait(self.waiting()) {
                return action;
            }
        }
    }

    fn sent(&mut self, n: usize) {
        self.link.sent(n);
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize, P: Files> Perform<P> for Requester<B, N> {
    fn perform(&mut self, port: &mut P) -> Poll<()> {
        self.link.touch();
        if let Due::Event(event) = self.due {
            self.due = Due::Nothing;
            port.handle_event(event);
            return Poll::Ready(());
        }
        // A verified file is committed even where the link has ended meanwhile.
        if self.link.is_over() && !matches!(self.due, Due::Commit { .. }) {
            if let Download::Receiving { id, .. } = self.download {
                self.download = Download::None;
                port.abort(id);
            }
            return Poll::Ready(());
        }
        let outcome = match self.due {
            Due::Nothing => self.read(port),
            Due::Event(_) => Poll::Ready(()),
            Due::Entries(id) => {
                self.due = Due::Nothing;
                self.tell_entries(id, port);
                Poll::Ready(())
            }
            Due::Write(id) => self.write(id, port),
            Due::Commit { id, size, root } => self.commit(id, size, root, port),
            Due::Drop { id, code } => {
                port.abort(id);
                self.download = Download::Discarding { id, code };
                self.due = Due::Nothing;
                Poll::Ready(())
            }
            Due::Abort { id, failure } => {
                port.abort(id);
                self.download = Download::None;
                self.finish(id, Err(failure));
                Poll::Ready(())
            }
        };
        self.parked = outcome.is_pending();
        if self.parked
            && let (Due::Nothing, Some(id)) = (self.due, self.uploading())
        {
            // The source keeps us waiting, and the responder does not know why nothing comes.
            self.link.report_work(id.low(), 0, 0);
        }
        outcome
    }
}

fn expectation(request: &Request<'_>) -> Expect {
    match *request {
        Request::Stat { digest: false, .. } => Expect::Stat,
        Request::Stat { digest: true, .. } => Expect::Hash,
        Request::List { .. } => Expect::Listed,
        Request::Put(_) => Expect::Stored,
        Request::Get { first, count, .. } => Expect::Sending { first, count },
        Request::Delete { .. } | Request::Rename { .. } | Request::MakeDirectory { .. } => {
            Expect::Done
        }
        Request::Space => Expect::Space,
        Request::Goodbye => Expect::Goodbye,
    }
}

/// Whether `size` bytes are what was asked for of a file of `file_size`.
fn is_range(first: u32, count: Option<u32>, size: u64, file_size: u64) -> bool {
    let start = u64::from(first) * CHUNK as u64;
    let most = count.map_or(u64::MAX, |count| u64::from(count) * CHUNK as u64);
    file_size <= FILE_SIZE_MAX
        && file_size.checked_sub(start).map(|rest| rest.min(most)) == Some(size)
}
