//! The clear first flight. `core/PROTOCOL.md`, section 4.1.
//!
//! ```text
//! dialler   | 'K' 'I' 'F' 'T' | major | minor | suites offered, a bit each | 0 | key exchange, by suite |
//! listener  | 'K' 'I' 'F' 'T' | major | minor | suite chosen | reason, 0 = welcome | key exchange |
//! ```

use crate::bytes;
use crate::wire::{Code, PREFIX_LEN, Record};

/// The version of the protocol that is spoken: other majors do not understand each other.
pub const VERSION_MAJOR: u8 = 1;
/// Minor versions add messages; both ends keep to the smaller one.
pub const VERSION_MINOR: u8 = 0;

/// Bytes of the part of the first flight that is the same for all suites.
pub(crate) const FIRST_FLIGHT_LEN: usize = 8;

const MAGIC: [u8; 4] = *b"KIFT";

/// All that a listener says to a dialler for whom it has no session, and why.
#[must_use]
pub fn refusal(code: Code) -> [u8; PREFIX_LEN + FIRST_FLIGHT_LEN] {
    let FirstFlight { major, minor, suites, reason } = FirstFlight::refusal(code);
    let [m0, m1, m2, m3] = MAGIC;
    let (len, record) = (FIRST_FLIGHT_LEN as u8, Record::Handshake as u8);
    [len, 0, record, 0, m0, m1, m2, m3, major, minor, suites, reason]
}

/// How a link is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Suite {
    /// Checksums, no secrecy, no identities.
    Plain = 0,
    /// Noise XX with ChaCha20-Poly1305.
    #[cfg(feature = "noise")]
    ChaChaPoly = 1,
    /// Noise XX with AES-256-GCM.
    #[cfg(feature = "noise")]
    AesGcm = 2,
    /// Noise XXpsk3 with ChaCha20-Poly1305.
    #[cfg(feature = "noise")]
    Pairing = 4,
}

impl Suite {
    /// This suite as a set.
    pub(crate) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Why a handshake ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The peer is not what this end can speak with, or says that itself.
    Peer(Code),
    /// What came is not what it must be.
    Message(Code),
}

/// What either end says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstFlight {
    pub(crate) major: u8,
    pub(crate) minor: u8,
    /// Dialler: the suites offered, bit `i` for suite `i`. Listener: the number of the one chosen.
    pub(crate) suites: u8,
    /// Listener: 0, or a [`Code`].
    pub(crate) reason: u8,
}

impl FirstFlight {
    const fn of_this_version(suites: u8, reason: u8) -> Self {
        Self { major: VERSION_MAJOR, minor: VERSION_MINOR, suites, reason }
    }

    /// A dialler's offer of a set of suites.
    pub(crate) const fn offer(suites: u8) -> Self {
        Self::of_this_version(suites, 0)
    }

    /// A listener's choice.
    pub(crate) const fn welcome(suite: Suite) -> Self {
        Self::of_this_version(suite as u8, 0)
    }

    /// A listener's refusal.
    pub(crate) fn refusal(code: Code) -> Self {
        Self::of_this_version(0, code.into())
    }

    /// Listener: the set of suites that were offered.
    pub(crate) fn offered(self) -> Result<u8, Code> {
        let legal = self.major == VERSION_MAJOR && self.reason == 0;
        if legal { Ok(self.suites) } else { Err(Code::Incompatible) }
    }

    /// Dialler: the number of the suite that was chosen.
    pub(crate) fn chosen(self) -> Result<u8, Refusal> {
        if self.reason != 0 {
            Err(Refusal::Peer(Code::from(self.reason)))
        } else if self.major != VERSION_MAJOR {
            Err(Refusal::Peer(Code::Incompatible))
        } else {
            Ok(self.suites)
        }
    }

    /// Reads a whole handshake record: the first flight and the key exchange behind it.
    pub(crate) fn parse(record: &[u8]) -> Result<(Self, &[u8]), Code> {
        match record.get(PREFIX_LEN..) {
            Some([m0, m1, m2, m3, major, minor, suites, reason, exchange @ ..])
                if [*m0, *m1, *m2, *m3] == MAGIC =>
            {
                let [major, minor, suites, reason] = [*major, *minor, *suites, *reason];
                Ok((Self { major, minor, suites, reason }, exchange))
            }
            _ => Err(Code::Malformed),
        }
    }

    /// Writes a record's body to the beginning of `body`; the rest is for the key exchange.
    pub(crate) fn emit(self, body: &mut [u8]) -> Option<&mut [u8]> {
        let (clear, exchange) = body.split_at_mut_checked(FIRST_FLIGHT_LEN)?;
        let [m0, m1, m2, m3] = MAGIC;
        bytes::copy(clear, &[m0, m1, m2, m3, self.major, self.minor, self.suites, self.reason]);
        Some(exchange)
    }
}
