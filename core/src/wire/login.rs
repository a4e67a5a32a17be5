//! Users and their passwords. `core/PROTOCOL.md`, section 5.2.

use core::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use crate::bytes;

/// Bytes of the longest name of a user.
pub const USER_LEN_MAX: usize = 32;

/// Bytes of the longest password; on the wire every password has so many.
pub const PASSWORD_LEN_MAX: usize = 128;

/// Whether `name` can be a user's: 1 to 32 bytes of `a` to `z`, `0` to `9`, `_`, `.` and `-`, of
/// which `.` and `-` do not come first.
#[must_use]
pub fn is_user_name(name: &str) -> bool {
    let legal = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    name.len() <= USER_LEN_MAX
        && !matches!(name.as_bytes().first(), None | Some(b'.' | b'-'))
        && name.bytes().all(legal)
}

/// A password, or none where it is empty: the key alone is to do.
///
/// It is filled up with NUL on the wire, so that the length of a frame does not tell its own, and
/// its [`Debug`](fmt::Debug) tells nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Password<'a>(&'a str);

impl<'a> Password<'a> {
    /// The password `text`; none where it is longer than 128 bytes or has a NUL in it.
    #[must_use]
    pub fn new(text: &'a str) -> Option<Self> {
        let legal = text.len() <= PASSWORD_LEN_MAX && text.bytes().all(|byte| byte != 0);
        legal.then_some(Self(text))
    }

    /// The password as text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl Serialize for Password<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut padded = [0; PASSWORD_LEN_MAX];
        bytes::copy(&mut padded, self.0.as_bytes());
        // A string is encoded as its bytes are.
        let written = serializer.serialize_bytes(&padded);
        bytes::wipe(&mut padded);
        written
    }
}

impl<'a, 'de: 'a> Deserialize<'de> for Password<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let padded = <&str>::deserialize(deserializer)?;
        let end = padded.bytes().position(|byte| byte == 0).unwrap_or(padded.len());
        match padded.split_at_checked(end) {
            Some((text, padding))
                if padded.len() == PASSWORD_LEN_MAX && padding.bytes().all(|byte| byte == 0) =>
            {
                Ok(Self(text))
            }
            _ => Err(D::Error::custom("not a password")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn names_of_users() {
        for name in ["a", "anna", "_", "0", "_a", "9.b-c_", &"x".repeat(32)] {
            assert!(is_user_name(name), "{name:?}");
        }
        for name in ["", ".a", "-a", "A", "aB", "a b", "a/b", "a\0", "é", "a:", &"x".repeat(33)] {
            assert!(!is_user_name(name), "{name:?}");
        }
    }

    #[test]
    fn passwords() {
        let longest = "é".repeat(64);
        for text in ["", "secret", " with spaces ", &longest] {
            let password = Password::new(text).expect("legal");
            assert_eq!((password.as_str(), password.is_empty()), (text, text.is_empty()));
            let mut buf = [1; 2 + PASSWORD_LEN_MAX];
            let bytes = postcard::to_slice(&password, &mut buf).expect("room");
            assert_eq!(bytes.len(), 2 + PASSWORD_LEN_MAX);
            assert_eq!(postcard::from_bytes(bytes), Ok(password));
            assert_eq!(std::format!("{password:?}"), "Password");
        }
        assert_eq!(Password::new("a\0"), None);
        assert_eq!(Password::new(&"a".repeat(129)), None);
    }

    #[test]
    fn strings_that_are_no_password() {
        let decodes = |text: &str| {
            let mut buf = [0; 300];
            let bytes = postcard::to_slice(text, &mut buf).expect("room");
            postcard::from_bytes::<Password<'_>>(bytes).is_ok()
        };
        for len in 0..200 {
            assert_eq!(decodes(&"a".repeat(len)), len == PASSWORD_LEN_MAX, "{len}");
            assert_eq!(decodes(&"\0".repeat(len)), len == PASSWORD_LEN_MAX, "{len}");
        }
        assert!(!decodes(&std::format!("{:\0<127}b", "a")));
        assert!(!decodes(&std::format!("{:\0<128}", "a\0b")));
    }
}
