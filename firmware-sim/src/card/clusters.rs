//! The chains of clusters.
//!
//! A cluster is marked as the last of a chain before anything leads to it, and nothing leads to it
//! any more before it is marked as free: so a cut leaves clusters that nobody has, at most.

use embedded_sdmmc::{Block, BlockDevice};
use kift_core::wire::Code;
use serde::{Deserialize, Serialize};

use super::blocks::{BLOCK_LEN, Blocks};
use super::own::WINDOW;
use super::volume::{Volume, put_at, u16_at, u32_at};

/// What the last cluster of a chain leads to, in a FAT32.
const LAST: u32 = 0x0fff_ffff;

/// Blocks of the table between which a change may have come to only one of its copies.
const WINDOW_LEN: u32 = 64;

/// Blocks of the table that are counted at a time.
const COUNT_LEN: u32 = 32;

/// A card, and what is known of it.
pub(super) struct Card<D: BlockDevice> {
    pub blocks: Blocks<D>,
    pub volume: Volume,
    /// The first block of what is its own.
    pub own: u32,
    /// The directory that the uploads are in.
    pub folder: u32,
    /// Of the record written last: see `journal`.
    pub sequence: u32,
    /// The place in it of the next upload that is stored.
    pub stored: u32,
    /// Where a free cluster is looked for.
    hint: u32,
    /// Clusters before `counted` that are free.
    free: u32,
    counted: u32,
    window: Option<Window>,
}

/// Kept on the card: the first block of the table that may be being changed, and there are
/// `WINDOW_LEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window(pub u32);

impl<D: BlockDevice> Card<D> {
    pub(super) fn new(mut blocks: Blocks<D>, volume: Volume) -> Self {
        blocks.tables = volume.tables;
        Self {
            blocks,
            volume,
            own: 0,
            folder: 0,
            sequence: 0,
            stored: 0,
            hint: 2,
            free: 0,
            counted: 2,
            window: None,
        }
    }

    /// The block of the first table, counted from its first, and the byte in it, that say what
    /// follows a cluster.
    const fn place(&self, cluster: u32) -> (u32, usize) {
        let per_block = BLOCK_LEN as u32 / if self.volume.is_wide { 4 } else { 2 };
        let within = cluster % per_block * if self.volume.is_wide { 4 } else { 2 };
        (cluster / per_block, within as usize)
    }

    fn value(&mut self, cluster: u32) -> Result<u32, Code> {
        if cluster < 2 || cluster >= self.volume.end {
            return Err(Code::Io);
        }
        let (block, at) = self.place(cluster);
        let table = self.blocks.get(self.volume.tables.start + block)?;
        Ok(match self.volume.is_wide {
            true => u32_at(table, at) & LAST,
            // What is special is so in both.
            false => match u32::from(u16_at(table, at)) {
                special @ 0xfff0.. => special | 0x0fff_0000,
                value => value,
            },
        })
    }

    fn set(&mut self, cluster: u32, value: u32) -> Result<(), Code> {
        let was_free = self.value(cluster)? == 0;
        let (block, at) = self.place(cluster);
        self.open_window(block)?;
        let is_wide = self.volume.is_wide;
        self.blocks.change(self.volume.tables.start + block, |table| {
            if is_wide {
                let kept = u32_at(table, at) & !LAST;
                put_at(table, at, &(kept | value & LAST).to_le_bytes());
            } else {
                put_at(table, at, &(value as u16).to_le_bytes());
            }
        })?;
        if cluster < self.counted {
            match (was_free, value == 0) {
                (true, false) => self.free = self.free.saturating_sub(1),
                (false, true) => self.free = self.free.saturating_add(1),
                _ => {}
            }
        }
        Ok(())
    }

    /// The cluster behind this one in its chain.
    pub(super) fn next(&mut self, cluster: u32) -> Result<Option<u32>, Code> {
        match self.value(cluster)? {
            0x0fff_fff8.. => Ok(None),
            next if next >= 2 && next < self.volume.end => Ok(Some(next)),
            _ => Err(Code::Io),
        }
    }

    /// Takes a free cluster, the first of a chain or behind the last of one.
    pub(super) fn claim(&mut self, behind: Option<u32>) -> Result<u32, Code> {
        let cluster = self.find_free()?;
        self.set(cluster, LAST)?;
        // In another block it is written only after this one.
        if let Some(last) = behind {
            self.set(last, cluster)?;
        }
        self.hint = cluster.saturating_add(1);
        Ok(cluster)
    }

    /// Puts a cluster behind the last of a chain.
    pub(super) fn lengthen(&mut self, last: u32, cluster: u32) -> Result<(), Code> {
        self.set(last, cluster)?;
        self.blocks.flush()
    }

    fn find_free(&mut self) -> Result<u32, Code> {
        let hint = self.hint;
        for cluster in (hint..self.volume.end).chain(2..hint.min(self.volume.end)) {
            if self.value(cluster)? == 0 {
                return Ok(cluster);
            }
        }
        Err(Code::NoSpace)
    }

    /// Takes `count` clusters in a row, as a chain.
    pub(super) fn claim_row(&mut self, count: u32) -> Result<u32, Code> {
        let (mut first, mut found) = (2, 0);
        for cluster in 2..self.volume.end {
            if found == count {
                break;
            }
            if self.value(cluster)? == 0 {
                found += 1;
            } else {
                (first, found) = (cluster + 1, 0);
            }
        }
        if found < count {
            return Err(Code::NoSpace);
        }
        for cluster in (first..first + count).rev() {
            self.set(cluster, if cluster + 1 == first + count { LAST } else { cluster + 1 })?;
            self.blocks.flush()?;
        }
        Ok(first)
    }

    /// Frees a chain that nothing leads to. One that a cut left half free ends where it is free.
    pub(super) fn release(&mut self, first: u32) -> Result<(), Code> {
        let mut cluster = first;
        while cluster >= 2 && cluster < self.volume.end {
            let next = self.value(cluster)?;
            if next == 0 {
                break;
            }
            self.set(cluster, 0)?;
            self.hint = self.hint.min(cluster);
            cluster = next;
        }
        self.blocks.flush()
    }

    /// Makes this cluster the last of its chain, and frees what was behind it.
    pub(super) fn end_at(&mut self, last: u32) -> Result<(), Code> {
        if let Some(next) = self.next(last)? {
            self.set(last, LAST)?;
            self.blocks.flush()?;
            self.release(next)?;
        }
        Ok(())
    }

    /// Clusters that are free, once they are counted: some are at each call.
    pub(super) fn free(&mut self) -> Result<Option<u32>, Code> {
        let per_block = BLOCK_LEN as u32 / if self.volume.is_wide { 4 } else { 2 };
        let until = self.counted.saturating_add(COUNT_LEN * per_block).min(self.volume.end);
        while self.counted < until {
            self.free += u32::from(self.value(self.counted)? == 0);
            self.counted += 1;
        }
        Ok((self.counted == self.volume.end).then_some(self.free))
    }

    /// Before a block of the table is changed: says on the card where.
    fn open_window(&mut self, block: u32) -> Result<(), Code> {
        let window = Window(block / WINDOW_LEN * WINDOW_LEN);
        // While the card is being prepared there is no place for it, nor need.
        if self.own != 0 && self.window != Some(window) {
            self.blocks.flush()?;
            self.set_item(WINDOW, &window)?;
            self.window = Some(window);
        }
        Ok(())
    }

    /// At the mount: what a cut has let come to the first table alone comes to the others.
    pub(super) fn close_window(&mut self) -> Result<(), Code> {
        if let Some(window) = self.item::<Window>(WINDOW)? {
            self.window = Some(window);
            self.copy_tables(window.0, WINDOW_LEN)?;
        }
        Ok(())
    }

    /// Makes `len` blocks of the other tables what the first has.
    pub(super) fn copy_tables(&mut self, from: u32, len: u32) -> Result<(), Code> {
        let tables = self.volume.tables;
        for block in from..from.saturating_add(len).min(tables.len) {
            for copy in 1..tables.count {
                let mut other = [Block::new()];
                let at = tables.start + block;
                self.blocks.read(at + copy * tables.len, &mut other)?;
                let [other] = &mut other;
                if other.contents != *self.blocks.get(at)? {
                    other.contents = *self.blocks.get(at)?;
                    self.blocks.write(at + copy * tables.len, core::slice::from_ref(other))?;
                }
            }
        }
        Ok(())
    }

    /// A FAT32 says how many clusters are free. Nobody knows while it is here.
    pub(super) fn forget_count(&mut self) -> Result<(), Code> {
        let Some(at) = self.volume.info else { return Ok(()) };
        let info = self.blocks.get(at)?;
        if u32_at(info, 0) == 0x4161_5252 && u32_at(info, 488) != u32::MAX {
            self.blocks.change(at, |info| put_at(info, 488, &[0xff; 8]))?;
            self.blocks.flush()?;
        }
        Ok(())
    }
}
