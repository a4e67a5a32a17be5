//! The store as the device's tasks have it.

use core::task::Poll;

use embedded_sdmmc::BlockDevice;
use kift_core::storage::Outcome;
use kift_core::wire::{Digest, Path, Timestamp};

use super::name::NAME_LEN_MAX;
use super::own::{ERRAND, IDENTITY, PEERS, SEED};
use super::{Handle, Store};
use crate::disk::{self, Disk, Errand, PeerRecord, Secret, TokenDigest, Vault, Which};

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
}

impl<D: BlockDevice, const HANDLES: usize> disk::Handle for Handle<'_, D, HANDLES> {
    fn set_modified(&mut self, modified: Option<Timestamp>) {
        self.set_modified(modified);
    }
}

impl<D: BlockDevice, const HANDLES: usize> Vault for Store<D, HANDLES> {
    fn secret(&mut self, which: Which) -> Outcome<Option<Secret>> {
        Poll::Ready(self.card.item(number(which)))
    }

    fn set_secret(&mut self, which: Which, secret: Secret) -> Outcome<()> {
        Poll::Ready(self.card.set_item(number(which), &secret))
    }

    fn record(&mut self, place: usize) -> Outcome<Option<PeerRecord>> {
        Poll::Ready(self.card.item(PEERS + place as u32))
    }

    fn set_record(&mut self, place: usize, record: PeerRecord) -> Outcome<()> {
        Poll::Ready(self.card.set_item(PEERS + place as u32, &record))
    }

    fn last_errand(&mut self) -> Outcome<Option<Errand>> {
        Poll::Ready(self.card.item(ERRAND))
    }

    fn set_last_errand(&mut self, errand: Option<Errand>) -> Outcome<()> {
        Poll::Ready(match errand {
            Some(errand) => self.card.set_item(ERRAND, &errand),
            None => self.card.remove_item(ERRAND),
        })
    }

    fn pairing(&self) -> Option<TokenDigest> {
        self.pairing
    }

    fn set_pairing(&mut self, token: Option<TokenDigest>) {
        self.pairing = token;
    }
}

const fn number(which: Which) -> u32 {
    match which {
        Which::Identity => IDENTITY,
        Which::Seed => SEED,
    }
}
