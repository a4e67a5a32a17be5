//! Any `embedded_nal::TcpClientStack` as a byte stream.

use core::fmt;
use core::net::SocketAddr;

use embedded_io::{ErrorKind, ErrorType, Read, Write};
use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, nb};

/// Why a call to the stack did not succeed.
#[derive(Debug)]
pub enum NalError<E> {
    /// Nothing moved within the tick.
    TimedOut,
    /// The stack's own.
    Stack(E),
}

impl<E: fmt::Debug> fmt::Display for NalError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::Stack(error) => write!(f, "{error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for NalError<E> {}

impl<E: TcpError> embedded_io::Error for NalError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Stack(error) => match error.kind() {
                TcpErrorKind::PipeClosed => ErrorKind::BrokenPipe,
                _ => ErrorKind::Other,
            },
        }
    }
}

/// A connected socket of a stack `S`, which may be a `&mut` to one that is shared.
///
/// A stack never waits, so the waiting is the caller's: whenever the stack would block, `W` is
/// called with the number of times that it was called before in this read or write. It gives the
/// processor or the network interface a turn, and says whether to try again; when it does not, the
/// tick is over and the call has timed out.
#[derive(Debug)]
pub struct NalStream<S: TcpClientStack, W> {
    stack: S,
    socket: S::TcpSocket,
    wait: W,
}

impl<S: TcpClientStack, W: FnMut(u32) -> bool> NalStream<S, W> {
    /// Connects to `remote`.
    ///
    /// # Errors
    /// [`NalError::TimedOut`] where the connection did not come about while `wait` had patience.
    pub fn connect(
        mut stack: S,
        remote: SocketAddr,
        mut wait: W,
    ) -> Result<Self, NalError<S::Error>> {
        let mut socket = stack.socket().map_err(NalError::Stack)?;
        match until_ready(&mut wait, || stack.connect(&mut socket, remote)) {
            Ok(()) => Ok(Self { stack, socket, wait }),
            Err(error) => {
                // The first error is the one to tell.
                let _ = stack.close(socket);
                Err(error)
            }
        }
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// The stack's.
    pub fn close(mut self) -> Result<(), NalError<S::Error>> {
        self.stack.close(self.socket).map_err(NalError::Stack)
    }
}

fn until_ready<T, E>(
    wait: &mut impl FnMut(u32) -> bool,
    mut call: impl FnMut() -> nb::Result<T, E>,
) -> Result<T, NalError<E>> {
    let mut waits = 0;
    loop {
        match call() {
            Ok(value) => return Ok(value),
            Err(nb::Error::Other(error)) => return Err(NalError::Stack(error)),
            Err(nb::Error::WouldBlock) if wait(waits) => waits = waits.saturating_add(1),
            Err(nb::Error::WouldBlock) => return Err(NalError::TimedOut),
        }
    }
}

impl<S: TcpClientStack, W> ErrorType for NalStream<S, W> {
    type Error = NalError<S::Error>;
}

impl<S: TcpClientStack, W: FnMut(u32) -> bool> Read for NalStream<S, W> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let (stack, socket) = (&mut self.stack, &mut self.socket);
        match until_ready(&mut self.wait, || stack.receive(socket, buf)) {
            // Some stacks give no bytes at the end of the stream, others this error.
            Err(NalError::Stack(error)) if error.kind() == TcpErrorKind::PipeClosed => Ok(0),
            result => result,
        }
    }
}

impl<S: TcpClientStack, W: FnMut(u32) -> bool> Write for NalStream<S, W> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        let (stack, socket) = (&mut self.stack, &mut self.socket);
        until_ready(&mut self.wait, || stack.send(socket, buf))
    }

    /// What was written is the stack's to send.
    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
