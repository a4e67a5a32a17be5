//! The wire as the device has it: shared with the board, which looks at it while it works.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chip::Chip;
use crate::board::link::Link;
use crate::board::pcap::Pcap;
use crate::board::tap::Tap;
use crate::net::Frames;

/// The model of the wire, recorded as the device sees it.
pub(super) type Cable = Pcap<Link<Tap>>;

/// The device's end of a wire, which its lives have one after the other. While the power is off
/// nothing goes through it.
#[derive(Debug, Clone)]
pub(super) struct Plug {
    cable: Arc<Mutex<Option<Cable>>>,
    chip: Chip,
}

impl Plug {
    pub(super) fn new(cable: Cable, chip: Chip) -> Self {
        Self { cable: Arc::new(Mutex::new(Some(cable))), chip }
    }

    /// The wire, until somebody takes it out.
    pub(super) fn cable(&self) -> MutexGuard<'_, Option<Cable>> {
        self.cable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frames for Plug {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        let len = self.cable().as_mut()?.receive(buf)?;
        (!self.chip.is_off()).then_some(len)
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        !self.chip.is_off() && self.cable().as_mut().is_some_and(|cable| cable.send(frame))
    }
}
