//! Directories: the entries one by one, and a place for one more.

use embedded_sdmmc::BlockDevice;
use kift_core::wire::Code;

use super::blocks::BLOCK_LEN;
use super::clusters::Card;
use super::entry::{ENTRY_LEN, Entry, LongName};
use super::prepare::FOLDER;
use super::volume::Root;

/// The directory that has no entry. Others are known by their first cluster.
pub(super) const ROOT: u32 = 0;

/// Entries that a directory can have: a walk that goes on behind them goes in circles.
const ENTRIES_MAX: u32 = 65536;

const PER_BLOCK: u32 = (BLOCK_LEN / ENTRY_LEN) as u32;

/// Where an entry is: in which block, and from which byte of it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub block: u32,
    pub at: u16,
}

/// A walk along all entries of a directory, those that are none included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// The block that the next entry is in, and how many follow it in a row.
    block: u32,
    left: u32,
    entry: u32,
    /// None in a root that has no clusters.
    pub cluster: Option<u32>,
    walked: u32,
}

/// A file or directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub place: Place,
    pub entry: Entry,
    /// It has a long name, which the short one does not tell.
    pub is_long: bool,
    /// The part of a long name that belongs to it.
    pub part: Option<(Place, Entry)>,
}

/// A walk along the files and directories of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    walk: Walk,
    is_root: bool,
}

impl<D: BlockDevice> Card<D> {
    /// What is at a place of a directory.
    pub(super) fn entry(&mut self, place: Place) -> Result<Entry, Code> {
        let block = self.blocks.get(place.block)?;
        let entry = block.get(place.at.into()..).and_then(|rest| rest.first_chunk());
        entry.map(|entry| Entry(*entry)).ok_or(Code::Io)
    }

    pub(super) fn walk(&self, folder: u32) -> Result<Walk, Code> {
        let (block, left, cluster) = match (folder, self.volume.root) {
            (ROOT, Root::Blocks(first, len)) => (first, len, None),
            (ROOT, Root::Cluster(first)) | (first, _) => {
                (self.volume.block(first)?, self.volume.cluster_len, Some(first))
            }
        };
        Ok(Walk { block, left, entry: 0, cluster, walked: 0 })
    }

    /// The next entry, whatever it is; none behind the last that there is room for.
    pub(super) fn step(&mut self, walk: &mut Walk) -> Result<Option<(Place, Entry)>, Code> {
        if walk.entry == PER_BLOCK {
            (walk.entry, walk.left) = (0, walk.left.saturating_sub(1));
            walk.block += 1;
        }
        if walk.left == 0 {
            let Some(cluster) = walk.cluster else { return Ok(None) };
            let Some(next) = self.next(cluster)? else { return Ok(None) };
            walk.cluster = Some(next);
            (walk.block, walk.left) = (self.volume.block(next)?, self.volume.cluster_len);
        }
        if walk.walked == ENTRIES_MAX {
            return Err(Code::Io);
        }
        let place = Place { block: walk.block, at: (walk.entry * ENTRY_LEN as u32) as u16 };
        walk.entry += 1;
        walk.walked += 1;
        Ok(Some((place, self.entry(place)?)))
    }

    pub(super) fn scan(&self, folder: u32) -> Result<Scan, Code> {
        Ok(Scan { walk: self.walk(folder)?, is_root: folder == ROOT })
    }

    /// The next file or directory.
    pub(super) fn next_found(&mut self, scan: &mut Scan) -> Result<Option<Found>, Code> {
        let (mut long, mut part) = (LongName::None, None);
        while let Some((place, entry)) = self.step(&mut scan.walk)? {
            if entry.is_end() {
                break;
            }
            if entry.is_long_part() && !entry.is_free() {
                long.push(&entry);
                part = Some((place, entry));
                continue;
            }
            let is_own = scan.is_root && entry.bytes() == FOLDER;
            // The first two of a directory lead to itself and out of it.
            if !entry.is_free() && !entry.is_label() && !entry.0.starts_with(b".") && !is_own {
                let part = part.filter(|_| long.is_of(&entry));
                return Ok(Some(Found { place, entry, is_long: long.hides(&entry), part }));
            }
            (long, part) = (LongName::None, None);
        }
        Ok(None)
    }

    /// What has this name in a directory.
    pub(super) fn find(&mut self, folder: u32, name: &[u8; 11]) -> Result<Option<Found>, Code> {
        let mut scan = self.scan(folder)?;
        while let Some(found) = self.next_found(&mut scan)? {
            if found.entry.bytes() == *name {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A place for one more entry. A directory without one becomes longer.
    pub(super) fn free_place(&mut self, folder: u32) -> Result<Place, Code> {
        let mut walk = self.walk(folder)?;
        while let Some((place, entry)) = self.step(&mut walk)? {
            if entry.is_free() {
                return Ok(place);
            }
        }
        let last = walk.cluster.filter(|_| walk.walked < ENTRIES_MAX).ok_or(Code::TooMany)?;
        let cluster = self.claim(None)?;
        self.blocks.flush()?;
        let block = self.volume.block(cluster)?;
        self.blocks.blank(block, self.volume.cluster_len)?;
        self.lengthen(last, cluster)?;
        Ok(Place { block, at: 0 })
    }

    /// Makes a directory that no entry leads to yet.
    pub(super) fn new_folder(&mut self, parent: u32) -> Result<u32, Code> {
        let cluster = self.claim(None)?;
        let block = self.volume.block(cluster)?;
        self.blocks.blank(block, self.volume.cluster_len)?;
        let itself = Entry::around(b".          ", cluster);
        let parent = Entry::around(b"..         ", parent);
        self.blocks.change(block, |entries| {
            let (first, rest) = entries.split_at_mut(ENTRY_LEN);
            first.copy_from_slice(&itself.0);
            rest.iter_mut().zip(parent.0).for_each(|(to, from)| *to = from);
        })?;
        self.blocks.flush()?;
        Ok(cluster)
    }
}
