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
    /// `blocks` blocks, none of them taken; the first search begins at `next`.
    pub(super) fn new(blocks: u16, next: u16) -> Self {
        Self { taken: [0; BLOCKS_MAX / 32], blocks, free: blocks, next: next % blocks.max(1) }
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

    /// Takes the next block for a file that has `extents` and wants `wanted` blocks more, and
    /// appends it to them: the block behind its last one, or the first of a run that holds all that
    /// it wants, or of the longest run. None where no block is free, or where a file can have no
    /// further run.
    pub(super) fn allocate(&mut self, extents: &mut Extents, wanted: u16) -> Option<u16> {
        if let Some(last) = extents.last_mut()
            && let Some(block) = last.start.checked_add(last.len)
            && self.take(block)
        {
            last.len = last.len.saturating_add(1);
            self.next = block.saturating_add(1);
            return Some(block);
        }
        if extents.is_full() {
            return None;
        }
        let run = self.find_run(wanted)?;
        self.take(run.start);
        self.next = run.start.saturating_add(1);
        // There is room: it was asked above.
        let _ = extents.push(Extent { start: run.start, len: 1 });
        Some(run.start)
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

fn blocks_of(extents: &[Extent]) -> impl Iterator<Item = u16> {
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
        let mut space = Space::new(100, 0);
        assert!(space.take_all(&[extent(0, 3), extent(5, 10)]));
        let mut extents = Extents::new();
        for wanted in (1..=4).rev() {
            assert!(space.allocate(&mut extents, wanted).is_some());
        }
        assert_eq!(extents.as_slice(), [extent(15, 4)]);
        assert_eq!(space.free(), 100 - 17);
    }

    #[test]
    fn the_search_goes_round() {
        let mut space = Space::new(10, 8);
        let mut extents = Extents::new();
        assert_eq!(space.allocate(&mut extents, 2), Some(8));
        assert_eq!(space.allocate(&mut extents, 1), Some(9));
        let mut other = Extents::new();
        assert_eq!(space.allocate(&mut other, 1), Some(0));
    }

    #[test]
    fn a_fragmented_flash_says_what_it_can_hold() {
        let mut space = Space::new(200, 0);
        for block in (0..200).step_by(2) {
            assert!(space.take(block));
        }
        assert_eq!((space.free(), space.largest()), (100, EXTENTS_MAX as u16));
        let mut extents = Extents::new();
        for _ in 0..EXTENTS_MAX {
            assert!(space.allocate(&mut extents, 20).is_some());
        }
        assert_eq!(space.allocate(&mut extents, 1), None);
        space.give_back(&extents);
        assert_eq!(space.free(), 100);
    }

    #[test]
    fn blocks_that_are_not_there_or_taken_are_not_taken() {
        let mut space = Space::new(40, 0);
        assert!(!space.take_all(&[extent(39, 2)]));
        assert!(!space.take_all(&[extent(39, 1)]));
        assert!(!space.take_all(&[extent(u16::MAX, 1)]));
    }
}
