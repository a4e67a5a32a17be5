//! Sessions over a stream whose calls are awaited.

use core::future::{Future, poll_fn};
use core::mem::replace;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use embedded_io_async::{Error as _, Read, Write};

use super::{Step, is_transient};
use crate::session::{Action, Error, Perform, Session};
use crate::time::Instant;

/// How soon a deadline is noticed while bytes wait to be taken.
const TICK: Duration = Duration::from_secs(1);

/// Time, as the asynchronous driver has it.
pub trait Clock {
    /// The present.
    fn now(&self) -> Instant;

    /// Waits until `at`, or for ever where there is none. It may be done earlier at any time, and is
    /// dropped where bytes move first.
    ///
    /// A port that may be *pending* depends on this: its operation is offered again when this is
    /// done, or bytes have moved. So it is done when the port may be, or every few milliseconds.
    fn until(&mut self, at: Option<Instant>) -> impl Future<Output = ()>;
}

/// What was first.
enum First<R, W> {
    Read(Result<usize, R>),
    Written(Result<usize, W>),
    Clock,
}

/// The asynchronous driver: a session over the two halves of a stream.
///
/// An executor drives several sessions, each in a task with a driver of its own. See the
/// [module](super) for what is asked of the halves, and what becomes of a future that is dropped.
#[derive(Debug)]
pub struct Async<R, W, C> {
    reader: R,
    writer: W,
    clock: C,
    /// The peer sends nothing more.
    ended: bool,
    /// The stream takes nothing more; what it still gives may say why.
    broken: bool,
}

impl<R: Read, W: Write, C: Clock> Async<R, W, C> {
    /// Drives the stream of which these are the halves.
    pub const fn new(reader: R, writer: W, clock: C) -> Self {
        Self { reader, writer, clock, ended: false, broken: false }
    }

    /// Does one thing for `session`: sends, performs on `port`, or reads. Then it gives way to the
    /// executor's other tasks.
    ///
    /// It waits where there is nothing to do, for as long as there is nothing. An application that
    /// may have a request meanwhile drops it for that, and goes on with another.
    pub async fn step<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P) -> Step {
        let step = self.turn(session, port).await;
        if !matches!(step, Step::Closed(_)) {
            give_way().await;
        }
        step
    }

    /// Steps until the session is over.
    ///
    /// # Errors
    /// How it ended, where it did not end by its goodbye.
    pub async fn run<S: Perform<P>, P>(
        &mut self,
        session: &mut S,
        port: &mut P,
    ) -> Result<(), Error> {
        loop {
            if let Step::Closed(result) = self.step(session, port).await {
                return result;
            }
        }
    }

    async fn turn<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P) -> Step {
        // Between frames too, so that a stop is noticed at once.
        if session.wants_input() && self.look(session).await == Step::Moved {
            return Step::Moved;
        }
        let now = self.clock.now();
        let (until, sends) = match session.poll(now) {
            Action::Send(bytes) if self.broken => {
                let len = bytes.len();
                session.sent(len);
                return Step::Moved;
            }
            Action::Send(_) => (Some(now.after(TICK)), true),
            Action::Wait(until) => (until, false),
            Action::Perform => {
                return match session.perform(port) {
                    Poll::Ready(()) => Step::Moved,
                    Poll::Pending => Step::Waited,
                };
            }
            Action::Closed(result) => return Step::Closed(result),
        };
        match self.first(session, until, sends).await {
            First::Read(result) => self.heard(session, result),
            First::Written(Ok(n)) if n > 0 => {
                session.sent(n);
                Step::Moved
            }
            First::Written(Err(error)) if is_transient(error.kind()) => Step::Waited,
            // Nothing taken of something is a failure, too: see `embedded_io_async`.
            First::Written(_) => {
                self.broken = true;
                Step::Moved
            }
            First::Clock => Step::Waited,
        }
    }

    /// Reads what is there, without waiting.
    async fn look(&mut self, session: &mut impl Session) -> Step {
        let room = session.recv_slice();
        if self.ended || room.is_empty() {
            return Step::Waited;
        }
        let read = {
            let mut read = pin!(self.reader.read(room));
            poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await
        };
        match read {
            Poll::Ready(result) => self.heard(session, result),
            Poll::Pending => Step::Waited,
        }
    }

    /// Writes, where something is to be sent, and meanwhile reads: a peer that takes nothing may
    /// wait for this end to.
    async fn first(
        &mut self,
        session: &mut impl Session,
        until: Option<Instant>,
        sends: bool,
    ) -> First<R::Error, W::Error> {
        let (room, bytes) = session.split();
        let reads = !self.ended && !room.is_empty();
        let mut read = pin!(self.reader.read(room));
        let mut write = pin!(self.writer.write(bytes));
        let mut clock = pin!(self.clock.until(until));
        poll_fn(|cx| {
            if sends && let Poll::Ready(result) = write.as_mut().poll(cx) {
                return Poll::Ready(First::Written(result));
            }
            if reads && let Poll::Ready(result) = read.as_mut().poll(cx) {
                return Poll::Ready(First::Read(result));
            }
            clock.as_mut().poll(cx).map(|()| First::Clock)
        })
        .await
    }

    fn heard(&mut self, session: &mut impl Session, result: Result<usize, R::Error>) -> Step {
        match result {
            Ok(n) if n > 0 => {
                session.recv_advance(n);
                Step::Moved
            }
            Err(error) if is_transient(error.kind()) => Step::Waited,
            _ => {
                // To be read again it would say so again, at once and without end.
                self.ended = true;
                session.recv_end();
                Step::Waited
            }
        }
    }
}

/// Lets the executor's other tasks have their turns.
async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
