//! How fast something goes, over the last seconds.

use std::sync::atomic::{AtomicU64, Ordering};

/// Seconds that are looked back on, beside the one that runs.
const SECONDS: u64 = 3;

/// Cells in the ring: one for each such second, and one for that which runs.
const CELLS: usize = SECONDS as usize + 1;

/// Bits of a cell that count bytes: a terabyte a second. Those above say which second it is.
const COUNT_BITS: u32 = 40;

/// Bytes in each of the last seconds. One thread adds; any reads, and may miss what is being added.
#[derive(Debug, Default)]
pub(super) struct Pace([AtomicU64; CELLS]);

impl Pace {
    /// `bytes` more went at `ms` milliseconds.
    pub(super) fn add(&self, ms: u64, bytes: u64) {
        let second = ms / 1000;
        let cell = &self.0[second as usize % CELLS];
        let held = cell.load(Ordering::Relaxed);
        let (of, count) = split(held);
        let count = if of == second { count + bytes } else { bytes };
        let count = count.min((1 << COUNT_BITS) - 1);
        cell.store(second << COUNT_BITS | count, Ordering::Relaxed);
    }

    /// Bytes a second over the last seconds before `ms`, of something that began at `began` ms.
    pub(super) fn rate(&self, ms: u64, began: u64) -> u64 {
        let first = (ms / 1000).saturating_sub(SECONDS);
        let bytes: u64 = (self.0.iter())
            .map(|cell| split(cell.load(Ordering::Relaxed)))
            .filter(|(second, _)| (first..=ms / 1000).contains(second))
            .map(|(_, count)| count)
            .sum();
        let span = ms.saturating_sub(began.max(first * 1000)).max(1);
        bytes.saturating_mul(1000) / span
    }

    /// Something else begins.
    pub(super) fn reset(&self) {
        self.0.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
    }
}

const fn split(cell: u64) -> (u64, u64) {
    (cell >> COUNT_BITS, cell & ((1 << COUNT_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_pace_is_its_rate() {
        let pace = Pace::default();
        for ms in 5_000..12_345 {
            pace.add(ms, 7);
        }
        assert_eq!(pace.rate(12_345, 5_000), 7_000);
    }

    #[test]
    fn what_has_just_begun_is_not_spread_over_seconds_before() {
        let pace = Pace::default();
        pace.add(10_100, 500);
        assert_eq!(pace.rate(10_500, 10_000), 1_000);
    }

    #[test]
    fn what_stands_still_has_no_rate() {
        let pace = Pace::default();
        pace.add(1_000, 1 << 20);
        assert_eq!(pace.rate(9_000, 0), 0);
        pace.add(9_000, 10);
        pace.reset();
        assert_eq!(pace.rate(9_500, 9_000), 0);
    }
}
