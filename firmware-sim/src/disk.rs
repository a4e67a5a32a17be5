//! What a device keeps its files and its keys on.
//!
//! [`flash::Store`](crate::flash::Store) is a disk on NOR flash. A board with another medium brings
//! its own, and everything in [`device`](crate::device) runs on it.

use core::task::Poll;

use kift_core::secure::{PublicKey, Token};
use kift_core::storage::{Outcome, Store};
use kift_core::wire::{Code, Digest, Path, Timestamp, TransferId};
use serde::{Deserialize, Serialize};

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

/// What a peer is known as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRole {
    /// It may dial the device and ask.
    Client,
    /// The device may dial it and ask.
    Server,
    /// Both.
    Both,
}

impl PeerRole {
    /// Whether whoever is known as this is known as `role` too.
    #[must_use]
    pub const fn includes(self, role: Self) -> bool {
        matches!(
            (self, role),
            (Self::Both, _) | (Self::Client, Self::Client) | (Self::Server, Self::Server)
        )
    }

    /// What somebody is known as who is known as both of these.
    #[must_use]
    pub const fn and(self, role: Self) -> Self {
        if self.includes(role) { self } else { Self::Both }
    }
}

/// The files of a device, for several tasks at a time, and what only it is to know: its key, the
/// seed of its random numbers, and its peers.
///
/// Every operation may be pending, and is done anew when it is offered again. What one has changed
/// survives a power cut once it has come back.
pub trait Disk {
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

    /// The upload `transfer` is about to begin, which is that of the errand `of`. Gives the one that
    /// was to begin before, where it was the same errand's.
    ///
    /// # Errors
    /// That it cannot be remembered.
    fn errand(&mut self, of: [u8; 16], transfer: TransferId) -> Outcome<TransferId>;

    /// The errand is done, and another like it is another.
    ///
    /// # Errors
    /// That it cannot be forgotten.
    fn end_errand(&mut self) -> Outcome<()>;

    /// The secret half of the device's own key, if it has one.
    ///
    /// # Errors
    /// That it cannot be read.
    fn identity(&mut self) -> Outcome<Option<[u8; 32]>>;

    /// Gives the device its key.
    ///
    /// # Errors
    /// That it cannot be written.
    fn set_identity(&mut self, secret: &[u8; 32]) -> Outcome<()>;

    /// What the random numbers of the next boot come from, if the device was given that.
    ///
    /// # Errors
    /// That it cannot be read.
    fn seed(&mut self) -> Outcome<Option<[u8; 32]>>;

    /// Gives the device a seed, in the place of the one that it may have.
    ///
    /// # Errors
    /// That it cannot be written.
    fn set_seed(&mut self, seed: &[u8; 32]) -> Outcome<()>;

    /// Whoever has `token` may become known by it, once, until the next boot. False where somebody
    /// did already.
    ///
    /// # Errors
    /// That it cannot be told whether somebody did.
    fn begin_pairing(&mut self, token: &Token) -> Outcome<bool>;

    /// Whether there is a token that was not used.
    fn is_pairing(&self) -> bool;

    /// A peer had the token: it is known as `role`, and the token is used, by the same write.
    ///
    /// # Errors
    /// [`Code::Denied`] where the token was used meanwhile; otherwise that it cannot be remembered, and then the token is of no use before the next
    /// boot.
    fn pair(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<()>;

    /// Whether the device knows `key` as `role`.
    ///
    /// # Errors
    /// That it cannot be told.
    fn knows(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<bool>;
}

/// The storage port of a task that may also ask: what it fetches has the time of its source.
pub trait Handle: Store {
    /// The upload that is open gets this time of last modification.
    fn set_modified(&mut self, modified: Option<Timestamp>);
}
