//! Outgoing bytes.
//!
//! ```text
//! 0       sent             end                       len
//! | sent   | frames to send | the next frame goes here |
//! ```
//! A frame is built where it is sent from: its payload is read or encoded in place, then header
//! and trailer are put around it.

use crate::bytes;
use crate::secure::Records;
use crate::wire::{HEADER_LEN, Header, PREFIX_LEN};

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
    pub(crate) fn room(&self, records: &Records) -> Option<usize> {
        self.buf.as_ref().len().checked_sub(self.end + HEADER_LEN + records.trailer_len())
    }

    /// Where the payload of the next frame goes: at most `len` bytes.
    pub(crate) fn payload_mut(&mut self, len: usize, records: &Records) -> &mut [u8] {
        let len = self.room(records).unwrap_or(0).min(len);
        let at = self.end.saturating_add(HEADER_LEN);
        bytes::part_mut(self.buf.as_mut(), at, at.saturating_add(len))
    }

    /// The next frame has the first `len` bytes of its payload in place: it is to be sent.
    pub(crate) fn finish(&mut self, header: Header, len: usize, records: &mut Records) {
        let end = self.end + HEADER_LEN + len + records.trailer_len();
        let frame = bytes::part_mut(self.buf.as_mut(), self.end, end);
        if !frame.is_empty() {
            header.emit(frame);
            records.seal(frame);
            self.end = end;
        }
    }

    /// Queues a frame whose payload `encode` writes; false where it does not fit.
    pub(crate) fn push(
        &mut self,
        header: Header,
        records: &mut Records,
        encode: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let Some(room) = self.room(records) else { return false };
        match encode(self.payload_mut(room, records)) {
            Some(len) => {
                self.finish(header, len, records);
                true
            }
            None => false,
        }
    }

    /// Queues bytes as they are: a record of the first flight, prefix included.
    pub(crate) fn push_raw(&mut self, prefix: crate::wire::Prefix, body: &[u8]) -> bool {
        let end = self.end + PREFIX_LEN + body.len();
        let record = bytes::part_mut(self.buf.as_mut(), self.end, end);
        if record.is_empty() {
            return false;
        }
        prefix.emit(record);
        bytes::copy(record.get_mut(PREFIX_LEN..).unwrap_or(&mut []), body);
        self.end = end;
        true
    }
}
