//! The Ethernet controller.

use kift_board::{Line, wake_by};
use kift_firmware_sim::net::Frames;

use crate::chip::{self, EMAC, Received};

/// The controller's interrupt.
pub(crate) const LINE: Line = Line(12);

/// Bits of CFG1.
const TX_ON: u32 = 1;
const RX_ON: u32 = 1 << 2;

/// Full duplex, check sequences added, short frames padded, and a preamble of seven bytes, on a bus
/// of eight bits.
const CFG2: u32 = 0x7207;

/// In the state of reception: a frame was received; there was no place for one.
const FRAME: u32 = 1;
const OVERFLOW: u32 = 1 << 2;

/// The controller, which is on.
pub(crate) struct Emac {
    received: Received,
}

impl Emac {
    /// Switches it on, with the address `mac`.
    pub(crate) fn new(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        EMAC::CFG1.write(0);
        EMAC::CFG2.write(CFG2);
        EMAC::MAX_FRAME.write(PLACE_LEN);
        EMAC::STA1.write(u32::from_be_bytes([a, b, c, d]));
        EMAC::STA2.write(u32::from_be_bytes([e, f, 0, 0]));
        let received = Received::begin();
        // What is received is in bits 4 to 7 there.
        EMAC::DMA_IRQ_MASK.write((FRAME | OVERFLOW) << 4);
        wake_by(LINE);
        EMAC::CFG1.write(TX_ON | RX_ON);
        Self { received }
    }
}

/// The longest frame that is let in.
const PLACE_LEN: u32 = 1536;

impl Frames for Emac {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        let len = self.received.take(buf)?;
        // One less is counted as waiting.
        EMAC::DMA_RX_STATUS.write(FRAME | OVERFLOW);
        Some(len)
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        chip::transmit(frame)
    }
}
