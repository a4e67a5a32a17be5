//! An end of a simulated link: a session, driven as its driver drives it.

use std::task::Poll;

use kift_core::session::{Action, Error, Perform, Session};
use kift_core::time::Instant;

use crate::link::Wire;
use crate::options::Options;
use crate::rng::Rng;

/// One end as its driver sees it.
#[derive(Debug, Default)]
pub struct End {
    /// It said `Wait`, or could not write.
    pub waiting: bool,
    blocked: bool,
    /// What a write that blocks has yet to hand over, and its length in all.
    writing: Option<(Vec<u8>, usize)>,
    /// When what it waits for is overdue.
    pub deadline: Option<Instant>,
    /// When its pending operation is worth another try.
    pub retry: Option<u64>,
    end_told: bool,
    /// How its session ended.
    pub closed: Option<Result<(), Error>>,
}

/// What is around an end for one turn.
#[derive(Debug)]
pub struct Around<'a> {
    /// Milliseconds.
    pub now: u64,
    /// Where chance comes from.
    pub rng: &'a mut Rng,
    /// How bytes go.
    pub options: &'a Options,
    /// To the peer.
    pub out: &'a mut Wire,
    /// From the peer.
    pub into: &'a mut Wire,
}

impl End {
    /// One turn of the loop that `kift_core` documents; false where there is nothing to do.
    pub fn turn<S: Perform<P>, P>(
        &mut self,
        around: Around<'_>,
        session: &mut S,
        port: &mut P,
    ) -> bool {
        Turn { end: self, around }.take(session, port)
    }
}

/// An end at its turn.
struct Turn<'a> {
    end: &'a mut End,
    around: Around<'a>,
}

impl Turn<'_> {
    fn take<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P) -> bool {
        if self.end.closed.is_some() || (self.end.waiting && !self.is_awake()) {
            return false;
        }
        self.end.waiting = false;
        if self.end.writing.is_some() {
            return self.keep_writing(session);
        }
        if self.around.options.read_ready
            && session.wants_input()
            && self.around.rng.chance(50)
            && self.receive(session)
        {
            return true;
        }
        let piece = self.around.rng.between(1, self.around.options.piece_max.min(1 << 20));
        match session.poll(Instant::from_millis(self.around.now)) {
            Action::Send(bytes) if self.around.options.blocking => {
                self.end.writing = Some((bytes.to_vec(), bytes.len()));
                self.keep_writing(session)
            }
            Action::Send(bytes) => {
                assert!(!bytes.is_empty());
                let n = bytes.len().min(self.around.out.room()).min(piece);
                let when = self.around.now
                    + self.around.rng.below(self.around.options.latency_max as usize + 1) as u64;
                self.around.out.write(&bytes[..n], when);
                session.sent(n);
                self.end.blocked = n == 0;
                n > 0 || self.receive(session) || self.wait(None)
            }
            Action::Perform => {
                self.end.retry = match session.perform(port) {
                    Poll::Ready(()) => None,
                    Poll::Pending => Some(self.around.now + self.around.options.tick),
                };
                true
            }
            Action::Wait(until) => {
                self.end.blocked = false;
                // The port was not asked again since: that is due after this wait.
                self.end.retry =
                    self.end.retry.map(|at| at.max(self.around.now + self.around.options.tick));
                self.receive(session) || self.wait(until)
            }
            Action::Closed(result) => {
                self.end.closed = Some(result);
                self.end.retry = None;
                self.around.out.close();
                self.around.into.abandon();
                true
            }
        }
    }

    /// Goes on with a write that blocks, and with nothing else until it is done.
    fn keep_writing<S: Session>(&mut self, session: &mut S) -> bool {
        let Some((mut rest, len)) = self.end.writing.take() else { return false };
        let piece: Vec<u8> = rest.drain(..rest.len().min(self.around.out.room())).collect();
        self.around.out.write(&piece, self.around.now);
        if rest.is_empty() {
            session.sent(len);
            return true;
        }
        self.end.writing = Some((rest, len));
        !piece.is_empty() || self.wait(None)
    }

    fn is_awake(&self) -> bool {
        if self.end.writing.is_some() {
            return self.around.out.room() > 0;
        }
        self.around.into.arrived(self.around.now) > 0
            || (self.around.into.is_at_end() && !self.end.end_told)
            || self.end.retry.is_some_and(|at| self.around.now >= at)
            || (self.end.blocked && self.around.out.room() > 0)
    }

    fn receive<S: Session>(&mut self, session: &mut S) -> bool {
        let most = self.around.rng.between(1, self.around.options.piece_max.min(1 << 20));
        let n = self.around.into.read(session.recv_slice(), most, self.around.now);
        if n > 0 {
            session.recv_advance(n);
        } else if self.around.into.is_at_end() && !self.end.end_told {
            self.end.end_told = true;
            session.recv_end();
            return true;
        }
        n > 0
    }

    fn wait(&mut self, until: Option<Instant>) -> bool {
        self.end.waiting = true;
        self.end.deadline = until;
        false
    }
}
