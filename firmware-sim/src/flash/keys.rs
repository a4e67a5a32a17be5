//! What the device keeps of its own beside the files: its key, the seed of its random numbers, and
//! the keys of the peers that it knows.
//!
//! Each is an item of the table like a file's record, so a power cut leaves the old one or the new.
//! No path leads to them, and no request ever shows them. What an item was before it was written
//! anew stays on the flash until its page is erased: whoever can read the chip learns the device's
//! key anyway, and may learn seeds of earlier boots.

use core::task::{Poll, ready};

use blake3::Hasher;
use kift_core::secure::{Peer, PublicKey, Token};
use kift_core::storage::Outcome;
use kift_core::wire::Code;

use super::record::{Known, Peer as Record, TokenDigest};
use super::store::Store;
use super::table::{IDENTITY, SEED};
use super::{Flash, PEERS_MAX};
use crate::disk::PeerRole;

impl<F: Flash, const HANDLES: usize> Store<F, HANDLES> {
    /// The secret half of the device's own key, if it has one.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn identity(&mut self) -> Outcome<Option<[u8; 32]>> {
        self.table.secret(IDENTITY)
    }

    /// Gives the device its key.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn set_identity(&mut self, secret: &[u8; 32]) -> Outcome<()> {
        self.table.set_secret(IDENTITY, secret)
    }

    /// What the random numbers of the next boot come from, if the device was given that.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn seed(&mut self) -> Outcome<Option<[u8; 32]>> {
        self.table.secret(SEED)
    }

    /// Gives the device a seed, in the place of the one that it may have.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn set_seed(&mut self, seed: &[u8; 32]) -> Outcome<()> {
        self.table.set_secret(SEED, seed)
    }

    /// The peer at `place`, below [`PEERS_MAX`], if there is one.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn peer(&mut self, place: usize) -> Outcome<Option<(PublicKey, PeerRole)>> {
        let record = ready!(self.table.peer(place))?;
        let known = record.and_then(|record| record.known);
        Poll::Ready(Ok(known.map(|Known { key, role }| (PublicKey(key), role))))
    }

    /// Whether the device knows `key` as `role`.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn knows(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<bool> {
        for place in 0..PEERS_MAX {
            if let Some((known, as_what)) = ready!(self.peer(place))?
                && known == *key
            {
                return Poll::Ready(Ok(as_what.includes(role)));
            }
        }
        Poll::Ready(Ok(false))
    }

    /// Knows `key` as `role` from now on, beside what it was known as before.
    ///
    /// # Errors
    /// [`Code::TooMany`] or [`Code::Io`].
    pub fn keep_peer(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<()> {
        self.keep(key, role, None)
    }

    /// Knows `key` no more, and says whether it did.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn forget_peer(&mut self, key: &PublicKey) -> Outcome<bool> {
        for place in 0..PEERS_MAX {
            if let Some(record) = ready!(self.table.peer(place))?
                && record.known.is_some_and(|known| known.key == key.0)
            {
                let forgotten = Record { known: None, ..record };
                return self.table.set_peer(place, forgotten).map_ok(|()| true);
            }
        }
        Poll::Ready(Ok(false))
    }

    /// Whoever has `token` may become known by it, once, until the next boot. False where somebody
    /// did already.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn begin_pairing(&mut self, token: &Token) -> Outcome<bool> {
        let digest = digest(token);
        for place in 0..PEERS_MAX {
            let record = ready!(self.table.peer(place))?;
            if record.is_some_and(|record| record.token == Some(digest)) {
                return Poll::Ready(Ok(false));
            }
        }
        self.pairing = Some(digest);
        Poll::Ready(Ok(true))
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
    pub(crate) fn pair(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<()> {
        let Some(token) = self.pairing else { return Poll::Ready(Err(Code::Denied)) };
        let kept = ready!(self.keep(key, role, Some(token)));
        self.pairing = None;
        Poll::Ready(kept)
    }

    /// Whether a peer may ask for files.
    pub(super) fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        if peer.pairing {
            return self.pair(&peer.key, PeerRole::Client);
        }
        let is_known = ready!(self.knows(&peer.key, PeerRole::Client))?;
        Poll::Ready(if is_known { Ok(()) } else { Err(Code::Denied) })
    }

    fn keep(&mut self, key: &PublicKey, role: PeerRole, token: Option<TokenDigest>) -> Outcome<()> {
        // A place that was never used, rather than one that remembers a token.
        let (mut blank, mut left) = (None, None);
        for place in 0..PEERS_MAX {
            match ready!(self.table.peer(place))? {
                Some(Record { known: Some(before), token: used }) if before.key == key.0 => {
                    let known = Some(Known { role: before.role.and(role), ..before });
                    return self.table.set_peer(place, Record { known, token: token.or(used) });
                }
                Some(Record { known: None, .. }) => left = left.or(Some(place)),
                Some(_) => {}
                None => blank = blank.or(Some(place)),
            }
        }
        match blank.or(left) {
            Some(place) => {
                let known = Some(Known { key: key.0, role });
                self.table.set_peer(place, Record { known, token })
            }
            None => Poll::Ready(Err(Code::TooMany)),
        }
    }
}

fn digest(token: &Token) -> TokenDigest {
    let mut hasher = Hasher::new();
    hasher.update(&token.0);
    let mut digest = [0; 16];
    digest.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
    TokenDigest(digest)
}
