//! Files on an SD card with a FAT16 or FAT32 file system, as any computer reads it, that survive a
//! power cut at any block.
//!
//! ```text
//! NAME.EXT, ...     files and directories of people
//! KIFT/             hidden, no request ever shows it
//!   STATE.BIN       blocks of its own: keys, peers, boots; what is being changed. See `own`, `journal`
//!   0123ABCD.TMP    an upload that is on its way, or was. See `rest`
//! ```
//!
//! The card and its blocks are embedded-sdmmc's. Its volume manager is not used: it makes an entry
//! before what the entry leads to, links a directory's cluster before it blanks it, frees no clusters
//! of what it deletes, and takes a failure to read for the absence of a name. So a cut could leave a
//! directory that is none, and a card would fill up. What is here writes the same file system in an
//! order that a cut cannot harm.
//!
//! A card takes a block or does not: that is what is asked of it. Every change of the names is written
//! down first, as the entries that it replaces and those it makes, by one block; a cut before that
//! leaves the old ones, and after it the mount makes the new ones. A cut may leave clusters that
//! nothing leads to, which any check of a FAT gives back; never two files with the same cluster, nor
//! one with a free cluster.
//!
//! Names are those of FAT without long names: eight characters and three. They are told apart without
//! regard to case, and kept in the case they came in, where stem and extension are of one case each;
//! no others are taken. What a computer gave a long name to is not shown, and counted where a listing
//! is closed.
//!
//! A time of last modification is kept to 10 ms, so that a peer with a finer one takes a file for
//! another where it compares times. The BLAKE3 of a file is computed when it is asked
//! for. A write that fails may have happened or not: nothing is written after it before the next
//! mount, which looks.

mod blocks;
mod change;
mod clusters;
mod disk;
mod entry;
mod folder;
mod handle;
mod journal;
mod name;
mod own;
mod prepare;
mod rest;
mod store;
mod time;
mod upload;
mod volume;

use core::fmt;

pub use handle::Handle;
pub use name::NAME_LEN_MAX;
pub use store::Store;

/// Uploads that were interrupted and can go on. With one more, the oldest gives way.
pub const RESTS_MAX: usize = 2;

/// Uploads that were stored, and are known again where they are repeated.
pub const STORED_MAX: usize = 8;

/// The format of what is in `KIFT` that this version writes.
const VERSION: u8 = 1;

/// Why a card could not be mounted or prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountError {
    /// It has no FAT16 or FAT32 in its first partition, nor without partitions.
    Foreign,
    /// It was not prepared for a device.
    Blank,
    /// It was prepared by another version.
    Version(u8),
    /// It has no room to be prepared.
    NoSpace,
    /// It cannot be read or written, or its file system is damaged.
    Io,
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("the card has no FAT16 or FAT32 file system"),
            Self::Blank => f.write_str("the card is not prepared"),
            Self::Version(version) => {
                write!(f, "the card has format {version}, and this version knows {VERSION}")
            }
            Self::NoSpace => f.write_str("the card has no room to be prepared"),
            Self::Io => f.write_str("the card cannot be read or written, or is damaged"),
        }
    }
}

impl core::error::Error for MountError {}
