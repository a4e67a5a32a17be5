//! Uploads until they are stored, so that they can go on after a reset.
//!
//! Each has a place in the first block of the device's own directory: an entry that leads to its
//! clusters, whose size is how much of it is durable. Its name is made of the transfer and of where it
//! is to go, so that it is found again. One of which nothing is durable goes at the mount.

use blake3::Hasher;
use embedded_sdmmc::BlockDevice;
use kift_core::wire::{CHUNK, Code, TransferId};

use super::RESTS_MAX;
use super::clusters::Card;
use super::entry::Entry;
use super::folder::Place;
use super::volume::put_at;

/// Uploads at a time, with those that wait.
pub(super) const SLOTS: usize = 8;

/// Which entry of the directory the first of them has.
pub(super) const FIRST_SLOT: u16 = 3;

const EXTENSION: &[u8; 3] = b"TMP";

/// Bytes that must be durable before they are kept: a small file is sent again sooner.
pub(super) const LEN_MIN: u32 = 16 << 10;

/// Bytes behind which what was written is made durable.
pub(super) const SPAN: u32 = 64 << 10;

/// By which an upload is known again: eight digits.
pub(super) type Stem = [u8; 8];

/// The name of the upload `transfer` to `name` in `folder`.
pub(super) fn stem(transfer: TransferId, folder: u32, name: &[u8; 11]) -> Stem {
    let mut hasher = Hasher::new();
    hasher.update(&transfer.0).update(&folder.to_le_bytes()).update(name);
    let mut stem = [0; 8];
    let hash = hasher.finalize();
    let nibbles = hash.as_bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
    stem.iter_mut().zip(nibbles).for_each(|(to, nibble)| *to = digit(nibble));
    stem
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Free,
    /// Somebody has put something else there.
    Foreign,
    /// It is being written.
    Open,
    /// It waits for whoever goes on, or gives way.
    Idle,
}

/// What is remembered of an upload.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    pub state: State,
    pub stem: Stem,
    /// Greater than that of every one before.
    pub generation: u32,
    /// The first of its clusters, 0 for none: it has no entry then.
    pub first: u32,
    /// Bytes.
    pub durable: u32,
}

/// The uploads, by their places.
#[derive(Debug, Default)]
pub(super) struct Rests([Slot; SLOTS]);

impl Rests {
    pub(super) fn get(&self, slot: usize) -> Slot {
        self.0.get(slot).copied().unwrap_or_default()
    }

    fn set(&mut self, slot: usize, to: Slot) {
        if let Some(place) = self.0.get_mut(slot) {
            *place = to;
        }
    }

    pub(super) fn set_state(&mut self, slot: usize, state: State) {
        self.set(slot, Slot { state, ..self.get(slot) });
    }

    fn find(&self, is_it: impl Fn(&Slot) -> bool) -> Option<usize> {
        self.0.iter().position(is_it)
    }

    /// The one that waits for this upload.
    pub(super) fn of(&self, stem: &Stem) -> Option<usize> {
        self.find(|slot| slot.state == State::Idle && slot.stem == *stem)
    }

    fn idle(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.0.iter().enumerate().filter(|(_, slot)| slot.state == State::Idle)
    }

    /// The one that has waited longest.
    fn oldest(&self) -> Option<usize> {
        self.idle().min_by_key(|(_, slot)| slot.generation).map(|(number, _)| number)
    }

    /// Bytes of clusters that would be free if all gave way.
    pub(super) fn bytes(&self, of_cluster: u32) -> u64 {
        let clusters = |(_, slot): (_, &Slot)| u64::from(slot.durable.div_ceil(of_cluster));
        self.idle().map(clusters).sum::<u64>() * u64::from(of_cluster)
    }

    fn generation(&self) -> u32 {
        self.0.iter().map(|slot| slot.generation).max().unwrap_or(0).wrapping_add(1)
    }

    /// At the mount: takes those that can go on, and removes the others.
    pub(super) fn find_all<D: BlockDevice>(&mut self, card: &mut Card<D>) -> Result<(), Code> {
        for number in 0..SLOTS {
            let entry = card.entry(place(card, number)?)?;
            if entry.is_free() {
                continue;
            }
            let bytes = entry.bytes();
            let (Some(stem), true) = (bytes.first_chunk(), bytes.ends_with(EXTENSION)) else {
                self.set_state(number, State::Foreign);
                continue;
            };
            if !entry.is_own() {
                self.set_state(number, State::Foreign);
                continue;
            }
            let (first, durable) = (entry.first(), entry.size());
            let generation = entry.generation();
            self.set(number, Slot { state: State::Idle, stem: *stem, generation, first, durable });
            // One with fewer clusters than it says was shortened by somebody.
            let is_whole = durable > 0 && durable.is_multiple_of(CHUNK as u32);
            if !is_whole || self.trim(card, number).is_err() {
                self.remove(card, number)?;
            }
        }
        self.keep_newest(card)
    }

    /// Frees the clusters behind what is durable.
    fn trim<D: BlockDevice>(&self, card: &mut Card<D>, number: usize) -> Result<(), Code> {
        let Slot { first, durable, .. } = self.get(number);
        let mut last = first;
        for _ in 1..durable.div_ceil(card.volume.cluster_bytes()) {
            last = card.next(last)?.ok_or(Code::Io)?;
        }
        card.end_at(last)
    }

    /// A place for a new upload, which the one that has waited longest may have to leave.
    pub(super) fn take<D: BlockDevice>(
        &mut self,
        card: &mut Card<D>,
        stem: Stem,
    ) -> Result<usize, Code> {
        let is_free = |slot: &Slot| slot.state == State::Free;
        if self.find(is_free).is_none() {
            self.make_way(card)?;
        }
        let number = self.find(is_free).ok_or(Code::TooMany)?;
        let generation = self.generation();
        self.set(number, Slot { state: State::Open, stem, generation, first: 0, durable: 0 });
        Ok(number)
    }

    /// Writes down that an upload begins with this cluster, and that so much of it is durable.
    pub(super) fn record<D: BlockDevice>(
        &mut self,
        card: &mut Card<D>,
        number: usize,
        first: u32,
        durable: u32,
    ) -> Result<(), Code> {
        let slot = Slot { first, durable, ..self.get(number) };
        card.blocks.flush()?;
        let mut bytes = [0; 11];
        put_at(&mut bytes, 0, &slot.stem);
        put_at(&mut bytes, 8, EXTENSION);
        let mut entry = Entry::own(bytes, false, first, durable);
        entry.set_generation(slot.generation);
        write(card, number, &entry)?;
        self.set(number, slot);
        Ok(())
    }

    /// What is durable of an upload waits for whoever goes on.
    pub(super) fn put_aside<D: BlockDevice>(
        &mut self,
        card: &mut Card<D>,
        number: usize,
        written: u32,
    ) -> Result<(), Code> {
        let Slot { first, durable, .. } = self.get(number);
        let whole = written - written % CHUNK as u32;
        self.set_state(number, State::Idle);
        if first == 0 || whole.max(durable) < LEN_MIN {
            return self.remove(card, number);
        }
        let generation = self.generation();
        self.set(number, Slot { generation, ..self.get(number) });
        self.record(card, number, first, whole.max(durable))?;
        self.trim(card, number)?;
        self.keep_newest(card)
    }

    fn keep_newest<D: BlockDevice>(&mut self, card: &mut Card<D>) -> Result<(), Code> {
        while self.idle().count() > RESTS_MAX {
            self.make_way(card)?;
        }
        Ok(())
    }

    /// Drops the one that has waited longest, and says whether there was one.
    pub(super) fn make_way<D: BlockDevice>(&mut self, card: &mut Card<D>) -> Result<bool, Code> {
        let Some(number) = self.oldest() else { return Ok(false) };
        self.remove(card, number)?;
        Ok(true)
    }

    /// An upload has become a file.
    pub(super) fn forget(&mut self, number: usize) {
        self.set(number, Slot::default());
    }

    /// Drops an upload.
    pub(super) fn remove<D: BlockDevice>(
        &mut self,
        card: &mut Card<D>,
        number: usize,
    ) -> Result<(), Code> {
        let Slot { first, .. } = self.get(number);
        self.set(number, Slot::default());
        if first == 0 {
            // A cut may have left it so.
            let entry = card.entry(place(card, number)?)?;
            return if entry.is_free() { Ok(()) } else { write(card, number, &entry.gone()) };
        }
        let entry = card.entry(place(card, number)?)?;
        write(card, number, &entry.gone())?;
        card.release(first)
    }
}

/// Where the entry of an upload is.
pub(super) fn place<D: BlockDevice>(card: &Card<D>, number: usize) -> Result<Place, Code> {
    card.own_place(card.folder, FIRST_SLOT + number as u16)
}

fn write<D: BlockDevice>(card: &mut Card<D>, number: usize, entry: &Entry) -> Result<(), Code> {
    let Place { block, at } = place(card, number)?;
    card.blocks.change(block, |entries| put_at(entries, at.into(), &entry.0))?;
    card.blocks.flush()
}
