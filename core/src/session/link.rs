//! What requester and responder have in common: two buffers, the hellos, credit, deadlines, and
//! how a link ends.

use super::{Action, BuffersTooSmall, Config, Error, Side, Timeouts};
use crate::framing::{Deframer, Front, Outbox};
use crate::secure::{FIRST_FLIGHT_LEN, FirstFlight, Peer, Refusal, Security};
use crate::time::Instant;
use crate::trace;
use crate::transfer::{Allowance, Window};
use crate::wire::{
    Answer, CHUNK, CONTROL_LEN_MAX, Close, Code, DecodeError, HEADER_LEN, Header, Hello, Kind,
    PATH_LEN_MAX, Record, Role, SIGNAL_LEN_MAX, Signal, TRAILER_LEN_MAX,
};

/// Bytes of a frame around its payload.
pub(super) const FRAME_OVERHEAD: usize = HEADER_LEN + TRAILER_LEN_MAX;

/// Bytes of the longest answer as a frame: a stat with its digest.
pub(super) const ANSWER_LEN_MAX: usize = FRAME_OVERHEAD + 56;

/// Bytes of a stop as a frame.
pub(super) const STOP_LEN: usize = FRAME_OVERHEAD + 1;

/// Bytes of a progress report as a frame.
pub(super) const PROGRESS_LEN: usize = FRAME_OVERHEAD + 11;

/// Bytes that grants of credit and progress can take in the room of a peer that is not reading:
/// two of each, since it must read before it can spend a third; and the progress that went with
/// the grant it read last.
const GRANTS_LEN: usize = 5 * PROGRESS_LEN;

/// Bytes of `room` that answers may take: a quarter is for `Working`, a little for grants.
pub(super) fn room_for_answers(room: u32) -> usize {
    room_for_requests(room).saturating_sub(room as usize / 4)
}

/// Bytes of `room` that requests behind an unfinished get or list may take.
pub(super) fn room_for_requests(room: u32) -> usize {
    (room as usize).saturating_sub(GRANTS_LEN)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for the peer's first flight.
    FirstFlight,
    /// A listener waits for the proof of the dialler's key.
    Proof,
    /// The application is to say whether this peer is welcome. What the peer sent behind its proof
    /// is not looked at.
    Admission,
    /// Waits for the peer's hello.
    Hello,
    Open,
}

/// Who is to do something next, as far as deadlines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// This end: its storage is at work, or its application thinks about the peer.
    Us,
    /// The peer owes bytes, or its room for ours.
    Peer,
    /// Nobody owes anything, and the peer may be gone.
    Idle,
    /// Nobody owes anything, and that may stay so.
    Free,
}

#[derive(Debug)]
pub(super) struct Link<B, S> {
    deframer: Deframer<B>,
    outbox: Outbox<B>,
    security: S,
    phase: Phase,
    side: Side,
    ours: Hello,
    theirs: Hello,
    allowance: Allowance,
    window: Window,
    timeouts: Timeouts,
    now: Instant,
    /// When the first poll was; nothing is measured before it.
    started: Option<Instant>,
    /// When there was a sign of life last. A byte now and then is none.
    alive: Instant,
    /// Bytes that went either way since.
    moved: u32,
    /// Since the last poll it was this end's own storage that took its time.
    busy: bool,
    /// When the peer was last told that work goes on, or when that work began.
    worked: Option<Instant>,
    /// Bytes of `Working` since the peer was last heard.
    working_len: usize,
    /// Something waits in the outbox that should not wait for more.
    urgent: bool,
    /// How the session ended.
    end: Option<Result<(), Error>>,
    /// Since when none of its last bytes was taken.
    ended: Option<Instant>,
    /// The reason that the peer has not been told yet.
    farewell: Option<Code>,
    eof: bool,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Security> Link<B, S> {
    pub(super) fn new(
        role: Role,
        rx: B,
        tx: B,
        config: &Config,
        security: S,
    ) -> Result<Self, BuffersTooSmall> {
        let (rx_len, tx_len) = (rx.as_ref().len(), tx.as_ref().len());
        let fits = rx_len.min(tx_len).saturating_sub(FRAME_OVERHEAD) / CHUNK;
        if fits == 0 {
            return Err(BuffersTooSmall);
        }
        let batch = usize::from(config.batch_max).clamp(1, 32).min(fits);
        let window = config.window.max(1);
        let ours = Hello {
            role,
            // At a window below the batch the peer could never fill a frame.
            batch: batch.min(usize::try_from(window).unwrap_or(batch)) as u8,
            credit: window,
            reply_room: (config.reply_room as usize).clamp(512, rx_len.max(512)) as u32,
            requests_max: config.requests_max.clamp(1, 1024),
            path_len_max: config.path_len_max.clamp(1, PATH_LEN_MAX as u16),
            name_len_max: config.name_len_max.max(1),
        };
        let frame_len_max = FRAME_OVERHEAD + usize::from(ours.batch) * CHUNK;
        Ok(Self {
            deframer: Deframer::new(rx, frame_len_max, security.trailer_len()),
            outbox: Outbox::new(tx),
            security,
            phase: Phase::FirstFlight,
            side: config.side,
            ours,
            theirs: ours,
            allowance: Allowance::default(),
            window: Window::new(window),
            timeouts: config.timeouts,
            now: Instant::default(),
            started: None,
            alive: Instant::default(),
            moved: 0,
            busy: false,
            worked: None,
            working_len: 0,
            urgent: false,
            end: None,
            ended: None,
            farewell: None,
            eof: false,
        })
    }

    // Bytes in and out.

    pub(super) fn recv_slice(&mut self) -> &mut [u8] {
        self.split().0
    }

    /// Where bytes from the peer go, and those for it.
    pub(super) fn split(&mut self) -> (&mut [u8], &[u8]) {
        let room = if self.end.is_some() { &mut [] } else { self.deframer.recv_slice() };
        (room, self.outbox.unsent())
    }

    pub(super) fn recv_advance(&mut self, n: usize) {
        if n > 0 {
            self.working_len = 0;
        }
        self.count_moved(n);
        self.deframer.recv_advance(n);
    }

    /// Whether more bytes can be taken now.
    pub(super) fn has_input_room(&self) -> bool {
        self.end.is_none() && self.deframer.has_room()
    }

    pub(super) fn recv_end(&mut self) {
        self.eof = true;
    }

    pub(super) fn sent(&mut self, n: usize) {
        self.count_moved(n);
        if n > 0 {
            self.ended = None;
        }
        self.outbox.advance(n);
        self.urgent &= !self.outbox.is_empty();
    }

    pub(super) fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    pub(super) fn send(&self) -> Action<'_> {
        Action::Send(self.outbox.unsent())
    }

    // Time.

    fn count_moved(&mut self, n: usize) {
        self.moved = self.moved.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// The peer has all its time again from the next poll on.
    pub(super) fn start_over(&mut self) {
        self.moved = u32::MAX;
    }

    /// A frame came that is a sign of life, or is to be answered by one.
    pub(super) fn refresh(&mut self) {
        self.alive = self.now;
        self.moved = 0;
    }

    /// From the last poll to the next one no time passes for the peer: this end is at work.
    pub(super) fn suspend(&mut self) {
        self.busy = true;
    }

    /// It is `now`.
    pub(super) fn set_now(&mut self, now: Instant) {
        if core::mem::take(&mut self.busy) {
            self.alive = self.alive.shifted(self.now, now);
        }
        self.now = now;
        if self.started.is_none() {
            self.started = Some(now);
            self.begin();
        }
        // When exactly bytes moved is not known: a read may have taken a while.
        if self.moved >= self.timeouts.stall_len.max(1) {
            self.refresh();
        }
    }

    /// Ends the session where a deadline has passed.
    pub(super) fn expire(&mut self, waiting: Waiting) {
        if self.deadline(waiting).is_some_and(|at| self.now >= at) {
            trace::warning!("nothing moved for too long: {}", self.stage(waiting));
            self.fail(Error::TimedOut);
        }
    }

    /// What it is that takes its time.
    fn stage(&self, waiting: Waiting) -> &'static str {
        match (self.phase, waiting) {
            (Phase::FirstFlight, _) => "the peer's first flight",
            (Phase::Proof, _) => "the proof of the peer's key",
            (Phase::Admission, _) => "the admission of the peer",
            (Phase::Hello, _) => "the peer's hello",
            (Phase::Open, _) if self.has_output() => "bytes for the peer",
            (Phase::Open, Waiting::Peer) => "a request under way",
            (Phase::Open, _) => "the next request",
        }
    }

    fn deadline(&self, waiting: Waiting) -> Option<Instant> {
        if self.phase != Phase::Open {
            let since = self.started.unwrap_or(self.now);
            // Where the application thinks about the peer, it may be a person who does.
            return (waiting != Waiting::Us).then(|| since.after(self.timeouts.handshake));
        }
        if self.has_output() {
            return Some(self.alive.after(self.timeouts.stall));
        }
        match waiting {
            Waiting::Us | Waiting::Free => None,
            Waiting::Peer => Some(self.alive.after(self.timeouts.stall)),
            Waiting::Idle => Some(self.alive.after(self.timeouts.idle)),
        }
    }

    /// Nothing is left to do before bytes arrive. Where none will, the session ends.
    pub(super) fn wait(&mut self, waiting: Waiting) -> Option<Action<'static>> {
        if self.eof && waiting != Waiting::Us {
            self.fail(Error::Disconnected);
            return None;
        }
        Some(Action::Wait(self.deadline(waiting)))
    }

    // The end.

    pub(super) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Ends the session; the peer is told if it is there to be told.
    pub(super) fn fail(&mut self, error: Error) {
        if self.end.is_some() {
            return;
        }
        let is_open = self.phase == Phase::Open;
        trace::warning!("the session ended{}: {}", if is_open { "" } else { " early" }, error);
        self.farewell = match error {
            Error::PeerMisbehaved(code) | Error::Closed(code) => Some(code),
            Error::TimedOut => Some(Code::TimedOut),
            Error::PeerClosed(_) | Error::Disconnected => None,
        };
        self.end_with(Err(error));
    }

    /// The goodbye was answered, or its answer came.
    pub(super) fn end(&mut self) {
        if self.end.is_none() {
            trace::info!("the session ended by its goodbye");
            self.end_with(Ok(()));
        }
    }

    fn end_with(&mut self, result: Result<(), Error>) {
        self.end = Some(result);
        // Its last bytes have all their time, whatever it ended for.
        self.refresh();
        self.start_over();
    }

    /// What is left to do once the session is over: the last bytes, for a while.
    pub(super) fn finish(&mut self) -> Action<'_> {
        let Some(result) = self.end else { return Action::Wait(None) };
        // A slow link may take long for a full buffer, as long as it takes some.
        let since = *self.ended.get_or_insert(self.now);
        let patience = self.now < since.after(self.timeouts.linger)
            && self.now < self.alive.after(self.timeouts.stall);
        if let Some(code) = self.farewell
            && self.queue_farewell(code)
        {
            self.farewell = None;
        }
        let gone = matches!(result, Err(Error::Disconnected | Error::PeerClosed(_)));
        if gone || self.outbox.is_empty() || !patience {
            Action::Closed(result)
        } else {
            self.send()
        }
    }

    // Frames in.

    /// Opens frames as they come until one is a signal that concerns more than credit.
    pub(super) fn next_signal(&mut self) -> Option<(u16, Signal)> {
        while self.end.is_none() {
            match self.open_next() {
                Ok(Opened::Nothing) => return None,
                Ok(Opened::Frame) => {}
                Ok(Opened::Signal(request, signal)) => return Some((request, signal)),
                Err(error) => self.fail(error),
            }
        }
        None
    }

    fn open_next(&mut self) -> Result<Opened, Error> {
        if self.phase == Phase::Admission {
            return Ok(Opened::Nothing);
        }
        let Some(raw) = self.deframer.next_raw().map_err(Error::PeerMisbehaved)? else {
            return Ok(Opened::Nothing);
        };
        if matches!(self.phase, Phase::FirstFlight | Phase::Proof) {
            if raw.record != Record::Handshake {
                return Err(Error::PeerMisbehaved(Code::OutOfOrder));
            }
            let heard = if (self.side, self.phase) == (Side::Listener, Phase::FirstFlight) {
                let body = self.outbox.record_mut();
                let reply = self.security.answer(raw.frame, &self.ours, body);
                reply.map(Heard::Offer).map_err(Error::PeerMisbehaved)?
            } else {
                let heard = self.security.hear(raw.frame).map_err(|refusal| match refusal {
                    Refusal::Peer(code) => Error::PeerClosed(code),
                    Refusal::Message(code) => Error::PeerMisbehaved(code),
                });
                heard?.map_or(Heard::Plain, Heard::Peer)
            };
            self.deframer.discard_raw();
            return self.handle_handshake(heard);
        }
        self.security.open(raw.record, raw.frame).map_err(Error::PeerMisbehaved)?;
        let front = self.deframer.open_raw().map_err(Error::PeerMisbehaved)?;
        let Header { kind, request, .. } = front.header;
        let len = front.payload.len();
        let len_is_legal = match kind {
            Kind::Data => (1..=usize::from(self.ours.batch) * CHUNK).contains(&len),
            Kind::Page => (1..=CHUNK).contains(&len),
            _ => len <= CONTROL_LEN_MAX,
        };
        if !len_is_legal {
            return Err(Error::PeerMisbehaved(Code::Malformed));
        }
        match kind {
            Kind::Hello if self.phase == Phase::Hello => {
                let hello = Hello::decode(front.payload).map_err(misbehaved)?;
                self.deframer.take_opened();
                self.take_hello(hello)?;
                self.open();
                Ok(Opened::Frame)
            }
            _ if self.phase != Phase::Open => Err(Error::PeerMisbehaved(Code::OutOfOrder)),
            Kind::Hello => Err(Error::PeerMisbehaved(Code::OutOfOrder)),
            Kind::Data | Kind::Page => {
                if self.window.receive(len) {
                    Ok(Opened::Frame)
                } else {
                    Err(Error::PeerMisbehaved(Code::CreditExceeded))
                }
            }
            Kind::Signal => {
                let signal = Signal::decode(front.payload).map_err(misbehaved)?;
                self.deframer.take_opened();
                match signal {
                    Signal::Credit(limit) if self.allowance.raise(limit) => Ok(Opened::Frame),
                    Signal::Credit(_) => Err(Error::PeerMisbehaved(Code::OutOfOrder)),
                    other => Ok(Opened::Signal(request, other)),
                }
            }
            Kind::Request | Kind::Answer | Kind::Close => Ok(Opened::Frame),
        }
    }

    fn handle_handshake(&mut self, heard: Heard) -> Result<Opened, Error> {
        match heard {
            Heard::Offer(reply_len) => {
                self.outbox.finish_record(reply_len);
                self.phase = Phase::Proof;
                if self.security.is_ready() {
                    self.phase = Phase::Hello;
                    self.queue_hello();
                }
            }
            Heard::Plain => self.phase = Phase::Hello,
            Heard::Peer(hello) => {
                self.take_hello(hello)?;
                self.phase = Phase::Admission;
            }
        }
        Ok(Opened::Frame)
    }

    fn take_hello(&mut self, hello: Hello) -> Result<(), Error> {
        if !hello.is_valid() || hello.role == self.ours.role {
            return Err(Error::PeerMisbehaved(Code::Incompatible));
        }
        self.theirs = hello;
        self.allowance = Allowance::new(hello.credit);
        Ok(())
    }

    /// The peer that the application is to be asked about.
    pub(super) fn applicant(&self) -> Option<Peer> {
        match self.phase {
            Phase::Admission if self.end.is_none() => self.security.peer(),
            _ => None,
        }
    }

    /// What the application said about it. To a listener that was found wrong nothing more is said;
    /// a dialler is told why.
    pub(super) fn admit(&mut self, verdict: Result<(), Code>) {
        if let Err(code) = verdict {
            if let Some(peer) = self.security.peer() {
                trace::warning!("the peer {} is refused: {}", peer.key, code);
            }
            self.fail(Error::Closed(code));
            return;
        }
        if self.side == Side::Dialler {
            match self.security.prove(&self.ours, self.outbox.record_mut()) {
                Some(len) => self.outbox.finish_record(len),
                None => return self.fail(Error::Closed(Code::Internal)),
            }
        }
        self.open();
    }

    fn open(&mut self) {
        match self.security.peer() {
            Some(peer) => trace::info!("the link is open, sealed, with {}", peer.key),
            None => trace::info!("the link is open, and plain"),
        }
        self.phase = Phase::Open;
        self.refresh();
    }

    pub(super) fn front(&self) -> Option<Front<'_>> {
        self.deframer.front()
    }

    /// The first frame is done with. Data and pages give their credit back, and are signs of life
    /// by their bytes alone.
    pub(super) fn pop(&mut self) {
        if let Some(front) = self.deframer.front() {
            match front.header.kind {
                Kind::Data | Kind::Page => self.window.consume(front.payload.len()),
                _ => self.refresh(),
            }
        }
        self.deframer.pop();
    }

    /// The frame in front is not looked at again, and may hold a password.
    pub(super) fn wipe(&mut self) {
        self.deframer.wipe();
    }

    pub(super) fn stop_queued(&mut self, request: u16) {
        self.deframer.stop(request);
    }

    // Frames out.

    /// The dialler speaks first.
    fn begin(&mut self) {
        if self.side == Side::Listener {
            return;
        }
        if let Some(len) = self.security.offer(self.outbox.record_mut()) {
            self.outbox.finish_record(len);
        }
        // On a sealed link the hello waits for somebody to say it to.
        if self.security.is_ready() {
            self.queue_hello();
        }
    }

    /// Queues why the session ends; false where that does not fit now, or nobody could read it.
    fn queue_farewell(&mut self, code: Code) -> bool {
        if (self.side, self.phase) == (Side::Listener, Phase::FirstFlight) {
            let fits = FirstFlight::refusal(code).emit(self.outbox.record_mut()).is_some();
            if fits {
                self.outbox.finish_record(FIRST_FLIGHT_LEN);
            }
            fits
        } else {
            self.queue_signal(0, Signal::Abort(code))
        }
    }

    fn queue_hello(&mut self) {
        let hello = self.ours;
        self.outbox.push(Header::new(Kind::Hello, 0), &mut self.security, |buf| hello.encode(buf));
    }

    pub(super) fn queue_signal(&mut self, request: u16, signal: Signal) -> bool {
        let header = Header::new(Kind::Signal, request);
        let queued = self.outbox.push(header, &mut self.security, |buf| signal.encode(buf));
        self.urgent |= queued;
        queued
    }

    pub(super) fn queue_answer(&mut self, request: u16, answer: &Answer) {
        let header = Header::new(Kind::Answer, request);
        let queued = self.outbox.push(header, &mut self.security, |buf| answer.encode(buf));
        debug_assert!(queued, "answers are made only where there is room for them");
        self.worked = None;
    }

    pub(super) fn queue_close(&mut self, request: u16, close: &Close) -> bool {
        self.worked = None;
        let header = Header::new(Kind::Close, request);
        self.outbox.push(header, &mut self.security, |buf| close.encode(buf))
    }

    /// Queues a control frame of at most `len` bytes of payload; false where that does not fit now.
    pub(super) fn queue_request(
        &mut self,
        request: u16,
        encode: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        self.outbox.push(Header::new(Kind::Request, request), &mut self.security, encode)
    }

    /// Bytes of payload that the next frame may have now.
    pub(super) fn room(&self) -> usize {
        self.outbox.room(&self.security).unwrap_or(0)
    }

    pub(super) fn has_room_for_answer(&self) -> bool {
        self.room() >= ANSWER_LEN_MAX
    }

    pub(super) fn payload_mut(&mut self, len: usize) -> &mut [u8] {
        self.outbox.payload_mut(len, &self.security)
    }

    /// The payload of a data frame or page is in place.
    pub(super) fn finish_frame(&mut self, header: Header, len: usize) {
        self.allowance.spend(len);
        self.worked = None;
        let queued = self.outbox.finish(header, len, &mut self.security);
        debug_assert!(queued, "data flow only where frames can be sealed");
    }

    /// Whether something waits that should be sent before more work is done.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Grants credit where half the window is due, and says whether it did.
    pub(super) fn grant(&mut self) -> bool {
        // Room for the progress that may go with it, so that both go or neither.
        if !self.window.is_due() || self.room() < 2 * SIGNAL_LEN_MAX {
            return false;
        }
        let limit = self.window.grant();
        self.queue_signal(0, Signal::Credit(limit))
    }

    // Reports that work goes on.

    /// Work on `request` goes on: tells the peer, now and then, where that cannot block it.
    pub(super) fn report_work(&mut self, request: u16, done: u64, total: u64) {
        let Some(worked) = self.worked else {
            self.worked = Some(self.now);
            return;
        };
        let bounded = self.working_len + SIGNAL_LEN_MAX <= self.theirs.reply_room as usize / 4;
        if self.now >= worked.after(self.timeouts.working)
            && (bounded || self.deframer.has_room())
            && self.queue_signal(request, Signal::Working { done, total })
        {
            self.worked = Some(self.now);
            self.working_len = self.working_len.saturating_add(SIGNAL_LEN_MAX);
        }
    }

    // Limits.

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open && self.end.is_none()
    }

    /// Whether nobody between the ends can read what is said, once the link is open.
    pub(super) fn is_sealed(&self) -> bool {
        self.security.peer().is_some()
    }

    pub(super) fn ours(&self) -> &Hello {
        &self.ours
    }

    pub(super) fn theirs(&self) -> &Hello {
        &self.theirs
    }

    /// Chunks in a data frame, at most.
    pub(super) fn batch(&self) -> u8 {
        self.ours.batch.min(self.theirs.batch)
    }

    /// Chunks that may be sent now.
    pub(super) fn credit(&self) -> u64 {
        self.allowance.available()
    }
}

/// What a record of the handshake came to.
enum Heard {
    /// An offer, whose reply of so many bytes is in place.
    Offer(usize),
    /// The link is plain: hellos follow as frames.
    Plain,
    /// A peer that the application is to be asked about, and what it said of itself.
    Peer(Hello),
}

enum Opened {
    /// No whole frame has come.
    Nothing,
    /// A frame was acted on, or waits in the queue.
    Frame,
    Signal(u16, Signal),
}

pub(super) fn misbehaved(error: DecodeError) -> Error {
    Error::PeerMisbehaved(match error {
        DecodeError::Unknown => Code::Incompatible,
        DecodeError::Malformed => Code::Malformed,
    })
}
