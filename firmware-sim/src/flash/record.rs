//! What the table keeps.

use heapless::Vec;
use kift_core::wire::EntryKind;
use kift_core::wire::{Digest, Meta, Timestamp, TransferId};
use sequential_storage::map::{SerializationError, Value};
use serde::{Deserialize, Serialize};

use super::rest::{Mark, Rest};
use crate::disk::{Errand, PeerRecord, Secret};

/// Bytes of the longest name of a file or directory.
pub const NAME_LEN_MAX: usize = 64;

/// Runs of blocks that a file may consist of.
pub(super) const EXTENTS_MAX: usize = 16;

/// Bytes of the longest item, its key included, with room to spare.
pub(super) const ITEM_LEN_MAX: usize = 256;

/// The format that this version writes.
pub(super) const VERSION: u8 = 2;

/// The number of a file or directory: where its record is in the table.
pub(super) type Slot = u16;

/// What stands for the root, which has no record.
pub(super) const ROOT: Slot = Slot::MAX;

/// A run of blocks of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    /// The first, counted from the first block of data.
    pub start: u16,
    /// How many.
    pub len: u16,
}

/// Where a file's data are.
pub(super) type Extents = Vec<Extent, EXTENTS_MAX>;

/// An item of the table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Item<'a> {
    Volume(Volume),
    #[serde(borrow)]
    Record(Record<'a>),
    Secret(Secret),
    Peer(PeerRecord),
    Rest(Rest),
    Mark(Mark),
    Errand(Errand),
}

/// About the store as a whole.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Volume {
    pub version: u8,
    /// How often it was mounted.
    pub boots: u32,
}

/// A file or directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record<'a> {
    /// The directory that it is in.
    pub parent: Slot,
    pub name: &'a str,
    /// Greater than that of every record written before.
    pub generation: u32,
    /// It was renamed from there, over a file that was here: a record there that is older is gone.
    pub moved_from: Option<Slot>,
    pub modified: Option<Timestamp>,
    pub body: Body,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Body {
    Directory,
    File(File),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct File {
    pub size: u32,
    /// The BLAKE3 that was verified when it came.
    pub root: Digest,
    /// By which it came: whoever repeats that is told that it is here.
    pub transfer: TransferId,
    pub extents: Extents,
}

impl Record<'_> {
    pub(super) fn meta(&self) -> Meta {
        let (kind, size) = match &self.body {
            Body::Directory => (EntryKind::Directory, 0),
            Body::File(file) => (EntryKind::File, file.size.into()),
        };
        Meta { kind, size, modified: self.modified }
    }

    pub(super) const fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory)
    }
}

impl<'a> Value<'a> for Item<'a> {
    fn serialize_into(&self, buffer: &mut [u8]) -> Result<usize, SerializationError> {
        match postcard::to_slice(self, buffer) {
            Ok(used) => Ok(used.len()),
            Err(_) => Err(SerializationError::BufferTooSmall),
        }
    }

    fn deserialize_from(buffer: &'a [u8]) -> Result<(Self, usize), SerializationError> {
        match postcard::take_from_bytes(buffer) {
            Ok((item, rest)) => Ok((item, buffer.len().saturating_sub(rest.len()))),
            Err(_) => Err(SerializationError::InvalidFormat),
        }
    }
}
