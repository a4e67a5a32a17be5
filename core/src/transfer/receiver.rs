//! The end of a stream that gets the file.

use super::{Hasher, chunks};
use crate::storage::{Files, RequestId};
use crate::wire::{CHUNK, Code, Digest, FILE_SIZE_MAX, Signal};

/// A stream of data on its way in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiver {
    /// Byte offset in the file of what comes next.
    at: u64,
    received: u64,
    /// Bytes of the stream, where declared beforehand.
    size: Option<u64>,
    /// Chunks that a power cut would leave.
    durable: u32,
}

/// What is wrong with data that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file is not what was promised: the request fails and the link goes on.
    Request(Code),
    /// The peer breaks the protocol: the link is closed.
    Link(Code),
}

impl Receiver {
    /// A stream of `size` bytes that begins at chunk `first` of the file.
    pub(crate) fn start(first: u32, size: Option<u64>, hasher: &mut Hasher) -> Self {
        hasher.reset();
        Self { at: u64::from(first) * CHUNK as u64, received: 0, size, durable: 0 }
    }

    /// The rest of a file of `size` bytes, behind `chunks` that came before and are hashed.
    pub(crate) fn resume(chunks: u32, size: Option<u64>) -> Self {
        let at = u64::from(chunks) * CHUNK as u64;
        Self { at, received: at, size, durable: chunks }
    }

    /// Where the next data go.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// What the sender is told.
    pub(crate) fn progress(&self) -> Signal {
        let received = u32::try_from(chunks(self.received)).unwrap_or(u32::MAX);
        // No store has more than it was given.
        Signal::Progress { received, durable: self.durable.min(received) }
    }

    /// Whether a frame with chunk number `index` and `len` bytes may come now.
    pub(crate) fn check(&self, index: u32, len: usize) -> Result<(), Fault> {
        let in_order = self.at == u64::from(index) * CHUNK as u64;
        if !in_order || len == 0 {
            return Err(Fault::Link(Code::OutOfOrder));
        }
        let limit = self.size.unwrap_or(FILE_SIZE_MAX);
        if self.received.saturating_add(len as u64) > limit {
            return Err(Fault::Request(Code::SizeMismatch));
        }
        Ok(())
    }

    /// `data`, which were checked, are written to `port`.
    pub(crate) fn advance<P: Files>(
        &mut self,
        id: RequestId,
        data: &[u8],
        hasher: &mut Hasher,
        port: &mut P,
    ) {
        #[cfg(feature = "host")]
        let parts = hasher.tree().runs();
        hasher.update(data);
        #[cfg(feature = "host")]
        if hasher.tree().runs() > parts.max(1) {
            port.mark(id, hasher.tree());
        }
        self.durable = port.durable(id);
        self.at = self.at.saturating_add(data.len() as u64);
        self.received = self.received.saturating_add(data.len() as u64);
    }

    /// The stream was closed with these: whether that is the file that came and was promised.
    pub(crate) fn finish(&self, size: u64, digest: Digest, hasher: &Hasher) -> Result<(), Code> {
        if size != self.received || self.size.is_some_and(|declared| declared != size) {
            Err(Code::SizeMismatch)
        } else if hasher.digest() != digest {
            Err(Code::HashMismatch)
        } else {
            Ok(())
        }
    }
}
