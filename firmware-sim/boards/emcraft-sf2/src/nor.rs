//! The flash: a Spansion S25FL128S on SPI 0, of 16 MiB in sectors of 64 KiB.

use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use kift_firmware_sim::flash::Flash;

use crate::spi::{Data, transfer};

/// Bytes of the chip.
const CAPACITY: usize = 16 << 20;

/// Bytes of a sector, which is erased at a time.
const SECTOR_LEN: usize = 64 << 10;

/// Bytes of a page, in which a program must stay.
const PAGE_LEN: usize = 256;

/// Bytes that are read by one command, at most.
const READ_LEN_MAX: usize = 32 << 10;

/// Commands.
const READ_ID: u8 = 0x9f;
const READ_STATUS: u8 = 0x05;
const WRITE_ENABLE: u8 = 0x06;
const PAGE_PROGRAM: u8 = 0x02;
const READ: u8 = 0x03;
const SECTOR_ERASE: u8 = 0xd8;

/// The maker and the kind, as the chip tells them.
const ID: [u8; 3] = [0x01, 0x20, 0x18];

/// In the chip's state: it programs or erases.
const BUSY: u8 = 1;

/// Looks at the state while a page is programmed, which takes under a millisecond.
const LOOKS_MAX: u32 = 1_000_000;

/// The chip.
#[derive(Debug)]
pub(crate) struct Nor {
    /// It has said who it is.
    is_there: bool,
}

/// Why the flash did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NorError {
    /// There is no such flash, or another one.
    Absent,
    /// That is not within it, or not whole sectors.
    Bounds,
    /// It does not get done.
    Hangs,
}

impl NorFlashError for NorError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Bounds => NorFlashErrorKind::OutOfBounds,
            Self::Absent | Self::Hangs => NorFlashErrorKind::Other,
        }
    }
}

impl Nor {
    /// The chip, which may not be there.
    pub(crate) fn new() -> Self {
        let mut id = [0; 3];
        transfer(&[READ_ID], Data::In(&mut id));
        Self { is_there: id == ID }
    }

    fn check(&self, offset: u32, len: usize) -> Result<(), NorError> {
        let is_within = len <= CAPACITY && offset as usize <= CAPACITY - len;
        match (self.is_there, is_within) {
            (true, true) => Ok(()),
            (true, false) => Err(NorError::Bounds),
            (false, _) => Err(NorError::Absent),
        }
    }
}

fn is_busy() -> bool {
    let mut status = [0];
    transfer(&[READ_STATUS], Data::In(&mut status));
    status[0] & BUSY != 0
}

/// A command that is about the byte at `offset`.
const fn command(code: u8, offset: u32) -> [u8; 4] {
    let [_, high, middle, low] = offset.to_be_bytes();
    [code, high, middle, low]
}

fn settle() -> Result<(), NorError> {
    if (0..LOOKS_MAX).any(|_| !is_busy()) { Ok(()) } else { Err(NorError::Hangs) }
}

impl ErrorType for Nor {
    type Error = NorError;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorError> {
        self.check(offset, bytes.len())?;
        for (offset, piece) in (offset..).step_by(READ_LEN_MAX).zip(bytes.chunks_mut(READ_LEN_MAX))
        {
            transfer(&command(READ, offset), Data::In(piece));
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR_LEN;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorError> {
        for offset in (from..to).step_by(SECTOR_LEN) {
            self.begin_erase(offset)?;
            // It takes up to seconds; a chip that does not get done has no other use.
            while is_busy() {}
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorError> {
        self.check(offset, bytes.len())?;
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let room = PAGE_LEN - offset as usize % PAGE_LEN;
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            transfer(&[WRITE_ENABLE], Data::Out(&[]));
            transfer(&command(PAGE_PROGRAM, offset), Data::Out(piece));
            settle()?;
            offset += piece.len() as u32;
            bytes = rest;
        }
        Ok(())
    }
}

impl MultiwriteNorFlash for Nor {}

impl Flash for Nor {
    fn begin_erase(&mut self, offset: u32) -> Result<(), NorError> {
        self.check(offset, SECTOR_LEN)?;
        transfer(&[WRITE_ENABLE], Data::Out(&[]));
        transfer(&command(SECTOR_ERASE, offset), Data::Out(&[]));
        Ok(())
    }

    fn is_busy(&mut self) -> Result<bool, NorError> {
        Ok(is_busy())
    }
}
