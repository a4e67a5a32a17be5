//! The plain link. `core/PROTOCOL.md`, section 4.2.

use core::fmt;

use crc::{CRC_32_ISCSI, Crc, Table};

use super::first_flight::{FIRST_FLIGHT_LEN, FirstFlight, Refusal, Suite};
use super::{Peer, Protect};
use crate::bytes;
use crate::wire::{Code, HEADER_LEN, Hello, PREFIX_LEN, Prefix, Record};

/// Computes the CRC-32C (Castagnoli) of some bytes.
pub type Checksum = fn(&[u8]) -> u32;

/// CRC-32C by table, for ends without an instruction for it.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
    CRC.checksum(bytes)
}

/// Bytes of a plain record's trailer.
const CRC_LEN: usize = 4;

/// Suite 0: checksums, no secrecy, no identities.
pub struct Plain {
    checksum: Checksum,
}

impl Plain {
    /// A plain link whose checksums are computed by `checksum`.
    #[must_use]
    pub const fn new(checksum: Checksum) -> Self {
        Self { checksum }
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

impl Protect for Plain {
    fn trailer_len(&self) -> usize {
        CRC_LEN
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn seal(&mut self, frame: &mut [u8]) -> bool {
        let Some(body) = frame.len().checked_sub(CRC_LEN) else { return false };
        let len = frame.len().saturating_sub(PREFIX_LEN);
        // Frames are at most FRAME_LEN_MAX long, which fits.
        Prefix { len: len as u16, record: Record::Plain }.emit(frame);
        let crc = (self.checksum)(bytes::part(frame, 0, body)).to_le_bytes();
        bytes::copy(bytes::part_mut(frame, body, body + CRC_LEN), &crc);
        true
    }

    fn open(&mut self, record: Record, frame: &mut [u8]) -> Result<(), Code> {
        if record != Record::Plain {
            return Err(Code::OutOfOrder);
        }
        let body = frame.len().checked_sub(CRC_LEN).filter(|body| *body >= HEADER_LEN);
        let body = body.ok_or(Code::Malformed)?;
        let crc = (self.checksum)(bytes::part(frame, 0, body));
        if bytes::u32_at(frame, body) == Some(crc) { Ok(()) } else { Err(Code::Corrupt) }
    }

    fn offer(&mut self, body: &mut [u8]) -> Option<usize> {
        FirstFlight::offer(Suite::Plain.bit()).emit(body)?;
        Some(FIRST_FLIGHT_LEN)
    }

    fn answer(&mut self, offer: &[u8], _: &Hello, body: &mut [u8]) -> Result<usize, Code> {
        let (offer, _) = FirstFlight::parse(offer)?;
        if offer.offered()? & Suite::Plain.bit() == 0 {
            return Err(Code::PlainOnly);
        }
        FirstFlight::welcome(Suite::Plain).emit(body).ok_or(Code::Internal)?;
        Ok(FIRST_FLIGHT_LEN)
    }

    fn hear(&mut self, record: &[u8]) -> Result<Option<Hello>, Refusal> {
        let (reply, _) = FirstFlight::parse(record).map_err(Refusal::Message)?;
        if reply.chosen()? == Suite::Plain as u8 {
            Ok(None)
        } else {
            Err(Refusal::Peer(Code::Incompatible))
        }
    }

    fn peer(&self) -> Option<Peer> {
        None
    }

    fn prove(&mut self, _: &Hello, _: &mut [u8]) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_catalogue() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn any_changed_bit_is_found() {
        let mut plain = Plain::new(crc32c);
        let mut frame = [7; HEADER_LEN + 3 + CRC_LEN];
        assert!(plain.seal(&mut frame));
        assert_eq!(plain.open(Record::Plain, &mut frame), Ok(()));
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(plain.open(Record::Plain, &mut damaged).is_err(), "bit {bit}");
        }
    }
}
