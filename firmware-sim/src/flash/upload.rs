//! A file while it is being written.

use core::task::{Poll, ready};

use heapless::String;
use kift_core::storage::Outcome;
use kift_core::wire::{Code, Conflict, Timestamp};

use super::Flash;
use super::data::program;
use super::gate::data_offset;
use super::record::{Extents, NAME_LEN_MAX, Slot};
use super::rest::Origin;
use super::space::{Space, blocks_of};
use super::table::Table;

/// What is to become a file.
#[derive(Debug)]
pub(super) struct Upload {
    /// The directory that it is to be in.
    pub parent: Slot,
    pub name: String<NAME_LEN_MAX>,
    pub conflict: Conflict,
    pub modified: Option<Timestamp>,
    /// Bytes programmed.
    pub written: u32,
    /// The blocks that are its own: all that it needs, where its size is known.
    pub extents: Extents,
    pub block: Block,
    pub of: Origin,
    pub keeping: Keeping,
    /// Blocks that the table counts as whole.
    pub durable: u16,
    /// The table knows all the blocks of this.
    pub is_recorded: bool,
}

/// Where what is whole is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Nowhere yet.
    NotYet,
    At(usize),
    /// There is no place.
    Never,
}

/// Blocks that an upload of unknown size takes at a time.
const CLAIM: u16 = 16;

/// The block that the next byte goes to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Block {
    /// To be erased.
    None,
    Erasing(u16),
    Ready(u16),
}

impl Upload {
    /// Blocks that are whole.
    pub(super) const fn whole<F: Flash>(&self) -> u16 {
        (self.written / F::ERASE_SIZE as u32) as u16
    }

    /// Writes what of `data` is not written yet, where `data` begin at byte `at` of the file: after
    /// it was pending, the same data are offered again.
    pub(super) fn write<F: Flash>(
        &mut self,
        table: &mut Table<F>,
        space: &mut Space,
        at: u32,
        data: &[u8],
    ) -> Outcome<()> {
        let block_len = F::ERASE_SIZE as u32;
        loop {
            let gate = ready!(table.gate())?;
            let done = self.written.saturating_sub(at) as usize;
            let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) else {
                return Poll::Ready(Ok(()));
            };
            match self.block {
                Block::None => {
                    let index = self.written / block_len;
                    let Some(block) = blocks_of(&self.extents).nth(index as usize) else {
                        if space.claim(&mut self.extents, CLAIM) == 0 {
                            return Poll::Ready(Err(Code::NoSpace));
                        }
                        self.is_recorded = false;
                        continue;
                    };
                    gate.begin_erase(block);
                    self.block = Block::Erasing(block);
                }
                // A block that cannot be erased is of no use. It stays taken until the next mount.
                Block::Erasing(block) if gate.has_failed(block) => {
                    self.leave_block::<F>(space);
                    self.block = Block::None;
                }
                Block::Erasing(block) => self.block = Block::Ready(block),
                Block::Ready(block) => {
                    let within = self.written % block_len;
                    let room = block_len.saturating_sub(within) as usize;
                    let (piece, _) = rest.split_at(rest.len().min(room));
                    let offset = data_offset::<F>(block).saturating_add(within);
                    match program(gate.flash(), offset, piece) {
                        Ok(true) => {}
                        // Likewise; but what it had taken is lost with it.
                        Ok(false) | Err(_) => {
                            self.leave_block::<F>(space);
                            return Poll::Ready(Err(Code::Io));
                        }
                    }
                    self.written = self.written.saturating_add(piece.len() as u32);
                    if self.written.is_multiple_of(block_len) {
                        self.block = Block::None;
                    }
                }
            }
        }
    }

    /// Parts with the block that the next byte would go to, and with what is behind it.
    fn leave_block<F: Flash>(&mut self, space: &mut Space) {
        self.is_recorded = false;
        let used = self.whole::<F>();
        space.truncate(&mut self.extents, used.saturating_add(1));
        if let Some(last) = self.extents.last_mut() {
            last.len = last.len.saturating_sub(1);
        }
        self.extents.retain(|extent| extent.len > 0);
    }
}
