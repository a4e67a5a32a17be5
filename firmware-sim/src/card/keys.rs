//! What the device keeps of its own beside the files: its key, the seed of its random numbers, and
//! the keys of the peers that it knows. No path leads to them, and no request ever shows them.

use blake3::Hasher;
use embedded_sdmmc::BlockDevice;
use kift_core::secure::{Peer, PublicKey, Token};
use kift_core::wire::{Code, TransferId};

use super::PEERS_MAX;
use super::own::{
    ERRAND, Errand, IDENTITY, Known, PEERS, Peer as Record, SEED, Secret, TokenDigest,
};
use super::store::Store;
use crate::disk::PeerRole;

impl<D: BlockDevice, const HANDLES: usize> Store<D, HANDLES> {
    /// The secret half of the device's own key, if it has one.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn identity(&mut self) -> Result<Option<[u8; 32]>, Code> {
        self.secret(IDENTITY)
    }

    /// Gives the device its key.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn set_identity(&mut self, secret: &[u8; 32]) -> Result<(), Code> {
        self.card.set_item(IDENTITY, &Secret(*secret))
    }

    /// What the random numbers of the next boot come from, if the device was given that.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn seed(&mut self) -> Result<Option<[u8; 32]>, Code> {
        self.secret(SEED)
    }

    /// Gives the device a seed, in the place of the one that it may have.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn set_seed(&mut self, seed: &[u8; 32]) -> Result<(), Code> {
        self.card.set_item(SEED, &Secret(*seed))
    }

    /// The peer at `place`, below [`PEERS_MAX`], if there is one.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn peer(&mut self, place: usize) -> Result<Option<(PublicKey, PeerRole)>, Code> {
        let known = self.record(place)?.and_then(|record| record.known);
        Ok(known.map(|Known { key, role }| (PublicKey(key), role)))
    }

    /// Whether the device knows `key` as `role`.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn knows(&mut self, key: &PublicKey, role: PeerRole) -> Result<bool, Code> {
        for place in 0..PEERS_MAX {
            if let Some((known, as_what)) = self.peer(place)?
                && known == *key
            {
                return Ok(as_what.includes(role));
            }
        }
        Ok(false)
    }

    /// Knows `key` as `role` from now on, beside what it was known as before.
    ///
    /// # Errors
    /// [`Code::TooMany`] or [`Code::Io`].
    pub fn keep_peer(&mut self, key: &PublicKey, role: PeerRole) -> Result<(), Code> {
        self.keep(key, role, None)
    }

    /// Knows `key` no more, and says whether it did.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn forget_peer(&mut self, key: &PublicKey) -> Result<bool, Code> {
        for place in 0..PEERS_MAX {
            if let Some(record) = self.record(place)?
                && record.known.is_some_and(|known| known.key == key.0)
            {
                self.set_record(place, &Record { known: None, ..record })?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whoever has `token` may become known by it, once, until the next boot. False where somebody
    /// did already.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn begin_pairing(&mut self, token: &Token) -> Result<bool, Code> {
        let digest = digest(token);
        for place in 0..PEERS_MAX {
            if self.record(place)?.is_some_and(|record| record.token == Some(digest)) {
                return Ok(false);
            }
        }
        self.pairing = Some(digest);
        Ok(true)
    }

    /// Whether there is a token that was not used.
    #[must_use]
    pub const fn is_pairing(&self) -> bool {
        self.pairing.is_some()
    }

    /// A peer had the token: it is known as `role`, and the token is used, by the same write.
    ///
    /// # Errors
    /// [`Code::Denied`] where the token was used meanwhile; [`Code::TooMany`] or [`Code::Io`], and
    /// then the token is of no use before the next boot.
    pub(crate) fn pair(&mut self, key: &PublicKey, role: PeerRole) -> Result<(), Code> {
        let token = self.pairing.take().ok_or(Code::Denied)?;
        self.keep(key, role, Some(token))
    }

    /// Whether a peer may ask for files.
    pub(super) fn admit(&mut self, peer: &Peer) -> Result<(), Code> {
        if peer.pairing {
            return self.pair(&peer.key, PeerRole::Client);
        }
        if self.knows(&peer.key, PeerRole::Client)? { Ok(()) } else { Err(Code::Denied) }
    }

    /// By what id the server knows what is about to be sent, `of` which there is no other: that of an
    /// earlier attempt, before a reset or after it, or else `fresh`.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn errand(&mut self, of: [u8; 16], fresh: TransferId) -> Result<TransferId, Code> {
        match self.card.item::<Errand>(ERRAND)? {
            Some(errand) if errand.of == of => Ok(errand.transfer),
            _ => self.card.set_item(ERRAND, &Errand { of, transfer: fresh }).map(|()| fresh),
        }
    }

    /// It is done.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn end_errand(&mut self) -> Result<(), Code> {
        self.card.remove_item(ERRAND)
    }

    fn secret(&mut self, number: u32) -> Result<Option<[u8; 32]>, Code> {
        Ok(self.card.item(number)?.map(|Secret(secret)| secret))
    }

    fn record(&mut self, place: usize) -> Result<Option<Record>, Code> {
        self.card.item(PEERS + place as u32)
    }

    fn set_record(&mut self, place: usize, record: &Record) -> Result<(), Code> {
        self.card.set_item(PEERS + place as u32, record)
    }

    fn keep(
        &mut self,
        key: &PublicKey,
        role: PeerRole,
        token: Option<TokenDigest>,
    ) -> Result<(), Code> {
        // A place that was never used, rather than one that remembers a token.
        let (mut blank, mut left) = (None, None);
        for place in 0..PEERS_MAX {
            match self.record(place)? {
                Some(Record { known: Some(before), token: used }) if before.key == key.0 => {
                    let known = Some(Known { role: before.role.and(role), ..before });
                    return self.set_record(place, &Record { known, token: token.or(used) });
                }
                Some(Record { known: None, .. }) => left = left.or(Some(place)),
                Some(_) => {}
                None => blank = blank.or(Some(place)),
            }
        }
        let place = blank.or(left).ok_or(Code::TooMany)?;
        let known = Some(Known { key: key.0, role });
        self.set_record(place, &Record { known, token })
    }
}

fn digest(token: &Token) -> TokenDigest {
    let mut hasher = Hasher::new();
    hasher.update(&token.0);
    let mut digest = [0; 16];
    digest.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
    TokenDigest(digest)
}
