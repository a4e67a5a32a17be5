//! The ciphers of ring, which are several times as fast as those in pure Rust.

use std::fmt;

use kift_core::secure::{Cipher, Ciphers, Forged};
use ring::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey,
};
use zeroize::Zeroize as _;

/// Both ciphers by ring. AES-GCM is offered only where the processor has it: elsewhere
/// ChaCha20-Poly1305 is the quicker one, and has no tables that could be watched.
#[derive(Debug, Clone, Copy)]
pub enum Ring {}

impl Ciphers for Ring {
    type ChaChaPoly = ChaChaPoly;
    type AesGcm = AesGcm;
}

/// Bytes of a tag.
const TAG_LEN: usize = 16;

fn key(algorithm: &'static Algorithm, key: &[u8; 32]) -> LessSafeKey {
    match UnboundKey::new(algorithm, key) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("both ciphers have keys of 32 bytes"),
    }
}

fn nonce([a, b, c, d, e, f, g, h]: [u8; 8]) -> Nonce {
    Nonce::assume_unique_for_key([0, 0, 0, 0, a, b, c, d, e, f, g, h])
}

fn seal(key: &LessSafeKey, nonce: Nonce, ad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    match key.seal_in_place_separate_tag(nonce, Aad::from(ad), text) {
        Ok(tag) => tag.as_ref().try_into().unwrap_or([0; TAG_LEN]),
        // It fails only beyond 64 GiB. Then nothing is left to read, and the tag opens nothing.
        Err(_) => {
            text.zeroize();
            [0; TAG_LEN]
        }
    }
}

fn open(
    key: &LessSafeKey,
    nonce: Nonce,
    ad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Forged> {
    key.open_in_place_separate_tag(nonce, Aad::from(ad), Tag::from(*tag), text, 0..)
        .map(|_| ())
        .map_err(|_| Forged)
}

macro_rules! ring_cipher {
    ($(#[$doc:meta])* $name:ident, $algorithm:ident, $to_bytes:ident, $there:expr) => {
        $(#[$doc])*
        pub struct $name(LessSafeKey);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl Cipher for $name {
            type There = ();

            fn there() -> Option<()> {
                $there.then_some(())
            }

            fn new((): (), bytes: &[u8; 32]) -> Self {
                Self(key(&$algorithm, bytes))
            }

            fn seal(&mut self, number: u64, ad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
                seal(&self.0, nonce(number.$to_bytes()), ad, text)
            }

            fn open(
                &mut self,
                number: u64,
                ad: &[u8],
                text: &mut [u8],
                tag: &[u8; TAG_LEN],
            ) -> Result<(), Forged> {
                open(&self.0, nonce(number.$to_bytes()), ad, text, tag)
            }
        }
    };
}

ring_cipher! {
    /// ChaCha20-Poly1305 by ring.
    ChaChaPoly, CHACHA20_POLY1305, to_le_bytes, true
}

ring_cipher! {
    /// AES-256-GCM by ring.
    AesGcm, AES_256_GCM, to_be_bytes, has_aes()
}

/// Whether the processor computes AES and the products of GCM itself.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let there = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let there = std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let there = false;
    there
}

#[cfg(test)]
mod tests {
    use super::*;
    use kift_core::secure::{AesGcm as PureAesGcm, ChaChaPoly as PureChaChaPoly};

    /// What one seals the other opens, and gives the same tag.
    fn agree<A: Cipher<There = ()>, B: Cipher<There = ()>>() {
        let bytes = [0x5a; 32];
        let (mut ours, mut pure) = (A::new((), &bytes), B::new((), &bytes));
        for (number, len) in [(0, 0), (1, 1), (1 << 40, 1032), (u64::MAX, 32)] {
            let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (mut a, mut b) = (plain.clone(), plain.clone());
            let tags = [ours.seal(number, b"ad", &mut a), pure.seal(number, b"ad", &mut b)];
            assert_eq!((tags[0], &a), (tags[1], &b), "{number} {len}");
            let mut wrong = tags[0];
            wrong[15] ^= 1;
            let mut c = a.clone();
            assert_eq!(ours.open(number, b"ad", &mut c, &wrong), Err(Forged));
            assert_eq!(ours.open(number, b"ad", &mut a, &tags[1]), Ok(()));
            assert_eq!(a, plain);
        }
    }

    #[test]
    fn ring_and_pure_rust_agree() {
        agree::<ChaChaPoly, PureChaChaPoly>();
        agree::<AesGcm, PureAesGcm>();
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", ChaChaPoly::new((), &[7; 32])), "ChaChaPoly");
    }
}
