//! Files in chunks: credit, order, hash. Implements section 7 of `core/PROTOCOL.md`.

mod credit;
mod receiver;
mod sender;
#[cfg(feature = "host")]
mod tree;

pub(crate) use credit::{Allowance, Window};
pub(crate) use receiver::{Fault, Receiver};
pub(crate) use sender::Sender;
#[cfg(feature = "host")]
pub use tree::Tree;

use crate::wire::{CHUNK, Digest};

/// How many chunks `len` bytes are.
pub(crate) const fn chunks(len: u64) -> u64 {
    len.div_ceil(CHUNK as u64)
}

/// The state of one hash. A session has one: only one stream of data runs at a time.
#[derive(Debug)]
pub(crate) struct Hasher {
    blake3: blake3::Hasher,
    /// The stream is a run, whose digest is the value of a subtree.
    #[cfg(feature = "host")]
    is_run: bool,
}

impl Hasher {
    pub(crate) fn new() -> Self {
        Self {
            blake3: blake3::Hasher::new(),
            #[cfg(feature = "host")]
            is_run: false,
        }
    }

    /// Begins the hash of a stream that is no run.
    pub(crate) fn reset(&mut self) {
        #[cfg(feature = "host")]
        if self.is_run {
            // One that had an offset keeps a part of it when it is reset.
            *self = Self::new();
            return;
        }
        self.blake3.reset();
    }

    /// Begins that of a run at byte `offset`, which is valid, and so is not longer than the subtree
    /// that begins there.
    #[cfg(feature = "host")]
    pub(crate) fn begin_run(&mut self, offset: u64) {
        use blake3::hazmat::HasherExt as _;
        *self = Self::new();
        self.blake3.set_input_offset(offset);
        self.is_run = true;
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.blake3.update(data);
    }

    /// The digest of what came: its root, or, of a run, its value.
    pub(crate) fn digest(&self) -> Digest {
        #[cfg(feature = "host")]
        if self.is_run && self.blake3.count() > 0 {
            use blake3::hazmat::HasherExt as _;
            return Digest(self.blake3.finalize_non_root());
        }
        Digest(*self.blake3.finalize().as_bytes())
    }
}
