//! The clear first flight. `core/PROTOCOL.md`, section 4.1.
//!
//! ```text
//! dialler   | 'K' 'I' 'F' 'T' | major | minor | suites offered, a bit each | 0 | key exchange, by suite |
//! listener  | 'K' 'I' 'F' 'T' | major | minor | suite chosen | reason, 0 = welcome | key exchange |
//! ```

use crate::wire::{Code, Prefix, Record};

/// The version of the protocol that is spoken: other majors do not understand each other.
pub const VERSION_MAJOR: u8 = 1;
/// Minor versions add messages; both ends keep to the smaller one.
pub const VERSION_MINOR: u8 = 0;

/// Bytes of the part of the first flight that is the same for all suites.
pub(crate) const FIRST_FLIGHT_LEN: usize = 8;

const MAGIC: [u8; 4] = *b"KIFT";

/// A set of suites: bit `i` is suite `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suites(pub(crate) u8);

impl Suites {
    /// Suite 0: checksums, no secrecy, no identities.
    pub(crate) const PLAIN: Self = Self(1);
}

/// Why a first flight is answered by a refusal, or ends the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) Code);

/// What either end says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstFlight {
    pub(crate) major: u8,
    pub(crate) minor: u8,
    /// Dialler: the suites offered. Listener: the number of the one chosen.
    pub(crate) suites: u8,
    /// Listener: 0, or a [`Code`].
    pub(crate) reason: u8,
}

impl FirstFlight {
    /// What the dialler of a plain link says.
    pub(crate) const fn offer() -> Self {
        Self { major: VERSION_MAJOR, minor: VERSION_MINOR, suites: Suites::PLAIN.0, reason: 0 }
    }

    /// What the listener says to `offer`, and whether the link goes on.
    pub(crate) fn answer(offer: Self) -> (Self, Result<(), Refusal>) {
        let verdict = if offer.major != VERSION_MAJOR || offer.reason != 0 {
            Err(Refusal(Code::Incompatible))
        } else if offer.suites & Suites::PLAIN.0 == 0 {
            Err(Refusal(Code::PlainOnly))
        } else {
            Ok(())
        };
        (Self::reply(verdict), verdict)
    }

    /// A listener's reply.
    pub(crate) fn reply(verdict: Result<(), Refusal>) -> Self {
        let reason = match verdict {
            Ok(()) => 0,
            Err(Refusal(code)) => code.into(),
        };
        Self { major: VERSION_MAJOR, minor: VERSION_MINOR, suites: 0, reason }
    }

    /// Whether the dialler may go on after this reply.
    pub(crate) fn accept(self) -> Result<(), Refusal> {
        if self.reason != 0 {
            Err(Refusal(Code::from(self.reason)))
        } else if self.major != VERSION_MAJOR || self.suites != 0 {
            Err(Refusal(Code::Incompatible))
        } else {
            Ok(())
        }
    }

    /// Reads a whole handshake record.
    pub(crate) fn parse(frame: &[u8]) -> Result<Self, Code> {
        match frame.get(crate::wire::PREFIX_LEN..) {
            Some(&[m0, m1, m2, m3, major, minor, suites, reason, ..])
                if [m0, m1, m2, m3] == MAGIC =>
            {
                Ok(Self { major, minor, suites, reason })
            }
            _ => Err(Code::Malformed),
        }
    }

    /// The record's prefix and body.
    pub(crate) fn emit(self) -> (Prefix, [u8; FIRST_FLIGHT_LEN]) {
        let [m0, m1, m2, m3] = MAGIC;
        let body = [m0, m1, m2, m3, self.major, self.minor, self.suites, self.reason];
        (Prefix { len: FIRST_FLIGHT_LEN as u16, record: Record::Handshake }, body)
    }
}
