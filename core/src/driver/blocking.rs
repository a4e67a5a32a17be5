//! Sessions over a stream whose calls block.

use core::task::Poll;

use embedded_io::{Error as _, ErrorType, Read, ReadReady, Write};

use super::{Step, is_transient};
use crate::session::{Action, Error, Perform};
use crate::time::Instant;

/// Whether a read would give something at once.
type ReadReadyFn<T> = fn(&mut T) -> Result<bool, <T as ErrorType>::Error>;

/// The blocking driver: sessions over a stream whose calls return within a tick.
///
/// One thread can drive several sessions, by a round of [`step`](Self::step)s.
#[derive(Debug)]
pub struct Blocking<T: ErrorType> {
    stream: T,
    read_ready: Option<ReadReadyFn<T>>,
    /// The stream takes nothing more; what it still gives may say why.
    broken: bool,
}

impl<T: Read + Write> Blocking<T> {
    /// Drives `stream`, and reads only when there is nothing else to do: a stop is noticed when
    /// credit runs out.
    pub const fn new(stream: T) -> Self {
        Self { stream, read_ready: None, broken: false }
    }

    /// Drives `stream`, and looks for input between frames too, so that a stop is noticed at once.
    pub fn with_read_ready(stream: T) -> Self
    where
        T: ReadReady,
    {
        Self { stream, read_ready: Some(T::read_ready), broken: false }
    }

    /// The stream.
    pub const fn stream(&self) -> &T {
        &self.stream
    }

    /// Does one thing for `session`: sends, performs on `port`, or reads.
    pub fn step<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P, now: Instant) -> Step {
        if session.wants_input()
            && let Some(read_ready) = self.read_ready
            && read_ready(&mut self.stream).unwrap_or(true)
            && self.read(session) == Step::Moved
        {
            return Step::Moved;
        }
        match session.poll(now) {
            Action::Send(bytes) if self.broken => {
                let len = bytes.len();
                session.sent(len);
                Step::Moved
            }
            Action::Send(bytes) => {
                let result = self.stream.write(bytes);
                self.written(session, result)
            }
            Action::Perform => match session.perform(port) {
                Poll::Ready(()) => Step::Moved,
                Poll::Pending => Step::Waited,
            },
            Action::Wait(_) => self.read(session),
            Action::Closed(result) => Step::Closed(result),
        }
    }

    /// Steps until the session is over.
    ///
    /// # Errors
    /// How it ended, where it did not end by its goodbye.
    pub fn run<S: Perform<P>, P>(
        &mut self,
        session: &mut S,
        port: &mut P,
        mut now: impl FnMut() -> Instant,
    ) -> Result<(), Error> {
        loop {
            if let Step::Closed(result) = self.step(session, port, now()) {
                return result;
            }
        }
    }

    fn written<S: Perform<P>, P>(
        &mut self,
        session: &mut S,
        result: Result<usize, T::Error>,
    ) -> Step {
        match result {
            Ok(n) if n > 0 => {
                session.sent(n);
                Step::Moved
            }
            Err(error) if !is_transient(error.kind()) => {
                self.broken = true;
                Step::Moved
            }
            // The peer reads nothing. It may be that it waits for us to read.
            _ => {
                session.sent(0);
                match self.read_ready {
                    Some(read_ready) if !read_ready(&mut self.stream).unwrap_or(true) => {
                        Step::Waited
                    }
                    _ => self.read(session),
                }
            }
        }
    }

    fn read<S: Perform<P>, P>(&mut self, session: &mut S) -> Step {
        let buf = session.recv_slice();
        if buf.is_empty() {
            return Step::Waited;
        }
        match self.stream.read(buf) {
            Ok(0) => {
                session.recv_end();
                Step::Waited
            }
            Ok(n) => {
                session.recv_advance(n);
                Step::Moved
            }
            Err(error) if is_transient(error.kind()) => Step::Waited,
            Err(_) => {
                session.recv_end();
                Step::Waited
            }
        }
    }
}
