//! The store as the device's tasks have it.

use core::task::Poll;

use embedded_sdmmc::BlockDevice;
use kift_core::secure::{PublicKey, Token};
use kift_core::storage::Outcome;
use kift_core::wire::{Digest, Path, Timestamp, TransferId};

use super::name::NAME_LEN_MAX;
use super::{Handle, Store};
use crate::disk::{self, Disk, PeerRole};

impl<D: BlockDevice, const HANDLES: usize> Disk for Store<D, HANDLES> {
    const NAME_LEN_MAX: u8 = NAME_LEN_MAX as u8;
    const HANDLES: usize = HANDLES;

    type Handle<'a>
        = Handle<'a, D, HANDLES>
    where
        Self: 'a;

    fn handle(&mut self, number: usize) -> Handle<'_, D, HANDLES> {
        self.handle(number)
    }

    fn boots(&self) -> u32 {
        self.boots()
    }

    fn root(&mut self, path: Path<'_>) -> Outcome<Digest> {
        Poll::Ready(self.root(path))
    }

    fn errand(&mut self, of: [u8; 16], transfer: TransferId) -> Outcome<TransferId> {
        Poll::Ready(self.errand(of, transfer))
    }

    fn end_errand(&mut self) -> Outcome<()> {
        Poll::Ready(self.end_errand())
    }

    fn identity(&mut self) -> Outcome<Option<[u8; 32]>> {
        Poll::Ready(self.identity())
    }

    fn set_identity(&mut self, secret: &[u8; 32]) -> Outcome<()> {
        Poll::Ready(self.set_identity(secret))
    }

    fn seed(&mut self) -> Outcome<Option<[u8; 32]>> {
        Poll::Ready(self.seed())
    }

    fn set_seed(&mut self, seed: &[u8; 32]) -> Outcome<()> {
        Poll::Ready(self.set_seed(seed))
    }

    fn begin_pairing(&mut self, token: &Token) -> Outcome<bool> {
        Poll::Ready(self.begin_pairing(token))
    }

    fn is_pairing(&self) -> bool {
        self.is_pairing()
    }

    fn pair(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<()> {
        Poll::Ready(self.pair(key, role))
    }

    fn knows(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<bool> {
        Poll::Ready(self.knows(key, role))
    }
}

impl<D: BlockDevice, const HANDLES: usize> disk::Handle for Handle<'_, D, HANDLES> {
    fn set_modified(&mut self, modified: Option<Timestamp>) {
        self.set_modified(modified);
    }
}
