//! Files in chunks: credit, order, hash. Implements section 7 of `core/PROTOCOL.md`.

mod credit;
mod receiver;
mod sender;

pub(crate) use credit::{Allowance, Window};
pub(crate) use receiver::{Fault, Receiver};
pub(crate) use sender::Sender;

use crate::wire::{CHUNK, Digest};

/// How many chunks `len` bytes are.
pub(crate) const fn chunks(len: u64) -> u64 {
    len.div_ceil(CHUNK as u64)
}

/// The state of one hash. A session has one: only one stream of data runs at a time.
pub(crate) type Hasher = blake3::Hasher;

/// The hash of what `hasher` was given.
pub(crate) fn root(hasher: &Hasher) -> Digest {
    Digest(*hasher.finalize().as_bytes())
}
