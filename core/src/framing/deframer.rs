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

/// The flags byte of a request that was stopped. No frame comes with flags: see [`Header::parse`].
const STOPPED: u8 = 1;
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
        let Some(prefix) = Prefix::parse(bytes::part(self.buf.as_ref(), open, tail))
            .map_err(|()| Code::Malformed)?
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
        let end = at.saturating_add(len).min(self.tail);
        // A mark of ours is no flag that a peer may set.
        Header::parse(bytes::part(self.buf.as_ref(), at, end)).ok_or(Code::Incompatible)?;
        self.last = at;
        self.open = end;
        self.frame_at(at).ok_or(Code::Incompatible)
    }

    /// The frame that was opened last was acted on and leaves the queue. Its room is free at once,
    /// even where frames before it wait: else the grants of a long download would fill the buffer
    /// behind a request whose turn comes after it.
    pub(crate) fn take_opened(&mut self) {
        if self.head == self.last {
            self.head = self.open;
            return;
        }
        let len = self.open.saturating_sub(self.last);
        let rest = bytes::part_mut(self.buf.as_mut(), self.last, self.tail);
        let end = rest.len();
        bytes::move_to_front(rest, len, end);
        self.tail = self.tail.saturating_sub(len);
        self.open = self.last;
    }

    /// The first frame of the queue.
    pub(crate) fn front(&self) -> Option<Front<'_>> {
        if self.head < self.open { self.frame_at(self.head) } else { None }
    }

    /// The first frame of the queue is done with.
    pub(crate) fn pop(&mut self) {
        self.head = self.head.saturating_add(self.frame_len(self.head)).min(self.open);
    }

    /// Overwrites the payload of the first frame, and what moving it about has left behind it.
    pub(crate) fn wipe(&mut self) {
        let payload = self.head.saturating_add(HEADER_LEN);
        let end = self.head.saturating_add(self.frame_len(self.head)).min(self.open);
        let (tail, len) = (self.tail, self.buf.as_ref().len());
        for (from, to) in [(payload, end), (tail, len)] {
            bytes::wipe(bytes::part_mut(self.buf.as_mut(), from, to));
        }
    }

    /// Marks the queued request `request` as stopped, if it is there.
    pub(crate) fn stop(&mut self, request: u16) {
        let mut at = self.head;
        while at < self.open {
            if let Some(front) = self.frame_at(at)
                && front.header.kind == Kind::Request
                && front.header.request == request
            {
                let flags = self.buf.as_mut().get_mut(at.saturating_add(FLAGS_AT));
                flags.into_iter().for_each(|flags| *flags = STOPPED);
            }
            at = at.saturating_add(self.frame_len(at));
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

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    const TRAILER: usize = 4;
    const LONGEST: usize = 64;

    /// A frame as it travels; nothing here looks at its trailer.
    fn frame(kind: Kind, request: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = std::vec![0; HEADER_LEN];
        let len = (HEADER_LEN - PREFIX_LEN + payload.len() + TRAILER) as u16;
        Prefix { len, record: Record::Plain }.emit(&mut frame);
        Header::new(kind, request).emit(&mut frame);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&[0xee; TRAILER]);
        frame
    }

    fn deframer(len: usize) -> Deframer<Vec<u8>> {
        Deframer::new(std::vec![0; len], LONGEST, TRAILER)
    }

    /// Gives as many of `bytes` as fit, and says how many those were.
    fn give(deframer: &mut Deframer<Vec<u8>>, bytes: &[u8]) -> usize {
        let n = bytes::copy(deframer.recv_slice(), bytes);
        deframer.recv_advance(n);
        n
    }

    /// Opens the next frame if it is whole: its kind and request.
    fn open(deframer: &mut Deframer<Vec<u8>>) -> Result<Option<(Kind, u16)>, Code> {
        if deframer.next_raw()?.is_none() {
            return Ok(None);
        }
        deframer.open_raw().map(|front| Some((front.header.kind, front.header.request)))
    }

    /// The request and the payload of the first frame, which is then done with.
    fn take(deframer: &mut Deframer<Vec<u8>>) -> Option<(u16, Vec<u8>)> {
        let front = deframer.front()?;
        let taken = (front.header.request, front.payload.to_vec());
        deframer.pop();
        Some(taken)
    }

    #[test]
    fn one_byte_at_a_time() {
        let mut deframer = deframer(LONGEST);
        for round in 0..5 {
            let bytes = frame(Kind::Data, round, &[round as u8; 30]);
            for (n, byte) in bytes.iter().enumerate() {
                assert_eq!(open(&mut deframer), Ok(None), "after {n} bytes");
                assert!(deframer.front().is_none());
                assert_eq!(give(&mut deframer, &[*byte]), 1);
            }
            assert_eq!(open(&mut deframer), Ok(Some((Kind::Data, round))));
            assert_eq!(take(&mut deframer), Some((round, std::vec![round as u8; 30])));
            assert!(deframer.front().is_none());
        }
    }

    #[test]
    fn several_at_once_wait_in_order() {
        let mut deframer = deframer(100);
        let all =
            [frame(Kind::Request, 1, b"a"), frame(Kind::Data, 2, b""), frame(Kind::Close, 3, b"c")];
        assert_eq!(give(&mut deframer, &all.concat()), 50);
        for number in 1..=3 {
            assert_eq!(open(&mut deframer).map(|opened| opened.map(|o| o.1)), Ok(Some(number)));
        }
        assert_eq!(open(&mut deframer), Ok(None));
        assert_eq!(take(&mut deframer), Some((1, b"a".to_vec())));
        assert_eq!(take(&mut deframer), Some((2, b"".to_vec())));
        assert_eq!(take(&mut deframer), Some((3, b"c".to_vec())));
        assert_eq!(take(&mut deframer), None);
    }

    #[test]
    fn what_is_done_with_makes_room() {
        let mut deframer = deframer(LONGEST);
        let (first, second) = (frame(Kind::Data, 1, &[1; 20]), frame(Kind::Data, 2, &[2; 40]));
        assert_eq!(give(&mut deframer, &first), first.len());
        // The second does not fit behind the first, but part of it does.
        let part = give(&mut deframer, &second);
        assert_eq!(part, LONGEST - first.len());
        assert!(deframer.recv_slice().is_empty() && !deframer.has_room());
        assert_eq!(open(&mut deframer), Ok(Some((Kind::Data, 1))));
        assert_eq!(open(&mut deframer), Ok(None));
        assert!(deframer.recv_slice().is_empty());
        assert_eq!(take(&mut deframer), Some((1, std::vec![1; 20])));
        assert!(deframer.has_room());
        assert_eq!(give(&mut deframer, &second[part..]), second.len() - part);
        assert_eq!(open(&mut deframer), Ok(Some((Kind::Data, 2))));
        assert_eq!(take(&mut deframer), Some((2, std::vec![2; 40])));
    }

    #[test]
    fn what_was_acted_on_leaves_from_between() {
        let mut deframer = deframer(LONGEST);
        let waits = frame(Kind::Request, 1, b"waits");
        let signal = frame(Kind::Signal, 0, &[7; 9]);
        assert_eq!(give(&mut deframer, &waits), waits.len());
        assert_eq!(open(&mut deframer), Ok(Some((Kind::Request, 1))));
        // Ten times as many as the buffer holds, each with the beginning of the next behind it.
        let signals = signal.repeat(40);
        let mut given = 0;
        for _ in 0..40 {
            given += give(&mut deframer, &signals[given..]);
            assert_eq!(open(&mut deframer), Ok(Some((Kind::Signal, 0))));
            deframer.take_opened();
            assert_eq!(deframer.front().map(|front| front.header.request), Some(1));
        }
        assert_eq!((given, open(&mut deframer)), (signals.len(), Ok(None)));
        assert_eq!(take(&mut deframer), Some((1, b"waits".to_vec())));
        assert_eq!(take(&mut deframer), None);
    }

    #[test]
    fn a_stop_marks_the_request_that_waits() {
        let mut deframer = deframer(200);
        for number in 1..=3 {
            give(&mut deframer, &frame(Kind::Request, number, b"r"));
            give(&mut deframer, &frame(Kind::Data, number, b"d"));
            assert!(open(&mut deframer).is_ok() && open(&mut deframer).is_ok());
        }
        deframer.stop(2);
        deframer.stop(9);
        for number in 1..=3 {
            let front = deframer.front().expect("opened");
            assert_eq!((front.header.kind, front.stopped), (Kind::Request, number == 2));
            assert_eq!(front.payload, b"r");
            deframer.pop();
            assert!(deframer.front().is_some_and(|data| !data.stopped));
            deframer.pop();
        }
    }

    #[test]
    fn what_is_wiped_leaves_no_copies() {
        let mut deframer = deframer(100);
        let before = [frame(Kind::Data, 1, &[1; 20]), frame(Kind::Signal, 0, &[2; 9])].concat();
        give(&mut deframer, &[before, frame(Kind::Request, 2, b"secret")].concat());
        assert!(open(&mut deframer).is_ok() && open(&mut deframer).is_ok());
        deframer.take_opened();
        assert_eq!(open(&mut deframer), Ok(Some((Kind::Request, 2))));
        assert_eq!(take(&mut deframer), Some((1, std::vec![1; 20])));
        // The next frame is so long that what is there has to move again.
        let next = frame(Kind::Data, 3, &[3; 40]);
        give(&mut deframer, &next[..PREFIX_LEN]);
        assert!(!deframer.recv_slice().is_empty());
        let copies = |buf: &[u8]| buf.windows(6).filter(|part| part == b"secret").count();
        assert!(copies(&deframer.buf) > 1);
        deframer.wipe();
        assert_eq!(copies(&deframer.buf), 0);
        assert_eq!(take(&mut deframer), Some((2, std::vec![0; 6])));
        give(&mut deframer, &next[PREFIX_LEN..]);
        assert_eq!(open(&mut deframer), Ok(Some((Kind::Data, 3))));
        assert_eq!(take(&mut deframer), Some((3, std::vec![3; 40])));
    }

    #[test]
    fn the_mark_of_a_stop_cannot_come_from_outside() {
        for flags in 1..=255 {
            let mut deframer = deframer(LONGEST);
            let mut bytes = frame(Kind::Request, 1, b"r");
            bytes[FLAGS_AT] = flags;
            give(&mut deframer, &bytes);
            assert_eq!(open(&mut deframer), Err(Code::Incompatible));
            assert!(deframer.front().is_none());
        }
    }

    #[test]
    fn lengths_that_cannot_be() {
        let prefix = |len: usize| [len as u8, 0, Record::Plain as u8, 0];
        let mut longest = deframer(LONGEST);
        give(&mut longest, &prefix(LONGEST - PREFIX_LEN));
        assert_eq!(open(&mut longest), Ok(None));
        let mut longer = deframer(LONGEST);
        give(&mut longer, &prefix(LONGEST - PREFIX_LEN + 1));
        assert_eq!(open(&mut longer), Err(Code::Malformed));
        for len in 0..HEADER_LEN + TRAILER - PREFIX_LEN {
            let mut shorter = deframer(LONGEST);
            give(&mut shorter, &prefix(len));
            give(&mut shorter, &[0; LONGEST - PREFIX_LEN]);
            assert_eq!(open(&mut shorter), Err(Code::Malformed), "{len}");
        }
    }

    #[test]
    fn records_of_the_first_flight_are_discarded_whole() {
        let mut deframer = deframer(LONGEST);
        let mut bytes = std::vec![3, 0, Record::Handshake as u8, 0, 1, 2, 3];
        bytes.extend(frame(Kind::Request, 1, b"next"));
        give(&mut deframer, &bytes);
        let raw = deframer.next_raw().expect("legal").expect("whole");
        assert_eq!((raw.record, &raw.frame[PREFIX_LEN..]), (Record::Handshake, &[1, 2, 3][..]));
        deframer.discard_raw();
        assert_eq!(open(&mut deframer), Ok(Some((Kind::Request, 1))));
        assert_eq!(take(&mut deframer), Some((1, b"next".to_vec())));
    }

    /// Any frames, in any pieces, looked at at any time, come out as they went in.
    #[test]
    fn any_pieces_in_any_buffer() {
        let mut seed = 1_u32;
        let mut below = |end: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % end
        };
        for round in 0..300 {
            let mut deframer = deframer(LONGEST + below(100));
            let (mut stream, mut queued, mut signals) = (Vec::new(), Vec::new(), Vec::new());
            for number in 0..60_u16 {
                let payload = std::vec![number as u8; below(LONGEST - HEADER_LEN - TRAILER + 1)];
                let is_signal = below(3) == 0;
                let kind = if is_signal { Kind::Signal } else { Kind::Data };
                stream.extend(frame(kind, number, &payload));
                if is_signal {
                    signals.push(number);
                } else {
                    queued.push((number, payload));
                }
            }
            let (mut given, mut taken, mut signalled) = (0, Vec::new(), Vec::new());
            while taken.len() + signalled.len() < 60 {
                let piece = given + (below(90) + 1).min(stream.len() - given);
                given += give(&mut deframer, &stream[given..piece]);
                while let Some((kind, number)) = open(&mut deframer).expect("legal") {
                    if kind == Kind::Signal {
                        deframer.take_opened();
                        signalled.push(number);
                    }
                }
                for _ in 0..below(4) {
                    taken.extend(take(&mut deframer));
                }
            }
            assert_eq!((taken, signalled), (queued, signals), "round {round}");
        }
    }
}
