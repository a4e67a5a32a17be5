//! What a device keeps of its own beside the files: its key, the seed of its random numbers, the keys
//! of the peers that it knows, and what it is about to send.

use core::fmt;
use core::task::{Poll, ready};

use blake3::Hasher;
use kift_core::secure::{Peer, PublicKey, Token};
use kift_core::storage::Outcome;
use kift_core::wire::{Code, TransferId, bytes};
use serde::{Deserialize, Serialize};

/// Peers whose keys a device keeps.
pub const PEERS_MAX: usize = 4;

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
    const fn includes(self, role: Self) -> bool {
        matches!(
            (self, role),
            (Self::Both, _) | (Self::Client, Self::Client) | (Self::Server, Self::Server)
        )
    }

    const fn and(self, role: Self) -> Self {
        if self.includes(role) { self } else { Self::Both }
    }
}

/// Which of the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The secret half of the device's own key.
    Identity,
    /// What the random numbers of the next boot come from.
    Seed,
}

/// What nobody else is to know.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Secret(#[serde(deserialize_with = "bytes")] pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A peer that the device knows, and the token by which it came.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct PeerRecord {
    /// None for one that was forgotten. Its token stays used.
    pub known: Option<Known>,
    /// None for one that came without.
    pub token: Option<TokenDigest>,
}

/// Who a peer is, and as what it is known.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Known {
    /// Its public key.
    #[serde(deserialize_with = "bytes")]
    pub key: [u8; 32],
    /// As what.
    pub role: PeerRole,
}

/// By which a token that was used is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDigest(#[serde(deserialize_with = "bytes")] [u8; 16]);

impl TokenDigest {
    fn of(token: &Token) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&token.0);
        let mut digest = [0; 16];
        digest.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
        Self(digest)
    }
}

/// What the device is about to send, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// Tells it from others.
    #[serde(deserialize_with = "bytes")]
    pub of: [u8; 16],
    /// By which the server knows it again.
    pub transfer: TransferId,
}

/// What only the device is to know. A disk keeps each item so that a power cut leaves the old one or the
/// new; no path leads to them, and no request ever shows them. What is made of them is the same on
/// every disk.
///
/// Every operation may be pending, and is done anew when it is offered again. What one has changed
/// survives a power cut once it has come back.
pub trait Vault {
    /// A secret, if there is one.
    ///
    /// # Errors
    /// That it cannot be read.
    fn secret(&mut self, which: Which) -> Outcome<Option<Secret>>;

    /// Keeps a secret, in the place of the one that there may be.
    ///
    /// # Errors
    /// That it cannot be written.
    fn set_secret(&mut self, which: Which, secret: Secret) -> Outcome<()>;

    /// What is kept at `place`, below [`PEERS_MAX`].
    ///
    /// # Errors
    /// That it cannot be read.
    fn record(&mut self, place: usize) -> Outcome<Option<PeerRecord>>;

    /// Keeps this there.
    ///
    /// # Errors
    /// That it cannot be written.
    fn set_record(&mut self, place: usize, record: PeerRecord) -> Outcome<()>;

    /// What is about to be sent, if that is remembered.
    ///
    /// # Errors
    /// That it cannot be read.
    fn last_errand(&mut self) -> Outcome<Option<Errand>>;

    /// Remembers it, or nothing.
    ///
    /// # Errors
    /// That it cannot be written.
    fn set_last_errand(&mut self, errand: Option<Errand>) -> Outcome<()>;

    /// The token by which somebody may become known, until the next boot.
    fn pairing(&self) -> Option<TokenDigest>;

    /// It is this from now on.
    fn set_pairing(&mut self, token: Option<TokenDigest>);

    /// The secret half of the device's own key, if it has one.
    ///
    /// # Errors
    /// That it cannot be read.
    fn identity(&mut self) -> Outcome<Option<[u8; 32]>> {
        self.secret(Which::Identity).map_ok(|secret| secret.map(|secret| secret.0))
    }

    /// Gives the device its key.
    ///
    /// # Errors
    /// That it cannot be written.
    fn set_identity(&mut self, secret: &[u8; 32]) -> Outcome<()> {
        self.set_secret(Which::Identity, Secret(*secret))
    }

    /// What the random numbers of the next boot come from, if the device was given that.
    ///
    /// # Errors
    /// That it cannot be read.
    fn seed(&mut self) -> Outcome<Option<[u8; 32]>> {
        self.secret(Which::Seed).map_ok(|secret| secret.map(|secret| secret.0))
    }

    /// Gives the device a seed, in the place of the one that it may have.
    ///
    /// # Errors
    /// That it cannot be written.
    fn set_seed(&mut self, seed: &[u8; 32]) -> Outcome<()> {
        self.set_secret(Which::Seed, Secret(*seed))
    }

    /// The peer at `place`, below [`PEERS_MAX`], if there is one.
    ///
    /// # Errors
    /// That it cannot be read.
    fn peer(&mut self, place: usize) -> Outcome<Option<(PublicKey, PeerRole)>> {
        let known = ready!(self.record(place))?.and_then(|record| record.known);
        Poll::Ready(Ok(known.map(|Known { key, role }| (PublicKey(key), role))))
    }

    /// Whether the device knows `key` as `role`.
    ///
    /// # Errors
    /// That it cannot be told.
    fn knows(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<bool> {
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
    /// [`Code::TooMany`], or that it cannot be written.
    fn keep_peer(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<()> {
        self.keep(key, role, None)
    }

    /// As [`keep_peer`](Self::keep_peer), and a token is used by that, where there is one.
    ///
    /// # Errors
    /// As there.
    fn keep(&mut self, key: &PublicKey, role: PeerRole, token: Option<TokenDigest>) -> Outcome<()> {
        // A place that was never used, rather than one that remembers a token.
        let (mut blank, mut left) = (None, None);
        for place in 0..PEERS_MAX {
            match ready!(self.record(place))? {
                Some(PeerRecord { known: Some(before), token: used }) if before.key == key.0 => {
                    let known = Some(Known { role: before.role.and(role), ..before });
                    return self.set_record(place, PeerRecord { known, token: token.or(used) });
                }
                Some(PeerRecord { known: None, .. }) => left = left.or(Some(place)),
                Some(_) => {}
                None => blank = blank.or(Some(place)),
            }
        }
        match blank.or(left) {
            Some(place) => {
                let known = Some(Known { key: key.0, role });
                self.set_record(place, PeerRecord { known, token })
            }
            None => Poll::Ready(Err(Code::TooMany)),
        }
    }

    /// Knows `key` no more, and says whether it did.
    ///
    /// # Errors
    /// That it cannot be written.
    fn forget_peer(&mut self, key: &PublicKey) -> Outcome<bool> {
        for place in 0..PEERS_MAX {
            if let Some(record) = ready!(self.record(place))?
                && record.known.is_some_and(|known| known.key == key.0)
            {
                let forgotten = PeerRecord { known: None, ..record };
                return self.set_record(place, forgotten).map_ok(|()| true);
            }
        }
        Poll::Ready(Ok(false))
    }

    /// Whoever has `token` may become known by it, once, until the next boot. False where somebody
    /// did already.
    ///
    /// # Errors
    /// That it cannot be told whether somebody did.
    fn begin_pairing(&mut self, token: &Token) -> Outcome<bool> {
        let digest = TokenDigest::of(token);
        for place in 0..PEERS_MAX {
            if ready!(self.record(place))?.is_some_and(|record| record.token == Some(digest)) {
                return Poll::Ready(Ok(false));
            }
        }
        self.set_pairing(Some(digest));
        Poll::Ready(Ok(true))
    }

    /// Whether there is a token that was not used.
    fn is_pairing(&self) -> bool {
        self.pairing().is_some()
    }

    /// A peer had the token: it is known as `role`, and the token is used, by the same write.
    ///
    /// # Errors
    /// [`Code::Denied`] where the token was used meanwhile; otherwise that it cannot be remembered, and
    /// then the token is of no use before the next boot.
    fn pair(&mut self, key: &PublicKey, role: PeerRole) -> Outcome<()> {
        let Some(token) = self.pairing() else { return Poll::Ready(Err(Code::Denied)) };
        let kept = ready!(self.keep(key, role, Some(token)));
        self.set_pairing(None);
        Poll::Ready(kept)
    }

    /// Whether a peer may ask for files.
    ///
    /// # Errors
    /// [`Code::Denied`], or what [`pair`](Self::pair) gives.
    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        if peer.pairing {
            return self.pair(&peer.key, PeerRole::Client);
        }
        let is_known = ready!(self.knows(&peer.key, PeerRole::Client))?;
        Poll::Ready(if is_known { Ok(()) } else { Err(Code::Denied) })
    }

    /// By what id the server knows what is about to be sent, `of` which there is no other: that of an
    /// earlier attempt, before a reset or after it, or else `fresh`.
    ///
    /// # Errors
    /// That it cannot be remembered.
    fn errand(&mut self, of: [u8; 16], fresh: TransferId) -> Outcome<TransferId> {
        match ready!(self.last_errand())? {
            Some(errand) if errand.of == of => Poll::Ready(Ok(errand.transfer)),
            _ => self.set_last_errand(Some(Errand { of, transfer: fresh })).map_ok(|()| fresh),
        }
    }

    /// The errand is done, and another like it is another.
    ///
    /// # Errors
    /// That it cannot be forgotten.
    fn end_errand(&mut self) -> Outcome<()> {
        self.set_last_errand(None)
    }
}
