//! An SD card in memory, whose power can be cut at any write, and what a computer makes of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx};
use kift_core::wire::{Code, Conflict};
use kift_firmware_sim::card::Store;

use crate::flash;
use crate::machine::tool;

/// A file system that `mkfs.fat` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Its KiB.
    pub size: u32,
    /// What `mkfs.fat` is told about it.
    pub options: &'static [&'static str],
    /// Blocks of a cluster.
    pub cluster_len: u32,
}

/// A FAT16 with clusters of one block.
pub const FAT16: Format = Format { size: 4096, options: &["-F16", "-s1", "-r64"], cluster_len: 1 };

/// A FAT32 with as few clusters as one has.
pub const FAT32: Format =
    Format { size: 33 * 1024 + 512, options: &["-F32", "-s1"], cluster_len: 1 };

/// A FAT16 with clusters of 4 KiB.
pub const COARSE: Format = Format { size: 20 * 1024, options: &["-F16", "-s8"], cluster_len: 8 };

/// Those that the tests go through.
pub const FORMATS: [Format; 3] = [FAT16, FAT32, COARSE];

type Blocks = HashMap<u32, [u8; Block::LEN]>;

/// An SD card. What is taken of it by `clone` is the same card.
#[derive(Debug, Clone)]
pub struct Card(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How many blocks it has.
    len: u32,
    /// What was there first, and what was written since; zeros elsewhere.
    first: Rc<Blocks>,
    blocks: RefCell<Blocks>,
    writes: Cell<u64>,
    reads: Cell<u64>,
    cut_after: Cell<Option<u64>>,
    is_out: Cell<bool>,
}

/// The card does not answer.
#[derive(Debug)]
pub struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the card does not answer")
    }
}

impl Error for NoAnswer {}

impl Card {
    /// A card with this on it.
    #[must_use]
    pub fn new(image: &[u8]) -> Self {
        let (blocks, _) = image.as_chunks();
        let len = blocks.len() as u32;
        let blocks = (0..).zip(blocks.iter().copied());
        let first = blocks.filter(|(_, block)| *block != [0; Block::LEN]).collect();
        Self::over(len, Rc::new(first), Blocks::new())
    }

    fn over(len: u32, first: Rc<Blocks>, blocks: Blocks) -> Self {
        Self(Rc::new(Inner {
            len,
            first,
            blocks: RefCell::new(blocks),
            writes: Cell::default(),
            reads: Cell::default(),
            cut_after: Cell::default(),
            is_out: Cell::default(),
        }))
    }

    /// A card with an empty file system, as `mkfs.fat` makes it.
    ///
    /// # Panics
    /// Where there is no `mkfs.fat`, or it fails.
    #[must_use]
    pub fn formatted(format: Format) -> Self {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("card");
        let size = format.size.to_string();
        let made = tool("mkfs.fat")
            .args(format.options)
            .arg("-C")
            .arg(&image)
            .arg(size)
            .output()
            .expect("mkfs.fat of dosfstools");
        assert!(made.status.success(), "{made:?}");
        Self::new(&fs::read(image).unwrap())
    }

    /// Another card with the same on it.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self::over(self.0.len, Rc::clone(&self.0.first), self.0.blocks.borrow().clone())
    }

    /// All that is on it.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let mut image = vec![0; self.0.len as usize * Block::LEN];
        for (at, block) in self.0.first.iter().chain(&*self.0.blocks.borrow()) {
            let start = *at as usize * Block::LEN;
            image[start..start + Block::LEN].copy_from_slice(block);
        }
        image
    }

    /// Blocks that were written, and were tried to be.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.0.writes.get()
    }

    /// Blocks that were read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.reads.get()
    }

    /// The power goes instead of the write that comes after so many others.
    pub fn cut_after(&self, writes: u64) {
        self.0.cut_after.set(Some(self.0.writes.get() + writes));
    }

    /// The power is back.
    pub fn power_on(&self) {
        self.0.cut_after.set(None);
        self.0.is_out.set(false);
    }

    /// The card is taken out, or put in again.
    pub fn take_out(&self, is_out: bool) {
        self.0.is_out.set(is_out);
    }

    fn answer(&self) -> Result<(), NoAnswer> {
        if self.0.is_out.get() { Err(NoAnswer) } else { Ok(()) }
    }

    fn block(&self, at: u32) -> Result<[u8; Block::LEN], NoAnswer> {
        if at >= self.0.len {
            return Err(NoAnswer);
        }
        let blocks = self.0.blocks.borrow();
        Ok(blocks.get(&at).or_else(|| self.0.first.get(&at)).copied().unwrap_or([0; Block::LEN]))
    }

    /// What `fsck.fat` finds wrong, other than clusters that nothing leads to.
    ///
    /// # Panics
    /// Where there is no `fsck.fat`.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("card");
        let file = fs::File::create(&image).unwrap();
        file.set_len(u64::from(self.0.len) * Block::LEN as u64).unwrap();
        for (at, block) in self.0.first.iter().chain(&*self.0.blocks.borrow()) {
            file.write_all_at(block, u64::from(*at) * Block::LEN as u64).unwrap();
        }
        let checked = tool("fsck.fat").arg("-n").arg(&image).output().expect("fsck.fat");
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        let is_harmless = |line: &&str| {
            line.is_empty()
                || line.starts_with("fsck.fat ")
                || line.starts_with("Reclaimed ")
                // A count that nobody keeps is what a FAT32 is to say.
                || line.starts_with("Free cluster summary uninitialized")
                || line.starts_with("Leaving filesystem unchanged")
                || line.contains(" files, ")
        };
        text.lines().filter(|line| !is_harmless(line)).map(str::to_owned).collect()
    }
}

impl BlockDevice for Card {
    type Error = NoAnswer;

    fn read(&self, blocks: &mut [Block], start: BlockIdx) -> Result<(), NoAnswer> {
        for (block, at) in blocks.iter_mut().zip(start.0..) {
            self.answer()?;
            self.0.reads.set(self.0.reads.get() + 1);
            block.contents = self.block(at)?;
        }
        Ok(())
    }

    fn write(&self, blocks: &[Block], start: BlockIdx) -> Result<(), NoAnswer> {
        for (block, at) in blocks.iter().zip(start.0..) {
            self.answer()?;
            if self.0.cut_after.get() == Some(self.0.writes.get()) {
                self.0.is_out.set(true);
                return Err(NoAnswer);
            }
            self.block(at)?;
            self.0.writes.set(self.0.writes.get() + 1);
            self.0.blocks.borrow_mut().insert(at, block.contents);
        }
        Ok(())
    }

    fn num_blocks(&self) -> Result<BlockCount, NoAnswer> {
        self.answer()?;
        Ok(BlockCount(self.0.len))
    }
}

/// The store of a device with such a card, for two tasks.
pub type Device = Store<Card, 2>;

/// A device with a new card.
///
/// # Panics
/// Where that is not possible.
#[must_use]
pub fn device(format: Format) -> Device {
    let card = Card::formatted(format);
    Device::prepare(card.clone()).unwrap();
    Device::mount(card).unwrap()
}

/// As after a reset.
///
/// # Panics
/// Where it does not mount.
#[must_use]
pub fn mounted_again(mut device: Device) -> Device {
    Device::mount(device.device().copied()).unwrap()
}

/// Stores a file, in the place of one that is there.
///
/// # Errors
/// The store's.
pub fn put(device: &mut Device, name: &str, data: &[u8]) -> Result<u32, Code> {
    flash::put(&mut device.handle(0), name, data, Conflict::Replace)
}

/// What a file holds.
///
/// # Errors
/// The store's.
pub fn get(device: &mut Device, name: &str) -> Result<Vec<u8>, Code> {
    flash::get(&mut device.handle(0), name)
}

/// Bytes that are free.
///
/// # Panics
/// Where the store does not say.
pub fn free(device: &mut Device) -> u64 {
    flash::space(&mut device.handle(0)).unwrap().free
}

/// A computer finds nothing wrong, and as much room as the store says.
///
/// # Panics
/// Where it is not so.
#[track_caller]
pub fn check(device: &mut Device) {
    assert_eq!(device.device().complaints(), Vec::<String>::new());
    let said = free(device);
    assert_eq!(free(&mut mounted_again(Device::mount(device.device().copied()).unwrap())), said);
}
