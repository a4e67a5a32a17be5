//! A session's two buffers, lent to one session after the other.

use core::cell::{RefCell, RefMut};

/// Bytes of a frame of one chunk: the least that a session takes.
pub(super) const FRAME_LEN: usize = 1052;

/// The frame buffers of a session.
#[derive(Debug)]
pub struct Frames([RefCell<[u8; FRAME_LEN]>; 2]);

/// A frame buffer while a session has it.
#[derive(Debug)]
pub struct Frame<'m>(RefMut<'m, [u8; FRAME_LEN]>);

impl Frames {
    /// For a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { RefCell::new([0; FRAME_LEN]) }; 2])
    }

    /// The buffers to receive and to send with; none while an earlier session has them.
    #[must_use]
    pub fn lend(&self) -> Option<(Frame<'_>, Frame<'_>)> {
        let [rx, tx] = &self.0;
        Some((Frame(rx.try_borrow_mut().ok()?), Frame(tx.try_borrow_mut().ok()?)))
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<[u8]> for Frame<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0[..]
    }
}

impl AsMut<[u8]> for Frame<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0[..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_lent_to_one_at_a_time() {
        let frames = Frames::new();
        let lent = frames.lend();
        assert!(lent.is_some() && frames.lend().is_none());
        drop(lent);
        assert!(frames.lend().is_some());
    }
}
