//! Files on NOR flash that survive a power cut at any operation.
//!
//! ```text
//! block 0..2      journal   which page of the table is being erased
//! block 2..10     table     sequential-storage's map: a record a file or directory
//! block 10..      data      extents: runs of whole blocks, each file's in order
//! ```
//!
//! A file's data are programmed first, read back, and then named by one record: the table's item is
//! what makes it appear, and takes the place of an earlier file's, at once. Other data of an upload
//! that was cut belong to no record, so their blocks are free at the next mount. Every change of the
//! names is one such item; renaming over another file takes two, and the first says enough for the
//! mount to do the second.
//!
//! Of an upload that is on its way, what is whole is kept after a cut too, so that it can go on: see
//! `rest`. It gives way to what needs its blocks.
//!
//! The table also keeps what makes a link's ends known to each other: the device's own key, the seed
//! of its random numbers, and the keys of its peers.
//!
//! The table recovers from writes that were cut. Of an erase that was cut it expects that the
//! beginning of the block is erased first, which no data sheet promises: see `journal`.
//!
//! While a block erases, every operation is pending, and is done anew when it is offered again.

mod data;
mod disk;
mod gate;
mod handle;
mod journal;
mod nor;
mod record;
mod rest;
mod space;
mod store;
mod table;
mod upload;

pub use handle::Handle;
pub use nor::{Blocking, Flash};
pub use record::NAME_LEN_MAX;
#[cfg(feature = "board")]
pub(crate) use store::wait;
pub use store::{FileInfo, MountError, Store};

/// Files and directories that a store keeps.
pub const FILES_MAX: usize = 64;

/// Uploads that were interrupted and can go on. With one more, the oldest gives way. Without the
/// feature `resume` none can: what was kept of them by a firmware that has it is free.
pub const RESTS_MAX: usize = if cfg!(feature = "resume") { 2 } else { 0 };

/// Blocks of data that a store keeps account of; what the flash has beyond them is not used.
pub const BLOCKS_MAX: usize = 4096;

/// Blocks of the journal.
const JOURNAL_BLOCKS: u32 = 2;

/// Blocks of the table. One is always empty; in the others every record fits at its longest.
const TABLE_BLOCKS: u32 = 8;

/// The first block of data.
const DATA_BLOCK: u32 = JOURNAL_BLOCKS + TABLE_BLOCKS;
