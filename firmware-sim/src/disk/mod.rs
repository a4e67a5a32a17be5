//! What a device keeps its files and its keys on.
//!
//! [`flash::Store`](crate::flash::Store) is a disk on NOR flash. A board with another medium brings
//! its own, and everything in [`device`](crate::device) runs on it.

mod vault;

use core::task::Poll;

use kift_core::storage::{Outcome, Store};
use kift_core::wire::{Code, Digest, Path, Timestamp};
pub use vault::{
    Errand, Known, PEERS_MAX, PeerRecord, PeerRole, Secret, TokenDigest, Vault, Which,
};

/// Offers an operation until it is done, for whoever has nothing else to do meanwhile.
///
/// # Errors
/// Its own.
pub fn wait<T>(mut operation: impl FnMut() -> Outcome<T>) -> Result<T, Code> {
    loop {
        match operation() {
            Poll::Ready(result) => return result,
            Poll::Pending => core::hint::spin_loop(),
        }
    }
}

/// The files of a device, for several tasks at a time, and what only it is to know.
///
/// Every operation may be pending, and is done anew when it is offered again. What one has changed
/// survives a power cut once it has come back.
pub trait Disk: Vault {
    /// Bytes of the longest name that it keeps.
    const NAME_LEN_MAX: u8;

    /// Tasks at a time.
    const HANDLES: usize;

    /// The storage port of one of them.
    type Handle<'a>: Handle
    where
        Self: 'a;

    /// The port of session or task `number`, below [`HANDLES`](Self::HANDLES).
    fn handle(&mut self, number: usize) -> Self::Handle<'_>;

    /// How often it was mounted, this time included.
    fn boots(&self) -> u32;

    /// The BLAKE3 of the file at `path`.
    ///
    /// # Errors
    /// The reason why it cannot be told.
    fn root(&mut self, path: Path<'_>) -> Outcome<Digest>;
}

/// The storage port of a task that may also ask: what it fetches has the time of its source.
pub trait Handle: Store {
    /// The upload that is open gets this time of last modification.
    fn set_modified(&mut self, modified: Option<Timestamp>);
}
