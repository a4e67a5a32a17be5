//! The end that serves.

mod incoming;
#[cfg(feature = "host")]
mod owed;
#[cfg(feature = "host")]
mod runs;
mod work;

use super::link::{Link, Waiting};
use super::{Action, BuffersTooSmall, Config, Error, Event, Perform, Session};
use crate::secure::{Plain, Security, crc32c};
use crate::storage::{RequestId, Store};
use crate::time::Instant;
use crate::trace;
use crate::transfer::{Hasher, Receiver, Sender};
use crate::wire::{Answer, CHUNK, Close, Code, Digest, Meta, Role};
use core::task::Poll;

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
    /// It is read for its hash, or that of its first chunks.
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
    /// To go on with an upload behind so many chunks.
    Prefix(u32),
    /// To go on with a download behind so many chunks that the peer has, which have this hash.
    Resume(u32, Digest),
}

impl Purpose {
    /// Bytes that are hashed of a file.
    fn len(self, meta: &Meta) -> u64 {
        match self {
            Self::Stat | Self::Compare(_) => meta.size,
            Self::Prefix(chunks) | Self::Resume(chunks, _) => u64::from(chunks) * CHUNK as u64,
        }
    }
}

/// The end that serves, over two buffers `B` of at least 1052 bytes each.
///
/// It takes requests in order, does them on a [`Store`] one operation at a time, and answers.
#[derive(Debug)]
pub struct Responder<B, S = Plain> {
    link: Link<B, S>,
    hasher: Hasher,
    /// The number of the request taken last.
    last: RequestId,
    task: Task,
    #[cfg(feature = "host")]
    owed: owed::Owed,
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
    /// A session over the buffers `rx` and `tx`, on a plain link whose checksums are computed by
    /// [`crc32c`].
    ///
    /// # Errors
    /// [`BuffersTooSmall`].
    pub fn new(rx: B, tx: B, config: &Config) -> Result<Self, BuffersTooSmall> {
        Self::with_security(rx, tx, config, Plain::new(crc32c))
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Security> Responder<B, S> {
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
            link: Link::new(Role::Responder, rx, tx, config, security)?,
            hasher: Hasher::new(),
            last: RequestId(0),
            task: Task::Idle,
            #[cfg(feature = "host")]
            owed: owed::Owed::default(),
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
        matches!(self.task, Task::Idle) && !self.owes()
    }

    /// Whether answers are owed for what came before the request under way.
    fn owes(&self) -> bool {
        #[cfg(feature = "host")]
        return !self.owed.is_empty();
        #[cfg(not(feature = "host"))]
        false
    }

    fn waiting(&self) -> Waiting {
        match self.task {
            _ if self.parked || self.link.applicant().is_some() => Waiting::Us,
            Task::Idle => Waiting::Idle,
            _ => Waiting::Peer,
        }
    }

    /// The request is over.
    fn answer(&mut self, id: RequestId, answer: &Answer) {
        self.task = Task::Idle;
        #[cfg(feature = "host")]
        if self.owed.keep(id, answer) {
            return;
        }
        self.answer_now(id, answer);
    }

    /// It is told.
    fn answer_now(&mut self, id: RequestId, answer: &Answer) {
        match answer {
            Answer::Failed(code) => trace::warning!("request {} failed: {}", id, code),
            _ => trace::debug!("request {} is done", id),
        }
        self.link.queue_answer(id.low(), answer);
    }

    /// Queues what needs no port, and says whether the port has something to do that there is room
    /// for.
    fn prepare(&mut self) -> bool {
        if self.link.grant()
            && let Task::Receive { id, receiver } = self.task
        {
            self.link.queue_signal(id.low(), receiver.progress());
        }
        if let Task::Send { id, sender } = self.task
            && sender.is_done()
        {
            self.task = Task::Finish { id, close: Ok(sender.end(&self.hasher)) };
        }
        #[cfg(feature = "host")]
        if self.must_settle() {
            return self.link.has_room_for_answer();
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
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Security> Session for Responder<B, S> {
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
        self.link.set_now(now);
        loop {
            if self.link.is_over() {
                let owes_port = self.notice.is_some() || !self.is_idle();
                return match (owes_port, self.parked) {
                    (false, _) => self.link.finish(),
                    (true, false) => Action::Perform,
                    (true, true) => {
                        self.parked = false;
                        self.link.suspend();
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
            self.link.expire(self.waiting());
            if self.link.is_over() {
                continue;
            }
            let due = self.prepare();
            if self.link.is_urgent() {
                return self.link.send();
            }
            let due = due || self.notice.is_some() || self.link.applicant().is_some();
            if !self.parked && due {
                return Action::Perform;
            }
            if self.link.has_output() {
                return self.link.send();
            }
            let waiting = self.waiting();
            if core::mem::take(&mut self.parked) {
                self.link.suspend();
            }
            if let Some(action) = self.link.wait(waiting) {
                return action;
            }
        }
    }

    fn sent(&mut self, n: usize) {
        self.link.sent(n);
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Security, P: Store> Perform<P> for Responder<B, S> {
    fn perform(&mut self, port: &mut P) -> Poll<()> {
        self.link.suspend();
        if let Some(peer) = self.link.applicant() {
            let verdict = port.admit(&peer);
            self.parked = verdict.is_pending();
            return verdict.map(|verdict| self.link.admit(verdict));
        }
        if let Some(event) = self.notice.take() {
            port.handle_event(event);
            return Poll::Ready(());
        }
        let stopped = self.stopped_in_front();
        let outcome = match self.task {
            _ if self.link.is_over() => self.clean_up(port),
            #[cfg(feature = "host")]
            _ if self.must_settle() => self.settle(port),
            Task::Idle => Poll::Ready(()),
            Task::Request(id) => self.do_request(id, port),
            Task::Begin(id) => self.begin(id, port),
            Task::Open { id, purpose } => self.open(id, purpose, port),
            Task::Receive { id, .. } => self.write(id, port),
            Task::Commit { id, size, root } => self.commit(id, size, root, port),
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
                        match close {
                            Close::End { .. } => trace::debug!("request {} is done", id),
                            Close::Reset(code) => {
                                trace::warning!("request {} failed: {}", id, code);
                            }
                        }
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
                    Task::Hash { at, purpose, meta, .. } => (at, purpose.len(&meta)),
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
