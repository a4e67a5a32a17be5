//! Outgoing bytes.
//!
//! ```text
//! 0       sent             end                       len
//! | sent   | frames to send | the next frame goes here |
//! ```
//! A frame is built where it is sent from: its payload is read or encoded in place, then header
//! and trailer are put around it.

use crate::bytes;
use crate::secure::Protect;
use crate::wire::{HEADER_LEN, Header, PREFIX_LEN, Prefix, Record};

#[derive(Debug)]
pub(crate) struct Outbox<B> {
    buf: B,
    sent: usize,
    end: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Outbox<B> {
    pub(crate) fn new(buf: B) -> Self {
        Self { buf, sent: 0, end: 0 }
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        bytes::part(self.buf.as_ref(), self.sent, self.end)
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.end
    }

    /// The first `n` bytes of [`unsent`](Self::unsent) were handed to the transport.
    pub(crate) fn advance(&mut self, n: usize) {
        self.sent = self.sent.saturating_add(n).min(self.end);
        if self.sent == self.end {
            self.sent = 0;
            self.end = 0;
        }
    }

    /// Bytes of payload that the next frame may have; none where not even an empty one fits.
    pub(crate) fn room(&self, records: &impl Protect) -> Option<usize> {
        self.buf.as_ref().len().checked_sub(self.end + HEADER_LEN + records.trailer_len())
    }

    /// Where the payload of the next frame goes: at most `len` bytes.
    pub(crate) fn payload_mut(&mut self, len: usize, records: &impl Protect) -> &mut [u8] {
        let len = self.room(records).unwrap_or(0).min(len);
        let at = self.end.saturating_add(HEADER_LEN);
        bytes::part_mut(self.buf.as_mut(), at, at.saturating_add(len))
    }

    /// The next frame has the first `len` bytes of its payload in place: it is to be sent. False
    /// where it cannot be.
    pub(crate) fn finish(
        &mut self,
        header: Header,
        len: usize,
        records: &mut impl Protect,
    ) -> bool {
        let end = self.end + HEADER_LEN + len + records.trailer_len();
        let frame = bytes::part_mut(self.buf.as_mut(), self.end, end);
        header.emit(frame);
        let sealed = !frame.is_empty() && records.seal(frame);
        if sealed {
            self.end = end;
        }
        sealed
    }

    /// Queues a frame whose payload `encode` writes; false where it does not fit.
    pub(crate) fn push(
        &mut self,
        header: Header,
        records: &mut impl Protect,
        encode: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let Some(room) = self.room(records) else { return false };
        match encode(self.payload_mut(room, records)) {
            Some(len) => self.finish(header, len, records),
            None => false,
        }
    }

    /// Where the body of a record of the handshake goes, behind its prefix.
    pub(crate) fn record_mut(&mut self) -> &mut [u8] {
        let len = self.buf.as_ref().len();
        bytes::part_mut(self.buf.as_mut(), self.end.saturating_add(PREFIX_LEN), len)
    }

    /// The first `len` bytes of a handshake record's body are in place: it is to be sent.
    pub(crate) fn finish_record(&mut self, len: usize) {
        let end = self.end.saturating_add(PREFIX_LEN).saturating_add(len);
        let record = bytes::part_mut(self.buf.as_mut(), self.end, end);
        if !record.is_empty() {
            // It is far below what a prefix can say.
            Prefix { len: len as u16, record: Record::Handshake }.emit(record);
            self.end = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secure::{Plain, crc32c};
    use crate::wire::Kind;

    const OVERHEAD: usize = HEADER_LEN + 4;

    fn records() -> Plain {
        Plain::new(crc32c)
    }

    /// Queues a frame with `payload`; false where it does not fit.
    fn push(outbox: &mut Outbox<[u8; 64]>, request: u16, payload: &[u8]) -> bool {
        outbox.push(Header::new(Kind::Close, request), &mut records(), |buf| {
            (buf.len() >= payload.len()).then(|| bytes::copy(buf, payload))
        })
    }

    #[test]
    fn frames_go_back_to_back() {
        let mut outbox = Outbox::new([0; 64]);
        assert!(outbox.is_empty());
        assert!(push(&mut outbox, 1, b"one") && push(&mut outbox, 2, b""));
        let (first, second) = outbox.unsent().split_at(OVERHEAD + 3);
        assert_eq!((&first[HEADER_LEN..][..3], second.len()), (&b"one"[..], OVERHEAD));
        for (number, frame) in [(1, first), (2, second)] {
            assert_eq!(Header::parse(frame), Some(Header::new(Kind::Close, number)));
            let len = (frame.len() - PREFIX_LEN) as u16;
            assert_eq!(Prefix::parse(frame), Ok(Some(Prefix { len, record: Record::Plain })));
            let (body, crc) = frame.split_at(frame.len() - 4);
            assert_eq!(crc, crc32c(body).to_le_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut outbox = Outbox::new([0; 64]);
        assert_eq!(outbox.room(&records()), Some(48));
        assert!(push(&mut outbox, 1, &[1; 30]));
        assert_eq!(outbox.room(&records()), Some(2));
        assert!(!push(&mut outbox, 2, &[2; 3]));
        assert_eq!(outbox.unsent().len(), OVERHEAD + 30);
        assert!(push(&mut outbox, 2, &[2; 2]));
        assert_eq!(outbox.room(&records()), None);
        assert!(!push(&mut outbox, 3, &[]));
        assert!(outbox.payload_mut(1, &records()).is_empty());
        assert_eq!(outbox.unsent().len(), 64);
    }

    #[test]
    fn room_comes_back_when_all_is_sent() {
        let mut outbox = Outbox::new([0; 64]);
        assert!(push(&mut outbox, 1, &[7; 48]));
        outbox.advance(60);
        assert_eq!(outbox.unsent().len(), 4);
        assert_eq!(outbox.room(&records()), None);
        outbox.advance(0);
        outbox.advance(100);
        assert!(outbox.is_empty() && outbox.unsent().is_empty());
        assert_eq!(outbox.room(&records()), Some(48));
    }

    #[test]
    fn a_payload_is_built_where_it_is_sent_from() {
        let mut outbox = Outbox::new([0; 64]);
        assert!(push(&mut outbox, 1, b""));
        outbox.payload_mut(5, &records()).copy_from_slice(b"chunk");
        let header = Header { kind: Kind::Data, request: 2, index: 3 };
        assert!(outbox.finish(header, 4, &mut records()));
        let frame = &outbox.unsent()[OVERHEAD..];
        assert_eq!(Header::parse(frame), Some(header));
        assert_eq!(&frame[HEADER_LEN..frame.len() - 4], b"chun");
        // A payload is never longer than there is room for.
        assert_eq!(outbox.payload_mut(999, &records()).len(), 64 - 3 * OVERHEAD - 4);
    }

    #[test]
    fn records_of_the_handshake_go_as_they_are() {
        let mut outbox = Outbox::new([0; 16]);
        bytes::copy(outbox.record_mut(), b"abc");
        outbox.finish_record(3);
        assert_eq!(outbox.unsent(), [3, 0, 1, 0, b'a', b'b', b'c']);
        assert_eq!(outbox.record_mut().len(), 5);
        outbox.finish_record(6);
        assert_eq!(outbox.unsent().len(), 7);
    }
}
