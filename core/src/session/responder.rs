//! The end that serves.

use core::task::Poll;

use super::link::{Link, Waiting, misbehaved};
use super::{Action, BuffersTooSmall, Config, Error, Event, Perform, Session};
use crate::storage::{Outcome, Page, RequestId, Store};
use crate::time::Instant;
use crate::transfer::{Fault, Hasher, Receiver, Sender, root};
use crate::wire::{
    Answer, Ask, CHUNK, Close, Code, DecodeError, Digest, EntryKind, FILE_SIZE_MAX, Header, Kind,
    Meta, Path, Put, Request, Role, Signal,
};

/// What the session is doing. Each state but `Idle` belongs to one request.
#[derive(Debug, Clone, Copy)]
enum Task {
    Idle,
    /// The request in front is to be done.
    Request(RequestId),
    /// The upload in front is to be begun; it was not unchanged.
    Begin(RequestId),
    /// An upload's data come.
    Receive {
        id: RequestId,
        receiver: Receiver,
    },
    /// An upload is whole and verified.
    Commit {
        id: RequestId,
        size: u64,
        root: Digest,
    },
    /// An upload is worth nothing.
    Abort {
        id: RequestId,
        code: Code,
    },
    /// A download's data go.
    Send {
        id: RequestId,
        sender: Sender,
    },
    /// A source is to be closed, and then its stream; or, where it has none, the request is refused.
    Finish {
        id: RequestId,
        close: Result<Close, Code>,
    },
    /// A listing's pages go.
    List {
        id: RequestId,
        entries: u64,
    },
    /// A listing's directory is to be closed.
    EndList {
        id: RequestId,
        entries: u64,
        failed: Option<Code>,
    },
    /// The file of the request in front is to be opened for its hash.
    Open {
        id: RequestId,
        purpose: Purpose,
    },
    /// It is read for its hash.
    Hash {
        id: RequestId,
        purpose: Purpose,
        meta: Meta,
        at: u64,
    },
}

/// What a hash is wanted for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// The answer to a stat.
    Stat,
    /// To compare with the file that an upload offers.
    Compare(Digest),
}

/// The end that serves, over two buffers `B` of at least 1052 bytes each.
///
/// It takes requests in order, does them on a [`Store`] one operation at a time, and answers.
#[derive(Debug)]
pub struct Responder<B> {
    link: Link<B>,
    hasher: Hasher,
    /// The number of the request taken last.
    last: RequestId,
    task: Task,
    /// What the application has not been told yet.
    notice: Option<Event<'static>>,
    /// The port was not done; nothing is performed before the next wait.
    parked: bool,
    opened: bool,
    shutting_down: bool,
    /// The request taken last was answered before its data were closed: what is left of them is
    /// discarded.
    discarding: bool,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Responder<B> {
    /// A session over the buffers `rx` and `tx`.
    ///
    /// # Errors
    /// [`BuffersTooSmall`].
    pub fn new(rx: B, tx: B, config: &Config) -> Result<Self, BuffersTooSmall> {
        Ok(Self {
            link: Link::new(Role::Responder, rx, tx, config)?,
            hasher: Hasher::new(),
            last: RequestId(0),
            task: Task::Idle,
            notice: None,
            parked: false,
            opened: false,
            shutting_down: false,
            discarding: false,
        })
    }

    /// Takes no further request; the one under way is finished, then the peer is told and the
    /// session ends.
    pub fn shut_down(&mut self) {
        self.shutting_down = true;
    }

    /// Ends the session at once; an upload under way is dropped, and the peer is told.
    pub fn abort(&mut self, reason: Code) {
        self.link.fail(Error::Closed(reason));
    }

    /// Whether no request is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.task, Task::Idle)
    }

    fn waiting(&self) -> Waiting {
        match self.task {
            _ if self.parked => Waiting::Us,
            Task::Idle => Waiting::Idle,
            _ => Waiting::Peer,
        }
    }

    // What comes in.

    fn handle_signal(&mut self, request: u16, signal: Signal) {
        match signal {
            Signal::Progress { received, durable } => {
                let request = self.full_id(request);
                self.notice = Some(Event::Progress { request, received, durable });
            }
            Signal::Stop => self.handle_stop(request),
            Signal::Abort(code) => self.link.fail(Error::PeerClosed(code)),
            // That it came is what there is to know.
            Signal::Working { .. } => {}
            // The link has dealt with it.
            Signal::Credit(_) => {
                self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
            }
        }
    }

    /// The requester wants no more of a request: the one under way, one that waits in the queue, or
    /// one that is over. A request in front keeps the mark until what it began can be stopped: see
    /// [`perform`](Perform::perform).
    fn handle_stop(&mut self, request: u16) {
        self.link.stop_queued(request);
        let stops = |id: RequestId| id.low() == request;
        let cancelled = Close::Reset(Code::Cancelled);
        match self.task {
            Task::Receive { id, .. } if stops(id) => {
                self.discarding = true;
                self.task = Task::Abort { id, code: Code::Cancelled };
            }
            Task::Send { id, .. } if stops(id) => {
                self.task = Task::Finish { id, close: Ok(cancelled) };
            }
            Task::Hash { id, .. } if stops(id) => {
                self.link.pop();
                self.discarding = true;
                self.task = Task::Finish { id, close: Err(Code::Cancelled) };
            }
            Task::List { id, entries } if stops(id) => {
                self.task = Task::EndList { id, entries, failed: Some(Code::Cancelled) };
            }
            _ => {}
        }
    }

    /// The number of the request that a frame with these low bits belongs to: a recent one.
    fn full_id(&self, low: u16) -> RequestId {
        let back = self.last.low().wrapping_sub(low);
        RequestId(self.last.0.wrapping_sub(u32::from(back)))
    }

    /// Acts on the first frame of the queue where its turn has come, and says whether it did.
    fn handle_front(&mut self) -> bool {
        // Whatever comes of it, its answer has room.
        if !self.link.has_room_for_answer() {
            return false;
        }
        match self.task {
            Task::Idle if self.shutting_down => {
                self.link.fail(Error::Closed(Code::ShuttingDown));
                false
            }
            Task::Idle => self.take_request(),
            Task::Receive { id, receiver } => self.take_data(id, receiver),
            _ => false,
        }
    }

    fn take_request(&mut self) -> bool {
        let Some(front) = self.link.front() else { return false };
        let request = front.header.request;
        match front.header.kind {
            Kind::Request => {}
            Kind::Data | Kind::Close if self.discarding && request == self.last.low() => {
                self.discarding = front.header.kind == Kind::Data;
                self.link.pop();
                return true;
            }
            _ => {
                self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
                return false;
            }
        }
        let id = RequestId(self.last.0.wrapping_add(1));
        if request != id.low() {
            self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
            return false;
        }
        self.last = id;
        self.discarding = false;
        let verdict = match Request::decode(front.payload) {
            Err(DecodeError::Unknown) => Err(Code::Unsupported),
            Err(error @ DecodeError::Malformed) => {
                self.link.fail(misbehaved(error));
                return false;
            }
            Ok(Request::Goodbye) => {
                self.link.pop();
                self.answer(id, &Answer::Done);
                self.link.end();
                return true;
            }
            Ok(_) if front.stopped => Err(Code::Cancelled),
            Ok(request) => request.paths().map(|_| ()),
        };
        match verdict {
            Ok(()) => self.task = Task::Request(id),
            Err(code) => {
                // It may be an upload, or something newer with a stream of its own.
                self.discarding = true;
                self.link.pop();
                self.answer(id, &Answer::Failed(code));
            }
        }
        true
    }

    fn take_data(&mut self, id: RequestId, receiver: Receiver) -> bool {
        let Some(front) = self.link.front() else { return false };
        let Header { kind, request, index } = front.header;
        let verdict = match kind {
            _ if request != id.low() => Err(Fault::Link(Code::OutOfOrder)),
            Kind::Data => match receiver.check(index, front.payload.len()) {
                // It stays in front until the port has taken it.
                Ok(()) => return false,
                Err(fault) => Err(fault),
            },
            Kind::Close => match Close::decode(front.payload) {
                Ok(Close::End { size, root }) => {
                    receiver.finish(size, root, &self.hasher).map_err(Fault::Request).map(|()| {
                        self.task = Task::Commit { id, size, root };
                    })
                }
                Ok(Close::Reset(_)) => Err(Fault::Request(Code::Cancelled)),
                Err(error) => {
                    self.link.fail(misbehaved(error));
                    return false;
                }
            },
            _ => Err(Fault::Link(Code::OutOfOrder)),
        };
        match verdict {
            Ok(()) => {}
            Err(Fault::Request(code)) => {
                self.discarding = kind == Kind::Data;
                self.task = Task::Abort { id, code };
            }
            Err(Fault::Link(code)) => {
                self.link.fail(Error::PeerMisbehaved(code));
                return false;
            }
        }
        self.link.pop();
        true
    }

    /// Whether data that were found in order wait in front.
    fn has_data(&self) -> bool {
        self.link.front().is_some_and(|front| front.header.kind == Kind::Data)
    }

    /// The request under way, if it is still in front and was stopped since its turn came.
    fn stopped_in_front(&self) -> Option<RequestId> {
        let stopped = self.link.front().is_some_and(|front| front.stopped);
        match self.task {
            Task::Request(id) | Task::Begin(id) | Task::Open { id, .. } if stopped => Some(id),
            _ => None,
        }
    }

    /// The request under way.
    fn current(&self) -> Option<RequestId> {
        match self.task {
            Task::Idle => None,
            Task::Request(id)
            | Task::Begin(id)
            | Task::Receive { id, .. }
            | Task::Commit { id, .. }
            | Task::Abort { id, .. }
            | Task::Send { id, .. }
            | Task::Finish { id, .. }
            | Task::List { id, .. }
            | Task::EndList { id, .. }
            | Task::Open { id, .. }
            | Task::Hash { id, .. } => Some(id),
        }
    }

    // What goes out.

    /// The request is over.
    fn answer(&mut self, id: RequestId, answer: &Answer) {
        self.link.queue_answer(id.low(), answer);
        self.task = Task::Idle;
    }

    /// Queues what needs no port, and says whether the port has something to do that there is room
    /// for.
    fn prepare(&mut self) -> bool {
        if self.link.grant()
            && let Task::Receive { id, receiver } = self.task
        {
            let received = receiver.chunks();
            self.link.queue_signal(id.low(), Signal::Progress { received, durable: 0 });
        }
        if let Task::Send { id, sender } = self.task
            && sender.is_done()
        {
            self.task = Task::Finish { id, close: Ok(sender.end(&self.hasher)) };
        }
        match self.task {
            Task::Idle => false,
            Task::Receive { .. } => self.has_data() && self.link.has_room_for_answer(),
            Task::Send { sender, .. } => {
                let len = sender.next_len(self.link.batch(), self.link.credit());
                len > 0 && (self.link.room() >= len || !self.link.has_output())
            }
            Task::List { .. } => self.link.credit() > 0 && self.link.room() >= CHUNK,
            // The file is read through what is free of the send buffer.
            Task::Hash { .. } => self.link.room() >= CHUNK,
            Task::Request(_)
            | Task::Begin(_)
            | Task::Open { .. }
            | Task::Commit { .. }
            | Task::Abort { .. }
            | Task::Finish { .. }
            | Task::EndList { .. } => self.link.has_room_for_answer(),
        }
    }

    // One operation on the port each.

    /// The request in front, whose path was checked.
    fn do_request<S: Store>(&mut self, id: RequestId, port: &mut S) -> Poll<()> {
        let Some(request) = self.link.front().and_then(|f| Request::decode(f.payload).ok()) else {
            return Poll::Ready(());
        };
        let path = |text| Path::new(text).unwrap_or(Path::ROOT);
        let outcome: Outcome<Answer> = match request {
            Request::Put(Put { ask: Ask::Now, .. }) => {
                self.task = Task::Begin(id);
                return self.begin(id, port);
            }
            Request::Put(put) => {
                let Poll::Ready(found) = port.stat(id, path(put.path)) else {
                    return Poll::Pending;
                };
                let same_size =
                    |meta: &Meta| meta.kind == EntryKind::File && Some(meta.size) == put.size;
                match (found.ok().filter(same_size), put.ask) {
                    (Some(Meta { modified: Some(there), .. }), Ask::Time)
                        if put.modified == Some(there) =>
                    {
                        Poll::Ready(Ok(Answer::Unchanged))
                    }
                    (Some(_), Ask::Digest(digest)) => {
                        self.task = Task::Open { id, purpose: Purpose::Compare(digest) };
                        return Poll::Ready(());
                    }
                    _ => {
                        self.task = Task::Begin(id);
                        return Poll::Ready(());
                    }
                }
            }
            Request::Stat { path: text, digest } => match port.stat(id, path(text)) {
                Poll::Ready(Ok(meta)) if digest && meta.kind == EntryKind::File => {
                    self.task = Task::Open { id, purpose: Purpose::Stat };
                    return Poll::Ready(());
                }
                other => other.map_ok(|meta| Answer::Stat { meta, digest: None }),
            },
            Request::List { path: text, after } => {
                match port.open_directory(id, path(text), after) {
                    Poll::Ready(Ok(())) => {
                        self.link.pop();
                        self.task = Task::List { id, entries: 0 };
                        return Poll::Ready(());
                    }
                    other => other.map_ok(|()| Answer::Done),
                }
            }
            Request::Get { path: text, first, count } => match port.open(id, path(text)) {
                Poll::Ready(Ok(meta)) => {
                    self.link.pop();
                    self.start_sending(id, meta, first, count);
                    return Poll::Ready(());
                }
                other => other.map_ok(|_| Answer::Done),
            },
            Request::Delete { path: text } => port.delete(id, path(text)).map_ok(|()| Answer::Done),
            Request::Rename { from, to, replace } => {
                port.rename(id, path(from), path(to), replace).map_ok(|()| Answer::Done)
            }
            Request::MakeDirectory { path: text } => {
                port.make_directory(id, path(text)).map_ok(|()| Answer::Done)
            }
            Request::Space => port.space(id).map_ok(Answer::Space),
            // It was answered when it came.
            Request::Goodbye => Poll::Ready(Ok(Answer::Done)),
        };
        let Poll::Ready(result) = outcome else { return Poll::Pending };
        self.link.pop();
        self.answer(id, &result.unwrap_or_else(Answer::Failed));
        Poll::Ready(())
    }

    fn begin<S: Store>(&mut self, id: RequestId, port: &mut S) -> Poll<()> {
        let Some(Ok(Request::Put(put))) = self.link.front().map(|f| Request::decode(f.payload))
        else {
            return Poll::Ready(());
        };
        let path = Path::new(put.path).unwrap_or(Path::ROOT);
        let Poll::Ready(result) = port.begin(id, path, &put) else { return Poll::Pending };
        let (size, asked) = (put.size, put.ask != Ask::Now);
        self.link.pop();
        match result {
            Ok(()) => {
                let receiver = Receiver::start(0, size, &mut self.hasher);
                if asked {
                    let ready = Answer::Ready { from: 0, root: root(&self.hasher) };
                    self.link.queue_answer(id.low(), &ready);
                }
                self.task = Task::Receive { id, receiver };
            }
            Err(code) => {
                self.discarding = true;
                self.answer(id, &Answer::Failed(code));
            }
        }
        Poll::Ready(())
    }

    fn write<S: Store>(&mut self, id: RequestId, port: &mut S) -> Poll<()> {
        let (Some(front), Task::Receive { receiver, .. }) = (self.link.front(), &mut self.task)
        else {
            return Poll::Ready(());
        };
        match port.write(id, receiver.at(), front.payload) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => receiver.advance(front.payload, &mut self.hasher),
            Poll::Ready(Err(code)) => {
                self.discarding = true;
                self.task = Task::Abort { id, code };
            }
        }
        self.link.pop();
        Poll::Ready(())
    }

    fn start_sending(&mut self, id: RequestId, meta: Meta, first: u32, count: Option<u32>) {
        let start = u64::from(first) * CHUNK as u64;
        let most = count.map_or(u64::MAX, |count| u64::from(count) * CHUNK as u64);
        let code = match meta.size.checked_sub(start) {
            Some(rest) if meta.size <= FILE_SIZE_MAX => {
                let size = rest.min(most);
                let (file_size, modified) = (meta.size, meta.modified);
                self.link.queue_answer(id.low(), &Answer::Sending { size, file_size, modified });
                let sender = Sender::start(first, Some(size), &mut self.hasher);
                self.task = Task::Send { id, sender };
                return;
            }
            Some(_) => Code::TooLarge,
            None => Code::BadRange,
        };
        self.task = Task::Finish { id, close: Err(code) };
    }

    fn read<S: Store>(&mut self, id: RequestId, mut sender: Sender, port: &mut S) -> Poll<()> {
        let len = sender.next_len(self.link.batch(), self.link.credit());
        let buf = self.link.payload_mut(len);
        let Poll::Ready(outcome) = port.read(id, sender.at(), buf) else { return Poll::Pending };
        match outcome {
            Ok(n) if n >= buf.len() => {
                let n = buf.len();
                let header = Header { kind: Kind::Data, request: id.low(), index: sender.index() };
                sender.advance(buf, &mut self.hasher);
                self.link.finish_frame(header, n);
                self.task = Task::Send { id, sender };
            }
            // The file has become shorter than was declared.
            Ok(_) => self.task = Task::Finish { id, close: Ok(Close::Reset(Code::Changed)) },
            Err(code) => self.task = Task::Finish { id, close: Ok(Close::Reset(code)) },
        }
        Poll::Ready(())
    }

    fn list<S: Store>(&mut self, id: RequestId, entries: u64, port: &mut S) -> Poll<()> {
        let mut page = Page::new(self.link.payload_mut(CHUNK));
        let Poll::Ready(outcome) = port.read_directory(id, &mut page) else { return Poll::Pending };
        let (len, entries) = (page.len(), entries.saturating_add(page.entries()));
        if len > 0 {
            self.link.finish_frame(Header::new(Kind::Page, id.low()), len);
        }
        self.task = match outcome {
            Ok(true) => Task::List { id, entries },
            Ok(false) => Task::EndList { id, entries, failed: None },
            Err(code) => Task::EndList { id, entries, failed: Some(code) },
        };
        Poll::Ready(())
    }

    fn open<S: Store>(&mut self, id: RequestId, purpose: Purpose, port: &mut S) -> Poll<()> {
        let Some(Ok(Request::Stat { path, .. } | Request::Put(Put { path, .. }))) =
            self.link.front().map(|f| Request::decode(f.payload))
        else {
            return Poll::Ready(());
        };
        let path = Path::new(path).unwrap_or(Path::ROOT);
        let Poll::Ready(opened) = port.open(id, path) else { return Poll::Pending };
        match (opened, purpose) {
            (Ok(meta), _) => {
                self.hasher.reset();
                self.task = Task::Hash { id, purpose, meta, at: 0 };
            }
            (Err(code), Purpose::Stat) => {
                self.link.pop();
                self.answer(id, &Answer::Failed(code));
            }
            (Err(_), Purpose::Compare(_)) => self.task = Task::Begin(id),
        }
        Poll::Ready(())
    }

    fn hash<S: Store>(
        &mut self,
        id: RequestId,
        purpose: Purpose,
        meta: Meta,
        at: u64,
        port: &mut S,
    ) -> Poll<()> {
        let room = self.link.room() / CHUNK * CHUNK;
        let left = usize::try_from(meta.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let buf = self.link.payload_mut(room.min(left));
        let Poll::Ready(outcome) = port.read(id, at, buf) else { return Poll::Pending };
        let at = match outcome {
            Ok(n) if n >= buf.len() => {
                self.hasher.update(buf);
                at.saturating_add(buf.len() as u64)
            }
            Ok(_) => return self.end_hash(id, purpose, meta, Err(Code::Changed), port),
            Err(code) => return self.end_hash(id, purpose, meta, Err(code), port),
        };
        if at < meta.size {
            self.task = Task::Hash { id, purpose, meta, at };
            self.link.report_work(id.low(), at, meta.size);
            return Poll::Ready(());
        }
        let digest = root(&self.hasher);
        self.end_hash(id, purpose, meta, Ok(digest), port)
    }

    fn end_hash<S: Store>(
        &mut self,
        id: RequestId,
        purpose: Purpose,
        meta: Meta,
        digest: Result<Digest, Code>,
        port: &mut S,
    ) -> Poll<()> {
        port.close(id);
        let answer = match (purpose, digest) {
            (Purpose::Stat, Ok(digest)) => Answer::Stat { meta, digest: Some(digest) },
            (Purpose::Stat, Err(code)) => Answer::Failed(code),
            (Purpose::Compare(wanted), Ok(digest)) if wanted == digest => Answer::Unchanged,
            (Purpose::Compare(_), _) => {
                self.task = Task::Begin(id);
                return Poll::Ready(());
            }
        };
        self.link.pop();
        self.answer(id, &answer);
        Poll::Ready(())
    }

    /// The session is over: what is open is closed. A verified upload is committed all the same.
    fn clean_up<S: Store>(&mut self, port: &mut S) -> Poll<()> {
        match self.task {
            Task::Commit { id, size, root } => {
                if port.commit(id, size, root).is_pending() {
                    return Poll::Pending;
                }
            }
            Task::Request(id)
            | Task::Begin(id)
            | Task::Open { id, .. }
            | Task::Receive { id, .. }
            | Task::Abort { id, .. } => port.abort(id),
            Task::Send { id, .. } | Task::Finish { id, .. } | Task::Hash { id, .. } => {
                port.close(id);
            }
            Task::List { id, .. } | Task::EndList { id, .. } => {
                port.close_directory(id);
            }
            Task::Idle => {}
        }
        self.task = Task::Idle;
        Poll::Ready(())
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Session for Responder<B> {
    fn recv_slice(&mut self) -> &mut [u8] {
        self.link.recv_slice()
    }

    fn recv_advance(&mut self, n: usize) {
        self.link.recv_advance(n);
    }

    fn wants_input(&self) -> bool {
        match self.task {
            // What waits in front is for later, and a stop may come behind it.
            Task::Send { .. } | Task::List { .. } | Task::Hash { .. } => self.link.has_input_room(),
            _ => self.link.front().is_none(),
        }
    }

    fn recv_end(&mut self) {
        self.link.recv_end();
    }

    fn poll(&mut self, now: Instant) -> Action<'_> {
        self.link.set_now(now, self.waiting());
        loop {
            if self.link.is_over() {
                let owes_port = self.notice.is_some() || !self.is_idle();
                return match (owes_port, self.parked) {
                    (false, _) => self.link.finish(),
                    (true, false) => Action::Perform,
                    (true, true) => {
                        self.parked = false;
                        Action::Wait(None)
                    }
                };
            }
            while self.notice.is_none() && !self.link.is_over() {
                if let Some((request, signal)) = self.link.next_signal() {
                    self.handle_signal(request, signal);
                } else if self.link.is_open() && !self.opened {
                    self.opened = true;
                    self.notice = Some(Event::Opened(*self.link.theirs()));
                } else if self.link.is_over() || !self.handle_front() {
                    break;
                }
            }
            if self.link.is_over() {
                continue;
            }
            let due = self.prepare();
            if self.link.is_urgent() {
                return self.link.send();
            }
            if !self.parked && (due || self.notice.is_some()) {
                return Action::Perform;
            }
            if self.link.has_output() {
                return self.link.send();
            }
            let waiting = self.waiting();
            self.parked = false;
            if let Some(action) = self.link.wait(waiting) {
                return action;
            }
        }
    }

    fn sent(&mut self, n: usize) {
        self.link.sent(n);
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Store> Perform<S> for Responder<B> {
    fn perform(&mut self, port: &mut S) -> Poll<()> {
        self.link.touch();
        if let Some(event) = self.notice.take() {
            port.handle_event(event);
            return Poll::Ready(());
        }
        let stopped = self.stopped_in_front();
        let outcome = match self.task {
            _ if self.link.is_over() => self.clean_up(port),
            Task::Idle => Poll::Ready(()),
            Task::Request(id) => self.do_request(id, port),
            Task::Begin(id) => self.begin(id, port),
            Task::Open { id, purpose } => self.open(id, purpose, port),
            Task::Receive { id, .. } => self.write(id, port),
            Task::Commit { id, size, root } => port.commit(id, size, root).map(|result| {
                let answer = match result {
                    Ok(suffix) => Answer::Stored { size, root, suffix },
                    Err(code) => Answer::Failed(code),
                };
                self.answer(id, &answer);
            }),
            Task::Abort { id, code } => {
                port.abort(id);
                self.answer(id, &Answer::Failed(code));
                Poll::Ready(())
            }
            Task::Send { id, sender } => self.read(id, sender, port),
            Task::Finish { id, close } => {
                port.close(id);
                match close {
                    Ok(close) => {
                        // There is room: it was asked for before.
                        self.link.queue_close(id.low(), &close);
                        self.task = Task::Idle;
                    }
                    Err(code) => self.answer(id, &Answer::Failed(code)),
                }
                Poll::Ready(())
            }
            Task::List { id, entries } => self.list(id, entries, port),
            Task::EndList { id, entries, failed } => {
                let skipped = port.close_directory(id);
                let listed = Answer::Listed { entries, skipped };
                self.answer(id, &failed.map_or(listed, Answer::Failed));
                Poll::Ready(())
            }
            Task::Hash { id, purpose, meta, at } => self.hash(id, purpose, meta, at, port),
        };
        self.parked = outcome.is_pending();
        match (outcome, self.current(), stopped) {
            (Poll::Pending, Some(id), _) => {
                let (done, total) = match self.task {
                    Task::Hash { at, meta, .. } => (at, meta.size),
                    _ => (0, 0),
                };
                self.link.report_work(id.low(), done, total);
            }
            (Poll::Ready(()), _, Some(id)) => self.handle_stop(id.low()),
            _ => {}
        }
        outcome
    }
}
