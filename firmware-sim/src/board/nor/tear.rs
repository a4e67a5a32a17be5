//! What programming does to a page, and what is left of a page or block where the power goes.

use crate::board::rng::Rng;

/// Clears the bits that are 0 in `wanted`.
pub(super) fn program_all(stored: &mut [u8], wanted: &[u8]) {
    for (stored, wanted) in stored.iter_mut().zip(wanted) {
        *stored &= wanted;
    }
}

/// As [`program_all`], but the first bit that should be cleared stays.
pub(super) fn program_all_but_one_bit(stored: &mut [u8], wanted: &[u8]) {
    let mut cells = stored.iter_mut().zip(wanted);
    if let Some((stored, wanted)) = cells.find(|(stored, wanted)| **stored & !**wanted != 0) {
        let to_clear = *stored & !wanted;
        *stored &= wanted | (to_clear & to_clear.wrapping_neg());
    }
    for (stored, wanted) in cells {
        *stored &= wanted;
    }
}

/// Clears some of the bits that are 0 in `wanted`.
pub(super) fn program(rng: &mut Rng, stored: &mut [u8], wanted: &[u8]) {
    match rng.below(6) {
        0 => {}
        1 => program_all(stored, wanted),
        2 => {
            for (stored, wanted) in stored.iter_mut().zip(wanted) {
                *stored &= wanted | rng.byte();
            }
        }
        // Bytes in order, as they were clocked in.
        _ => {
            let whole = rng.below(stored.len());
            program_all(&mut stored[..whole], &wanted[..whole]);
            stored[whole] &= wanted[whole] | rng.byte();
        }
    }
}

/// Sets some of the bits of a block, or what else an erase does on its way.
pub(super) fn erase(rng: &mut Rng, block: &mut [u8]) {
    let at = rng.below(block.len());
    match rng.below(8) {
        0 => {}
        1 => block.fill(0xff),
        2 => block[..at].fill(0xff),
        3 => block[at..].fill(0xff),
        // Chips program all bits before they erase any.
        4 => block.fill(0),
        5 => block[..at].fill(0),
        6 => block.iter_mut().filter(|_| rng.below(2) == 0).for_each(|byte| *byte = 0xff),
        _ => block.iter_mut().for_each(|byte| *byte |= rng.byte()),
    }
}
