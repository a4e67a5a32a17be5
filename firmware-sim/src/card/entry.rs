//! The entries of a directory.

use heapless::String;
use kift_core::wire::{EntryKind, Meta, Timestamp};

use super::name::{NAME_LEN_MAX, Name};
use super::time::FatTime;
use super::volume::{put_at, u16_at, u32_at};

/// Bytes of an entry.
pub(super) const ENTRY_LEN: usize = 32;

/// Of the first byte of an entry: none was ever behind it.
pub(super) const END: u8 = 0;

/// Of the first byte of an entry: nothing.
pub(super) const GONE: u8 = 0xe5;

const READ_ONLY: u8 = 0x01;
const HIDDEN: u8 = 0x02;
const SYSTEM: u8 = 0x04;
const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;

/// What a part of a long name has for its attributes.
const LONG: u8 = 0x0f;

/// An entry as it is on the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(pub [u8; ENTRY_LEN]);

impl Entry {
    pub(super) const EMPTY: Self = Self([0; ENTRY_LEN]);

    /// A file.
    pub(super) fn file(name: Name, first: u32, size: u32, modified: Option<Timestamp>) -> Self {
        let mut entry = Self::new(name, ARCHIVE, first, size);
        let at = modified.and_then(FatTime::new).unwrap_or(FatTime::UNKNOWN);
        put_at(&mut entry.0, 13, &[at.rest]);
        for (place, half) in [(14, at.time), (16, at.date), (22, at.time), (24, at.date)] {
            put_at(&mut entry.0, place, &half.to_le_bytes());
        }
        entry
    }

    /// A directory.
    pub(super) fn directory(name: Name, first: u32) -> Self {
        Self::new(name, DIRECTORY, first, 0)
    }

    /// Something that is not for people.
    pub(super) fn own(bytes: [u8; 11], is_directory: bool, first: u32, size: u32) -> Self {
        let kind = if is_directory { DIRECTORY } else { ARCHIVE };
        Self::new(Name { bytes, case: 0 }, kind | HIDDEN | SYSTEM, first, size)
    }

    /// Of the first two of a directory: itself, or the one that it is in.
    pub(super) fn around(bytes: &[u8; 11], first: u32) -> Self {
        Self::new(Name { bytes: *bytes, case: 0 }, DIRECTORY, first, 0)
    }

    fn new(name: Name, attributes: u8, first: u32, size: u32) -> Self {
        let mut entry = Self::EMPTY;
        put_at(&mut entry.0, 0, &name.bytes);
        put_at(&mut entry.0, 11, &[attributes, name.case]);
        entry.set_first(first);
        put_at(&mut entry.0, 28, &size.to_le_bytes());
        entry
    }

    /// What takes the place of an entry that is no more.
    pub(super) const fn gone(mut self) -> Self {
        self.0[0] = GONE;
        self
    }

    /// The same by another name.
    pub(super) fn named(mut self, name: Name) -> Self {
        put_at(&mut self.0, 0, &name.bytes);
        put_at(&mut self.0, 12, &[name.case]);
        self
    }

    pub(super) fn set_first(&mut self, first: u32) {
        put_at(&mut self.0, 20, &((first >> 16) as u16).to_le_bytes());
        put_at(&mut self.0, 26, &(first as u16).to_le_bytes());
    }

    /// The first of its clusters, 0 for none.
    pub(super) fn first(&self) -> u32 {
        u32::from(u16_at(&self.0, 20)) << 16 | u32::from(u16_at(&self.0, 26))
    }

    pub(super) fn size(&self) -> u32 {
        u32_at(&self.0, 28)
    }

    /// A number that an upload has in the place of the time it was made.
    pub(super) fn generation(&self) -> u32 {
        u32_at(&self.0, 14)
    }

    pub(super) fn set_generation(&mut self, generation: u32) {
        put_at(&mut self.0, 14, &generation.to_le_bytes());
    }

    pub(super) fn bytes(&self) -> [u8; 11] {
        let mut bytes = [0; 11];
        bytes.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        bytes
    }

    /// The name as it is told, if it is one that can be kept.
    pub(super) fn name(&self) -> Option<String<NAME_LEN_MAX>> {
        Name { bytes: self.bytes(), case: self.0[12] }.told()
    }

    pub(super) const fn is_end(&self) -> bool {
        self.0[0] == END
    }

    pub(super) const fn is_free(&self) -> bool {
        matches!(self.0[0], END | GONE)
    }

    pub(super) const fn is_long_part(&self) -> bool {
        self.0[11] & 0x3f == LONG
    }

    /// The name of the card, which is no file.
    pub(super) const fn is_label(&self) -> bool {
        self.0[11] & LABEL != 0
    }

    pub(super) const fn is_directory(&self) -> bool {
        self.0[11] & DIRECTORY != 0
    }

    pub(super) const fn is_read_only(&self) -> bool {
        self.0[11] & READ_ONLY != 0
    }

    /// Not for people, and made so here.
    pub(super) const fn is_own(&self) -> bool {
        self.0[11] & (HIDDEN | SYSTEM) == HIDDEN | SYSTEM
    }

    pub(super) fn meta(&self) -> Meta {
        let kind = if self.is_directory() { EntryKind::Directory } else { EntryKind::File };
        let size = if self.is_directory() { 0 } else { self.size().into() };
        let (time, date) = (u16_at(&self.0, 22), u16_at(&self.0, 24));
        // Where it was made when it was modified, that is more exact.
        let is_exact = (u16_at(&self.0, 14), u16_at(&self.0, 16)) == (time, date);
        let rest = if is_exact { self.0[13] } else { 0 };
        Meta { kind, size, modified: FatTime { date, time, rest }.timestamp() }
    }
}

/// What comes before an entry: the parts of its long name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum LongName {
    #[default]
    None,
    /// Of one part, which is thirteen characters.
    Short { sum: u8, part: [u8; ENTRY_LEN] },
    /// Of more.
    Longer { sum: u8 },
}

impl LongName {
    /// One part more.
    pub(super) fn push(&mut self, entry: &Entry) {
        let sum = entry.0[13];
        *self = match entry.0[0] {
            0x41 => Self::Short { sum, part: entry.0 },
            _ => Self::Longer { sum },
        };
    }

    /// Whether the entry that follows has a name that its short one does not tell.
    pub(super) fn hides(&self, entry: &Entry) -> bool {
        let is_of = |sum: u8| sum == checksum(&entry.bytes());
        match self {
            Self::None => false,
            Self::Longer { sum } => is_of(*sum),
            Self::Short { sum, part } => is_of(*sum) && !is_same(part, entry),
        }
    }

    /// Whether the part that came last belongs to the entry that follows.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        match self {
            Self::None => false,
            Self::Longer { sum } | Self::Short { sum, .. } => *sum == checksum(&entry.bytes()),
        }
    }
}

fn checksum(name: &[u8; 11]) -> u8 {
    name.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// Whether a long name of one part is the short one but for the case of its letters.
fn is_same(part: &[u8; ENTRY_LEN], entry: &Entry) -> bool {
    let Some(name) = entry.name() else { return false };
    let ranges = [(1, 5), (14, 6), (28, 2)];
    let units = ranges
        .into_iter()
        .flat_map(|(start, count)| (0..count).map(move |number| u16_at(part, start + 2 * number)));
    let characters = units.take_while(|unit| !matches!(unit, 0 | 0xffff));
    let upper = |unit: u16| u8::try_from(unit).map_or(0, |byte| byte.to_ascii_uppercase());
    characters.map(upper).eq(name.bytes().map(|byte| byte.to_ascii_uppercase()))
}
