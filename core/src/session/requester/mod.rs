//! The end that asks.

mod expect;
mod incoming;
mod outgoing;
#[cfg(feature = "host")]
mod owed;

use super::link::{
    ANSWER_LEN_MAX, FRAME_OVERHEAD, Link, PROGRESS_LEN, STOP_LEN, Waiting, room_for_answers,
    room_for_requests,
};
use super::{Action, BuffersTooSmall, Config, Error, Event, Failure, Perform, Session};
use crate::secure::{Plain, Security, crc32c};
use crate::storage::{Files, RequestId};
use crate::time::Instant;
use crate::trace;
use crate::transfer::{Hasher, Receiver, Sender};
use crate::wire::{Ask, CHUNK, Close, Code, Digest, Request, Role, Signal};
use core::fmt;
use core::task::Poll;
use expect::Expect;
use heapless::Deque;

/// Why a request could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// Not now: drive the session and ask again. Either the session is not open yet, or as many
    /// requests are under way as fit, or an earlier request must be finished first.
    Later,
    /// Not ever: the request itself is not legal, or longer than the peer takes, or it is a login
    /// on a plain link ([`Code::SealedOnly`]).
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
    /// Bytes that its upload was closed with: nothing else may be said to be stored. (Their hash
    /// the responder compared with that of the close.)
    sent: Option<u64>,
}

impl Open {
    /// Bytes that may yet be sent for it, whatever the responder does: a stop, and a receipt.
    fn len_owed(&self) -> usize {
        let stop = if self.stopped { 0 } else { STOP_LEN };
        let receipt = if self.expect.is_get() { PROGRESS_LEN } else { 0 };
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
    /// The responder has some of it.
    Checking(Check),
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

/// A source that is compared with what the responder has of it.
#[derive(Debug, Clone, Copy)]
struct Check {
    id: RequestId,
    /// Bytes that were read here, and that are to be.
    at: u64,
    end: u64,
    /// Their hash there.
    root: Digest,
    then: Then,
}

/// What the responder has.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// So many chunks: the rest of the file, of that size where known, is sent.
    Send { chunks: u32, size: Option<u64> },
    /// All of it, from an earlier attempt whose answer was lost.
    Stored { suffix: u32 },
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
    /// Make the downloads durable that were set aside.
    #[cfg(feature = "host")]
    Settle,
    /// Compare the source with what an earlier attempt is said to have stored.
    Compare(Check),
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
pub struct Requester<B, const N: usize, S = Plain> {
    link: Link<B, S>,
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
    #[cfg(feature = "host")]
    owed: owed::Owed,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Requester<B, N> {
    /// A session over the buffers `rx` and `tx`, on a plain link whose checksums are computed by
    /// [`crc32c`].
    ///
    /// # Errors
    /// [`BuffersTooSmall`].
    pub fn new(rx: B, tx: B, config: &Config) -> Result<Self, BuffersTooSmall> {
        Self::with_security(rx, tx, config, Plain::new(crc32c))
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize, S: Security> Requester<B, N, S> {
    /// A session over the buffers `rx` and `tx`, on a link that `security` protects.
    ///
    /// # Errors
    /// [`BuffersTooSmall`].
    pub fn with_security(
        rx: B,
        tx: B,
        config: &Config,
        security: S,
    ) -> Result<Self, BuffersTooSmall> {
        Ok(Self {
            link: Link::new(Role::Requester, rx, tx, config, security)?,
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
            #[cfg(feature = "host")]
            owed: owed::Owed::default(),
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
        if let Err(code) = self.check(request) {
            trace::warning!("no request ({}): {}", request.verb(), code);
            return Err(RequestError::Refused(code));
        }
        if self.open.is_full()
            || self.open.len() >= usize::from(self.link.theirs().requests_max)
            || !matches!(self.upload, Upload::None)
            // The hash is that of a source that is compared.
            || matches!(self.due, Due::Compare(_))
            || (self.open.len() + 1) * ANSWER_LEN_MAX
                > room_for_answers(self.link.ours().reply_room)
        {
            return Err(RequestError::Later);
        }
        // Its hash is that of the file's beginning, and no other stream may disturb it.
        if matches!(request, Request::Resume { .. }) && !self.open.is_empty() {
            return Err(RequestError::Later);
        }
        let behind = self.len_behind_stream();
        if behind.is_some() && request.has_data() {
            return Err(RequestError::Later);
        }
        let expect = Expect::of(request);
        // The receipts that are still to be sent may not fit behind it.
        if behind.is_none() && self.owes() && expect.is_stream() {
            return Err(RequestError::Later);
        }
        let id = RequestId(self.last.0.wrapping_add(1));
        let sent = committed(request);
        let mut open = Open { id, expect, end: 0, stopped: false, fault: None, sent };
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
        trace::debug!("request {}: {}", id, request.verb());
        // The deadline of its answer begins now, however long the session was idle.
        self.link.start_over();
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
                Ask::Time | Ask::Digest(_) | Ask::Ready => Upload::Asked { id, size: put.size },
            };
        }
        #[cfg(feature = "host")]
        if let Request::PutRun { run, .. } = request {
            let sender = Sender::start(run.first, Some(run.size), &mut self.hasher);
            self.hasher.begin_run(run.offset());
            self.upload = Upload::Sending { id, sender };
        }
        Ok(id)
    }

    /// The session's hash, to be made that of the chunks that [`Request::Resume`] names before this is
    /// made. It may still be another file's. None while anything is open.
    pub fn prefix(&mut self) -> Option<&mut Hasher> {
        self.open.is_empty().then_some(&mut self.hasher)
    }

    /// Cancels a request. It is answered all the same: by `Cancelled`, or by its true outcome where
    /// that was already decided. A request that is over is left alone.
    ///
    /// # Errors
    /// [`RequestError::Later`] where the stop does not fit the send buffer now.
    pub fn stop(&mut self, id: RequestId) -> Result<(), RequestError> {
        match self.upload {
            Upload::Sending { id: sending, .. } | Upload::Checking(Check { id: sending, .. })
                if sending == id =>
            {
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
        self.requests_open() == 0 && matches!(self.due, Due::Nothing)
    }

    /// Requests that are not fully answered.
    #[must_use]
    pub fn requests_open(&self) -> usize {
        self.open.len() + self.downloads_owed()
    }

    /// Downloads that are answered, and not durable yet.
    fn downloads_owed(&self) -> usize {
        #[cfg(feature = "host")]
        return self.owed.len();
        #[cfg(not(feature = "host"))]
        0
    }

    fn owes(&self) -> bool {
        self.downloads_owed() > 0
    }

    /// Whether downloads are to be settled before the first frame is acted on. Has it done.
    fn settles(&mut self) -> bool {
        #[cfg(feature = "host")]
        if self.must_settle() {
            self.due = Due::Settle;
            return true;
        }
        false
    }

    /// The upload whose source is still being read, if any: its source must stay in place.
    #[must_use]
    pub fn uploading(&self) -> Option<RequestId> {
        if let Due::Compare(Check { id, .. }) = self.due {
            return Some(id);
        }
        match self.upload {
            Upload::None | Upload::Closing { .. } => None,
            Upload::Asked { id, .. }
            | Upload::Checking(Check { id, .. })
            | Upload::Sending { id, .. } => Some(id),
        }
    }

    /// Whether the request is legal and short enough for the peer.
    fn check(&self, request: &Request<'_>) -> Result<(), Code> {
        if matches!(request, Request::Login { .. }) && !self.link.is_sealed() {
            return Err(Code::SealedOnly);
        }
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
        // The receipts of those before it may be sent behind it.
        let len = sent as usize + self.downloads_owed() * PROGRESS_LEN;
        Some(open.fold(len, |len, open| len.saturating_add(open.len_owed())))
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
        let busy = !matches!(self.due, Due::Nothing) || self.link.applicant().is_some();
        if busy || self.parked {
            Waiting::Us
        } else if self.open.is_empty() {
            Waiting::Free
        } else {
            Waiting::Peer
        }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize, S: Security> Session for Requester<B, N, S> {
    fn recv_slice(&mut self) -> &mut [u8] {
        self.link.recv_slice()
    }

    fn recv_advance(&mut self, n: usize) {
        self.link.recv_advance(n);
    }

    fn split(&mut self) -> (&mut [u8], &[u8]) {
        self.link.split()
    }

    fn wants_input(&self) -> bool {
        self.link.front().is_none()
    }

    fn recv_end(&mut self) {
        self.link.recv_end();
    }

    fn poll(&mut self, now: Instant) -> Action<'_> {
        self.link.set_now(now);
        loop {
            if self.link.is_over() {
                return match (self.owes_port(), self.parked) {
                    (false, _) => self.link.finish(),
                    (true, false) => Action::Perform,
                    (true, true) => {
                        self.parked = false;
                        self.link.suspend();
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
                } else if self.link.is_over() || !(self.settles() || self.handle_front()) {
                    if let Some(code) = self.aborted {
                        self.link.fail(Error::PeerClosed(code));
                    }
                    break;
                }
            }
            self.link.expire(self.waiting());
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
            let due = match self.due {
                Due::Nothing => self.link.applicant().is_some(),
                // The source is read through what is free of the send buffer.
                Due::Compare(_) => self.link.room() >= CHUNK,
                _ => true,
            };
            if !self.parked && (readable || due) {
                return Action::Perform;
            }
            if speaks && self.link.has_output() {
                return self.link.send();
            }
            if core::mem::take(&mut self.parked) {
                self.link.suspend();
            }
            if let Some(action) = self.link.wait(self.waiting()) {
                return action;
            }
        }
    }

    fn sent(&mut self, n: usize) {
        self.link.sent(n);
    }
}

impl<B, const N: usize, S, P> Perform<P> for Requester<B, N, S>
where
    B: AsRef<[u8]> + AsMut<[u8]>,
    S: Security,
    P: Files,
{
    fn perform(&mut self, port: &mut P) -> Poll<()> {
        self.link.suspend();
        if let Some(peer) = self.link.applicant() {
            let verdict = port.admit(&peer);
            self.parked = verdict.is_pending();
            return verdict.map(|verdict| self.link.admit(verdict));
        }
        if let Due::Event(event) = self.due {
            self.due = Due::Nothing;
            port.handle_event(event);
            return Poll::Ready(());
        }
        // A verified file is committed even where the link has ended meanwhile, and what was stored is
        // compared.
        if self.link.is_over() && !matches!(self.due, Due::Commit { .. } | Due::Compare(_)) {
            if let Download::Receiving { id, .. } = self.download {
                self.download = Download::None;
                port.suspend(id);
                return Poll::Ready(());
            }
            #[cfg(feature = "host")]
            if self.owes() {
                let outcome = self.settle(port);
                self.parked = outcome.is_pending();
                return outcome;
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
            #[cfg(feature = "host")]
            Due::Settle => self.settle(port).map(|()| self.due = Due::Nothing),
            Due::Compare(check) => self.check_source(check, port),
            Due::Drop { id, code } => {
                port.abort(id);
                self.download = Download::Discarding { id, code };
                self.due = Due::Nothing;
                Poll::Ready(())
            }
            #[cfg(feature = "host")]
            Due::Abort { .. } if self.owes() => self.settle(port),
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

/// Bytes that were sent already for a request that stores a file.
fn committed(request: &Request<'_>) -> Option<u64> {
    match request {
        #[cfg(feature = "host")]
        Request::Commit { size, .. } => Some(*size),
        _ => None,
    }
}
