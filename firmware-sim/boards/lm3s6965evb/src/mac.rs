//! The Ethernet controller.
//!
//! A frame goes through one register, word by word. What was received comes as
//!
//! ```text
//! 0              2            len - 4     len
//! | len, 16 bits | the frame  | sum       |
//! ```
//!
//! and what is sent likewise, without the sum, and with the bytes behind the frame's own header for
//! its length.

use kift_board::{Line, wake_by};
use kift_firmware_sim::net::Frames;

use crate::chip::MAC;

/// The controller's interrupt.
pub(crate) const LINE: Line = Line(42);

/// The bit of STATE and MASK that says that a frame has come.
const RECEIVED: u32 = 1;

/// Bits of RX_CONTROL: on; whatever has a wrong sum is left out; begin empty.
const RX_ON: u32 = 1;
const RX_CHECKED: u32 = 1 << 3;
const RX_RESET: u32 = 1 << 4;

/// Bits of TX_CONTROL: on; short frames are padded; sums are added; both ways at a time.
const TX_ON: u32 = 1 | 1 << 1 | 1 << 2 | 1 << 4;

/// A frame is sent when all of it is there.
const WHOLE: u32 = 0x3f;

/// Bytes of a frame's own header.
const HEADER_LEN: usize = 14;

/// Bytes of the longest frame.
const FRAME_LEN_MAX: usize = 1514;

/// The controller, which is on.
pub(crate) struct Mac(());

impl Mac {
    /// Switches it on, with the address `mac`.
    pub(crate) fn new(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        MAC::RX_CONTROL.write(RX_RESET);
        MAC::ADDRESS_0.write(u32::from_le_bytes([a, b, c, d]));
        MAC::ADDRESS_1.write(u32::from_le_bytes([e, f, 0, 0]));
        MAC::THRESHOLD.write(WHOLE);
        MAC::MASK.write(RECEIVED);
        wake_by(LINE);
        MAC::TX_CONTROL.write(TX_ON);
        MAC::RX_CONTROL.write(RX_ON | RX_CHECKED);
        Self(())
    }
}

impl Frames for Mac {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        // Said before it is looked: what comes behind that wakes the processor again.
        MAC::STATE.write(RECEIVED);
        if MAC::FRAMES.read() == 0 {
            return None;
        }
        let [low, high, first, second] = MAC::DATA.read().to_le_bytes();
        let all = usize::from(u16::from_le_bytes([low, high]));
        let len = all.saturating_sub(6).min(buf.len());
        let mut places = buf.iter_mut().take(len);
        places.by_ref().zip([first, second]).for_each(|(to, from)| *to = from);
        // All of it is taken out, whatever there is room for.
        for _ in 1..all.div_ceil(4) {
            let word = MAC::DATA.read().to_le_bytes();
            places.by_ref().zip(word).for_each(|(to, from)| *to = from);
        }
        Some(len)
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        if !(HEADER_LEN..=FRAME_LEN_MAX).contains(&frame.len()) || MAC::TX_REQUEST.read() != 0 {
            return false;
        }
        let len = (frame.len() - HEADER_LEN) as u16;
        let mut bytes = len.to_le_bytes().into_iter().chain(frame.iter().copied());
        while let Some(first) = bytes.next() {
            let mut next = || bytes.next().unwrap_or(0);
            MAC::DATA.write(u32::from_le_bytes([first, next(), next(), next()]));
        }
        MAC::TX_REQUEST.write(1);
        true
    }
}
