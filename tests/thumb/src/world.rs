//! Everything around a session, none of which the optimiser can see through: a stream, a port, an
//! application and a clock that answer with whatever a register holds.
//!
//! They break every rule there is: a read may give more bytes than its buffer has, time may go
//! backwards. What is proven over them holds for any peer, any storage and any transport.

use core::fmt;
use core::hint::black_box;
use core::task::Poll;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use kift_core::secure::Peer;
use kift_core::session::{Config, Event, Side};
use kift_core::storage::{Files, Outcome, RequestId};
use kift_core::time::Instant;
use kift_core::wire::{Code, Digest};

use crate::bare::any;

/// Bytes of the smallest buffer that a session takes.
pub const BUFFER_LEN: usize = 1052;

/// Some 64-bit number.
pub fn any_u64() -> u64 {
    u64::from(any()) << 32 | u64::from(any())
}

/// The present, whatever it is.
pub fn now() -> Instant {
    Instant::from_millis(any_u64())
}

/// Any configuration.
pub fn any_config() -> Config {
    black_box(Config::small(Side::Dialler, 2))
}

/// What a storage operation that gives `value` came to.
pub fn outcome<T>(value: impl FnOnce() -> T) -> Outcome<T> {
    match any() {
        0 => Poll::Pending,
        1 => Poll::Ready(Err(Code::from(any() as u8))),
        _ => Poll::Ready(Ok(value())),
    }
}

/// A place of static storage duration, to be taken once.
macro_rules! place {
    ($name:ident: $kind:ty = $value:expr) => {{
        #[unsafe(no_mangle)]
        static mut $name: core::mem::MaybeUninit<$kind> = core::mem::MaybeUninit::uninit();
        let value = $value;
        // SAFETY: each place is taken by one expression that is evaluated once.
        let place = unsafe { &mut *(&raw mut $name) };
        core::hint::black_box(place.write(value))
    }};
}
pub(crate) use place;

/// A byte stream.
pub struct Stream;

/// Why the stream failed.
#[derive(Debug)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl core::error::Error for Broken {}

impl embedded_io::Error for Broken {
    fn kind(&self) -> ErrorKind {
        black_box(ErrorKind::TimedOut)
    }
}

impl ErrorType for Stream {
    type Error = Broken;
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Broken> {
        black_box(buf);
        match any() {
            0 => Err(Broken),
            n => Ok(n as usize),
        }
    }
}

impl ReadReady for Stream {
    fn read_ready(&mut self) -> Result<bool, Broken> {
        match any() {
            0 => Err(Broken),
            n => Ok(n == 1),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Broken> {
        black_box(buf);
        match any() {
            0 => Err(Broken),
            n => Ok(n as usize),
        }
    }

    fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

/// Storage and application.
pub struct Port;

impl Files for Port {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        black_box((request, at, buf));
        outcome(|| any() as usize)
    }

    fn write(&mut self, request: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        black_box((request, at, data));
        outcome(|| ())
    }

    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        black_box((request, size, root));
        outcome(any)
    }

    fn abort(&mut self, request: RequestId) {
        black_box(request);
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        black_box(peer);
        outcome(|| ())
    }

    fn handle_event(&mut self, event: Event<'_>) {
        black_box(&event);
    }
}
