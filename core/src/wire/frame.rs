//! The frame header. `core/PROTOCOL.md`, section 3.
//!
//! ```text
//! 0        2       3      4      5       6           8           12                12+n      12+n+T
//! | len LE | record| zero | kind | flags | request LE| index LE  | payload, n bytes | trailer T |
//! |<---- clear, 4 ------->|<--------- protected together ---------------------->|
//! ```

use crate::bytes;

/// Bytes of a chunk: the unit of credit, of addressing, and of BLAKE3's tree.
pub const CHUNK: usize = 1024;

/// Bytes of the largest file: its chunks' numbers are 32 bits.
pub const FILE_SIZE_MAX: u64 = (1 << 32) * CHUNK as u64;

/// Bytes of the clear prefix: length, record type, zero.
pub const PREFIX_LEN: usize = 4;

/// Bytes before a frame's payload: the clear prefix and the protected header.
pub const HEADER_LEN: usize = 12;

/// Bytes of the longest trailer: a sealed record's tag.
pub const TRAILER_LEN_MAX: usize = 16;

/// Bytes of the longest frame, prefix and trailer included: 32 chunks.
pub const FRAME_LEN_MAX: usize = HEADER_LEN + 32 * CHUNK + TRAILER_LEN_MAX;

/// How the bytes behind the clear prefix are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Record {
    /// Part of the first flight; no header, no trailer.
    Handshake = 1,
    /// Encrypted and authenticated; a 16-byte tag.
    Sealed = 2,
    /// In the clear; a CRC-32C of everything before it.
    Plain = 3,
}

/// The clear prefix of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Bytes that follow the prefix.
    pub len: u16,
    /// What they are.
    pub record: Record,
}

impl Prefix {
    /// Reads a prefix from the beginning of `buf`; `Ok(None)` where it is not yet whole.
    ///
    /// # Errors
    /// `Err(())` where these bytes begin no frame of any version.
    #[expect(clippy::result_unit_err, reason = "there is one way to be wrong")]
    pub fn parse(buf: &[u8]) -> Result<Option<Self>, ()> {
        let Some(&[a, b, record, zero]) = buf.first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let record = match record {
            1 => Record::Handshake,
            2 => Record::Sealed,
            3 => Record::Plain,
            _ => return Err(()),
        };
        if zero != 0 {
            return Err(());
        }
        let len = u16::from_le_bytes([a, b]);
        Ok(Some(Self { len, record }))
    }

    /// Writes the prefix to the beginning of `buf`.
    pub fn emit(self, buf: &mut [u8]) {
        let [a, b] = self.len.to_le_bytes();
        bytes::copy(buf, &[a, b, self.record as u8, 0]);
    }
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Hello`](crate::wire::Hello): limits and role; the first frame each way on a plain link.
    Hello = 1,
    /// [`Request`](crate::wire::Request), requester to responder.
    Request = 2,
    /// [`Answer`](crate::wire::Answer), responder to requester.
    Answer = 3,
    /// Chunks of a file; `index` is the first one's number.
    Data = 4,
    /// [`Entry`](crate::wire::Entry) after entry, up to 1024 bytes.
    Page = 5,
    /// [`Close`](crate::wire::Close): the one end of a data stream.
    Close = 6,
    /// [`Signal`](crate::wire::Signal): acted on when it arrives, ahead of what is queued.
    Signal = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Answer,
            4 => Self::Data,
            5 => Self::Page,
            6 => Self::Close,
            7 => Self::Signal,
            _ => return None,
        })
    }
}

/// The protected header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// The low 16 bits of the number of the request that the frame belongs to; 0 for the link's own.
    pub request: u16,
    /// The first chunk's number in a data frame, else 0.
    pub index: u32,
}

impl Header {
    /// A header of a frame that carries no chunks.
    #[must_use]
    pub const fn new(kind: Kind, request: u16) -> Self {
        Self { kind, request, index: 0 }
    }

    /// Reads the header of the frame that begins `buf`. `None`: unknown kind, or flags set that
    /// this version does not know.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let &[kind, flags] = frame.get(PREFIX_LEN..)?.first_chunk::<2>()?;
        if flags != 0 {
            return None;
        }
        Some(Self {
            kind: Kind::from_byte(kind)?,
            request: bytes::u16_at(frame, 6)?,
            index: bytes::u32_at(frame, 8)?,
        })
    }

    /// Writes the header into the frame that begins `buf`, behind its prefix.
    pub fn emit(self, frame: &mut [u8]) {
        let [r0, r1] = self.request.to_le_bytes();
        let [i0, i1, i2, i3] = self.index.to_le_bytes();
        bytes::copy(
            bytes::part_mut(frame, PREFIX_LEN, HEADER_LEN),
            &[self.kind as u8, 0, r0, r1, i0, i1, i2, i3],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_round_trips_and_refuses_what_is_no_frame() {
        let mut buf = [0xff; 4];
        let prefix = Prefix { len: 0x1234, record: Record::Plain };
        prefix.emit(&mut buf);
        assert_eq!(buf, [0x34, 0x12, 3, 0]);
        assert_eq!(Prefix::parse(&buf), Ok(Some(prefix)));
        assert_eq!(Prefix::parse(&buf[..3]), Ok(None));
        assert_eq!(Prefix::parse(b"GET / HTTP/1.1"), Err(()));
        assert_eq!(Prefix::parse(&[0, 0, 3, 1]), Err(()));
        assert_eq!(Prefix::parse(&[0, 0, 0, 0]), Err(()));
    }

    #[test]
    fn header_round_trips_and_refuses_flags_and_unknown_kinds() {
        let mut buf = [0; HEADER_LEN];
        let header = Header { kind: Kind::Data, request: 0xbeef, index: 0x0102_0304 };
        header.emit(&mut buf);
        assert_eq!(buf, [0, 0, 0, 0, 4, 0, 0xef, 0xbe, 4, 3, 2, 1]);
        assert_eq!(Header::parse(&buf), Some(header));
        buf[5] = 1;
        assert_eq!(Header::parse(&buf), None);
        buf[5] = 0;
        buf[4] = 0;
        assert_eq!(Header::parse(&buf), None);
        assert_eq!(Header::parse(&buf[..11]), None);
    }
}
