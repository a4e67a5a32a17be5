//! A model of serial NOR flash, in a file or in memory.
//!
//! It is as hard on its user as the chip is: programming only clears bits, an erase takes its time
//! and nothing else goes on meanwhile, and where the power is cut the page or block that was at work
//! is left torn. An image in a file is written as the chip would be, operation by operation, so a
//! process that is killed leaves what a power cut leaves.

mod image;
mod tear;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use anyhow::Result;
use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
    check_erase, check_read, check_write,
};

use crate::board::rng::Rng;
use crate::flash::Flash;
use image::Image;

/// Bytes that are erased together.
pub const BLOCK_LEN: usize = 4096;

/// Bytes that are programmed together, at most.
pub const PAGE_LEN: usize = 256;

/// How long the flash takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// To erase a block.
    pub erase: Duration,
    /// To program a page, or a part of one.
    pub program: Duration,
    /// How often [`is_busy`](Flash::is_busy) is yes for each erase, however late it is asked: for
    /// tests, which should not depend on the clock.
    pub erase_polls: u32,
}

impl Times {
    /// Everything is done at once.
    pub const NONE: Self = Self::polls(0);

    /// Erases that are done when they were asked for `erase_polls` times, whatever the clock says.
    #[must_use]
    pub const fn polls(erase_polls: u32) -> Self {
        Self { erase: Duration::ZERO, program: Duration::ZERO, erase_polls }
    }
}

impl Default for Times {
    /// A common chip's (Winbond's W25Q series: 45 ms and 0.4 to 0.7 ms).
    fn default() -> Self {
        Self {
            erase: Duration::from_millis(50),
            program: Duration::from_micros(700),
            erase_polls: 0,
        }
    }
}

/// What was done since the flash was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Blocks erased.
    pub erases: u64,
    /// Pages programmed, or parts of pages.
    pub programs: u64,
    /// Bytes programmed.
    pub bytes_programmed: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Programs that wanted a 1 where a 0 was, and did not get it.
    pub violations: u64,
}

/// The flash.
pub struct Nor {
    image: Image,
    times: Times,
    stats: Stats,
    erasing: Option<Erasing>,
    cut: Option<Cut>,
    off: bool,
    /// Blocks that no longer work.
    worn_out: Vec<usize>,
}

/// An erase that goes on.
#[derive(Debug, Clone, Copy)]
struct Erasing {
    block: usize,
    until: Instant,
    polls_left: u32,
}

/// The power goes during this operation.
#[derive(Debug, Clone, Copy)]
struct Cut {
    operation: u64,
    seed: u64,
}

impl Nor {
    /// Opens the image at `path`, whose length is the capacity.
    ///
    /// # Errors
    /// It cannot be opened and written, another process has it, or it is no image. The message
    /// names it.
    pub fn open(path: &Path, times: Times) -> Result<Self> {
        Ok(Self::new(Image::open(path)?, times))
    }

    /// As [`open`](Self::open), and makes a blank image of `capacity` bytes where there is none.
    ///
    /// # Errors
    /// As of `open`; or the image there is of another length; or `capacity` is no positive multiple
    /// of [`BLOCK_LEN`].
    pub fn open_or_create(path: &Path, capacity: u32, times: Times) -> Result<Self> {
        Ok(Self::new(Image::open_or_create(path, capacity as usize)?, times))
    }

    /// A blank flash in memory.
    ///
    /// # Panics
    /// `capacity` is no positive multiple of [`BLOCK_LEN`].
    #[must_use]
    pub fn blank(capacity: u32, times: Times) -> Self {
        Self::from_image(&vec![0xff; capacity as usize], times)
    }

    /// A flash in memory that holds `image`.
    ///
    /// # Panics
    /// Its length is no positive multiple of [`BLOCK_LEN`].
    #[must_use]
    pub fn from_image(image: &[u8], times: Times) -> Self {
        Self::new(Image::in_memory(image), times)
    }

    fn new(image: Image, times: Times) -> Self {
        let stats = Stats::default();
        Self { image, times, stats, erasing: None, cut: None, off: false, worn_out: Vec::new() }
    }

    /// All that is stored.
    #[must_use]
    pub fn image(&self) -> &[u8] {
        self.image.cells()
    }

    /// How often each block was erased: in a file, since the image was made.
    #[must_use]
    pub fn wear(&self) -> &[u32] {
        self.image.wear()
    }

    /// What was done since the flash was opened.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Pages programmed and blocks erased since the flash was opened: the operations at which the
    /// power can be cut.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.stats.programs + self.stats.erases
    }

    /// Cuts the power in the `nth` operation from now, counted from 1. That page or block is left
    /// torn, in a manner that `seed` chooses, and nothing works until [`power_on`](Self::power_on).
    pub const fn cut_after(&mut self, nth: u64, seed: u64) {
        self.cut = Some(Cut { operation: self.operations() + nth, seed });
    }

    /// The power is back. An erase that was going on when it went is over, and what it left is
    /// anything; a cut that has not come yet will not come.
    pub const fn power_on(&mut self) {
        self.off = false;
        self.erasing = None;
        self.cut = None;
    }

    /// From now on `block` cannot be erased, and a bit of whatever is programmed there stays 1.
    pub fn wear_out(&mut self, block: usize) {
        self.worn_out.push(block);
    }

    /// Whether the chip would look at a command now.
    const fn check_ready(&self) -> Result<(), Error> {
        if self.off {
            Err(Error::PowerCut)
        } else if self.erasing.is_some() {
            Err(Error::Busy)
        } else {
            Ok(())
        }
    }

    /// What tears the operation that was just counted, if that is the one.
    fn tearing(&mut self) -> Option<Rng> {
        let Cut { operation, seed } = self.cut.filter(|cut| cut.operation == self.operations())?;
        self.off = true;
        Some(Rng::new(seed ^ operation << 32))
    }

    /// Programs a page, or a part of one.
    fn program(&mut self, offset: usize, wanted: &[u8]) -> Result<(), Error> {
        self.stats.programs += 1;
        self.stats.bytes_programmed += wanted.len() as u64;
        let tearing = self.tearing();
        let is_worn_out = self.worn_out.contains(&(offset / BLOCK_LEN));
        let mut is_violation = false;
        self.image.change(offset, wanted.len(), |stored| {
            is_violation = stored.iter().zip(wanted).any(|(stored, wanted)| wanted & !stored != 0);
            match tearing {
                Some(mut rng) => tear::program(&mut rng, stored, wanted),
                None if is_worn_out => tear::program_all_but_one_bit(stored, wanted),
                None => tear::program_all(stored, wanted),
            }
        })?;
        self.stats.violations += u64::from(is_violation);
        if self.off {
            return Err(Error::PowerCut);
        }
        wait(self.times.program);
        Ok(())
    }
}

impl fmt::Debug for Nor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nor")
            .field("stats", &self.stats)
            .field("erasing", &self.erasing)
            .field("off", &self.off)
            .finish_non_exhaustive()
    }
}

impl ErrorType for Nor {
    type Error = Error;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.check_ready()?;
        check_read(self, offset, bytes.len())?;
        self.stats.bytes_read += bytes.len() as u64;
        let from = offset as usize;
        bytes.copy_from_slice(&self.image.cells()[from..from + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.image.cells().len()
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK_LEN;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        self.check_ready()?;
        check_erase(self, from, to)?;
        for offset in (from..to).step_by(BLOCK_LEN) {
            self.begin_erase(offset)?;
            wait(self.times.erase);
            while self.is_busy()? {}
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.check_ready()?;
        check_write(self, offset, bytes.len())?;
        let (mut at, mut rest) = (offset as usize, bytes);
        while !rest.is_empty() {
            let (page, more) = rest.split_at(rest.len().min(PAGE_LEN - at % PAGE_LEN));
            self.program(at, page)?;
            at += page.len();
            rest = more;
        }
        Ok(())
    }
}

impl MultiwriteNorFlash for Nor {}

impl Flash for Nor {
    fn begin_erase(&mut self, offset: u32) -> Result<(), Error> {
        self.check_ready()?;
        check_erase(self, offset, offset.saturating_add(BLOCK_LEN as u32))?;
        let block = offset as usize / BLOCK_LEN;
        self.stats.erases += 1;
        self.image.count_erase(block)?;
        let tearing = self.tearing();
        let mut meanwhile = Rng::new(self.operations());
        self.image.change(offset as usize, BLOCK_LEN, |stored| match tearing {
            Some(mut rng) => tear::erase(&mut rng, stored),
            None => meanwhile.fill(stored),
        })?;
        if self.off {
            return Err(Error::PowerCut);
        }
        let until = Instant::now() + self.times.erase;
        self.erasing = Some(Erasing { block, until, polls_left: self.times.erase_polls });
        Ok(())
    }

    fn is_busy(&mut self) -> Result<bool, Error> {
        if self.off {
            return Err(Error::PowerCut);
        }
        let Some(erasing) = &mut self.erasing else { return Ok(false) };
        if erasing.polls_left > 0 {
            erasing.polls_left -= 1;
            return Ok(true);
        }
        if Instant::now() < erasing.until {
            return Ok(true);
        }
        let block = erasing.block;
        self.erasing = None;
        if self.worn_out.contains(&block) {
            return Err(Error::EraseFailed);
        }
        self.image.change(block * BLOCK_LEN, BLOCK_LEN, |stored| stored.fill(0xff))?;
        Ok(false)
    }
}

/// Sleeps, if it is for any time: the system takes its 50 microseconds for no time too.
fn wait(time: Duration) {
    if !time.is_zero() {
        sleep(time);
    }
}

/// Why the flash did not do what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The arguments are not properly aligned.
    NotAligned,
    /// The arguments are out of bounds.
    OutOfBounds,
    /// An erase goes on, as far as [`is_busy`](Flash::is_busy) has told.
    Busy,
    /// The power is off.
    PowerCut,
    /// The block is worn out.
    EraseFailed,
    /// The file that keeps the image failed.
    Io(io::ErrorKind),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAligned => f.write_str("not aligned"),
            Self::OutOfBounds => f.write_str("out of bounds"),
            Self::Busy => f.write_str("used while an erase goes on"),
            Self::PowerCut => f.write_str("the power is off"),
            Self::EraseFailed => f.write_str("the block cannot be erased"),
            Self::Io(kind) => write!(f, "the image's file: {kind}"),
        }
    }
}

impl core::error::Error for Error {}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::Busy | Self::PowerCut | Self::EraseFailed | Self::Io(_) => {
                NorFlashErrorKind::Other
            }
        }
    }
}

impl From<NorFlashErrorKind> for Error {
    /// Of what `check_read`, `check_write` and `check_erase` find.
    fn from(kind: NorFlashErrorKind) -> Self {
        match kind {
            NorFlashErrorKind::NotAligned => Self::NotAligned,
            _ => Self::OutOfBounds,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}
