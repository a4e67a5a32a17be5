//! Secrets, and where they come from.

use core::fmt;
use core::str::FromStr;

use clatter::crypto::hash::Sha256;
use clatter::traits::Hash as _;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::bytes;
use crate::secure::{Fingerprint, PublicKey};

/// A source of random bytes that nobody can foresee or repeat.
pub trait Entropy {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    /// [`NoEntropy`] where there is none: better no link than one with guessable keys.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy>;
}

/// There is no randomness, so no key can be made and no handshake begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoEntropy;

impl fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sealed link needs a source of randomness, and there is none")
    }
}

impl core::error::Error for NoEntropy {}

/// The secret half of an X25519 key, and its public half. Wiped when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey {
    secret: [u8; 32],
    #[zeroize(skip)]
    public: PublicKey,
}

impl SecretKey {
    /// A new key.
    ///
    /// # Errors
    /// [`NoEntropy`], also where the source gives nothing but one byte repeated: no random source
    /// does.
    pub fn generate(entropy: &mut impl Entropy) -> Result<Self, NoEntropy> {
        let mut secret = Zeroizing::new([0; 32]);
        entropy.fill(&mut *secret)?;
        let [first, rest @ ..] = &*secret;
        if rest.iter().all(|byte| byte == first) {
            return Err(NoEntropy);
        }
        Ok(Self::from_bytes(&secret))
    }

    /// The key whose secret half is `secret`: 32 bytes that once were random.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        let public = PublicKey(x25519(*secret, X25519_BASEPOINT_BYTES));
        Self { secret: *secret, public }
    }

    /// The secret half, to be kept where nobody else reads it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What this key and the other one agree on. None where that is known to all: a `public` of low
    /// order, which a peer can only have chosen to that end.
    pub(super) fn agree(&self, public: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        let shared = Zeroizing::new(x25519(self.secret, public.0));
        // Every byte is looked at, so that time says nothing about them.
        let any = shared.iter().fold(0, |any, byte| any | byte);
        (any != 0).then_some(shared)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public)
    }
}

impl PublicKey {
    /// By which people compare it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(*Sha256::hash(&self.0))
    }
}

/// What two ends share that are to be paired: at least 128 random bits, used once.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token(pub [u8; 32]);

impl Token {
    /// Characters of a token's text: base32, 5 random bits each.
    pub const TEXT_LEN: usize = 26;

    const ALPHABET: &'static [u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// A new token, which has a text.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn generate(entropy: &mut impl Entropy) -> Result<Self, NoEntropy> {
        let mut token = Self(SecretKey::generate(entropy)?.secret);
        let (text, rest) = token.0.split_at_mut(Self::TEXT_LEN);
        for byte in text {
            *byte = Self::ALPHABET.get(usize::from(*byte & 31)).copied().unwrap_or(b'a');
        }
        rest.fill(0);
        Ok(token)
    }

    /// The text that people carry from one end to the other; none for a token that was made
    /// otherwise.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        let text = core::str::from_utf8(bytes::part(&self.0, 0, Self::TEXT_LEN)).ok()?;
        text.parse::<Self>().ok().filter(|token| token.0 == self.0).map(|_| text)
    }
}

/// A text is no [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotToken;

impl fmt::Display for NotToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pairing token is 26 of the characters a to z and 2 to 7")
    }
}

impl core::error::Error for NotToken {}

impl FromStr for Token {
    type Err = NotToken;

    fn from_str(text: &str) -> Result<Self, NotToken> {
        if text.len() != Self::TEXT_LEN || text.bytes().any(|c| !Self::ALPHABET.contains(&c)) {
            return Err(NotToken);
        }
        let mut token = Self([0; 32]);
        bytes::copy(&mut token.0, text.as_bytes());
        Ok(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What an end brings to one handshake.
pub(super) struct Secrets {
    pub(super) identity: SecretKey,
    pub(super) ephemeral: SecretKey,
    pub(super) token: Option<Token>,
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    /// Public keys with which every secret agrees on zero: the points of low order, by all their
    /// encodings (RFC 7748, section 6.1; <https://cr.yp.to/ecdh.html#validate>).
    const LOW_ORDER: [[u8; 32]; 7] = {
        let zero = [0; 32];
        let mut one = zero;
        one[0] = 1;
        // p - 1, p and p + 1, for p = 2^255 - 19.
        let mut p = [[0xff; 32]; 3];
        p[0][0] = 0xec;
        p[1][0] = 0xed;
        p[2][0] = 0xee;
        p[0][31] = 0x7f;
        p[1][31] = 0x7f;
        p[2][31] = 0x7f;
        let of_order_8 = [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ];
        let other_of_order_8 = [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83,
            0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd,
            0xd0, 0x9f, 0x11, 0x57,
        ];
        [zero, one, p[0], p[1], p[2], of_order_8, other_of_order_8]
    };

    #[test]
    fn keys_of_low_order_agree_on_nothing() {
        let secret = SecretKey::from_bytes(&[0x5a; 32]);
        for mut key in LOW_ORDER {
            assert!(secret.agree(&PublicKey(key)).is_none(), "{key:x?}");
            // The highest bit does not count.
            key[31] |= 0x80;
            assert!(secret.agree(&PublicKey(key)).is_none(), "{key:x?}");
        }
        let other = SecretKey::from_bytes(&[0xa5; 32]);
        let (one, two) = (secret.agree(other.public()), other.agree(secret.public()));
        assert!(one.is_some() && one == two);
    }

    struct Source<F>(F);

    impl<F: FnMut(&mut [u8]) -> Result<(), NoEntropy>> Entropy for Source<F> {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
            (self.0)(bytes)
        }
    }

    #[test]
    fn without_randomness_there_is_no_key() {
        let generate = |fill: fn(&mut [u8]) -> Result<(), NoEntropy>| {
            SecretKey::generate(&mut Source(fill)).map(|key| *key.public())
        };
        assert_eq!(generate(|_| Err(NoEntropy)), Err(NoEntropy));
        // Sources that do nothing, or are flash that was erased.
        assert_eq!(generate(|_| Ok(())), Err(NoEntropy));
        let erased = generate(|bytes| {
            bytes.fill(0xff);
            Ok(())
        });
        assert_eq!(erased, Err(NoEntropy));
        let good = generate(|bytes| {
            bytes[31] = 1;
            Ok(())
        });
        assert!(good.is_ok());
    }

    #[test]
    fn tokens_have_a_text() {
        let mut count = 0u8;
        let token = Token::generate(&mut Source(|bytes: &mut [u8]| {
            for byte in bytes {
                *byte = count.wrapping_mul(5);
                count += 1;
            }
            Ok(())
        }));
        let token = token.unwrap();
        assert_eq!(token.as_text(), Some("afkpuz6dinsx4bglqv27ejoty5"));
        assert_eq!(&token.0[26..], &[0; 6]);
        let again: Token = token.as_text().unwrap().parse().unwrap();
        assert_eq!(again.0, token.0);
        assert_eq!(Token([0x33; 32]).as_text(), None);
        for text in ["", "afkpuz6dinsx4bglqv27ejoty", "afkpuz6dinsx4bglqv27ejoty55"] {
            assert_eq!(text.parse::<Token>().err(), Some(NotToken), "{text}");
        }
        for other in ["A", "0", "-", "8", "\0"] {
            let text = std::format!("{other}fkpuz6dinsx4bglqv27ejoty5");
            assert_eq!(text.parse::<Token>().err(), Some(NotToken), "{text}");
        }
    }

    #[test]
    fn fingerprints_are_of_sha_256() {
        // What `printf abcdefghijklmnopqrstuvwxyz012345 | sha256sum | xxd -r -p | base64` prints.
        let key = PublicKey(*b"abcdefghijklmnopqrstuvwxyz012345");
        assert_eq!(
            format!("{}", key.fingerprint()),
            "SHA256:ZTuxJF6Cj82k+lP81aPe9b12VOZR9UtBMrc9dOZENcQ"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = SecretKey::from_bytes(&[0x5a; 32]);
        assert_eq!(format!("{key:?}"), format!("SecretKey({})", key.public()));
        assert_eq!(format!("{:?}", Token([0x5a; 32])), "Token");
    }
}
