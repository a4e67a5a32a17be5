//! Where an upload comes from.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::net::TICK;

/// The bytes of one file, from the first to the last.
pub trait Contents: Read {
    /// Goes back to the first byte, to be read once more.
    ///
    /// # Errors
    /// What was read is gone.
    fn rewind(&mut self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::NotSeekable,
            "the link was lost, and what was read of it cannot be read again",
        ))
    }
}

impl Contents for File {
    fn rewind(&mut self) -> io::Result<()> {
        self.seek(io::SeekFrom::Start(0)).map(drop)
    }
}

impl<B: AsRef<[u8]>> Contents for io::Cursor<B> {
    fn rewind(&mut self) -> io::Result<()> {
        self.set_position(0);
        Ok(())
    }
}

/// A source being read, with what it gave for a buffer that it could not fill yet.
pub(super) struct Source {
    reader: Box<dyn Contents + Send>,
    held: Vec<u8>,
    was_read: bool,
}

impl Source {
    pub(super) fn new(reader: Box<dyn Contents + Send>) -> Self {
        Self { reader, held: Vec::new(), was_read: false }
    }

    /// Goes back to the first byte.
    ///
    /// # Errors
    /// The source's, if anything was read of it.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        if self.was_read {
            self.reader.rewind()?;
            self.held.clear();
            self.was_read = false;
        }
        Ok(())
    }

    /// Fills `buf` unless the source ends.
    ///
    /// # Errors
    /// The source's. After [`WouldBlock`](io::ErrorKind::WouldBlock) the next call goes on from here.
    pub(super) fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.was_read = true;
        let mut filled = self.held.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(self.held.drain(..filled)) {
            *to = from;
        }
        while let Some(rest) = buf.get_mut(filled..)
            && !rest.is_empty()
        {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.held.extend_from_slice(&buf[..filled]);
                    return Err(error);
                }
            }
        }
        Ok(filled)
    }
}

/// A pipe or a terminal. Where it has nothing to say for a tick, reading it gives
/// [`WouldBlock`](io::ErrorKind::WouldBlock), so that its client goes on listening to the server and
/// to the user.
#[derive(Debug)]
pub struct Patient(pub File);

impl Contents for Patient {}

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let tick = Timespec::try_from(TICK).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        match poll(&mut fds, Some(&tick))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => self.0.read(buf),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives these one after the other; none: it would block.
    struct Script(Vec<Option<&'static [u8]>>);

    impl Contents for Script {}

    impl Read for Script {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.remove(0) {
                Some(mut bytes) => bytes.read(buf),
                None => Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }

    #[test]
    fn nothing_is_lost_where_a_source_would_block() {
        let script =
            [Some(&b"ab"[..]), None, None, Some(b"c"), None, Some(b"d"), Some(b"e"), Some(b"")];
        let mut source = Source::new(Box::new(Script(script.into())));
        let mut buf = [0; 4];
        for _ in 0..3 {
            assert_eq!(source.fill(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        assert_eq!((source.fill(&mut buf).unwrap(), &buf), (4, b"abcd"));
        assert_eq!((source.fill(&mut buf).unwrap(), &buf[..1]), (1, &b"e"[..]));
    }
}
