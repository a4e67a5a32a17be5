//! Who must be at the other end of a client's link, and what is kept from everybody else.

use kift_core::secure::{Fingerprint, NoEntropy, Peer, PublicKey, SecretKey, Token};

use crate::secure::{HostNoise, SystemRandom};

/// How a client's link is protected.
#[derive(Debug, Clone)]
pub enum Link {
    /// By checksums against damage, and by nothing against people.
    Plain,
    /// Sealed.
    Sealed {
        /// Who this client is.
        key: SecretKey,
        /// Who the server must be.
        server: Expect,
    },
    /// Sealed, and both ends have the same token: a first contact.
    Pairing {
        /// Who this client is.
        key: SecretKey,
        /// What the server has too.
        token: Token,
    },
}

/// Which servers a client says anything to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// One with any of these keys. With none of them known the link ends before the client has
    /// said who it is, and the key that was shown is told.
    Keys(Vec<PublicKey>),
    /// The one whose key has this fingerprint.
    Fingerprint(Fingerprint),
}

impl Expect {
    fn is_met_by(&self, key: &PublicKey) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(key),
            Self::Fingerprint(fingerprint) => *fingerprint == key.fingerprint(),
        }
    }
}

impl Link {
    /// One link's protection.
    pub(super) fn protect(&self) -> Result<HostNoise, NoEntropy> {
        match self {
            Self::Plain => Ok(HostNoise::plain(crc32c::crc32c)),
            Self::Sealed { key, .. } => HostNoise::new(key.clone(), None, &mut SystemRandom),
            Self::Pairing { key, token } => {
                HostNoise::new(key.clone(), Some(token.clone()), &mut SystemRandom)
            }
        }
    }

    /// Whether anything may be said to `peer`.
    pub(super) fn admits(&self, peer: &Peer) -> bool {
        match self {
            Self::Plain => false,
            Self::Sealed { server, .. } => server.is_met_by(&peer.key),
            // Whether it has the token too is known when its first answer opens.
            Self::Pairing { .. } => peer.pairing,
        }
    }
}
