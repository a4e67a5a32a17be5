//! What makes a card that of a device.

use embedded_sdmmc::BlockDevice;
use kift_core::wire::Code;

use super::blocks::{BLOCK_LEN, Blocks};
use super::clusters::Card;
use super::entry::{ENTRY_LEN, Entry};
use super::folder::{Place, ROOT};
use super::own::{Boots, OWN_BLOCKS, VOLUME};
use super::rest::{FIRST_SLOT, SLOTS};
use super::volume::{Volume, put_at};
use super::{MountError, VERSION};

/// The directory of what is the device's own.
pub(super) const FOLDER: [u8; 11] = *b"KIFT       ";

/// The file in it whose blocks never move.
const STATE: [u8; 11] = *b"STATE   BIN";

/// Which entry of the directory it has, behind the two that every directory has.
const STATE_ENTRY: u16 = 2;

impl<D: BlockDevice> Card<D> {
    /// The card, as it is.
    pub(super) fn open(device: D) -> Result<Self, MountError> {
        let mut blocks = Blocks::new(device);
        let volume = Volume::find(&mut blocks)?;
        Ok(Self::new(blocks, volume))
    }

    /// Finds what is the device's own.
    pub(super) fn find_own(&mut self) -> Result<(), MountError> {
        let mut walk = self.walk(ROOT)?;
        let folder = loop {
            match self.step(&mut walk)? {
                Some((_, entry)) if entry.is_end() => return Err(MountError::Blank),
                Some((_, entry)) if entry.bytes() == FOLDER && !entry.is_label() => break entry,
                Some(_) => {}
                None => return Err(MountError::Blank),
            }
        };
        if !folder.is_directory() {
            return Err(MountError::Foreign);
        }
        let place = self.own_place(folder.first(), STATE_ENTRY)?;
        let state = self.entry(place)?;
        if state.bytes() != STATE || state.size() != OWN_BLOCKS * BLOCK_LEN as u32 {
            return Err(MountError::Foreign);
        }
        // Its blocks are in a row, or it was moved by somebody.
        let first = state.first();
        let own = self.volume.block(first)?;
        for number in 1..OWN_BLOCKS.div_ceil(self.volume.cluster_len) {
            let cluster = first + number;
            if self.next(cluster - 1)? != Some(cluster) {
                return Err(MountError::Foreign);
            }
        }
        (self.folder, self.own) = (folder.first(), own);
        Ok(())
    }

    /// Where an entry is in the first block of the device's own directory.
    pub(super) fn own_place(&self, folder: u32, entry: u16) -> Result<Place, Code> {
        Ok(Place { block: self.volume.block(folder)?, at: entry * ENTRY_LEN as u16 })
    }

    /// Makes it. The entry that leads to it comes last.
    pub(super) fn make_own(&mut self) -> Result<(), MountError> {
        self.copy_tables(0, u32::MAX)?;
        let folder = self.new_folder(ROOT)?;
        let first = self.claim_row(OWN_BLOCKS.div_ceil(self.volume.cluster_len))?;
        let own = self.volume.block(first)?;
        self.blocks.blank(own, OWN_BLOCKS)?;
        let state = Entry::own(STATE, false, first, OWN_BLOCKS * BLOCK_LEN as u32);
        let Place { block, at } = self.own_place(folder, STATE_ENTRY)?;
        self.blocks.change(block, |entries| {
            put_at(entries, at.into(), &state.0);
            // Each place is one where something was, so that none of them ends the directory.
            for slot in 0..SLOTS as u16 {
                let at = (FIRST_SLOT + slot) * ENTRY_LEN as u16;
                put_at(entries, at.into(), &Entry::EMPTY.gone().0);
            }
        })?;
        self.blocks.flush()?;
        self.own = own;
        self.set_item(VOLUME, &Boots { version: VERSION, boots: 0 })?;
        let Place { block, at } = self.free_place(ROOT)?;
        let entry = Entry::own(FOLDER, true, folder, 0);
        self.blocks.change(block, |entries| put_at(entries, at.into(), &entry.0))?;
        self.blocks.flush()?;
        Ok(())
    }
}
