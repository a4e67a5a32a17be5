//! Slices without panics.
//!
//! Every index in this crate comes from a peer or from arithmetic on what a peer sent. These
//! helpers turn an impossible range into an empty slice, so that a mistake shows up as a failed
//! check in a test and never as a panic on a device.

/// The part `from..to` of `buf`, empty where that is not inside `buf`.
pub(crate) fn part(buf: &[u8], from: usize, to: usize) -> &[u8] {
    buf.get(from..to).unwrap_or(&[])
}

/// As [`part`], mutable.
pub(crate) fn part_mut(buf: &mut [u8], from: usize, to: usize) -> &mut [u8] {
    buf.get_mut(from..to).unwrap_or(&mut [])
}

/// Copies as much of `from` as fits `to`, and says how much that was.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let n = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}

/// Moves `from..to` of `buf` to its beginning.
pub(crate) fn move_to_front(buf: &mut [u8], from: usize, to: usize) {
    if from > 0 && from < to && to <= buf.len() {
        buf.copy_within(from..to, 0);
    }
}

/// Overwrites `buf`, even where nothing reads it again.
pub(crate) fn wipe(buf: &mut [u8]) {
    buf.fill(0);
    core::hint::black_box(buf);
}

/// A little-endian `u16` at `at`.
pub(crate) fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    let bytes = buf.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*bytes))
}

/// A little-endian `u32` at `at`.
pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    let bytes = buf.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}
