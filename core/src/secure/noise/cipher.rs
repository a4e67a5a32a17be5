//! The ciphers that a program brings.

use core::convert::Infallible;
use core::fmt;

#[cfg(feature = "aes-gcm")]
use aes_gcm::Aes256Gcm;
use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};

/// Bytes of a tag.
pub(super) const TAG_LEN: usize = 16;

/// A tag does not fit: the bytes are not what the peer sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forged;

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tag is wrong")
    }
}

impl core::error::Error for Forged {}

/// An AEAD with its key, which may be kept in whatever form is quickest to use. It is to be wiped
/// when it is dropped.
pub trait Cipher: Sized {
    /// That the cipher is there. For one that never is, [`Absent`], a type without values: then
    /// what would need it is no part of the program.
    type There: Copy;

    /// Whether this program, on this processor, is to speak the suites of this cipher.
    fn there() -> Option<Self::There>;

    /// The cipher with a key.
    fn new(there: Self::There, key: &[u8; 32]) -> Self;

    /// Seals `text` in place and gives the tag, with the 12-byte nonce that Noise makes of `nonce`:
    /// four zeros, then `nonce`, little-endian for ChaCha20-Poly1305 and big-endian for AES-GCM.
    fn seal(&mut self, nonce: u64, ad: &[u8], text: &mut [u8]) -> [u8; 16];

    /// Opens `text` in place.
    ///
    /// # Errors
    /// [`Forged`]; `text` is then worth nothing.
    fn open(
        &mut self,
        nonce: u64,
        ad: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Forged>;
}

/// The ciphers of one program.
pub trait Ciphers {
    /// Of suites 1 and 4: every program has it.
    type ChaChaPoly: Cipher;
    /// Of suite 2, or [`Absent`].
    type AesGcm: Cipher;
}

/// What a small device has: ChaCha20-Poly1305 in pure Rust.
#[derive(Debug, Clone, Copy)]
pub enum ChaChaPolyOnly {}

impl Ciphers for ChaChaPolyOnly {
    type ChaChaPoly = ChaChaPoly;
    type AesGcm = Absent;
}

/// Both ciphers in pure Rust.
#[cfg(feature = "aes-gcm")]
#[derive(Debug, Clone, Copy)]
pub enum RustCrypto {}

#[cfg(feature = "aes-gcm")]
impl Ciphers for RustCrypto {
    type ChaChaPoly = ChaChaPoly;
    type AesGcm = AesGcm;
}

/// A cipher that a program does not have.
#[derive(Debug, Clone, Copy)]
pub enum Absent {}

impl Cipher for Absent {
    type There = Infallible;

    fn there() -> Option<Infallible> {
        None
    }

    fn new(there: Infallible, _: &[u8; 32]) -> Self {
        match there {}
    }

    fn seal(&mut self, _: u64, _: &[u8], _: &mut [u8]) -> [u8; 16] {
        match *self {}
    }

    fn open(&mut self, _: u64, _: &[u8], _: &mut [u8], _: &[u8; 16]) -> Result<(), Forged> {
        match *self {}
    }
}

macro_rules! rust_crypto {
    ($(#[$doc:meta])* $name:ident, $aead:ty, $to_bytes:ident) => {
        $(#[$doc])*
        pub struct $name($aead);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl Cipher for $name {
            type There = ();

            fn there() -> Option<()> {
                Some(())
            }

            fn new((): (), key: &[u8; 32]) -> Self {
                Self(<$aead>::new(key.into()))
            }

            fn seal(&mut self, nonce: u64, ad: &[u8], text: &mut [u8]) -> [u8; 16] {
                let nonce = full_nonce(nonce.$to_bytes());
                // It fails only beyond 64 GiB. Then nothing is left to read, and the tag opens nothing.
                let tag = self.0.encrypt_in_place_detached(&nonce.into(), ad, text);
                if tag.is_err() {
                    text.fill(0);
                }
                tag.map_or([0; TAG_LEN], Into::into)
            }

            fn open(
                &mut self,
                nonce: u64,
                ad: &[u8],
                text: &mut [u8],
                tag: &[u8; 16],
            ) -> Result<(), Forged> {
                let nonce = full_nonce(nonce.$to_bytes());
                self.0
                    .decrypt_in_place_detached(&nonce.into(), ad, text, tag.into())
                    .map_err(|_| Forged)
            }
        }
    };
}

rust_crypto! {
    /// ChaCha20-Poly1305 in pure Rust.
    ChaChaPoly, ChaCha20Poly1305, to_le_bytes
}

#[cfg(feature = "aes-gcm")]
rust_crypto! {
    /// AES-256-GCM in pure Rust.
    AesGcm, Aes256Gcm, to_be_bytes
}

fn full_nonce([a, b, c, d, e, f, g, h]: [u8; 8]) -> [u8; 12] {
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}
