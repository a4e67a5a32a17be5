//! Keys, fingerprints and tokens as people copy them. `core/PROTOCOL.md`, section 4.6.

use core::fmt;
use core::str::FromStr;

use super::PublicKey;

/// The text is not what it was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 43 characters of base64, and a fingerprint has SHA256: before them")
    }
}

impl core::error::Error for NotText {}

/// Base64 as in RFC 4648, section 4, without padding.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// 32 bytes as 43 characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Base64<'a>(pub &'a [u8; 32]);

impl Base64<'_> {
    /// The bytes that `text` is of.
    ///
    /// # Errors
    /// [`NotText`], also where bits are left over that are not zero: a key has one text.
    pub fn parse(text: &str) -> Result<[u8; 32], NotText> {
        let mut bytes = [0; 32];
        let mut to = bytes.iter_mut();
        let (mut bits, mut held, mut len) = (0u32, 0u32, 0);
        for c in text.bytes() {
            let six = ALPHABET.iter().position(|&of| of == c).ok_or(NotText)?;
            bits = bits << 6 | six as u32;
            held += 6;
            len += 1;
            if held >= 8 {
                held -= 8;
                *to.next().ok_or(NotText)? = (bits >> held) as u8;
                bits &= (1 << held) - 1;
            }
        }
        if len == 43 && bits == 0 { Ok(bytes) } else { Err(NotText) }
    }
}

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut write = |six: u32| {
            let c = ALPHABET.get((six & 63) as usize).copied().unwrap_or(b'?');
            f.write_char(char::from(c))
        };
        let (mut bits, mut held) = (0u32, 0u32);
        for &byte in self.0 {
            bits = bits << 8 | u32::from(byte);
            held += 8;
            while held >= 6 {
                held -= 6;
                write(bits >> held)?;
            }
        }
        write(bits << (6 - held))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64(&self.0).fmt(f)
    }
}

impl FromStr for PublicKey {
    type Err = NotText;

    fn from_str(text: &str) -> Result<Self, NotText> {
        Base64::parse(text).map(Self)
    }
}

/// A short name of a public key, which people compare: its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

const SHA256: &str = "SHA256:";

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SHA256}{}", Base64(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NotText;

    fn from_str(text: &str) -> Result<Self, NotText> {
        Base64::parse(text.strip_prefix(SHA256).ok_or(NotText)?).map(Self)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::{String, ToString as _};

    #[test]
    fn keys_have_one_text() {
        for key in [[0; 32], [0xff; 32], core::array::from_fn(|i| (i * 37) as u8)] {
            let text = PublicKey(key).to_string();
            assert_eq!(text.len(), 43);
            assert_eq!(text.parse(), Ok(PublicKey(key)));
            let fingerprint = Fingerprint(key);
            assert_eq!(fingerprint.to_string(), std::format!("SHA256:{text}"));
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }
        // What `printf 'abcdefghijklmnopqrstuvwxyz012345' | base64` prints, without its `=`.
        let key = PublicKey(*b"abcdefghijklmnopqrstuvwxyz012345");
        assert_eq!(key.to_string(), "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU");
    }

    #[test]
    fn nothing_else_is_taken_for_a_key() {
        let good = PublicKey([0x5a; 32]).to_string();
        let changed = |at: usize, to: &str| {
            let mut text = good.clone();
            text.replace_range(at..=at, to);
            text
        };
        let wrong: [String; 8] = [
            String::new(),
            good[1..].into(),
            good.clone() + "A",
            good.clone() + "=",
            // Two bits of the last character belong to nothing.
            changed(42, "p"),
            changed(5, "-"),
            changed(5, "é"),
            good.repeat(2),
        ];
        for text in wrong {
            assert_eq!(text.parse::<PublicKey>(), Err(NotText), "{text}");
            assert_eq!(text.parse::<Fingerprint>(), Err(NotText), "{text}");
        }
        assert_eq!(good.parse::<Fingerprint>(), Err(NotText));
    }
}
