//! Two byte streams between two threads, whose calls wait and never give up.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use embedded_io::{ErrorKind, ErrorType, Read, Write};

use crate::drive::Halves;

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    closed: bool,
    /// Those who do not block, and wait for a change.
    waiting: Vec<Waker>,
}

impl State {
    /// Moves what there is into `buf`.
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.bytes.len());
        for (to, byte) in buf.iter_mut().zip(self.bytes.drain(..n)) {
            *to = byte;
        }
        n
    }
}

/// One direction, which holds a bounded number of bytes.
#[derive(Debug)]
struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

impl Pipe {
    fn new(capacity: usize) -> Arc<Self> {
        let state = State { bytes: VecDeque::new(), closed: false, waiting: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), capacity })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    fn wait_until(&self, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), |state| !ready(state)).expect("no panic while locked")
    }

    /// What `attempt` gives, as soon as that is something.
    async fn when<T>(&self, mut attempt: impl FnMut(&mut State) -> Option<T>) -> T {
        poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(value) = attempt(&mut state) {
                self.tell(state);
                return Poll::Ready(value);
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Something has changed.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        self.changed.notify_all();
    }

    fn close(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.closed = true;
            self.tell(state);
        }
    }
}

/// What comes from the other end.
#[derive(Debug)]
pub struct Incoming(Arc<Pipe>);

/// What goes to the other end.
#[derive(Debug)]
pub struct Outgoing(Arc<Pipe>);

/// One end of a stream each way. `read` blocks until there is a byte, `write` until every byte is
/// taken, as a blocking socket's does.
#[derive(Debug)]
pub struct Blocked {
    input: Incoming,
    output: Outgoing,
}

/// Two ends, joined by pipes that hold `up` bytes from the first to the second, and `down` back.
#[must_use]
pub fn joined(up: usize, down: usize) -> (Blocked, Blocked) {
    let (up, down) = (Pipe::new(up), Pipe::new(down));
    let end = |input: &Arc<Pipe>, output: &Arc<Pipe>| Blocked {
        input: Incoming(Arc::clone(input)),
        output: Outgoing(Arc::clone(output)),
    };
    (end(&down, &up), end(&up, &down))
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl ErrorType for Blocked {
    type Error = ErrorKind;
}

impl Read for Blocked {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let pipe = &self.input.0;
        let mut state = pipe.wait_until(|state| !state.bytes.is_empty() || state.closed);
        let n = state.take(buf);
        pipe.tell(state);
        Ok(n)
    }
}

impl Write for Blocked {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let pipe = &self.output.0;
        let mut rest = buf;
        while !rest.is_empty() {
            let mut state =
                pipe.wait_until(|state| state.bytes.len() < pipe.capacity || state.closed);
            if state.closed {
                return Err(ErrorKind::BrokenPipe);
            }
            let n = rest.len().min(pipe.capacity - state.bytes.len());
            state.bytes.extend(&rest[..n]);
            rest = &rest[n..];
            pipe.tell(state);
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Halves for Blocked {
    type Reader = Incoming;
    type Writer = Outgoing;

    fn halves(self) -> (Incoming, Outgoing) {
        (self.input, self.output)
    }
}

impl ErrorType for Incoming {
    type Error = ErrorKind;
}

impl embedded_io_async::Read for Incoming {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!buf.is_empty(), "a read of nothing would look like the end");
        let attempt = |state: &mut State| {
            (!state.bytes.is_empty() || state.closed).then(|| Ok(state.take(buf)))
        };
        self.0.when(attempt).await
    }
}

impl ErrorType for Outgoing {
    type Error = ErrorKind;
}

impl embedded_io_async::Write for Outgoing {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        assert!(!buf.is_empty());
        let attempt = |state: &mut State| {
            if state.closed {
                return Some(Err(ErrorKind::BrokenPipe));
            }
            let n = buf.len().min(self.0.capacity - state.bytes.len());
            state.bytes.extend(&buf[..n]);
            (n > 0).then_some(Ok(n))
        };
        self.0.when(attempt).await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
