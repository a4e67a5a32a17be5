//! How a device's links are protected.

use core::fmt;

use kift_core::Checksum;
use kift_core::secure::{NoEntropy, Noise, Plain, PublicKey, SecretKey, Security, Token};
use kift_core::storage::Outcome;

use super::random::Random;
use crate::disk::{self, Vault};

/// What protects the links of a device, one after the other.
pub trait Links {
    /// The protection of one link.
    type Link: Security;

    /// Protects one more link.
    ///
    /// # Errors
    /// [`NoEntropy`].
    fn link(&mut self) -> Result<Self::Link, NoEntropy>;

    /// Whether the next link is for pairing, or may be.
    fn is_pairing(&self) -> bool {
        false
    }

    /// The token was used.
    fn end_pairing(&mut self) {}
}

/// Plain links, for closed networks, and what computes their checksums: a device that has nothing
/// else has no cipher in its image.
#[derive(Debug, Clone, Copy)]
pub struct PlainLinks(pub Checksum);

impl Links for PlainLinks {
    type Link = Plain;

    fn link(&mut self) -> Result<Plain, NoEntropy> {
        Ok(Plain::new(self.0))
    }
}

/// What a device seals its links with.
#[derive(Debug)]
pub struct Keys {
    identity: SecretKey,
    random: Random,
    token: Option<Token>,
}

/// Why a device cannot seal a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKeys {
    /// It was given no seed, or one that is none.
    NoSeed,
    /// The disk cannot be read, or the seed of the next boot cannot be written.
    Disk,
}

impl fmt::Display for NoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSeed => f.write_str(
                "the device has no seed for its random numbers, and without them no link is sealed",
            ),
            Self::Disk => f.write_str("the device can read or write nothing where its keys are"),
        }
    }
}

impl core::error::Error for NoKeys {}

impl From<NoEntropy> for NoKeys {
    fn from(_: NoEntropy) -> Self {
        Self::NoSeed
    }
}

impl Keys {
    /// Takes the boot's seed out of `disk`, once the next boot's is there, and the device's key,
    /// which is made where there is none yet. To be called once a boot.
    ///
    /// With a `token` that nobody has used yet, the device pairs: it dials only to that end, and
    /// serves whoever else has the token.
    ///
    /// # Errors
    /// [`NoKeys`].
    // What it takes of the stack is given back before the tasks begin.
    #[inline(never)]
    pub fn open(disk: &mut impl Vault, token: Option<Token>) -> Result<Self, NoKeys> {
        let seed = wait(|| disk.seed())?.ok_or(NoKeys::NoSeed)?;
        let (mut random, next) = Random::begin(&seed)?;
        wait(|| disk.set_seed(&next))?;
        // Of a disk that is worn out a write that failed may say that it did not.
        if wait(|| disk.seed())? != Some(next) {
            return Err(NoKeys::Disk);
        }
        let identity = match wait(|| disk.identity())? {
            Some(secret) => SecretKey::from_bytes(&secret),
            None => {
                let identity = SecretKey::generate(&mut random)?;
                wait(|| disk.set_identity(identity.as_bytes()))?;
                identity
            }
        };
        let token = match token {
            Some(token) if wait(|| disk.begin_pairing(&token))? => Some(token),
            _ => None,
        };
        Ok(Self { identity, random, token })
    }

    /// Who the device is.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        self.identity.public()
    }
}

/// Before the tasks begin there is nothing else to do.
fn wait<T>(operation: impl FnMut() -> Outcome<T>) -> Result<T, NoKeys> {
    disk::wait(operation).map_err(|_| NoKeys::Disk)
}

impl Links for Keys {
    type Link = Noise;

    fn link(&mut self) -> Result<Noise, NoEntropy> {
        Noise::new(self.identity.clone(), self.token.clone(), &mut self.random)
    }

    fn is_pairing(&self) -> bool {
        self.token.is_some()
    }

    fn end_pairing(&mut self) {
        self.token = None;
    }
}

/// Links for a device that is told at its start how they are protected.
#[derive(Debug)]
pub enum AnyLinks {
    /// By its keys.
    Sealed(Keys),
    /// By checksums alone, which this computes.
    Plain(Checksum),
}

impl Links for AnyLinks {
    type Link = Noise;

    fn link(&mut self) -> Result<Noise, NoEntropy> {
        match self {
            Self::Sealed(keys) => keys.link(),
            Self::Plain(checksum) => Ok(Noise::plain(*checksum)),
        }
    }

    fn is_pairing(&self) -> bool {
        matches!(self, Self::Sealed(keys) if keys.is_pairing())
    }

    fn end_pairing(&mut self) {
        if let Self::Sealed(keys) = self {
            keys.end_pairing();
        }
    }
}
