//! The end of a stream that has the file.

use super::{Hasher, chunks};
use crate::wire::{CHUNK, Close, FILE_SIZE_MAX};

/// A stream of data on its way out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    /// Byte offset in the file of what is sent next; a multiple of the chunk until the end.
    at: u64,
    sent: u64,
    /// Bytes of the stream, where known beforehand.
    size: Option<u64>,
}

impl Sender {
    /// A stream of `size` bytes that begins at chunk `first` of the file.
    pub(crate) fn start(first: u32, size: Option<u64>, hasher: &mut Hasher) -> Self {
        hasher.reset();
        Self { at: u64::from(first) * CHUNK as u64, sent: 0, size }
    }

    /// The rest of a file of `size` bytes, behind `chunks` that the peer has and that are hashed.
    pub(crate) fn resume(chunks: u32, size: Option<u64>) -> Self {
        let at = u64::from(chunks) * CHUNK as u64;
        Self { at, sent: at, size }
    }

    /// Where to read the next bytes.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Number of the first chunk that is sent next.
    pub(crate) fn index(&self) -> u32 {
        // `start` and `is_done` keep streams inside FILE_SIZE_MAX.
        (self.at / CHUNK as u64) as u32
    }

    /// Bytes of the next frame: bounded by the batch, the credit and what is left. Where no chunk
    /// number is left it is one byte, to find the end of the source.
    #[inline(never)]
    pub(crate) fn next_len(&self, batch: u8, credit: u64) -> usize {
        let most = usize::from(batch).min(usize::try_from(credit).unwrap_or(usize::MAX));
        let left = match self.size {
            Some(size) => size.saturating_sub(self.sent),
            None => FILE_SIZE_MAX.saturating_sub(self.at).max(1),
        };
        (most * CHUNK).min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Whether every byte that was declared is sent.
    pub(crate) fn is_done(&self) -> bool {
        self.size == Some(self.sent)
    }

    /// Whether another byte would have no chunk number.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.at >= FILE_SIZE_MAX
    }

    /// `data` are sent.
    pub(crate) fn advance(&mut self, data: &[u8], hasher: &mut Hasher) {
        hasher.update(data);
        self.at = self.at.saturating_add(data.len() as u64);
        self.sent = self.sent.saturating_add(data.len() as u64);
    }

    /// Whether the size was not declared, so that the source's end is the stream's.
    pub(crate) fn is_open_ended(&self) -> bool {
        self.size.is_none()
    }

    /// What closes the stream.
    pub(crate) fn end(&self, hasher: &Hasher) -> Close {
        debug_assert!(chunks(self.sent) <= 1 << 32);
        Close::End { size: self.sent, root: hasher.digest() }
    }
}
