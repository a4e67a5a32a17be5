//! The deframer alone: any bytes in any pieces, looked at whenever, come out as they went in, and never
//! more of them than fit.

#![no_main]

// It is private: what it is made of is taken here as it lies there, and not built again for others.
#[path = "../../../core/src/bytes.rs"]
#[expect(dead_code, reason = "of others")]
mod bytes;
#[path = "../../../core/src/framing/deframer.rs"]
mod deframer;

use std::collections::VecDeque;

use arbitrary::{Result, Unstructured};
use deframer::Deframer;
use kift_core::wire;
use libfuzzer_sys::fuzz_target;
use wire::{HEADER_LEN, Header, Kind, PREFIX_LEN, Prefix, Record};

/// Bytes of the longest frame that may come here.
const LONGEST: usize = 100;

/// A frame that was opened and not popped.
struct Opened {
    frame: Vec<u8>,
    is_stopped: bool,
    is_wiped: bool,
}

/// A deframer, and what it should have.
struct Checked {
    deframer: Deframer<Vec<u8>>,
    len: usize,
    trailer_len: usize,
    /// What it took and did not yet show as a frame.
    unopened: VecDeque<u8>,
    queue: VecDeque<Opened>,
}

fuzz_target!(|input: &[u8]| {
    let mut u = Unstructured::new(input);
    let _ = check(&mut u);
});

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    let len = LONGEST + usize::from(u.arbitrary::<u8>()?);
    let trailer_len = *u.choose(&[4, 16])?;
    let deframer = Deframer::new(vec![0; len], LONGEST, trailer_len);
    let (unopened, queue) = (VecDeque::new(), VecDeque::new());
    let mut checked = Checked { deframer, len, trailer_len, unopened, queue };
    let mut is_sound = true;
    while is_sound && !u.is_empty() {
        match u.int_in_range(0..=7)? {
            0 | 1 => checked.give(u)?,
            2..=4 => is_sound = checked.open(u)?,
            5 => checked.pop(),
            6 => checked.stop(u.arbitrary::<u8>()?.into()),
            _ => checked.wipe(),
        }
        checked.check();
    }
    Ok(())
}

impl Checked {
    fn give(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let n = usize::from(u.arbitrary::<u8>()?).min(u.len());
        let waiting = self.waiting();
        let has_room = self.deframer.has_room();
        let slice = self.deframer.recv_slice();
        assert!(slice.len() + waiting <= self.len, "more than fits");
        assert!(has_room || slice.is_empty());
        let n = n.min(slice.len());
        let bytes = u.bytes(n)?;
        slice[..n].copy_from_slice(bytes);
        self.deframer.recv_advance(n);
        self.unopened.extend(bytes);
        Ok(())
    }

    /// Opens the next frame; false where there never will be one.
    fn open(&mut self, u: &mut Unstructured<'_>) -> Result<bool> {
        let raw = match self.deframer.next_raw() {
            Err(_) => return Ok(false),
            Ok(None) => {
                self.check_unfinished();
                return Ok(true);
            }
            Ok(Some(raw)) => raw,
        };
        let (record, frame) = (raw.record, raw.frame.to_vec());
        assert!(frame.len() <= LONGEST);
        let given: Vec<u8> = self.unopened.drain(..frame.len()).collect();
        assert!(frame == given, "not what came");
        let prefix = Prefix { len: (frame.len() - PREFIX_LEN) as u16, record };
        assert_eq!(Prefix::parse(&frame), Ok(Some(prefix)));
        // A handshake is over before there are frames.
        if record == Record::Handshake && self.queue.is_empty() {
            self.deframer.discard_raw();
            return Ok(true);
        }
        let Ok(front) = self.deframer.open_raw() else { return Ok(false) };
        let mut again = frame[..HEADER_LEN].to_vec();
        front.header.emit(&mut again);
        assert!(!front.stopped && frame[..HEADER_LEN] == again);
        assert!(front.payload == &frame[HEADER_LEN..frame.len() - self.trailer_len]);
        if u.arbitrary()? {
            self.deframer.take_opened();
        } else {
            self.queue.push_back(Opened { frame, is_stopped: false, is_wiped: false });
        }
        Ok(true)
    }

    /// What is not whole could still become so.
    fn check_unfinished(&self) {
        let len = match self.unopened.iter().copied().collect::<Vec<_>>()[..] {
            [a, b, ..] => PREFIX_LEN + usize::from(u16::from_le_bytes([a, b])),
            _ => PREFIX_LEN,
        };
        assert!(self.unopened.len() < len.max(PREFIX_LEN), "a whole frame is not shown");
    }

    fn pop(&mut self) {
        if self.queue.pop_front().is_some() {
            self.deframer.pop();
        }
    }

    fn stop(&mut self, request: u16) {
        self.deframer.stop(request);
        for opened in &mut self.queue {
            let header = Header::parse(&opened.frame).expect("opened");
            opened.is_stopped |= header.kind == Kind::Request && header.request == request;
        }
    }

    fn wipe(&mut self) {
        self.deframer.wipe();
        if let Some(front) = self.queue.front_mut() {
            front.is_wiped = true;
        }
    }

    /// The first frame of the queue is the one that it should be.
    fn check(&self) {
        let front = self.deframer.front();
        assert_eq!(front.is_some(), !self.queue.is_empty());
        let (Some(front), Some(Opened { frame, is_stopped, is_wiped })) =
            (front, self.queue.front())
        else {
            return;
        };
        assert_eq!(Some(front.header), Header::parse(frame));
        assert_eq!(front.stopped, *is_stopped);
        let payload = &frame[HEADER_LEN..frame.len() - self.trailer_len];
        let is_wiped = *is_wiped && front.payload.iter().all(|byte| *byte == 0);
        assert!(front.payload == payload || is_wiped && front.payload.len() == payload.len());
    }

    fn waiting(&self) -> usize {
        self.unopened.len() + self.queue.iter().map(|opened| opened.frame.len()).sum::<usize>()
    }
}
