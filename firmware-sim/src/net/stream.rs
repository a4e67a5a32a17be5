//! A connection as a byte stream.

use core::fmt;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use embedded_nal::{TcpClientStack as _, nb};

use super::nal::{Error, Socket};
use super::phy::Frames;
use super::stack::Stack;

/// Why a call on a [`Connection`] moved nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionError {
    /// There is nothing to read yet, or no room to write.
    TimedOut,
    /// The connection is no more.
    Broken(Error),
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ConnectionError {}

impl embedded_io::Error for ConnectionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Broken(_) => ErrorKind::ConnectionReset,
        }
    }
}

impl From<nb::Error<Error>> for ConnectionError {
    fn from(error: nb::Error<Error>) -> Self {
        match error {
            nb::Error::WouldBlock => Self::TimedOut,
            nb::Error::Other(error) => Self::Broken(error),
        }
    }
}

/// A connection that was accepted or made.
///
/// Its calls never wait: [their tick](kift_core::driver) is nought. A round of sessions over such
/// connections waits in one place, after a turn of the stack.
///
/// It closes when it is dropped. What was written is still sent, by later turns of the stack.
pub struct Connection<'s, 'm, F: Frames> {
    stack: &'s Stack<'m, F>,
    socket: Socket,
}

impl<'s, 'm, F: Frames> Connection<'s, 'm, F> {
    /// The connection of `socket`, a socket of `stack`.
    pub const fn new(stack: &'s Stack<'m, F>, socket: Socket) -> Self {
        Self { stack, socket }
    }
}

impl<F: Frames> Drop for Connection<'_, '_, F> {
    fn drop(&mut self) {
        self.stack.leave(&self.socket);
    }
}

impl<F: Frames> ErrorType for Connection<'_, '_, F> {
    type Error = ConnectionError;
}

impl<F: Frames> Read for Connection<'_, '_, F> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ConnectionError> {
        match self.stack.receive(&mut self.socket, buf) {
            Err(nb::Error::Other(Error::Finished)) => Ok(0),
            result => Ok(result?),
        }
    }
}

impl<F: Frames> ReadReady for Connection<'_, '_, F> {
    fn read_ready(&mut self) -> Result<bool, ConnectionError> {
        Ok(self.stack.is_readable(&self.socket))
    }
}

impl<F: Frames> Write for Connection<'_, '_, F> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ConnectionError> {
        Ok(self.stack.send(&mut self.socket, buf)?)
    }

    /// What was written is the stack's to send.
    fn flush(&mut self) -> Result<(), ConnectionError> {
        Ok(())
    }
}
