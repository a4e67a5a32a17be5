//! The data of a file: written, and read.

use embedded_sdmmc::{Block, BlockDevice};
use heapless::String;
use kift_core::wire::{Code, Conflict, Timestamp, TransferId};

use super::blocks::BLOCK_LEN;
use super::clusters::Card;
use super::name::{NAME_LEN_MAX, Name};
use super::rest::{Rests, SPAN};

/// Blocks that are read or written at a time: those of a chunk.
const BLOCKS: usize = 2;

/// How far a chain was followed. It begins with no cluster.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chain {
    pub first: u32,
    /// One of its clusters, 0 for none, and how many are before it.
    at: u32,
    index: u32,
}

impl Chain {
    pub(super) fn new(first: u32) -> Self {
        Self { first, at: first, index: 0 }
    }

    /// Cluster number `index`, if there are so many.
    fn get<D: BlockDevice>(&mut self, card: &mut Card<D>, index: u32) -> Result<Option<u32>, Code> {
        if self.first == 0 {
            return Ok(None);
        }
        if index < self.index {
            (self.at, self.index) = (self.first, 0);
        }
        while self.index < index {
            let Some(next) = card.next(self.at)? else { return Ok(None) };
            (self.at, self.index) = (next, self.index + 1);
        }
        Ok(Some(self.at))
    }

    /// The block that byte `at` of a file is in, how far, and how many follow it in its cluster.
    fn block<D: BlockDevice>(
        &mut self,
        card: &mut Card<D>,
        at: u32,
    ) -> Result<Option<(u32, usize, usize)>, Code> {
        let len = card.volume.cluster_bytes();
        let Some(cluster) = self.get(card, at / len)? else { return Ok(None) };
        let within = at % len;
        let number = within / BLOCK_LEN as u32;
        let block = card.volume.block(cluster)? + number;
        let left = card.volume.cluster_len - number;
        Ok(Some((block, within as usize % BLOCK_LEN, left as usize)))
    }

    /// Reads what a file of `size` bytes has from byte `at` on.
    pub(super) fn read<D: BlockDevice>(
        &mut self,
        card: &mut Card<D>,
        size: u32,
        at: u64,
        buf: &mut [u8],
    ) -> Result<usize, Code> {
        let mut at = u32::try_from(at).unwrap_or(u32::MAX);
        let mut filled = 0;
        let mut blocks = [const { Block { contents: [0; BLOCK_LEN] } }; BLOCKS];
        while let Some(room) = buf.get_mut(filled..).filter(|room| !room.is_empty())
            && at < size
        {
            let (block, skip, left) = self.block(card, at)?.ok_or(Code::Io)?;
            let wanted = room.len().min((size - at) as usize);
            let count = (skip + wanted).div_ceil(BLOCK_LEN).min(left).min(BLOCKS);
            let (read, _) = blocks.split_at_mut(count);
            card.blocks.read(block, read)?;
            let (mut len, mut skip) = (0, skip);
            for block in read {
                let piece = block.contents.get(skip..).unwrap_or_default();
                let room = room.get_mut(len..wanted).unwrap_or_default();
                room.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
                len += piece.len().min(room.len());
                skip = 0;
            }
            at += len as u32;
            filled += len;
        }
        Ok(filled)
    }
}

/// What is to become a file.
#[derive(Debug)]
pub(super) struct Upload {
    /// The directory that it is to be in.
    pub folder: u32,
    /// The name that was asked for, and how it is kept.
    pub asked: String<NAME_LEN_MAX>,
    pub name: Name,
    pub transfer: TransferId,
    pub conflict: Conflict,
    pub modified: Option<Timestamp>,
    /// Its place among those that can go on.
    pub slot: usize,
    /// Its clusters: all that it needs, where its size is known.
    pub chain: Chain,
    /// How many they are.
    pub clusters: u32,
    /// Bytes written.
    pub written: u32,
}

impl Upload {
    /// Counts the clusters that an upload goes on with.
    pub(super) fn count<D: BlockDevice>(&mut self, card: &mut Card<D>) -> Result<(), Code> {
        while self.clusters < card.volume.end && self.chain.get(card, self.clusters)?.is_some() {
            self.clusters += 1;
        }
        Ok(())
    }

    /// Takes the clusters that a file of `size` bytes needs.
    pub(super) fn claim<D: BlockDevice>(
        &mut self,
        card: &mut Card<D>,
        rests: &mut Rests,
        size: u32,
    ) -> Result<(), Code> {
        let wanted = size.div_ceil(card.volume.cluster_bytes());
        while self.clusters < wanted {
            match self.clusters.checked_sub(1) {
                Some(last) => {
                    let last = self.chain.get(card, last)?.ok_or(Code::Io)?;
                    card.claim(Some(last))?;
                }
                None => {
                    let first = card.claim(None)?;
                    rests.record(card, self.slot, first, 0)?;
                    self.chain = Chain::new(first);
                }
            }
            self.clusters += 1;
        }
        Ok(())
    }

    /// Writes what of `data` is not written yet, where `data` begin at byte `at` of the file.
    pub(super) fn write<D: BlockDevice>(
        &mut self,
        card: &mut Card<D>,
        rests: &mut Rests,
        at: u32,
        data: &[u8],
    ) -> Result<(), Code> {
        let end = u32::try_from(data.len()).ok().and_then(|len| at.checked_add(len));
        self.claim(card, rests, end.ok_or(Code::TooLarge)?)?;
        let mut blocks = [const { Block { contents: [0; BLOCK_LEN] } }; BLOCKS];
        loop {
            let done = self.written.saturating_sub(at) as usize;
            let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) else {
                return self.checkpoint(card, rests);
            };
            let (block, skip, left) = self.chain.block(card, self.written)?.ok_or(Code::Io)?;
            if skip != 0 {
                // Something was written behind the end.
                return Err(Code::Internal);
            }
            let count = rest.len().div_ceil(BLOCK_LEN).min(left).min(BLOCKS);
            let (wanted, _) = blocks.split_at_mut(count);
            let mut written = 0;
            for (block, piece) in wanted.iter_mut().zip(rest.chunks(BLOCK_LEN)) {
                block.contents = [0; BLOCK_LEN];
                block.contents.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
                written += piece.len() as u32;
            }
            card.blocks.write(block, wanted)?;
            self.written += written;
        }
    }

    /// Makes what is written durable, where that is enough and new.
    fn checkpoint<D: BlockDevice>(
        &self,
        card: &mut Card<D>,
        rests: &mut Rests,
    ) -> Result<(), Code> {
        let whole = self.written - self.written % SPAN;
        if whole <= rests.get(self.slot).durable {
            return Ok(());
        }
        rests.record(card, self.slot, self.chain.first, whole)
    }

    /// Frees the clusters behind the end of the file.
    pub(super) fn trim<D: BlockDevice>(&mut self, card: &mut Card<D>) -> Result<(), Code> {
        let needed = self.written.div_ceil(card.volume.cluster_bytes());
        match needed.checked_sub(1) {
            Some(last) if needed < self.clusters => {
                let last = self.chain.get(card, last)?.ok_or(Code::Io)?;
                card.end_at(last)
            }
            _ => Ok(()),
        }
    }
}
