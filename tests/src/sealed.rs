//! Keys and links of the tests.

use kift_core::crc32c;
use kift_core::secure::{
    ChaChaPolyOnly, Ciphers, Entropy, NoEntropy, Noise, Plain, PublicKey, RustCrypto, SecretKey,
    Security, Token,
};
use kift_core::session::Config;

use crate::rng::Rng;

impl Entropy for Rng {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        let random = self.bytes(bytes.len());
        bytes.copy_from_slice(&random);
        Ok(())
    }
}

/// One of many keys.
#[must_use]
pub fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32])
}

/// The requester's key in all tests.
#[must_use]
pub fn requester_key() -> SecretKey {
    key(0x11)
}

/// The responder's.
#[must_use]
pub fn responder_key() -> SecretKey {
    key(0x22)
}

/// An end of a sealed link.
///
/// # Panics
/// Never: there is always a pseudorandom number.
#[must_use]
pub fn noise<C: Ciphers>(key: SecretKey, token: Option<Token>, seed: u64) -> Noise<C> {
    Noise::new(key, token, &mut Rng::new(seed)).expect("random enough")
}

/// What protects the links of a [`Pair`](crate::pair::Pair).
pub trait Links {
    /// The requester's end.
    type Requester: Security;
    /// The responder's end.
    type Responder: Security;

    /// Makes both ends.
    fn new(requester: &Config, responder: &Config, seed: u64)
    -> (Self::Requester, Self::Responder);

    /// The keys that each end is told of: the requester, the responder.
    fn keys() -> [Vec<PublicKey>; 2];
}

/// Plain links.
#[derive(Debug)]
pub enum PlainLinks {}

impl Links for PlainLinks {
    type Requester = Plain;
    type Responder = Plain;

    fn new(_: &Config, _: &Config, _: u64) -> (Plain, Plain) {
        (Plain::new(crc32c), Plain::new(crc32c))
    }

    fn keys() -> [Vec<PublicKey>; 2] {
        [Vec::new(), Vec::new()]
    }
}

/// Sealed links between a small device that asks and a host that serves: suite 1.
#[derive(Debug)]
pub enum SealedLinks {}

impl Links for SealedLinks {
    type Requester = Noise<ChaChaPolyOnly>;
    type Responder = Noise<RustCrypto>;

    fn new(_: &Config, _: &Config, seed: u64) -> (Self::Requester, Self::Responder) {
        (noise(requester_key(), None, seed ^ 1), noise(responder_key(), None, seed ^ 2))
    }

    fn keys() -> [Vec<PublicKey>; 2] {
        [responder_key(), requester_key()].map(|key| vec![*key.public()])
    }
}
