//! Dialling and accepting, as embedded-nal has it.

use core::fmt;
use core::net::SocketAddr;

use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, TcpFullStack, nb};
use smoltcp::socket::tcp::{RecvError, State};
use smoltcp::wire::IpEndpoint;

use super::phy::Frames;
use super::stack::Stack;

/// A socket of a [`Stack`]. It is to be given back by `close`, even after an error.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Socket(Role);

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Nothing yet, with the port that it was bound to.
    Fresh { index: usize, port: Option<u16> },
    /// A connection that is made, or was.
    Connection { index: usize },
    /// Connections that come on a port. Which sockets they use changes.
    Listener { port: u16 },
}

/// Why a call did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// All sockets are in use.
    NoSocket,
    /// There is no such port, or no address to reach it from.
    Unaddressable,
    /// The peer refused the connection, or did not answer.
    Refused,
    /// The peer has sent all that it had to send.
    Finished,
    /// The connection was reset, or the peer has vanished.
    Reset,
    /// The socket is not one for this call.
    WrongSocket,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSocket => "all sockets are in use",
            Self::Unaddressable => "no way to that address",
            Self::Refused => "refused, or no answer",
            Self::Finished => "the peer has finished",
            Self::Reset => "connection reset",
            Self::WrongSocket => "not a socket for that",
        })
    }
}

impl core::error::Error for Error {}

impl TcpError for Error {
    fn kind(&self) -> TcpErrorKind {
        match self {
            Self::Finished => TcpErrorKind::PipeClosed,
            _ => TcpErrorKind::Other,
        }
    }
}

impl<F: Frames> TcpClientStack for &Stack<'_, F> {
    type TcpSocket = Socket;
    type Error = Error;

    fn socket(&mut self) -> Result<Socket, Error> {
        let index = self.with(|stack| stack.sockets.take(stack.now)).ok_or(Error::NoSocket)?;
        Ok(Socket(Role::Fresh { index, port: None }))
    }

    fn connect(&mut self, socket: &mut Socket, remote: SocketAddr) -> nb::Result<(), Error> {
        self.with(|stack| {
            if let Role::Fresh { index, port } = socket.0 {
                let port = port.unwrap_or_else(|| stack.next_port());
                let tcp = stack.sockets.get(index).ok_or(Error::WrongSocket)?;
                let remote = endpoint(remote).ok_or(Error::Unaddressable)?;
                tcp.connect(stack.interface.context(), remote, port)
                    .map_err(|_| Error::Unaddressable)?;
                socket.0 = Role::Connection { index };
            }
            match stack.sockets.get(socket.connection()?).map(|tcp| tcp.state()) {
                Some(State::SynSent | State::SynReceived) => Err(nb::Error::WouldBlock),
                Some(State::Established | State::CloseWait) => Ok(()),
                _ => Err(Error::Refused.into()),
            }
        })
    }

    fn send(&mut self, socket: &mut Socket, buffer: &[u8]) -> nb::Result<usize, Error> {
        let index = socket.connection()?;
        match self.with(|stack| stack.sockets.send(index, buffer)) {
            Ok(0) if !buffer.is_empty() => Err(nb::Error::WouldBlock),
            Ok(len) => Ok(len),
            Err(_) => Err(Error::Reset.into()),
        }
    }

    fn receive(&mut self, socket: &mut Socket, buffer: &mut [u8]) -> nb::Result<usize, Error> {
        let index = socket.connection()?;
        match self.with(|stack| stack.sockets.get(index).map(|tcp| tcp.recv_slice(buffer))) {
            Some(Ok(0)) if !buffer.is_empty() => Err(nb::Error::WouldBlock),
            Some(Ok(len)) => Ok(len),
            Some(Err(RecvError::Finished)) => Err(Error::Finished.into()),
            Some(Err(RecvError::InvalidState)) | None => Err(Error::Reset.into()),
        }
    }

    /// What was written is still sent, by later turns of the stack.
    fn close(&mut self, socket: Socket) -> Result<(), Error> {
        self.leave(&socket);
        Ok(())
    }
}

impl<F: Frames> TcpFullStack for &Stack<'_, F> {
    fn bind(&mut self, socket: &mut Socket, local_port: u16) -> Result<(), Error> {
        match &mut socket.0 {
            Role::Fresh { .. } if local_port == 0 => Err(Error::Unaddressable),
            Role::Fresh { port, .. } => {
                *port = Some(local_port);
                Ok(())
            }
            _ => Err(Error::WrongSocket),
        }
    }

    fn listen(&mut self, socket: &mut Socket) -> Result<(), Error> {
        let Role::Fresh { index, port: Some(port) } = socket.0 else {
            return Err(Error::WrongSocket);
        };
        self.with(|stack| stack.sockets.begin_listen(index, port))
            .map_err(|_| Error::WrongSocket)?;
        socket.0 = Role::Listener { port };
        Ok(())
    }

    fn accept(&mut self, socket: &mut Socket) -> nb::Result<(Socket, SocketAddr), Error> {
        let Role::Listener { port } = socket.0 else { return Err(Error::WrongSocket.into()) };
        self.with(|stack| {
            let accepted = stack.sockets.accept(port);
            // All others that are free listen, so that peers who come at once find one.
            stack.sockets.listen(port, stack.now);
            let (index, remote) = accepted.ok_or(nb::Error::WouldBlock)?;
            Ok((Socket(Role::Connection { index }), remote))
        })
    }
}

impl Socket {
    fn connection(&self) -> Result<usize, Error> {
        match self.0 {
            Role::Connection { index } => Ok(index),
            _ => Err(Error::WrongSocket),
        }
    }
}

impl<F: Frames> Stack<'_, F> {
    /// The socket is not used any more.
    pub(super) fn leave(&self, socket: &Socket) {
        self.with(|stack| match socket.0 {
            Role::Fresh { index, .. } | Role::Connection { index } => {
                stack.sockets.close(index, stack.now);
            }
            Role::Listener { port } => stack.sockets.close_listener(port, stack.now),
        });
    }

    /// Whether `receive` would give something at once, be it an end or an error.
    pub(super) fn is_readable(&self, socket: &Socket) -> bool {
        let Ok(index) = socket.connection() else { return true };
        self.with(|stack| {
            stack.sockets.get(index).is_none_or(|tcp| tcp.can_recv() || !tcp.may_recv())
        })
    }
}

/// An address as smoltcp has it; none of a kind that this device does not speak.
fn endpoint(remote: SocketAddr) -> Option<IpEndpoint> {
    match remote {
        SocketAddr::V4(remote) => Some(remote.into()),
        #[cfg(feature = "ipv6")]
        SocketAddr::V6(remote) => Some(remote.into()),
        #[cfg(not(feature = "ipv6"))]
        SocketAddr::V6(_) => None,
    }
}
