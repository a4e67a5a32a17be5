//! Record protection.

use core::fmt;

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::bytes;
use crate::wire::{Code, HEADER_LEN, PREFIX_LEN, Prefix, Record};

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

/// The protection that the first flight agreed on.
pub(crate) struct Records {
    checksum: Checksum,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Records::Plain")
    }
}

impl Records {
    pub(crate) const fn plain(checksum: Checksum) -> Self {
        Self { checksum }
    }

    /// Bytes behind the payload of each frame.
    #[expect(clippy::unused_self, reason = "depends on the suite")]
    pub(crate) const fn trailer_len(&self) -> usize {
        CRC_LEN
    }

    /// Writes prefix and trailer of `frame`, whose header and payload are in place.
    pub(crate) fn seal(&mut self, frame: &mut [u8]) {
        let Some(body) = frame.len().checked_sub(CRC_LEN) else { return };
        let len = frame.len().saturating_sub(PREFIX_LEN);
        // Frames are at most FRAME_LEN_MAX long, which fits.
        Prefix { len: len as u16, record: Record::Plain }.emit(frame);
        let crc = (self.checksum)(bytes::part(frame, 0, body)).to_le_bytes();
        bytes::copy(bytes::part_mut(frame, body, body + CRC_LEN), &crc);
    }

    /// Checks a whole frame.
    pub(crate) fn open(&mut self, record: Record, frame: &mut [u8]) -> Result<(), Code> {
        if record != Record::Plain {
            return Err(Code::OutOfOrder);
        }
        let body = frame.len().checked_sub(CRC_LEN).filter(|body| *body >= HEADER_LEN);
        let body = body.ok_or(Code::Malformed)?;
        let crc = (self.checksum)(bytes::part(frame, 0, body));
        if bytes::u32_at(frame, body) == Some(crc) { Ok(()) } else { Err(Code::Corrupt) }
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
        let mut records = Records::plain(crc32c);
        let mut frame = [7; HEADER_LEN + 3 + CRC_LEN];
        records.seal(&mut frame);
        assert_eq!(records.open(Record::Plain, &mut frame), Ok(()));
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(records.open(Record::Plain, &mut damaged).is_err(), "bit {bit}");
        }
    }
}
