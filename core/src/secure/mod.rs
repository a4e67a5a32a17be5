//! How a link is protected. Implements section 4 of `core/PROTOCOL.md`.
//!
//! A session is generic over its protection, a [`Security`], and knows nothing else about it:
//!
//! | type | protection |
//! | --- | --- |
//! | [`Plain`] | suite 0: detects damage and nothing more. The default, without any cipher in the program |
//! | `Noise` | suites 1, 2 and 4: a Noise handshake, and frames that are sealed in place. Feature `noise` |
//!
//! A sealed link asks its application about the peer's key before anything else has effect:
//! [`Files::admit`](crate::storage::Files::admit).

mod first_flight;
#[cfg(feature = "noise")]
mod noise;
mod plain;
mod text;

use core::fmt;

pub(crate) use first_flight::{FIRST_FLIGHT_LEN, FirstFlight, Refusal};
pub use first_flight::{VERSION_MAJOR, VERSION_MINOR, refusal};
#[cfg(feature = "noise")]
pub use noise::{
    Absent, ChaChaPoly, ChaChaPolyOnly, Cipher, Ciphers, Entropy, Forged, NoEntropy, Noise,
    NotToken, SecretKey, Token,
};
#[cfg(feature = "aes-gcm")]
pub use noise::{AesGcm, RustCrypto};
pub use plain::{Checksum, Plain, crc32c};
pub use text::{Base64, Fingerprint, NotText};

use crate::wire::{Code, Hello, Record};

/// The public half of an end's X25519 key: who it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The other end of a sealed link, which proved that it holds the secret half of `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub key: PublicKey,
    /// Whether the link is for pairing (suite 4). A listener knows by this that the dialler holds
    /// the same token, which is spent now. A dialler knows it of the listener only when the first
    /// answer has come: it keeps the key then, and not before.
    pub pairing: bool,
}

/// What protects a link: [`Plain`] or `Noise`.
#[expect(private_bounds, reason = "nobody else is to implement it")]
pub trait Security: Protect {}

impl<P: Protect> Security for P {}

/// The handshake as bytes in and out, then frames.
///
/// ```text
/// dialler                    listener
/// offer  ------------------> answer
/// hear   <------------------          plain: both go on with a hello frame
/// prove  ------------------> hear     sealed: the hellos were inside
/// seal   <-----------------> open
/// ```
pub(crate) trait Protect: fmt::Debug {
    /// Bytes behind the payload of each frame.
    fn trailer_len(&self) -> usize;

    /// Whether frames can be protected: the handshake is over as far as this end sends.
    fn is_ready(&self) -> bool;

    /// Writes prefix and trailer of `frame`, whose header and payload are in place, and protects
    /// it. False: it must not be sent.
    #[must_use]
    fn seal(&mut self, frame: &mut [u8]) -> bool;

    /// Checks a whole frame, and makes it readable.
    fn open(&mut self, record: Record, frame: &mut [u8]) -> Result<(), Code>;

    /// Dialler: writes the body of its first record, and gives its length.
    fn offer(&mut self, body: &mut [u8]) -> Option<usize>;

    /// Listener: writes the body of its reply to the record `offer`, and gives its length. An
    /// error is told to the dialler in the clear.
    fn answer(&mut self, offer: &[u8], hello: &Hello, body: &mut [u8]) -> Result<usize, Code>;

    /// The dialler hears the reply to its offer, the listener the proof of the dialler's key. Gives
    /// what the peer said of itself; nothing on a plain link.
    fn hear(&mut self, record: &[u8]) -> Result<Option<Hello>, Refusal>;

    /// The peer that was heard; none on a plain link.
    fn peer(&self) -> Option<Peer>;

    /// Dialler: the listener was found good. Writes the body of the record that proves its own key,
    /// and gives the length.
    fn prove(&mut self, hello: &Hello, body: &mut [u8]) -> Option<usize>;
}
