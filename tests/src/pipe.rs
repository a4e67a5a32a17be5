//! Two byte streams between two threads, whose calls block and never give up.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use embedded_io::{ErrorType, Read, Write};

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    closed: bool,
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
        let state = Mutex::new(State { bytes: VecDeque::new(), closed: false });
        Arc::new(Self { state, changed: Condvar::new(), capacity })
    }

    fn wait_until(&self, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.state.lock().expect("no panic while locked");
        self.changed.wait_while(state, |state| !ready(state)).expect("no panic while locked")
    }

    fn close(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.closed = true;
        }
        self.changed.notify_all();
    }
}

/// One end of a stream each way. `read` blocks until there is a byte, `write` until every byte is
/// taken, as a blocking socket's does.
#[derive(Debug)]
pub struct Blocked {
    input: Arc<Pipe>,
    output: Arc<Pipe>,
}

/// Two ends, joined by pipes that hold `up` bytes from the first to the second, and `down` back.
#[must_use]
pub fn joined(up: usize, down: usize) -> (Blocked, Blocked) {
    let (up, down) = (Pipe::new(up), Pipe::new(down));
    let one = Blocked { input: Arc::clone(&down), output: Arc::clone(&up) };
    (one, Blocked { input: up, output: down })
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.input.close();
        self.output.close();
    }
}

impl ErrorType for Blocked {
    type Error = embedded_io::ErrorKind;
}

impl Read for Blocked {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let mut state = self.input.wait_until(|state| !state.bytes.is_empty() || state.closed);
        let n = buf.len().min(state.bytes.len());
        for (to, byte) in buf.iter_mut().zip(state.bytes.drain(..n)) {
            *to = byte;
        }
        self.input.changed.notify_all();
        Ok(n)
    }
}

impl Write for Blocked {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        let pipe = &self.output;
        let mut rest = buf;
        while !rest.is_empty() {
            let mut state =
                pipe.wait_until(|state| state.bytes.len() < pipe.capacity || state.closed);
            if state.closed {
                return Err(embedded_io::ErrorKind::BrokenPipe);
            }
            let n = rest.len().min(pipe.capacity - state.bytes.len());
            state.bytes.extend(&rest[..n]);
            rest = &rest[n..];
            pipe.changed.notify_all();
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
