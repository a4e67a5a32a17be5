//! Two byte streams through RAM, in the place of a network: each holds what a connection of a small
//! device does.

use core::cell::RefCell;
use core::fmt;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};

/// Bytes that are on their way at most.
pub const ROOM: usize = 4096;

/// One direction.
struct Pipe {
    bytes: [u8; ROOM],
    /// The first byte that was not read, and the first that was not written.
    begin: usize,
    end: usize,
}

/// Both directions.
pub struct Wire([RefCell<Pipe>; 2]);

impl Wire {
    pub const fn new() -> Self {
        Self([const { RefCell::new(Pipe { bytes: [0; ROOM], begin: 0, end: 0 }) }; 2])
    }

    /// The streams of the two ends. Nothing is on its way.
    pub fn ends(&self) -> [End<'_>; 2] {
        let [there, back] = &self.0;
        for pipe in [there, back] {
            let pipe = &mut *pipe.borrow_mut();
            (pipe.begin, pipe.end) = (0, 0);
        }
        [End { reads: back, writes: there }, End { reads: there, writes: back }]
    }
}

/// The stream of an end.
pub struct End<'a> {
    reads: &'a RefCell<Pipe>,
    writes: &'a RefCell<Pipe>,
}

/// Nothing can be moved at the moment.
#[derive(Debug)]
pub struct Later;

impl fmt::Display for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("later")
    }
}

impl core::error::Error for Later {}

impl embedded_io::Error for Later {
    fn kind(&self) -> ErrorKind {
        ErrorKind::TimedOut
    }
}

impl ErrorType for End<'_> {
    type Error = Later;
}

impl Read for End<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Later> {
        let pipe = &mut *self.reads.borrow_mut();
        let n = buf.len().min(pipe.end - pipe.begin);
        buf[..n].copy_from_slice(&pipe.bytes[pipe.begin..][..n]);
        pipe.begin += n;
        if n == 0 { Err(Later) } else { Ok(n) }
    }
}

impl ReadReady for End<'_> {
    fn read_ready(&mut self) -> Result<bool, Later> {
        let pipe = self.reads.borrow();
        Ok(pipe.begin < pipe.end)
    }
}

impl Write for End<'_> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Later> {
        let pipe = &mut *self.writes.borrow_mut();
        if pipe.begin > 0 {
            pipe.bytes.copy_within(pipe.begin..pipe.end, 0);
            pipe.end -= pipe.begin;
            pipe.begin = 0;
        }
        let n = buf.len().min(ROOM - pipe.end);
        pipe.bytes[pipe.end..][..n].copy_from_slice(&buf[..n]);
        pipe.end += n;
        if n == 0 { Err(Later) } else { Ok(n) }
    }

    fn flush(&mut self) -> Result<(), Later> {
        Ok(())
    }
}
