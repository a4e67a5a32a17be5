//! Incoming bytes.
//!
//! ```text
//! 0         head            open            tail        len
//! | consumed | opened frames | bytes so far  | free       |
//! ```
//! `head <= open <= tail <= len`. The frames before `open` are whole and their protection is
//! verified; they wait to be consumed in order. A session looks at each frame when it is opened,
//! so it can act on a signal that arrived behind requests whose turn has not come.

use crate::bytes;
use crate::wire::{Code, HEADER_LEN, Header, Kind, PREFIX_LEN, Prefix, Record};

/// A whole frame whose protection is not yet verified.
#[derive(Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) record: Record,
    /// Prefix, header, payload and trailer.
    pub(crate) frame: &'a mut [u8],
}

/// The first opened frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Front<'a> {
    pub(crate) header: Header,
    /// Whether it is a request that was stopped before its turn came.
    pub(crate) stopped: bool,
    pub(crate) payload: &'a [u8],
}

/// The kind byte of a frame that was acted on when it arrived.
const TAKEN: u8 = 0;
/// The flags byte of a request that was stopped. No frame comes with flags: see [`Header::parse`].
const STOPPED: u8 = 1;
const KIND_AT: usize = PREFIX_LEN;
const FLAGS_AT: usize = PREFIX_LEN + 1;

#[derive(Debug)]
pub(crate) struct Deframer<B> {
    buf: B,
    head: usize,
    open: usize,
    tail: usize,
    /// Where the frame that was opened last begins.
    last: usize,
    /// Bytes of the longest frame that may come, prefix and trailer included.
    frame_len_max: usize,
    trailer_len: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Deframer<B> {
    pub(crate) fn new(buf: B, frame_len_max: usize, trailer_len: usize) -> Self {
        Self { buf, head: 0, open: 0, tail: 0, last: 0, frame_len_max, trailer_len }
    }

    /// Where the next bytes go; empty while the buffer is full of frames that wait.
    pub(crate) fn recv_slice(&mut self) -> &mut [u8] {
        if self.head == self.tail {
            self.rebase(0);
        } else if self.head > 0 && self.free() < self.missing() {
            let (head, tail) = (self.head, self.tail);
            bytes::move_to_front(self.buf.as_mut(), head, tail);
            self.rebase(tail.wrapping_sub(head));
        }
        let tail = self.tail;
        self.buf.as_mut().get_mut(tail..).unwrap_or(&mut [])
    }

    /// `n` bytes were written to the beginning of [`recv_slice`](Self::recv_slice).
    pub(crate) fn recv_advance(&mut self, n: usize) {
        self.tail = self.tail.saturating_add(n).min(self.buf.as_ref().len());
    }

    /// Whether more bytes can be taken now.
    pub(crate) fn has_room(&self) -> bool {
        self.head > 0 || self.free() > 0
    }

    /// The next frame to be opened, once it is whole.
    pub(crate) fn next_raw(&mut self) -> Result<Option<Raw<'_>>, Code> {
        let (open, tail) = (self.open, self.tail);
        let Some(prefix) =
            Prefix::parse(bytes::part(self.buf.as_ref(), open, tail)).map_err(|()| Code::Malformed)?
        else {
            return Ok(None);
        };
        let len = PREFIX_LEN + usize::from(prefix.len);
        if len > self.frame_len_max {
            return Err(Code::Malformed);
        }
        let end = open.saturating_add(len);
        if end > tail {
            return Ok(None);
        }
        let frame = bytes::part_mut(self.buf.as_mut(), open, end);
        Ok(Some(Raw { record: prefix.record, frame }))
    }

    /// The handshake record that [`next_raw`](Self::next_raw) gave is done with.
    pub(crate) fn discard_raw(&mut self) {
        self.open = self.open.saturating_add(self.frame_len(self.open)).min(self.tail);
        self.head = self.open;
    }

    /// The frame that [`next_raw`](Self::next_raw) gave is verified: it joins the queue.
    pub(crate) fn open_raw(&mut self) -> Result<Front<'_>, Code> {
        let at = self.open;
        let len = self.frame_len(at);
        if len < HEADER_LEN + self.trailer_len {
            return Err(Code::Malformed);
        }
        self.last = at;
        self.open = at.saturating_add(len).min(self.tail);
        self.frame_at(at).ok_or(Code::Incompatible)
    }

    /// The frame that was opened last was acted on and leaves the queue.
    pub(crate) fn take_opened(&mut self) {
        let last = self.last;
        self.mark(last, KIND_AT, TAKEN);
        self.skip_taken();
    }

    /// The first frame of the queue.
    pub(crate) fn front(&self) -> Option<Front<'_>> {
        if self.head < self.open { self.frame_at(self.head) } else { None }
    }

    /// The first frame of the queue is done with.
    pub(crate) fn pop(&mut self) {
        self.head = self.head.saturating_add(self.frame_len(self.head)).min(self.open);
        self.skip_taken();
    }

    /// Marks the queued request `request` as stopped, if it is there.
    pub(crate) fn stop(&mut self, request: u16) {
        let mut at = self.head;
        while at < self.open {
            if let Some(front) = self.frame_at(at)
                && front.header.kind == Kind::Request
                && front.header.request == request
            {
                self.mark(at, FLAGS_AT, STOPPED);
            }
            at = at.saturating_add(self.frame_len(at));
        }
    }

    fn skip_taken(&mut self) {
        while self.head < self.open
            && self.buf.as_ref().get(self.head.saturating_add(KIND_AT)) == Some(&TAKEN)
        {
            self.head = self.head.saturating_add(self.frame_len(self.head)).min(self.open);
        }
    }

    fn mark(&mut self, frame: usize, offset: usize, mark: u8) {
        if let Some(byte) = self.buf.as_mut().get_mut(frame.saturating_add(offset)) {
            *byte = mark;
        }
    }

    fn frame_at(&self, at: usize) -> Option<Front<'_>> {
        let frame = bytes::part(self.buf.as_ref(), at, at.saturating_add(self.frame_len(at)));
        let mut head = [0; HEADER_LEN];
        bytes::copy(&mut head, frame);
        let [.., flags, _, _, _, _, _, _] = &mut head;
        let stopped = *flags == STOPPED;
        *flags = if stopped { 0 } else { *flags };
        let header = Header::parse(&head)?;
        let end = frame.len().saturating_sub(self.trailer_len);
        Some(Front { header, stopped, payload: bytes::part(frame, HEADER_LEN, end) })
    }

    /// Bytes of the whole frame at `at`, at least a prefix, so that a walk always gets on.
    fn frame_len(&self, at: usize) -> usize {
        let len = bytes::u16_at(self.buf.as_ref(), at).unwrap_or(0);
        PREFIX_LEN + usize::from(len)
    }

    fn free(&self) -> usize {
        self.buf.as_ref().len().saturating_sub(self.tail)
    }

    /// Bytes that the first unopened frame still wants, as far as is known.
    fn missing(&self) -> usize {
        let have = self.tail.saturating_sub(self.open);
        if have < PREFIX_LEN {
            return HEADER_LEN.saturating_sub(have);
        }
        self.frame_len(self.open).saturating_sub(have).max(1)
    }

    /// The `len` bytes from `head` on are now at the beginning.
    fn rebase(&mut self, len: usize) {
        self.open = self.open.saturating_sub(self.head);
        self.last = self.last.saturating_sub(self.head);
        self.tail = len;
        self.head = 0;
    }
}
