//! Which blocks of data are taken.

use super::BLOCKS_MAX;
use super::record::{EXTENTS_MAX, Extent, Extents};

/// A bit a block, and where to look for the next one, so that all wear alike.
#[derive(Debug)]
pub(super) struct Space {
    taken: [u32; BLOCKS_MAX / 32],
    /// Blocks that there are.
    blocks: u16,
    free: u16,
    next: u16,
}

impl Space {
    /// `blocks` blocks, none of them taken.
    pub(super) const fn new(blocks: u16) -> Self {
        Self { taken: [0; BLOCKS_MAX / 32], blocks, free: blocks, next: 0 }
    }

    /// The first search begins somewhere that `seed` decides.
    pub(super) fn begin_at(&mut self, seed: u32) {
        self.next = (seed % u32::from(self.blocks.max(1))) as u16;
    }

    /// Blocks that there are.
    pub(super) const fn blocks(&self) -> u16 {
        self.blocks
    }

    /// Blocks that are not taken.
    pub(super) const fn free(&self) -> u16 {
        self.free
    }

    fn is_taken(&self, block: u16) -> bool {
        let word = self.taken.get(usize::from(block / 32)).copied().unwrap_or(u32::MAX);
        block >= self.blocks || word >> (block % 32) & 1 == 1
    }

    /// Takes a block, and says whether it was free.
    fn take(&mut self, block: u16) -> bool {
        if self.is_taken(block) {
            return false;
        }
        if let Some(word) = self.taken.get_mut(usize::from(block / 32)) {
            *word |= 1 << (block % 32);
            self.free = self.free.saturating_sub(1);
        }
        true
    }

    /// Takes all blocks of a rest, if they are free and blocks at all, and says whether they were.
    pub(super) fn take_if_free(&mut self, extents: &[Extent]) -> bool {
        blocks_of(extents).all(|block| !self.is_taken(block)) && self.take_all(extents)
    }

    /// Takes all blocks of a file, and says whether they were free and are blocks at all.
    pub(super) fn take_all(&mut self, extents: &[Extent]) -> bool {
        blocks_of(extents).all(|block| self.take(block))
    }

    /// Gives back all blocks of a file.
    pub(super) fn give_back(&mut self, extents: &[Extent]) {
        for block in blocks_of(extents) {
            if self.is_taken(block)
                && let Some(word) = self.taken.get_mut(usize::from(block / 32))
            {
                *word &= !(1 << (block % 32));
                self.free = self.free.saturating_add(1);
            }
        }
    }

    /// Takes up to `wanted` blocks more for a file that has `extents`, appends them, and says how
    /// many: those behind its last one, or else the first of a run that holds all that it wants, or
    /// of the longest run. 0 where no block is free, or where a file can have no further run.
    pub(super) fn claim(&mut self, extents: &mut Extents, wanted: u16) -> u16 {
        let mut claimed = 0;
        if let Some(last) = extents.last_mut() {
            while claimed < wanted && self.take(last.start.saturating_add(last.len)) {
                last.len = last.len.saturating_add(1);
                claimed += 1;
            }
        }
        if claimed > 0 || extents.is_full() {
            return claimed;
        }
        let Some(run) = self.find_run(wanted) else { return 0 };
        while claimed < wanted && self.take(run.start.saturating_add(claimed)) {
            claimed += 1;
        }
        self.next = run.start.saturating_add(claimed);
        // There is room: it was asked above.
        let _ = extents.push(Extent { start: run.start, len: claimed });
        claimed
    }

    /// Gives back what `extents` have beyond the first `blocks` blocks.
    pub(super) fn truncate(&mut self, extents: &mut Extents, blocks: u16) {
        let mut left = blocks;
        for extent in extents.iter_mut() {
            let kept = extent.len.min(left);
            let start = extent.start.saturating_add(kept);
            self.give_back(&[Extent { start, len: extent.len.saturating_sub(kept) }]);
            extent.len = kept;
            left = left.saturating_sub(kept);
        }
        extents.retain(|extent| extent.len > 0);
    }

    /// Blocks of the largest file that could be stored now: the longest runs together.
    pub(super) fn largest(&self) -> u16 {
        let mut longest = [0_u16; EXTENTS_MAX];
        for run in self.runs(0) {
            if let Some(least) = longest.iter_mut().min()
                && *least < run.len
            {
                *least = run.len;
            }
        }
        longest.iter().fold(0, |sum, len| sum.saturating_add(*len))
    }

    /// The first run from `next` on that holds `wanted` blocks, or else the longest.
    fn find_run(&self, wanted: u16) -> Option<Extent> {
        let mut longest: Option<Extent> = None;
        for run in self.runs(self.next).chain(self.runs(0)) {
            if run.len >= wanted {
                return Some(run);
            }
            if longest.is_none_or(|longest| longest.len < run.len) {
                longest = Some(run);
            }
        }
        longest
    }

    /// The runs of free blocks from `from` on.
    fn runs(&self, from: u16) -> impl Iterator<Item = Extent> {
        let mut at = from;
        core::iter::from_fn(move || {
            let start = (at..self.blocks).find(|block| !self.is_taken(*block))?;
            let end = (start..self.blocks).find(|block| self.is_taken(*block));
            at = end.unwrap_or(self.blocks);
            Some(Extent { start, len: at.saturating_sub(start) })
        })
    }
}

/// Blocks of a file.
pub(super) fn count(extents: &[Extent]) -> u16 {
    extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.len))
}

/// The first `blocks` blocks of a file.
pub(super) fn head(extents: &Extents, blocks: u16) -> Extents {
    let (mut head, mut left) = (extents.clone(), blocks);
    for extent in &mut head {
        extent.len = extent.len.min(left);
        left = left.saturating_sub(extent.len);
    }
    head.retain(|extent| extent.len > 0);
    head
}

/// The blocks of a file, in order.
pub(super) fn blocks_of(extents: &[Extent]) -> impl Iterator<Item = u16> {
    extents.iter().flat_map(|extent| (0..extent.len).map(|n| extent.start.saturating_add(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u16, len: u16) -> Extent {
        Extent { start, len }
    }

    #[test]
    fn a_file_gets_a_run_that_holds_it() {
        let mut space = Space::new(100);
        assert!(space.take_all(&[extent(0, 3), extent(5, 10)]));
        let mut extents = Extents::new();
        assert_eq!(space.claim(&mut extents, 4), 4);
        assert_eq!(extents.as_slice(), [extent(15, 4)]);
        assert_eq!(space.free(), 100 - 17);
    }

    #[test]
    fn the_search_goes_round() {
        let mut space = Space::new(10);
        space.begin_at(8);
        let mut extents = Extents::new();
        assert_eq!(space.claim(&mut extents, 2), 2);
        assert_eq!(extents.as_slice(), [extent(8, 2)]);
        let mut other = Extents::new();
        assert_eq!(space.claim(&mut other, 1), 1);
        assert_eq!(other.as_slice(), [extent(0, 1)]);
    }

    #[test]
    fn files_that_grow_at_once_do_not_cut_each_other_up() {
        let mut space = Space::new(1000);
        let (mut one, mut other) = (Extents::new(), Extents::new());
        for _ in 0..EXTENTS_MAX {
            assert!(space.claim(&mut one, 16) > 0 && space.claim(&mut other, 16) > 0);
        }
        assert_eq!(space.free(), 1000 - 2 * 16 * EXTENTS_MAX as u16);
    }

    #[test]
    fn what_is_not_needed_is_given_back() {
        let mut space = Space::new(40);
        let mut extents =
            Extents::from_slice(&[extent(0, 4), extent(8, 4), extent(20, 4)]).unwrap();
        assert!(space.take_all(&extents));
        space.truncate(&mut extents, 6);
        assert_eq!((extents.as_slice(), space.free()), (&[extent(0, 4), extent(8, 2)][..], 34));
        space.truncate(&mut extents, 4);
        assert_eq!((extents.as_slice(), space.free()), (&[extent(0, 4)][..], 36));
        space.truncate(&mut extents, 0);
        assert_eq!((extents.as_slice(), space.free()), (&[][..], 40));
    }

    #[test]
    fn a_fragmented_flash_says_what_it_can_hold() {
        let mut space = Space::new(200);
        for block in (0..200).step_by(2) {
            assert!(space.take(block));
        }
        assert_eq!((space.free(), space.largest()), (100, EXTENTS_MAX as u16));
        let mut extents = Extents::new();
        for _ in 0..EXTENTS_MAX {
            assert_eq!(space.claim(&mut extents, 20), 1);
        }
        assert_eq!(space.claim(&mut extents, 1), 0);
        space.give_back(&extents);
        assert_eq!(space.free(), 100);
    }

    #[test]
    fn blocks_that_are_not_there_or_taken_are_not_taken() {
        let mut space = Space::new(40);
        assert!(!space.take_all(&[extent(39, 2)]));
        assert!(!space.take_all(&[extent(39, 1)]));
        assert!(!space.take_all(&[extent(u16::MAX, 1)]));
    }
}
