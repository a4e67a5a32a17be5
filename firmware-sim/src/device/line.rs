//! A connection that closes when it is dropped, as a driver drops it with itself.

use embedded_io::{ErrorType, Read, ReadReady, Write};

use crate::net::{Connection, ConnectionError, Error, Frames, Socket, Stack};

pub(super) struct Line<'m, F: Frames>(Option<Connection<'m, 'm, F>>);

impl<'m, F: Frames> Line<'m, F> {
    pub(super) const fn new(stack: &'m Stack<'m, F>, socket: Socket) -> Self {
        Self(Some(Connection::new(stack, socket)))
    }

    fn open(&mut self) -> Result<&mut Connection<'m, 'm, F>, ConnectionError> {
        self.0.as_mut().ok_or(ConnectionError::Broken(Error::Reset))
    }
}

impl<F: Frames> Drop for Line<'_, F> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.close();
        }
    }
}

impl<F: Frames> ErrorType for Line<'_, F> {
    type Error = ConnectionError;
}

impl<F: Frames> Read for Line<'_, F> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ConnectionError> {
        self.open()?.read(buf)
    }
}

impl<F: Frames> ReadReady for Line<'_, F> {
    fn read_ready(&mut self) -> Result<bool, ConnectionError> {
        self.open()?.read_ready()
    }
}

impl<F: Frames> Write for Line<'_, F> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ConnectionError> {
        self.open()?.write(buf)
    }

    fn flush(&mut self) -> Result<(), ConnectionError> {
        self.open()?.flush()
    }
}
