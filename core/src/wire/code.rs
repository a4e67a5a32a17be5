//! Reasons. `core/PROTOCOL.md`, section 9.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a request was refused, a stream broken off, or a link closed.
        ///
        /// One byte on the wire. Numbers this version does not know are kept as
        /// [`Unknown`](Code::Unknown): a newer peer may be more precise than we can be.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "u8", into = "u8")]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
            /// A number of a later version.
            Unknown(u8),
        }

        impl Code {
            /// Every code that this version knows, in order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        impl From<u8> for Code {
            fn from(number: u8) -> Self {
                match number {
                    $($number => Self::$name,)*
                    other => Self::Unknown(other),
                }
            }
        }

        impl From<Code> for u8 {
            fn from(code: Code) -> u8 {
                // Apart, so that the rest is a table and not a jump for each.
                if let Code::Unknown(other) = code {
                    return other;
                }
                match code {
                    $(Code::$name => $number,)*
                    Code::Unknown(other) => other,
                }
            }
        }

        impl fmt::Display for Code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Unknown(other) => write!(f, "reason {other}, which this version does not know"),
                }
            }
        }
    };
}

codes! {
    /// The one who asked cancelled it.
    Cancelled = 1, "cancelled";
    /// This end does not know such a request, or was built without it.
    Unsupported = 2, "not supported by the peer";
    /// No such file or directory.
    NotFound = 3, "no such file or directory";
    /// The name is taken, and the request was to refuse then.
    Exists = 4, "already exists";
    /// A file was meant and a directory is there.
    IsDirectory = 5, "is a directory";
    /// A directory was meant and something else is there.
    NotDirectory = 6, "not a directory";
    /// A directory can be removed only when it is empty.
    NotEmpty = 7, "directory is not empty";
    /// Neither a regular file nor a directory: links, FIFOs and devices are never served.
    NotRegular = 8, "neither a regular file nor a directory";
    /// Empty, absolute, `.`, `..`, NUL, or a name that the responder keeps for itself.
    BadName = 9, "not an acceptable name";
    /// A component above 255 bytes, or a path above 480, or above the responder's own limits.
    NameTooLong = 10, "name is too long";
    /// The responder may not, or will not, do this.
    Denied = 11, "permission denied";
    /// The responder only serves files and takes none.
    ReadOnly = 12, "the peer is read-only";
    /// No space left, or a quota is reached.
    NoSpace = 13, "no space left";
    /// Larger than the protocol's 4 TiB or the responder's own limit.
    TooLarge = 14, "file is too large";
    /// The responder needs to know the size beforehand.
    SizeRequired = 15, "the size must be known beforehand";
    /// The bytes that came are not as many as were declared.
    SizeMismatch = 16, "size is not what was declared";
    /// The bytes that came do not have the BLAKE3 that the sender computed.
    HashMismatch = 17, "contents do not match their BLAKE3";
    /// The file changed while it was read.
    Changed = 18, "file changed while it was being read";
    /// A range outside the file.
    BadRange = 19, "range is outside the file";
    /// Something else is using it; trying later may help.
    Busy = 20, "busy";
    /// A newer session of the same identity took this transfer over.
    Superseded = 21, "superseded by a newer session";
    /// The storage failed.
    Io = 22, "input/output error";
    /// Too many of something: open files, directory entries, partial uploads.
    TooMany = 23, "too many";
    /// A fault of this end's own.
    Internal = 24, "internal error";
    /// Bytes that are no frame, or a payload that is none of its kind.
    Malformed = 32, "malformed frame";
    /// A frame whose checksum or tag is wrong.
    Corrupt = 33, "corrupt frame (checksum mismatch, or a wrong tag)";
    /// A frame that may not come now.
    OutOfOrder = 34, "frame out of order";
    /// More data than credit was granted for.
    CreditExceeded = 35, "credit exceeded";
    /// No common version, suite or pair of roles, or an answer this version does not know.
    Incompatible = 36, "incompatible peer";
    /// Nothing came, or nothing could be sent, for too long.
    TimedOut = 37, "timed out";
    /// The peer is going away.
    ShuttingDown = 38, "the peer is shutting down";
    /// The peer serves as many sessions as it may.
    TooManySessions = 39, "the peer has too many sessions";
    /// This end takes sealed links only.
    SealedOnly = 40, "the peer accepts sealed links only";
    /// This end takes plain links only.
    PlainOnly = 41, "the peer accepts plain links only";
    /// A message of the handshake is not what it must be: changed on its way, made with another
    /// pairing token, or with a key that is none.
    HandshakeFailed = 42, "the handshake failed: it was interfered with, or the tokens differ";
    /// Nothing is done for a peer that has not logged in.
    LoginRequired = 43, "login required";
    /// Nobody may log in so. Why is not said, nor whether there is such a user.
    LoginFailed = 44, "wrong user or password";
}

impl core::error::Error for Code {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_code_and_back() {
        for byte in 0..=255u8 {
            assert_eq!(u8::from(Code::from(byte)), byte);
        }
        assert!(
            Code::ALL.iter().all(|code| !matches!(Code::from(u8::from(*code)), Code::Unknown(_)))
        );
    }
}
