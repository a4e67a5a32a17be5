//! The store as the device's tasks have it.

use kift_core::secure::{PublicKey, Token};
use kift_core::storage::Outcome;
use kift_core::wire::{Digest, Path, Timestamp, TransferId};

use super::record::NAME_LEN_MAX;
use super::{Flash, Handle, Store};
use crate::disk::{self, Disk, PeerRole};

impl<F: Flash, const HANDLES: usize> Disk for Store<F, HANDLES> {
    const NAME_LEN_MAX: u8 = NAME_LEN_MAX as u8;
    const HANDLES: usize = HANDLES;

    type Handle<'a>
        = Handle<'a, F, HANDLES>
    where
        Self: 'a;

    fn handle(&mut self, number: usize) -> Handle<'_, F, HANDLES> {
        self.handle(number)
    }

    fn boots(&self) -> u32 {
        self.boots()
    }

    fn root(&mut self, path: Path<'_>) -> Outcome<Digest> {
        self.info(path).map_ok(|info| info.root)
    }

    fn errand(&mut self, of: [u8; 16], transfer: TransferId) -> Outcome<TransferId> {
        self.errand(of, transfer)
    }

    fn end_errand(&mut self) -> Outcome<()> {
        self.end_errand()
    }

    fn identity(&mut self) -> Outcome<Option<[u8; 32]>> {
        self.identity()
    }

    fn set_identity(&mut self, secret: &[u8; 32]) -> Outcome<()> {
        self.set_identity(secret)
    }

    fn seed(&mut self) -> Outcome<Option<[u8; 32]>> {
        self.seed()
    }

    fn set_seed(&mut self, seed: &[u8; 32]) -> Outcome<()> {
        self.set_seed(seed)
    }

    fn begin_pairing(&mut self, token: &Token) -> Outcome<bool> {
        self.begin_pairing(token)
    }

    fn is_pairing(&self) -> bool {
        self.is_pairing()
    }

    fn pair(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<()> {
        self.pair(key, role)
    }

    fn knows(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<bool> {
        self.knows(key, role)
    }
}

impl<F: Flash, const HANDLES: usize> disk::Handle for Handle<'_, F, HANDLES> {
    fn set_modified(&mut self, modified: Option<Timestamp>) {
        self.set_modified(modified);
    }
}
