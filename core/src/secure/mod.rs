//! The first flight, and the protection of records. Implements section 4 of `core/PROTOCOL.md`.
//!
//! This is the one place that knows how a link is protected. A suite is agreed in the clear first
//! flight ([`FirstFlight`]); from then on [`Records`] closes each outgoing frame and checks each
//! incoming one, in place. Suite 0, the plain link, detects damage and nothing more: a CRC-32C.

mod first_flight;
mod records;

pub(crate) use first_flight::{FirstFlight, Refusal};
pub use first_flight::{VERSION_MAJOR, VERSION_MINOR};
pub(crate) use records::Records;
pub use records::{Checksum, crc32c};
