//! TCP sockets as byte streams for the driver, and what a host's sessions are given.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use kift_core::session::{Config, Side, Timeouts};
use kift_core::time::Instant;
use kift_core::wire::{NAME_LEN_MAX, PATH_LEN_MAX};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

/// The port that kift listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 5438;

/// How long a socket call may wait, and so how soon a session notices that it is to stop.
pub const TICK: Duration = Duration::from_millis(250);

/// Bytes of each of a session's two buffers: some frames of the largest batch, so that one system
/// call moves many. The pages of a buffer come into being when they are first used, so an idle
/// session costs none of this.
pub const BUFFER_LEN: usize = 256 * 1024;

/// Bytes that must move within a minute, while something is under way: half of what the slowest of
/// serial lines carry that are still in use, at 4800 baud.
pub(crate) const STALL_LEN: u32 = 16 * 1024;

/// Chunks of 1024 bytes that a host takes before it acknowledges any, unless told otherwise. The
/// socket's own buffers hold the sender back; credit is there for peers without such.
pub const WINDOW: u32 = 32 * 1024;

/// Chunks that a host takes and sends in a data frame.
const BATCH_MAX: u8 = 32;

/// What a host offers its peers. With a window of 1 each chunk waits until the one before was
/// acknowledged.
#[must_use]
pub fn session_config(side: Side, window: u32) -> Config {
    Config {
        side,
        batch_max: u8::try_from(window).unwrap_or(BATCH_MAX).min(BATCH_MAX),
        window: window.into(),
        reply_room: 16 * 1024,
        requests_max: 64,
        path_len_max: PATH_LEN_MAX as u16,
        name_len_max: NAME_LEN_MAX as u8,
        timeouts: Timeouts { stall_len: STALL_LEN, ..Timeouts::DEFAULT },
    }
}

/// A buffer for a session.
#[must_use]
pub fn buffer() -> Vec<u8> {
    vec![0; BUFFER_LEN]
}

/// Milliseconds since `origin`, as the state machines want them.
#[must_use]
pub fn since(origin: Clock) -> Instant {
    Instant::from_millis(origin.elapsed().as_millis() as u64)
}

/// How long a peer is silent before the system asks whether it is there, and between two such
/// questions.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Questions without an answer after which the connection is lost.
const KEEPALIVE_PROBES: u32 = 4;

/// A connected socket whose calls return within a [`TICK`].
#[derive(Debug)]
pub struct Socket(Arc<TcpStream>);

impl Socket {
    /// Takes over a connected stream.
    ///
    /// # Errors
    /// The system's, where the socket cannot be set up.
    pub fn new(stream: impl Into<Arc<TcpStream>>) -> io::Result<Self> {
        let stream = stream.into();
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        // A device that lost its power answers nothing, and its peer may have nothing to send that
        // would find out.
        sockopt::set_socket_keepalive(&*stream, true)?;
        sockopt::set_tcp_keepidle(&*stream, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(&*stream, KEEPALIVE)?;
        sockopt::set_tcp_keepcnt(&*stream, KEEPALIVE_PROBES)?;
        Ok(Self(stream))
    }

    /// The stream itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.0
    }
}

/// A socket's error.
#[derive(Debug)]
pub struct SocketError(pub io::Error);

impl std::fmt::Display for SocketError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SocketError {}

impl embedded_io::Error for SocketError {
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            // What a socket timeout surfaces as.
            io::ErrorKind::WouldBlock => ErrorKind::TimedOut,
            kind => kind.into(),
        }
    }
}

impl ErrorType for Socket {
    type Error = SocketError;
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, SocketError> {
        (&*self.0).read(buf).map_err(SocketError)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> Result<usize, SocketError> {
        (&*self.0).write(buf).map_err(SocketError)
    }

    fn flush(&mut self) -> Result<(), SocketError> {
        Ok(())
    }
}

impl ReadReady for Socket {
    fn read_ready(&mut self) -> Result<bool, SocketError> {
        is_so(&self.0, PollFlags::IN).map_err(SocketError)
    }
}

/// Whether the peer has closed the connection, or is gone, whatever of what it sent is not read yet.
#[must_use]
pub(crate) fn has_hung_up(stream: &TcpStream) -> bool {
    // Where the system does not say, the session finds out.
    is_so(stream, PollFlags::RDHUP).unwrap_or(false)
}

fn is_so(stream: &TcpStream, what: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::new(stream, what)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&at_once)) {
        Ok(n) => Ok(n > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
