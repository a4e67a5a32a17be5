//! A file while it is being written.

use core::task::{Poll, ready};

use heapless::String;
use kift_core::storage::Outcome;
use kift_core::wire::{Code, Conflict, Timestamp};

use super::Flash;
use super::data::program;
use super::gate::data_offset;
use super::record::{Extents, NAME_LEN_MAX, Slot};
use super::space::Space;
use super::table::Table;

/// What is to become a file.
#[derive(Debug)]
pub(super) struct Upload {
    /// The directory that it is to be in.
    pub parent: Slot,
    pub name: String<NAME_LEN_MAX>,
    pub conflict: Conflict,
    pub modified: Option<Timestamp>,
    /// Bytes, where they are known.
    pub size: Option<u32>,
    /// Bytes programmed.
    pub written: u32,
    pub extents: Extents,
    pub block: Block,
}

/// The block that the next byte goes to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Block {
    /// To be allocated.
    None,
    Erasing(u16),
    Ready(u16),
}

impl Upload {
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
                    let wanted = self.blocks_wanted::<F>().max(1);
                    let Some(block) = space.allocate(&mut self.extents, wanted) else {
                        return Poll::Ready(Err(Code::NoSpace));
                    };
                    gate.begin_erase(block);
                    self.block = Block::Erasing(block);
                }
                // A block that cannot be erased is of no use. It stays taken until the next mount.
                Block::Erasing(block) if gate.has_failed(block) => {
                    self.leave_last();
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
                            self.leave_last();
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

    /// Blocks that it still needs, as far as its size is known.
    pub(super) fn blocks_wanted<F: Flash>(&self) -> u16 {
        self.blocks_up_to::<F>(self.size.unwrap_or(0))
    }

    /// Blocks that it still needs for the bytes before `end`.
    pub(super) fn blocks_up_to<F: Flash>(&self, end: u32) -> u16 {
        let blocks = end.div_ceil(F::ERASE_SIZE as u32);
        let taken = self.extents.iter().fold(0_u32, |sum, extent| sum + u32::from(extent.len));
        u16::try_from(blocks.saturating_sub(taken)).unwrap_or(u16::MAX)
    }

    fn leave_last(&mut self) {
        if let Some(last) = self.extents.last_mut() {
            last.len = last.len.saturating_sub(1);
            if last.len == 0 {
                self.extents.pop();
            }
        }
    }
}
