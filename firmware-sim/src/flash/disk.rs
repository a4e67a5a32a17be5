//! The store as the device's tasks have it.

use kift_core::storage::Outcome;
use kift_core::wire::{Digest, Path, Timestamp};

use super::record::NAME_LEN_MAX;
use super::{Flash, Handle, Store};
use crate::disk::{self, Disk, Errand, PeerRecord, Secret, TokenDigest, Vault, Which};

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
}

impl<F: Flash, const HANDLES: usize> disk::Handle for Handle<'_, F, HANDLES> {
    fn set_modified(&mut self, modified: Option<Timestamp>) {
        self.set_modified(modified);
    }
}

/// Each item is one of the table's, like a file's record. What one was before it was written anew stays
/// on the flash until its page is erased: whoever can read the chip learns the device's key anyway, and
/// may learn seeds of earlier boots.
impl<F: Flash, const HANDLES: usize> Vault for Store<F, HANDLES> {
    fn secret(&mut self, which: Which) -> Outcome<Option<Secret>> {
        self.table.secret(which)
    }

    fn set_secret(&mut self, which: Which, secret: Secret) -> Outcome<()> {
        self.table.set_secret(which, secret)
    }

    fn record(&mut self, place: usize) -> Outcome<Option<PeerRecord>> {
        self.table.peer(place)
    }

    fn set_record(&mut self, place: usize, record: PeerRecord) -> Outcome<()> {
        self.table.set_peer(place, record)
    }

    fn last_errand(&mut self) -> Outcome<Option<Errand>> {
        self.table.errand()
    }

    fn set_last_errand(&mut self, errand: Option<Errand>) -> Outcome<()> {
        match errand {
            Some(errand) => self.table.set_errand(errand),
            None => self.table.remove_errand(),
        }
    }

    fn pairing(&self) -> Option<TokenDigest> {
        self.pairing
    }

    fn set_pairing(&mut self, token: Option<TokenDigest>) {
        self.pairing = token;
    }
}
