//! Ethernet frames between smoltcp and a board.

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

#[cfg(feature = "retransmits")]
use super::flows::Flows;

/// The longest Ethernet frame, without its check sequence.
pub const FRAME_LEN: usize = 1514;

/// Segments that a window should have. A sender does not send what is much less than a segment, so
/// that of 4 KiB it leaves 1176 bytes unused where segments have 1460: a third of the rate.
const SEGMENTS: usize = 4;

/// Segments are not made shorter than this for it: a chunk, in bytes.
const SEGMENT_MIN: usize = 1024;

/// Bytes of the headers of a segment: Ethernet, IPv4, TCP.
const HEADERS_LEN: usize = 14 + 20 + 20;

/// Where Ethernet frames come from and go to: a board's controller, a TAP interface, a pipe.
pub trait Frames {
    /// Puts the next frame that has come into `buf`, and gives its length; `None` where none has.
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize>;

    /// Sends a frame, and says whether it is on its way. One that is not was dropped: TCP will send
    /// it again.
    fn send(&mut self, frame: &[u8]) -> bool;
}

/// What went over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames received.
    pub frames_in: u64,
    /// Bytes of these frames.
    pub bytes_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes of these frames.
    pub bytes_out: u64,
    /// Frames that were to be sent, and were dropped.
    pub dropped: u64,
    /// TCP segments that were sent again.
    #[cfg(feature = "retransmits")]
    pub retransmits: u64,
}

/// Memory for one frame each way.
#[derive(Debug)]
pub(super) struct FrameMemory {
    rx: [u8; FRAME_LEN],
    tx: [u8; FRAME_LEN],
}

impl FrameMemory {
    pub(super) const fn new() -> Self {
        Self { rx: [0; FRAME_LEN], tx: [0; FRAME_LEN] }
    }
}

/// A smoltcp device over any [`Frames`].
#[derive(Debug)]
pub(super) struct Phy<'m, F> {
    rx: &'m mut [u8],
    tx: Tx<'m, F>,
    /// The longest frame that smoltcp makes, or has peers make for TCP.
    frame_len_max: usize,
}

/// The half of a [`Phy`] that sends.
#[derive(Debug)]
struct Tx<'m, F> {
    frames: F,
    buf: &'m mut [u8],
    counters: Counters,
    #[cfg(feature = "retransmits")]
    flows: Flows,
}

impl<'m, F: Frames> Phy<'m, F> {
    /// A device for sockets that hold `buffer` bytes each way.
    pub(super) fn new(memory: &'m mut FrameMemory, frames: F, buffer: usize) -> Self {
        let tx = Tx {
            frames,
            buf: &mut memory.tx,
            counters: Counters::default(),
            #[cfg(feature = "retransmits")]
            flows: Flows::default(),
        };
        let segment = (buffer / SEGMENTS).max(SEGMENT_MIN).min(buffer / 2);
        let frame_len_max = segment.saturating_add(HEADERS_LEN).min(FRAME_LEN);
        Self { rx: &mut memory.rx, tx, frame_len_max }
    }

    pub(super) const fn counters(&self) -> &Counters {
        &self.tx.counters
    }
}

impl<'m, F: Frames> Device for Phy<'m, F> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a, 'm, F>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_, 'm, F>)> {
        let len = self.tx.frames.receive(self.rx)?;
        let frame = self.rx.get(..len)?;
        let counters = &mut self.tx.counters;
        counters.frames_in = counters.frames_in.saturating_add(1);
        counters.bytes_in = counters.bytes_in.saturating_add(len as u64);
        Some((RxToken(frame), TxToken(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_, 'm, F>> {
        Some(TxToken(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.frame_len_max;
        // A limit to bursts would limit the window that peers are told.
        capabilities.max_burst_size = None;
        capabilities
    }
}

/// A frame that has come.
#[derive(Debug)]
pub(super) struct RxToken<'a>(&'a [u8]);

impl phy::RxToken for RxToken<'_> {
    fn consume<R, C: FnOnce(&[u8]) -> R>(self, use_frame: C) -> R {
        use_frame(self.0)
    }
}

/// Room for a frame to be sent.
#[derive(Debug)]
pub(super) struct TxToken<'a, 'm, F>(&'a mut Tx<'m, F>);

impl<F: Frames> phy::TxToken for TxToken<'_, '_, F> {
    fn consume<R, C: FnOnce(&mut [u8]) -> R>(self, len: usize, make_frame: C) -> R {
        let Tx {
            frames,
            buf,
            counters,
            #[cfg(feature = "retransmits")]
            flows,
        } = self.0;
        // smoltcp keeps to the capabilities, so it never asks for more than there is.
        let frame = buf.get_mut(..len).unwrap_or_default();
        let result = make_frame(frame);
        #[cfg(feature = "retransmits")]
        if flows.is_repeat(frame) {
            counters.retransmits = counters.retransmits.saturating_add(1);
        }
        if frames.send(frame) {
            counters.frames_out = counters.frames_out.saturating_add(1);
            counters.bytes_out = counters.bytes_out.saturating_add(frame.len() as u64);
        } else {
            counters.dropped = counters.dropped.saturating_add(1);
        }
        result
    }
}
