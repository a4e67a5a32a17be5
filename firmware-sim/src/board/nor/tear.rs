//! What programming does to a page, and what is left of a page or block where the power goes.

/// SplitMix64: the same seed tears in the same way.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    const fn byte(&mut self) -> u8 {
        self.bits() as u8
    }

    const fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// Makes `bytes` anything.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.bits().to_le_bytes()[..part.len()]);
        }
    }
}

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
