//! Sealed frames.
//!
//! ```text
//! 0        4                                12 + n   12 + n + 16
//! | prefix | header, payload: sealed in place | tag |
//! ```

use zeroize::Zeroizing;

use super::cipher::{Cipher, Forged, TAG_LEN};
use crate::wire::{Code, HEADER_LEN, PREFIX_LEN, Prefix, Record};

/// Frames in one direction under one key.
const REKEY_EVERY: u64 = 1 << 20;

/// Both directions of a link.
pub(super) struct Records<C> {
    pub(super) send: Direction<C>,
    pub(super) receive: Direction<C>,
}

impl<C: Cipher> Records<C> {
    pub(super) fn new(there: C::There, send: &[u8; 32], receive: &[u8; 32]) -> Self {
        Self { send: Direction::new(there, send), receive: Direction::new(there, receive) }
    }

    /// Writes prefix and tag of `frame`, and seals what is between; false where it is too short.
    pub(super) fn seal(&mut self, frame: &mut [u8]) -> bool {
        let len = frame.len().saturating_sub(PREFIX_LEN);
        // Frames are at most FRAME_LEN_MAX long, which fits.
        Prefix { len: len as u16, record: Record::Sealed }.emit(frame);
        let Some((text, tag)) = parts(frame) else { return false };
        *tag = self.send.seal(text);
        true
    }

    /// Opens `frame` in place. The prefix is not sealed: its length decides where the tag is, which
    /// fits nowhere else.
    pub(super) fn open(&mut self, record: Record, frame: &mut [u8]) -> Result<(), Code> {
        if record != Record::Sealed {
            return Err(Code::OutOfOrder);
        }
        let (text, tag) = parts(frame).ok_or(Code::Malformed)?;
        self.receive.open(text, tag).map_err(|Forged| Code::Corrupt)
    }
}

/// What is sealed of a frame, and its tag.
fn parts(frame: &mut [u8]) -> Option<(&mut [u8], &mut [u8; TAG_LEN])> {
    let (text, tag) = frame.get_mut(PREFIX_LEN..)?.split_last_chunk_mut()?;
    (text.len() >= HEADER_LEN - PREFIX_LEN).then_some((text, tag))
}

/// A key, and how many frames it and those before it have sealed.
pub(super) struct Direction<C> {
    cipher: C,
    frames: u64,
}

impl<C: Cipher> Direction<C> {
    fn new(there: C::There, key: &[u8; 32]) -> Self {
        Self { cipher: C::new(there, key), frames: 0 }
    }

    pub(super) fn seal(&mut self, text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = self.next();
        self.cipher.seal(nonce, &[], text)
    }

    pub(super) fn open(&mut self, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        let nonce = self.next();
        self.cipher.open(nonce, &[], text, tag)
    }

    /// The nonce of the next frame, whose turn it may be to have a new key.
    fn next(&mut self) -> u64 {
        let nonce = self.frames;
        if nonce > 0 && nonce.is_multiple_of(REKEY_EVERY) {
            self.rekey();
        }
        // 2^64 frames never come.
        self.frames = nonce.wrapping_add(1);
        nonce
    }

    /// Noise's own: 32 zeros, sealed with the last nonce there is. The counter goes on.
    fn rekey(&mut self) {
        let mut key = Zeroizing::new([0; 32]);
        let _tag = self.cipher.seal(u64::MAX, &[], &mut *key);
        if let Some(there) = C::there() {
            self.cipher = C::new(there, &key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cipher::{AesGcm, ChaChaPoly};
    use super::*;

    const FRAME_LEN: usize = HEADER_LEN + 5 + TAG_LEN;

    fn pair<C: Cipher>() -> [Records<C>; 2] {
        let there = C::there().expect("there");
        [[[1; 32], [2; 32]], [[2; 32], [1; 32]]].map(|[a, b]| Records::new(there, &a, &b))
    }

    /// As many frames later.
    fn skip<C>(direction: &mut Direction<C>, frames: u64) {
        direction.frames = frames;
    }

    /// A frame that `from` sealed.
    fn sealed<C: Cipher>(from: &mut Records<C>) -> [u8; FRAME_LEN] {
        let mut frame = [7; FRAME_LEN];
        assert!(from.seal(&mut frame));
        frame
    }

    fn goes_through<C: Cipher>(from: &mut Records<C>, to: &mut Records<C>) -> bool {
        let mut frame = sealed(from);
        assert_ne!(frame[PREFIX_LEN..][..8], [7; 8]);
        let opened = to.open(Record::Sealed, &mut frame);
        assert!(opened == Err(Code::Corrupt) || frame[PREFIX_LEN..HEADER_LEN + 5] == [7; 13]);
        opened.is_ok()
    }

    #[test]
    fn any_changed_bit_is_found() {
        for bit in 8 * PREFIX_LEN..8 * FRAME_LEN {
            let [mut one, mut other] = pair::<ChaChaPoly>();
            let mut frame = sealed(&mut one);
            frame[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(other.open(Record::Sealed, &mut frame), Err(Code::Corrupt), "bit {bit}");
        }
    }

    #[test]
    fn a_length_that_was_changed_moves_the_tag() {
        for len in 0..FRAME_LEN {
            let [mut one, mut other] = pair::<ChaChaPoly>();
            let mut frame = sealed(&mut one);
            let short = if len < HEADER_LEN + TAG_LEN { Code::Malformed } else { Code::Corrupt };
            assert_eq!(other.open(Record::Sealed, &mut frame[..len]), Err(short), "{len}");
        }
    }

    #[test]
    fn only_sealed_records_are_opened() {
        let [mut one, mut other] = pair::<ChaChaPoly>();
        let mut frame = sealed(&mut one);
        for record in [Record::Plain, Record::Handshake] {
            assert_eq!(other.open(record, &mut frame), Err(Code::OutOfOrder));
        }
    }

    #[test]
    fn replayed_reordered_dropped_and_reflected_frames() {
        let [mut one, mut other] = pair::<AesGcm>();
        let frames = [sealed(&mut one), sealed(&mut one), sealed(&mut one)];
        let mut open = |n: usize| other.open(Record::Sealed, &mut frames[n].clone()).is_ok();
        assert!(open(0) && !open(0));
        let [mut one, mut other] = pair::<AesGcm>();
        let frames = [sealed(&mut one), sealed(&mut one)];
        assert!(other.open(Record::Sealed, &mut frames[1].clone()).is_err());
        assert!(one.open(Record::Sealed, &mut frames[0].clone()).is_err(), "its own");
    }

    /// The boundary, against a frame before, at and behind it, for both keys that could be meant.
    fn new_keys_come_in_step<C: Cipher>() {
        let [mut one, mut other] = pair::<C>();
        for round in 1..=3 {
            let before = round * REKEY_EVERY - 2;
            skip(&mut one.send, before);
            skip(&mut other.receive, before);
            for n in 0..4 {
                assert!(goes_through(&mut one, &mut other), "{n}");
            }
        }
        // The other direction has its own count, and its first key.
        assert!(goes_through(&mut other, &mut one));

        for (at, rekeyed) in [(REKEY_EVERY - 1, false), (REKEY_EVERY, true)] {
            let [mut one, mut other] = pair::<C>();
            skip(&mut one.send, at);
            let mut frame = sealed(&mut one);
            let (text, tag) = parts(&mut frame).expect("long enough");
            // With the first key still, where it is not rekeyed.
            let opened = other.receive.cipher.open(at, &[], text, tag).is_ok();
            assert_eq!(opened, !rekeyed);
        }
    }

    #[test]
    fn rekeying() {
        new_keys_come_in_step::<ChaChaPoly>();
        new_keys_come_in_step::<AesGcm>();
    }
}
