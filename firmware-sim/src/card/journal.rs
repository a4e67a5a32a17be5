//! Changes of the names, each of which happens at once or not at all.
//!
//! A change is some entries and what comes into their places. It is written down by one block, and
//! then made. At the mount the one that was written down last is looked at: where each of its entries
//! is still there or changed already, it is made now, if the power went before it was. Where anything
//! else is there, the card was elsewhere meanwhile, and is left alone.
//!
//! An upload that was stored is such a change, so this is also where it is known again.

use embedded_sdmmc::{Block, BlockDevice};
use heapless::Vec;
use kift_core::wire::{Code, Digest, TransferId};

use super::STORED_MAX;
use super::blocks::BLOCK_LEN;
use super::clusters::Card;
use super::entry::{ENTRY_LEN, Entry};
use super::folder::Place;
use super::own::{JOURNAL, OWN_BLOCKS, VALUE, counter, seal};
use super::volume::{put_at, u16_at, u32_at};

/// Entries that a change may have.
const PATCHES_MAX: usize = 4;

/// Blocks of the journal: those of the uploads that were stored last, and one for other changes.
const RECORDS: u32 = STORED_MAX as u32 + 1;

const _: () = assert!(JOURNAL + RECORDS <= OWN_BLOCKS && STORED + 36 + 32 <= BLOCK_LEN);

/// An entry that is to become another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch {
    pub place: Place,
    old: [u8; ENTRY_LEN],
    pub new: [u8; ENTRY_LEN],
}

/// A change.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    /// What came of an upload, where it is one.
    pub stored: Option<Stored>,
    /// A chain of clusters that the first entry has now, and nothing has afterwards.
    pub freed: u32,
    pub patches: Vec<Patch, PATCHES_MAX>,
}

/// An upload that was stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub transfer: TransferId,
    /// The directory and the name that were asked for.
    pub folder: u32,
    pub name: [u8; 11],
    pub root: Digest,
    pub suffix: u32,
}

/// Bytes that a patch takes of a block.
const PATCH_LEN: usize = 4 + 2 + 2 * ENTRY_LEN;

/// Where a block has what was stored, behind the patches.
const STORED: usize = VALUE + 4 + 1 + PATCHES_MAX * PATCH_LEN;

impl Change {
    /// One entry more.
    pub(super) fn push(&mut self, place: Place, old: Entry, new: Entry) -> Result<(), Code> {
        self.patches.push(Patch { place, old: old.0, new: new.0 }).map_err(|_| Code::Internal)
    }

    /// Puts it into a block, which is empty.
    fn write(&self, block: &mut [u8; BLOCK_LEN]) {
        put_at(block, VALUE, &self.freed.to_le_bytes());
        put_at(block, VALUE + 4, &[self.patches.len() as u8]);
        for (Patch { place, old, new }, at) in self.patches.iter().zip(places()) {
            put_at(block, at, &place.block.to_le_bytes());
            put_at(block, at + 4, &place.at.to_le_bytes());
            put_at(block, at + 6, old);
            put_at(block, at + 6 + ENTRY_LEN, new);
        }
        if let Some(Stored { transfer, folder, name, root, suffix }) = &self.stored {
            put_at(block, STORED, &[1]);
            put_at(block, STORED + 1, &folder.to_le_bytes());
            put_at(block, STORED + 5, &suffix.to_le_bytes());
            put_at(block, STORED + 9, name);
            put_at(block, STORED + 20, &transfer.0);
            put_at(block, STORED + 36, &root.0);
        }
    }

    /// Takes it out of a block that is whole.
    fn read(block: &[u8; BLOCK_LEN]) -> Self {
        let is_stored = block[STORED] != 0;
        let stored = is_stored.then(|| Stored {
            folder: u32_at(block, STORED + 1),
            suffix: u32_at(block, STORED + 5),
            name: bytes_at(block, STORED + 9),
            transfer: TransferId(bytes_at(block, STORED + 20)),
            root: Digest(bytes_at(block, STORED + 36)),
        });
        let patch = |at: usize| Patch {
            place: Place { block: u32_at(block, at), at: u16_at(block, at + 4) },
            old: bytes_at(block, at + 6),
            new: bytes_at(block, at + 6 + ENTRY_LEN),
        };
        let patches = places().take(block[VALUE + 4].into()).map(patch).collect();
        Self { stored, freed: u32_at(block, VALUE), patches }
    }
}

/// Where a block has the patches.
fn places() -> impl Iterator<Item = usize> {
    (0..PATCHES_MAX).map(|number| VALUE + 5 + number * PATCH_LEN)
}

fn bytes_at<const N: usize>(block: &[u8; BLOCK_LEN], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(block.iter().skip(at)).for_each(|(to, from)| *to = *from);
    bytes
}

impl<D: BlockDevice> Card<D> {
    /// Makes a change. Clusters that entries lead to are written by then; the chain that it frees is
    /// still to be freed.
    pub(super) fn make(&mut self, change: &Change) -> Result<(), Code> {
        self.blocks.flush()?;
        let record = match change.stored {
            Some(_) => self.stored % STORED_MAX as u32,
            None => STORED_MAX as u32,
        };
        let sequence = self.sequence.wrapping_add(1);
        let number = JOURNAL + record;
        let mut block = Block::new();
        change.write(&mut block.contents);
        seal(&mut block, number, sequence);
        self.blocks.write(self.own + number, core::slice::from_ref(&block))?;
        self.sequence = sequence;
        if change.stored.is_some() {
            self.stored = record.wrapping_add(1);
        }
        let made = self.apply_all(change);
        if made.is_err() {
            // It is as good as made: nothing may come between it and the next mount.
            self.blocks.stick();
        }
        made
    }

    fn apply_all(&mut self, change: &Change) -> Result<(), Code> {
        for patch in &change.patches {
            self.apply(patch)?;
        }
        self.blocks.flush()
    }

    fn apply(&mut self, patch: &Patch) -> Result<(), Code> {
        let Place { block, at } = patch.place;
        self.blocks.change(block, |entries| put_at(entries, at.into(), &patch.new))
    }

    /// At the mount: makes the last change, if the power went before that.
    pub(super) fn finish(&mut self) -> Result<(), Code> {
        let mut last = None;
        for record in 0..RECORDS {
            if let Some((sequence, change)) = self.record(record)?
                && last.as_ref().is_none_or(|(newest, _)| sequence > *newest)
            {
                if change.stored.is_some() {
                    self.stored = record.wrapping_add(1);
                }
                last = Some((sequence, change));
            }
        }
        let Some((sequence, change)) = last else { return Ok(()) };
        self.sequence = sequence;
        let mut is_begun = false;
        for (patch, number) in change.patches.iter().zip(0..) {
            let there = self.entry(patch.place)?.0;
            if there != patch.old && there != patch.new {
                return Ok(());
            }
            is_begun |= number == 0 && there == patch.new;
        }
        self.apply_all(&change)?;
        // A chain that nothing led to may be somebody's since.
        if is_begun { Ok(()) } else { self.release(change.freed) }
    }

    fn record(&mut self, record: u32) -> Result<Option<(u32, Change)>, Code> {
        let number = JOURNAL + record;
        let mut block = [Block::new()];
        self.blocks.read(self.own + number, &mut block)?;
        let [block] = &block;
        Ok(counter(number, block).map(|sequence| (sequence, Change::read(&block.contents))))
    }

    /// What came of an upload, of those that were stored last, and the entry that it became.
    pub(super) fn stored(&mut self, of: TransferId) -> Result<Option<(Stored, Entry)>, Code> {
        let mut last: Option<(u32, Stored, Entry)> = None;
        for record in 0..STORED_MAX as u32 {
            if let Some((sequence, Change { stored: Some(stored), patches, .. })) =
                self.record(record)?
                && stored.transfer == of
                && last.as_ref().is_none_or(|(newest, ..)| sequence > *newest)
            {
                last = patches.first().map(|patch| (sequence, stored, Entry(patch.new)));
            }
        }
        Ok(last.map(|(_, stored, entry)| (stored, entry)))
    }
}
