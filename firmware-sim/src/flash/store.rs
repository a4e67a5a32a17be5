//! The store: what is where, and what each session has open.

use core::fmt;
use core::task::{Poll, ready};

use heapless::String;
use kift_core::storage::Outcome;
use kift_core::wire::{Code, Digest, Path, Space as Room, Timestamp, TransferId};

use super::gate::Gate;
use super::handle::Handle;
use super::record::{Body, Extents, File, Item, NAME_LEN_MAX, ROOT, Record, Slot, VERSION, Volume};
use super::rest::Rests;
use super::space::{Space, count};
use super::table::{Table, rest_place};
use super::upload::Upload;
use super::{BLOCKS_MAX, DATA_BLOCK, FILES_MAX, Flash, RESTS_MAX};
use crate::disk::{self, TokenDigest};

/// Why a flash could not be mounted or formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountError {
    /// It has fewer than eleven blocks, or blocks of a size that is no multiple of 1024.
    Geometry,
    /// Nothing was ever stored on it, or a format was cut: to be formatted.
    Blank,
    /// Its format is that of another version.
    Version(u8),
    /// What is on it is no store.
    Foreign,
    /// It cannot be read or written.
    Io,
    /// Two files have the same block: no power cut does this.
    Inconsistent,
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry => f.write_str("the flash is too small, or of unsuitable blocks"),
            Self::Blank => f.write_str("the flash is not formatted"),
            Self::Version(version) => {
                write!(f, "the flash has format {version}, and this version knows {VERSION}")
            }
            Self::Foreign => f.write_str("the flash holds something else than files"),
            Self::Io => f.write_str("the flash cannot be read or written"),
            Self::Inconsistent => f.write_str("the store is inconsistent"),
        }
    }
}

impl core::error::Error for MountError {}

/// What is known of a file beyond what its peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    /// Bytes.
    pub size: u32,
    /// The BLAKE3 that was verified when it came.
    pub root: Digest,
    /// Time of last modification, where known.
    pub modified: Option<Timestamp>,
    /// Blocks of flash that it takes.
    pub blocks: u32,
    /// Runs that they are in.
    pub extents: usize,
}

/// What is remembered of a file or directory, so that it is found without reading every record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub parent: Slot,
    pub hash: u32,
    pub is_directory: bool,
    /// The first byte of the id that it came by.
    pub transfer: u8,
    generation: u32,
    moved_from: Option<Slot>,
}

/// What a handle has open.
#[derive(Debug)]
pub(super) enum Open {
    Nothing,
    Upload(Upload),
    /// Another handle goes on with the upload that was open.
    TakenOver,
    Source(Source),
    Directory(Cursor),
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Source {
    pub size: u32,
    pub extents: Extents,
    /// No name leads to it any more: its blocks are free when nobody reads it.
    pub is_orphan: bool,
}

/// A directory that is being listed.
#[derive(Debug)]
pub(super) struct Cursor {
    pub slot: Slot,
    /// The name that was told last.
    pub after: String<NAME_LEN_MAX>,
}

/// Files and directories on a flash `F`, for `HANDLES` sessions or tasks at a time.
///
/// Each of them takes a [`Handle`] of its own number, which is the storage port.
pub struct Store<F: Flash, const HANDLES: usize> {
    pub(super) table: Table<F>,
    pub(super) index: [Option<Known>; FILES_MAX],
    pub(super) space: Space,
    pub(super) rests: Rests,
    /// Of the record or rest written last.
    pub(super) generation: u32,
    boots: u32,
    pub(super) open: [Open; HANDLES],
    /// The record that a rename over another file has left.
    leftover: Option<Slot>,
    /// The token by which somebody may become known.
    pub(super) pairing: Option<TokenDigest>,
}

impl<F: Flash, const HANDLES: usize> Store<F, HANDLES> {
    /// Makes an empty store of a flash. Takes the time of ten erases.
    ///
    /// # Errors
    /// [`MountError::Geometry`] or [`MountError::Io`].
    #[inline(never)]
    pub fn format(mut flash: F) -> Result<(), MountError> {
        blocks_of(&mut flash)?;
        let (gate, entry) = Gate::format(flash).map_err(|_| MountError::Io)?;
        let mut table = Table::new(gate).ok_or(MountError::Geometry)?;
        let volume = Volume { version: VERSION, boots: 0 };
        wait(|| table.set_volume(volume))?;
        match table.gate() {
            Poll::Ready(Ok(gate)) => entry.strike(gate.flash()).map_err(|_| MountError::Io),
            Poll::Ready(Err(_)) | Poll::Pending => Err(MountError::Io),
        }
    }

    /// Finds the files of a flash, finishes what a power cut left unfinished, and counts the boot, if
    /// the flash takes that.
    ///
    /// # Errors
    /// [`MountError`]; nothing is changed on a flash that holds no store of this version.
    // What a mount takes of the stack is given back before anything else is done.
    #[inline(never)]
    pub fn mount(mut flash: F) -> Result<Self, MountError> {
        let blocks = blocks_of(&mut flash)?;
        let table = Table::new(Gate::open(flash)?).ok_or(MountError::Geometry)?;
        let mut store = Self {
            table,
            index: [None; FILES_MAX],
            space: Space::new(blocks),
            rests: Rests::default(),
            generation: 0,
            boots: 0,
            open: [const { Open::Nothing }; HANDLES],
            leftover: None,
            pairing: None,
        };
        store.load()?;
        Ok(store)
    }

    /// Reads the table.
    // On the store where it is: a second one would not fit a small stack.
    #[inline(never)]
    fn load(&mut self) -> Result<(), MountError> {
        let mut volume = None;
        let mut marks = [None; RESTS_MAX];
        let Self { table, index, rests, .. } = self;
        wait(|| {
            index.fill(None);
            *rests = Rests::default();
            (volume, marks) = (None, [None; RESTS_MAX]);
            table.each(|slot, item| match item {
                Item::Volume(found) => volume = Some(found),
                Item::Record(record) => {
                    if let Some(known) = index.get_mut(usize::from(slot)) {
                        *known = Some(Known::new(&record));
                    }
                }
                Item::Rest(rest) => rests.found(rest_place(slot), &rest),
                Item::Mark(mark) => {
                    if let Some(place) = marks.get_mut(rest_place(slot)) {
                        *place = Some(mark);
                    }
                }
                Item::Secret(_) | Item::Peer(_) | Item::Errand(_) => {}
            })
        })?;
        let volume: Volume = volume.ok_or(MountError::Blank)?;
        if volume.version != VERSION {
            return Err(MountError::Version(volume.version));
        }
        self.boots = volume.boots.wrapping_add(1);
        let generations = self.index.iter().flatten().map(|known: &Known| known.generation);
        self.generation = generations.chain(self.rests.count(&marks)).max().unwrap_or(0);
        self.space.begin_at(self.boots.wrapping_mul(0x9e37_79b9));
        self.finish_renames()?;
        self.find_blocks()?;
        self.find_rests()?;
        let volume = Volume { version: VERSION, boots: self.boots };
        if wait(|| self.table.set_volume(volume)).is_err() {
            // A flash that takes no more, which every change will be told, may be read all the same.
            wait(|| self.table.each(|_, _| {}))?;
        }
        Ok(())
    }

    /// The port of session or task `number`, below `HANDLES`.
    pub const fn handle(&mut self, number: usize) -> Handle<'_, F, HANDLES> {
        Handle::new(self, number)
    }

    /// How often the store was mounted, this time included.
    #[must_use]
    pub const fn boots(&self) -> u32 {
        self.boots
    }

    /// The flash.
    pub fn flash(&mut self) -> &mut F {
        self.table.flash()
    }

    /// What is known of the file at `path`.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::IsDirectory`] or [`Code::Io`].
    pub fn info(&mut self, path: Path<'_>) -> Outcome<FileInfo> {
        let slot = ready!(self.resolve(path))?;
        let (file, modified) = ready!(self.file(slot))?;
        let blocks = count(&file.extents).into();
        let File { size, root, extents, .. } = file;
        Poll::Ready(Ok(FileInfo { size, root, modified, blocks, extents: extents.len() }))
    }

    /// How much room there is for files.
    pub(super) fn room(&self) -> Room {
        let bytes = |blocks: u16| u64::from(blocks) * F::ERASE_SIZE as u64;
        Room {
            free: bytes(self.space.free().saturating_add(self.rests.blocks())),
            total: bytes(self.space.blocks()),
            file_size_max: bytes(self.space.largest()),
        }
    }

    /// Takes the blocks that a file of `size` bytes needs beyond `extents`, or none where that is not
    /// known.
    pub(super) fn claim(&mut self, extents: &mut Extents, size: Option<u64>) -> Result<(), Code> {
        let there = count(extents);
        let blocks = size.unwrap_or(0).div_ceil(F::ERASE_SIZE as u64);
        let mut wanted = match u16::try_from(blocks) {
            Ok(blocks) if blocks <= self.space.blocks() => blocks.saturating_sub(there),
            _ => return Err(Code::TooLarge),
        };
        while wanted > 0 {
            match self.space.claim(extents, wanted) {
                0 => {
                    self.space.truncate(extents, there);
                    return Err(Code::NoSpace);
                }
                claimed => wanted = wanted.saturating_sub(claimed),
            }
        }
        Ok(())
    }

    /// The slot of what is at `path`, which may be the root.
    pub(super) fn resolve(&mut self, path: Path<'_>) -> Outcome<Slot> {
        let mut slot = ROOT;
        for name in path.components() {
            if !self.is_directory(slot) {
                return Poll::Ready(Err(Code::NotDirectory));
            }
            slot = match ready!(self.find(slot, name))? {
                Some(found) => found,
                None => return Poll::Ready(Err(Code::NotFound)),
            };
        }
        Poll::Ready(Ok(slot))
    }

    /// The directory of `path`, and the name in it, of which this store can keep the length.
    pub(super) fn place<'p>(&mut self, path: Path<'p>) -> Outcome<(Slot, &'p str)> {
        let (folder, name) = path.split();
        if name.len() > NAME_LEN_MAX {
            return Poll::Ready(Err(Code::NameTooLong));
        }
        let parent = ready!(self.resolve(folder))?;
        Poll::Ready(if self.is_directory(parent) {
            Ok((parent, name))
        } else {
            Err(Code::NotDirectory)
        })
    }

    /// The slot of a name in a directory.
    pub(super) fn find(&mut self, parent: Slot, name: &str) -> Outcome<Option<Slot>> {
        let hash = hash_of(name);
        for slot in 0..FILES_MAX as Slot {
            let is_likely = self.known(slot).is_some_and(|k| k.parent == parent && k.hash == hash);
            if is_likely && ready!(self.record(slot))?.name == name {
                return Poll::Ready(Ok(Some(slot)));
            }
        }
        Poll::Ready(Ok(None))
    }

    pub(super) fn known(&self, slot: Slot) -> Option<&Known> {
        self.index.get(usize::from(slot))?.as_ref()
    }

    pub(super) fn is_directory(&self, slot: Slot) -> bool {
        slot == ROOT || self.known(slot).is_some_and(|known| known.is_directory)
    }

    /// The record of a slot that is known.
    pub(super) fn record(&mut self, slot: Slot) -> Outcome<Record<'_>> {
        self.table.get(slot).map(|result| result?.ok_or(Code::NotFound))
    }

    /// The file of a slot, and its time.
    pub(super) fn file(&mut self, slot: Slot) -> Outcome<(File, Option<Timestamp>)> {
        if self.is_directory(slot) {
            return Poll::Ready(Err(Code::IsDirectory));
        }
        let record = ready!(self.record(slot))?;
        Poll::Ready(match record.body {
            Body::File(file) => Ok((file, record.modified)),
            Body::Directory => Err(Code::IsDirectory),
        })
    }

    /// A slot without a record.
    pub(super) fn free_slot(&self) -> Result<Slot, Code> {
        let free = self.index.iter().position(Option::is_none);
        free.map(|slot| slot as Slot).ok_or(Code::TooMany)
    }

    /// Writes the record of `slot`, and frees what was there.
    pub(super) fn put_record(&mut self, slot: Slot, mut record: Record<'_>) -> Outcome<()> {
        ready!(self.clear_leftover())?;
        let old = match self.known(slot) {
            Some(Known { is_directory: false, .. }) => Some(ready!(self.file(slot))?.0.extents),
            _ => None,
        };
        record.generation = self.generation.wrapping_add(1);
        let known = Known::new(&record);
        let stays = matches!(&record.body, Body::File(file) if Some(&file.extents) == old.as_ref());
        ready!(self.table.set(slot, record))?;
        // A table that was damaged may just have been repaired, and have lost the directory by that.
        if known.parent != ROOT && ready!(self.table.get(known.parent))?.is_none() {
            return Poll::Ready(Err(Code::Io));
        }
        self.generation = known.generation;
        if let Some(place) = self.index.get_mut(usize::from(slot)) {
            *place = Some(known);
        }
        if let Some(old) = old
            && !stays
        {
            self.release(&old);
        }
        Poll::Ready(Ok(()))
    }

    /// Removes the record of `slot`, and frees what was there.
    pub(super) fn remove_record(&mut self, slot: Slot) -> Outcome<()> {
        ready!(self.clear_leftover())?;
        let old = match self.is_directory(slot) {
            true => Extents::new(),
            false => ready!(self.file(slot))?.0.extents,
        };
        ready!(self.table.remove(slot))?;
        self.forget(slot);
        self.release(&old);
        Poll::Ready(Ok(()))
    }

    /// The record of `slot` was written anew elsewhere, with all that it has. It goes now, or before
    /// the next change, or at the next mount.
    pub(super) fn leave(&mut self, slot: Slot) {
        self.forget(slot);
        self.leftover = Some(slot);
        let _ = self.clear_leftover();
    }

    pub(super) fn clear_leftover(&mut self) -> Outcome<()> {
        if let Some(slot) = self.leftover {
            ready!(self.table.remove(slot))?;
            self.leftover = None;
        }
        self.clear_rests()
    }

    fn forget(&mut self, slot: Slot) {
        if let Some(place) = self.index.get_mut(usize::from(slot)) {
            *place = None;
        }
    }

    /// Where the file is that came by `transfer`, of those that have a name still.
    pub(super) fn stored_by(&mut self, transfer: TransferId) -> Outcome<Option<Slot>> {
        for slot in 0..FILES_MAX as Slot {
            let is_likely = self.known(slot).is_some_and(|known| {
                !known.is_directory && transfer.0.first() == Some(&known.transfer)
            });
            if is_likely && ready!(self.file(slot))?.0.transfer == transfer {
                return Poll::Ready(Ok(Some(slot)));
            }
        }
        Poll::Ready(Ok(None))
    }

    /// No name leads to these blocks any more: they are free, or when whoever reads them has closed.
    pub(super) fn release(&mut self, extents: &Extents) {
        let mut is_read = false;
        for open in &mut self.open {
            if let Open::Source(source) = open
                && source.extents == *extents
            {
                source.is_orphan = true;
                is_read = true;
            }
        }
        if !is_read {
            self.space.give_back(extents);
        }
    }

    /// A file was renamed over another, and the power went before its old record did.
    fn finish_renames(&mut self) -> Result<(), MountError> {
        for slot in 0..FILES_MAX as Slot {
            let Some(&Known { generation, moved_from: Some(from), .. }) = self.known(slot) else {
                continue;
            };
            if self.known(from).is_some_and(|old| old.generation < generation) {
                wait(|| self.table.remove(from))?;
                self.forget(from);
            }
        }
        Ok(())
    }

    /// Takes the blocks of every file.
    fn find_blocks(&mut self) -> Result<(), MountError> {
        for slot in 0..FILES_MAX as Slot {
            if self.known(slot).is_some_and(|known| !known.is_directory) {
                let (file, _) = wait(|| self.file(slot))?;
                if !self.space.take_all(&file.extents) {
                    return Err(MountError::Inconsistent);
                }
            }
        }
        Ok(())
    }
}

impl<F: Flash, const HANDLES: usize> fmt::Debug for Store<F, HANDLES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.index.iter().flatten().count();
        let (free, blocks) = (self.space.free(), self.space.blocks());
        write!(f, "Store({files} files and directories, {free} of {blocks} blocks free)")
    }
}

impl Known {
    pub(super) fn new(record: &Record<'_>) -> Self {
        Self {
            parent: record.parent,
            hash: hash_of(record.name),
            is_directory: record.is_directory(),
            transfer: match &record.body {
                Body::File(File { transfer: TransferId([first, ..]), .. }) => *first,
                Body::Directory => 0,
            },
            generation: record.generation,
            moved_from: record.moved_from,
        }
    }
}

/// FNV-1a.
pub(super) fn hash_of(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Blocks of data that the flash has.
fn blocks_of<F: Flash>(flash: &mut F) -> Result<u16, MountError> {
    let blocks = flash.capacity() / F::ERASE_SIZE.max(1);
    match blocks.saturating_sub(DATA_BLOCK as usize).min(BLOCKS_MAX) {
        0 => Err(MountError::Geometry),
        _ if !F::ERASE_SIZE.is_multiple_of(1024) => Err(MountError::Geometry),
        blocks => Ok(blocks as u16),
    }
}

/// Offers an operation until it is done: at boot there is nothing else to do.
pub(crate) fn wait<T>(operation: impl FnMut() -> Outcome<T>) -> Result<T, MountError> {
    disk::wait(operation).map_err(|_| MountError::Io)
}
