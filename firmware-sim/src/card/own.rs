//! What a card keeps of its own, in blocks that never move.
//!
//! ```text
//! block 0, 1         an item's two copies: the older is written over, so a cut leaves one
//! block 2, 3, ...    the other items
//! block 18..27       what is being changed, or was: see `journal`
//! ```
//!
//! ```text
//! 0        4        8         12       14
//! | CRC-32C | "KIFT" | counter | number | an item, by postcard, or a change |
//! ```
//!
//! What an item was before stays in its other copy: whoever can read the card learns the device's key
//! anyway, and may learn the seed of the last boot.

use crc::{CRC_32_ISCSI, Crc, NoTable};
use embedded_sdmmc::{Block, BlockDevice};
use kift_core::wire::Code;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::clusters::Card;
use super::volume::{put_at, u16_at, u32_at};
use crate::disk::PEERS_MAX;

/// The numbers of the items.
pub(super) const VOLUME: u32 = 0;
pub(super) const IDENTITY: u32 = 1;
pub(super) const SEED: u32 = 2;
pub(super) const ERRAND: u32 = 3;
pub(super) const WINDOW: u32 = 4;
pub(super) const PEERS: u32 = 5;

/// The first block behind the items.
pub(super) const JOURNAL: u32 = 2 * (PEERS + PEERS_MAX as u32);

/// All of it.
pub(super) const OWN_BLOCKS: u32 = 32;

const MARK: &[u8; 4] = b"KIFT";

/// Slower than with a table, which takes more flash than all else here.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);

/// About the card as a whole.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Boots {
    pub version: u8,
    /// How often it was mounted.
    pub boots: u32,
}

/// Where a block has its value.
pub(super) const VALUE: usize = 14;

/// A block with `value`, which is still to be [sealed](seal).
fn block_with(value: &impl Serialize) -> Result<Block, Code> {
    let mut block = Block::new();
    let (_, room) = block.contents.split_at_mut(VALUE);
    postcard::to_slice(value, room).map_err(|_| Code::Internal)?;
    Ok(block)
}

/// Makes a block number `number`.
#[inline(never)]
pub(super) fn seal(block: &mut Block, number: u32, counter: u32) {
    put_at(&mut block.contents, 4, MARK);
    put_at(&mut block.contents, 8, &counter.to_le_bytes());
    put_at(&mut block.contents, 12, &(number as u16).to_le_bytes());
    let (sum, rest) = block.contents.split_at_mut(4);
    put_at(sum, 0, &CRC.checksum(rest).to_le_bytes());
}

/// The counter of a block that is number `number`, if it is whole.
#[inline(never)]
pub(super) fn counter(number: u32, block: &Block) -> Option<u32> {
    let (_, rest) = block.contents.split_at(4);
    let is_whole = u32_at(&block.contents, 0) == CRC.checksum(rest) && rest.starts_with(MARK);
    let is_it = u32::from(u16_at(&block.contents, 12)) == number;
    (is_whole && is_it).then(|| u32_at(&block.contents, 8))
}

/// What a block that is whole has.
fn unseal<T: DeserializeOwned>(block: &Block) -> Option<T> {
    let (_, value) = block.contents.split_at(VALUE);
    postcard::from_bytes(value).ok()
}

// What is the same for all items is not generic, so that it is there once.
impl<D: BlockDevice> Card<D> {
    /// The item of this number, if there is one.
    pub(super) fn item<T: DeserializeOwned>(&mut self, number: u32) -> Result<Option<T>, Code> {
        let Some(block) = self.newest(number)? else { return Ok(None) };
        // What is whole and no such item is of another version, or nobody's.
        unseal::<Option<T>>(&block).ok_or(Code::Io)
    }

    /// Keeps an item, in the place of the one that there may be.
    pub(super) fn set_item(&mut self, number: u32, value: &impl Serialize) -> Result<(), Code> {
        self.replace(number, block_with(&Some(value))?)
    }

    /// Keeps it no more.
    pub(super) fn remove_item(&mut self, number: u32) -> Result<(), Code> {
        self.replace(number, block_with(&None::<()>)?)
    }

    #[inline(never)]
    fn newest(&mut self, number: u32) -> Result<Option<Block>, Code> {
        let mut blocks = [Block::new(), Block::new()];
        self.blocks.read(self.own + 2 * number, &mut blocks)?;
        let [left, right] = blocks;
        Ok(match (counter(number, &left), counter(number, &right)) {
            (None, None) => None,
            (one, other) => Some(if one > other { left } else { right }),
        })
    }

    #[inline(never)]
    fn replace(&mut self, number: u32, mut block: Block) -> Result<(), Code> {
        let at = self.own + 2 * number;
        let mut counters = [None; 2];
        for (counter, at) in counters.iter_mut().zip(at..) {
            let mut there = [Block::new()];
            self.blocks.read(at, &mut there)?;
            let [there] = &there;
            *counter = self::counter(number, there);
        }
        let [left, right] = counters;
        let last = left.max(right).unwrap_or(0);
        seal(&mut block, number, last.wrapping_add(1));
        self.blocks.write(at + u32::from(left > right), core::slice::from_ref(&block))
    }
}
