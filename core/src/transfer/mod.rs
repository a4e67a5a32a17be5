//! Files in chunks: credit, order, hash. Implements section 7 of `core/PROTOCOL.md`.

mod credit;
mod hasher;
mod receiver;
mod sender;
#[cfg(feature = "host")]
mod tree;

pub(crate) use credit::{Allowance, Window};
pub use hasher::Hasher;
pub(crate) use receiver::{Fault, Receiver};
pub(crate) use sender::Sender;
#[cfg(feature = "host")]
pub use tree::Tree;

use crate::wire::CHUNK;

/// How many chunks `len` bytes are.
pub(crate) const fn chunks(len: u64) -> u64 {
    len.div_ceil(CHUNK as u64)
}
