//! The store: a card, and what each session has open.

use core::fmt;

use blake3::Hasher;
use embedded_sdmmc::BlockDevice;
use heapless::String;
use kift_core::wire::{Code, Digest, Path, Space as Room};

use super::clusters::Card;
use super::entry::Entry;
use super::folder::{Found, Place, ROOT};
use super::handle::Handle;
use super::journal::Change;
use super::name::{NAME_LEN_MAX, Name};
use super::own::{Boots, VOLUME};
use super::prepare::FOLDER;
use super::rest::{Rests, SLOTS, State, Stem};
use super::upload::{Chain, Upload};
use super::{MountError, RESTS_MAX, VERSION};
use crate::disk::TokenDigest;

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
    pub chain: Chain,
    /// No name leads to it any more: its clusters are free when nobody reads it.
    pub is_orphan: bool,
}

/// A directory that is being listed.
#[derive(Debug)]
pub(super) struct Cursor {
    pub folder: u32,
    /// The name that was told last.
    pub after: String<NAME_LEN_MAX>,
    /// Entries with names that are not told, once they were counted.
    pub skipped: Option<u64>,
}

/// What is at a path.
#[derive(Debug)]
pub(super) enum Target {
    Root,
    Found(Found),
}

/// Files and directories on a card `D`, for `HANDLES` sessions or tasks at a time.
///
/// Each of them takes a [`Handle`] of its own number, which is the storage port.
pub struct Store<D: BlockDevice, const HANDLES: usize> {
    pub(super) card: Card<D>,
    pub(super) rests: Rests,
    boots: u32,
    pub(super) open: [Open; HANDLES],
    /// The token by which somebody may become known.
    pub(super) pairing: Option<TokenDigest>,
}

impl<D: BlockDevice, const HANDLES: usize> Store<D, HANDLES> {
    /// Makes a card that has a FAT16 or FAT32 that of a device. Its files stay, and so does all that
    /// is the device's own, where it was prepared before.
    ///
    /// # Errors
    /// [`MountError`].
    #[inline(never)]
    pub fn prepare(device: D) -> Result<(), MountError> {
        let mut card = Card::open(device)?;
        match card.find_own() {
            Err(MountError::Blank) => card.make_own(),
            found => found,
        }
    }

    /// Finds the files of a card, finishes what a power cut left unfinished, and counts the boot, if
    /// the card takes that.
    ///
    /// # Errors
    /// [`MountError`]; nothing is changed on a card that is not of this version.
    // What a mount takes of the stack is given back before anything else is done.
    #[inline(never)]
    pub fn mount(device: D) -> Result<Self, MountError> {
        const { assert!(HANDLES + RESTS_MAX <= SLOTS) }
        let mut card = Card::open(device)?;
        card.find_own()?;
        let Boots { version, boots } = card.item(VOLUME)?.ok_or(MountError::Blank)?;
        if version != VERSION {
            return Err(MountError::Version(version));
        }
        card.close_window()?;
        card.finish()?;
        let mut rests = Rests::default();
        rests.find_all(&mut card)?;
        let boots = boots.wrapping_add(1);
        // A card that takes no more, which every change will be told, may be read all the same.
        let _ = card.forget_count();
        let _ = card.set_item(VOLUME, &Boots { version, boots });
        Ok(Self { card, rests, boots, open: [const { Open::Nothing }; HANDLES], pairing: None })
    }

    /// The port of session or task `number`, below `HANDLES`.
    pub const fn handle(&mut self, number: usize) -> Handle<'_, D, HANDLES> {
        Handle::new(self, number)
    }

    /// How often the card was mounted, this time included.
    #[must_use]
    pub const fn boots(&self) -> u32 {
        self.boots
    }

    /// The card.
    pub const fn device(&mut self) -> &mut D {
        self.card.blocks.device()
    }

    /// The BLAKE3 of the file at `path`, for which all of it is read.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::IsDirectory`] or [`Code::Io`].
    pub fn root(&mut self, path: Path<'_>) -> Result<Digest, Code> {
        let Found { entry, .. } = self.file(path)?;
        let mut chain = Chain::new(entry.first());
        let mut hasher = Hasher::new();
        let (mut at, mut buf) = (0, [0; 1024]);
        loop {
            let len = chain.read(&mut self.card, entry.size(), at, &mut buf)?;
            hasher.update(buf.get(..len).unwrap_or_default());
            at += len as u64;
            if len < buf.len() {
                return Ok(Digest(*hasher.finalize().as_bytes()));
            }
        }
    }

    /// How much room there is for files, once the clusters are counted.
    pub(super) fn room(&mut self) -> Result<Option<Room>, Code> {
        let Some(free) = self.card.free()? else { return Ok(None) };
        let len = self.card.volume.cluster_bytes();
        let total = self.bytes();
        Ok(Some(Room {
            free: u64::from(free) * u64::from(len) + self.rests.bytes(len),
            total,
            file_size_max: total.min(u32::MAX.into()),
        }))
    }

    /// Bytes of all its clusters.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.card.volume.end - 2) * u64::from(self.card.volume.cluster_bytes())
    }

    /// Drops the upload that has waited longest, and says whether there was one.
    pub(super) fn make_way(&mut self) -> Result<bool, Code> {
        self.rests.make_way(&mut self.card)
    }

    /// What is at `path`.
    pub(super) fn resolve(&mut self, path: Path<'_>) -> Result<Target, Code> {
        self.resolve_outside(path, None)
    }

    /// What is at `path`, which does not lead through the directory `folder`.
    fn resolve_outside(&mut self, path: Path<'_>, folder: Option<u32>) -> Result<Target, Code> {
        let mut target = Target::Root;
        for name in path.components() {
            let parent = target.folder()?;
            let name = Name::sought(name)?;
            let found = self.card.find(parent, &name.bytes)?;
            let found = found.filter(|found| !found.is_long).ok_or(Code::NotFound)?;
            if found.entry.is_directory() && Some(found.entry.first()) == folder {
                return Err(Code::BadName);
            }
            target = Target::Found(found);
        }
        Ok(target)
    }

    /// The file at `path`.
    pub(super) fn file(&mut self, path: Path<'_>) -> Result<Found, Code> {
        match self.resolve(path)? {
            Target::Found(found) if !found.entry.is_directory() => Ok(found),
            Target::Found(_) | Target::Root => Err(Code::IsDirectory),
        }
    }

    /// The directory of `path`, and the name in it, which this store can keep. It does not lead
    /// through the directory `outside`.
    pub(super) fn place<'p>(
        &mut self,
        path: Path<'p>,
        outside: Option<u32>,
    ) -> Result<(u32, &'p str, Name), Code> {
        let (folder, text) = path.split();
        let name = Name::new(text)?;
        let folder = self.resolve_outside(folder, outside)?.folder()?;
        check(folder, &name)?;
        Ok((folder, text, name))
    }

    /// Makes a change, and frees what it frees.
    pub(super) fn make(&mut self, change: &Change) -> Result<(), Code> {
        self.card.make(change)?;
        // It is made, whatever becomes of the clusters.
        let _ = self.release(change.freed);
        Ok(())
    }

    /// No name leads to these clusters any more: they are free, or when whoever reads them has
    /// closed.
    pub(super) fn release(&mut self, first: u32) -> Result<(), Code> {
        let mut is_read = false;
        for open in &mut self.open {
            if let Open::Source(source) = open
                && source.chain.first == first
                && first != 0
            {
                source.is_orphan = true;
                is_read = true;
            }
        }
        if is_read { Ok(()) } else { self.card.release(first) }
    }

    /// Whoever has this upload open loses it.
    pub(super) fn take_over(&mut self, stem: &Stem) -> Result<(), Code> {
        for open in &mut self.open {
            if let Open::Upload(upload) = open {
                let slot = self.rests.get(upload.slot);
                if slot.state == State::Open && slot.stem == *stem {
                    let (number, written) = (upload.slot, upload.written);
                    *open = Open::TakenOver;
                    self.rests.put_aside(&mut self.card, number, written)?;
                }
            }
        }
        Ok(())
    }

    /// Nobody goes on with the rest of this upload, if there is one.
    pub(super) fn forget_rest(&mut self, stem: &Stem) -> Result<(), Code> {
        match self.rests.of(stem) {
            Some(number) => self.rests.remove(&mut self.card, number),
            None => Ok(()),
        }
    }

    /// What is at a place that is to have a new entry, and the place.
    pub(super) fn vacancy(&mut self, folder: u32) -> Result<(Place, Entry), Code> {
        let place = self.card.free_place(folder)?;
        Ok((place, self.card.entry(place)?))
    }
}

/// Whether a directory may have this name in it.
pub(super) fn check(folder: u32, name: &Name) -> Result<(), Code> {
    if folder == ROOT && name.bytes == FOLDER { Err(Code::BadName) } else { Ok(()) }
}

impl Target {
    /// The directory that it is.
    pub(super) fn folder(&self) -> Result<u32, Code> {
        match self {
            Self::Root => Ok(ROOT),
            Self::Found(found) if found.entry.is_directory() => Ok(found.entry.first()),
            Self::Found(_) => Err(Code::NotDirectory),
        }
    }
}

impl<D: BlockDevice, const HANDLES: usize> fmt::Debug for Store<D, HANDLES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clusters = self.card.volume.end - 2;
        write!(f, "Store({clusters} clusters of {} bytes)", self.card.volume.cluster_bytes())
    }
}
