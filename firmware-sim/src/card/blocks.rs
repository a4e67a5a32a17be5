//! The blocks of a card, one of which is at hand.

use embedded_sdmmc::{Block, BlockDevice, BlockIdx};
use kift_core::wire::Code;

/// Bytes of a block.
pub(super) const BLOCK_LEN: usize = Block::LEN;

/// The blocks of tables and directories, read and changed through one buffer. What is changed is
/// written when another block is wanted, or by [`flush`](Self::flush).
pub(super) struct Blocks<D: BlockDevice> {
    device: D,
    buf: [Block; 1],
    /// Which block the buffer holds.
    at: Option<u32>,
    is_changed: bool,
    /// A write has failed.
    is_stuck: bool,
    /// Where the first table of clusters is: what is written there is also written to the others.
    pub tables: Tables,
}

/// The tables of clusters, each of which is a copy of the first.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tables {
    pub start: u32,
    /// Blocks of one.
    pub len: u32,
    pub count: u32,
}

impl<D: BlockDevice> Blocks<D> {
    pub(super) fn new(device: D) -> Self {
        let (buf, tables) = ([Block::new()], Tables::default());
        Self { device, buf, at: None, is_changed: false, is_stuck: false, tables }
    }

    pub(super) const fn device(&mut self) -> &mut D {
        &mut self.device
    }

    /// The contents of a block.
    pub(super) fn get(&mut self, at: u32) -> Result<&[u8; BLOCK_LEN], Code> {
        self.load(at)?;
        let [block] = &self.buf;
        Ok(&block.contents)
    }

    /// Changes a block.
    pub(super) fn change(
        &mut self,
        at: u32,
        change: impl FnOnce(&mut [u8; BLOCK_LEN]),
    ) -> Result<(), Code> {
        self.load(at)?;
        let [block] = &mut self.buf;
        change(&mut block.contents);
        self.is_changed = true;
        Ok(())
    }

    fn load(&mut self, at: u32) -> Result<(), Code> {
        if self.at == Some(at) {
            return Ok(());
        }
        self.flush()?;
        self.at = None;
        self.device.read(&mut self.buf, BlockIdx(at)).map_err(|_| Code::Io)?;
        self.at = Some(at);
        Ok(())
    }

    /// Writes what was changed.
    pub(super) fn flush(&mut self) -> Result<(), Code> {
        let Some(at) = self.at.filter(|_| self.is_changed) else { return Ok(()) };
        self.is_changed = false;
        // Where it fails, what the buffer holds is not what is on the card.
        self.at = None;
        let Tables { start, len, count } = self.tables;
        let copies = if at.wrapping_sub(start) < len { count } else { 1 };
        for copy in 0..copies {
            let at = at.saturating_add(copy.saturating_mul(len));
            if self.is_stuck || self.device.write(&self.buf, BlockIdx(at)).is_err() {
                self.is_stuck = true;
                return Err(Code::Io);
            }
        }
        self.at = Some(at);
        Ok(())
    }

    /// Nothing is written any more.
    pub(super) const fn stick(&mut self) {
        self.is_stuck = true;
    }

    /// Reads blocks from `at` on, past the buffer.
    pub(super) fn read(&mut self, at: u32, blocks: &mut [Block]) -> Result<(), Code> {
        self.flush()?;
        self.device.read(blocks, BlockIdx(at)).map_err(|_| Code::Io)
    }

    /// Writes blocks from `at` on, past the buffer.
    pub(super) fn write(&mut self, at: u32, blocks: &[Block]) -> Result<(), Code> {
        if self.at.is_some_and(|there| (there.wrapping_sub(at) as usize) < blocks.len()) {
            self.flush()?;
            self.at = None;
        }
        // One by one: of several at a time embedded-sdmmc does not ask the card whether it has them.
        for (block, at) in blocks.iter().zip(at..) {
            let block = core::slice::from_ref(block);
            if self.is_stuck || self.device.write(block, BlockIdx(at)).is_err() {
                self.is_stuck = true;
                return Err(Code::Io);
            }
        }
        Ok(())
    }

    /// Fills `count` blocks from `at` on with zeros.
    pub(super) fn blank(&mut self, at: u32, count: u32) -> Result<(), Code> {
        let blank = [Block::new()];
        (0..count).try_for_each(|number| self.write(at.saturating_add(number), &blank))
    }
}
