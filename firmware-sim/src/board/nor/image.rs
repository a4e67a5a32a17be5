//! What the flash keeps: its cells and how worn they are, in memory and, where asked, in files.

use std::borrow::ToOwned as _;
use std::boxed::Box;
use std::format;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::vec;
use std::vec::Vec;

use anyhow::{Context as _, Result, bail, ensure};

use super::BLOCK_LEN;

/// The cells are all in memory, so that a read costs no system call, and every change is written
/// through. Nothing is allocated once the image is there.
pub(super) struct Image {
    cells: Box<[u8]>,
    wear: Box<[u32]>,
    files: Option<Files>,
}

struct Files {
    /// The cells; locked as long as it is open.
    image: File,
    /// 32 bits a block, the least significant byte first.
    wear: File,
}

impl Image {
    pub(super) fn in_memory(cells: &[u8]) -> Self {
        assert!(is_capacity(cells.len()), "{} bytes are no whole blocks", cells.len());
        Self { cells: cells.into(), wear: unworn(cells.len()), files: None }
    }

    pub(super) fn open(path: &Path) -> Result<Self> {
        let image = open_locked(path, OpenOptions::new().read(true).write(true))?;
        Self::load(path, image)
    }

    pub(super) fn open_or_create(path: &Path, capacity: usize) -> Result<Self> {
        ensure!(
            is_capacity(capacity),
            "a flash of {capacity} bytes: it must be a multiple of {BLOCK_LEN}"
        );
        let mut options = OpenOptions::new();
        let image = open_locked(path, options.read(true).write(true).create(true))?;
        let shown = path.display();
        if image.metadata()?.len() == 0 {
            image
                .write_all_at(&vec![0xff; capacity], 0)
                .and_then(|()| fs::write(wear_path(path), as_bytes(&unworn(capacity))))
                .with_context(|| format!("cannot make the flash image {shown}"))?;
        }
        let this = Self::load(path, image)?;
        let len = this.cells.len();
        ensure!(len == capacity, "the flash image {shown} has {len} bytes, not {capacity}");
        Ok(this)
    }

    fn load(path: &Path, image: File) -> Result<Self> {
        let shown = path.display();
        let cells = read(&image).with_context(|| format!("cannot read the flash image {shown}"))?;
        let len = cells.len();
        ensure!(
            is_capacity(len),
            "{shown} is no flash image: its {len} bytes are no multiple of {BLOCK_LEN}"
        );
        let path = wear_path(path);
        let (wear_file, wear) = open_wear(&path, len)
            .with_context(|| format!("cannot use {} for the flash's wear", path.display()))?;
        Ok(Self { cells: cells.into(), wear, files: Some(Files { image, wear: wear_file }) })
    }

    pub(super) fn cells(&self) -> &[u8] {
        &self.cells
    }

    pub(super) fn wear(&self) -> &[u32] {
        &self.wear
    }

    /// Changes `len` cells from `offset` on.
    pub(super) fn change(
        &mut self,
        offset: usize,
        len: usize,
        change: impl FnOnce(&mut [u8]),
    ) -> io::Result<()> {
        let cells = &mut self.cells[offset..offset + len];
        change(cells);
        match &self.files {
            Some(files) => files.image.write_all_at(cells, offset as u64),
            None => Ok(()),
        }
    }

    /// Counts an erase of `block`.
    pub(super) fn count_erase(&mut self, block: usize) -> io::Result<()> {
        let erases = &mut self.wear[block];
        *erases = erases.saturating_add(1);
        match &self.files {
            Some(files) => files.wear.write_all_at(&erases.to_le_bytes(), 4 * block as u64),
            None => Ok(()),
        }
    }
}

const fn is_capacity(len: usize) -> bool {
    len > 0 && len.is_multiple_of(BLOCK_LEN)
}

fn unworn(capacity: usize) -> Box<[u32]> {
    vec![0; capacity / BLOCK_LEN].into()
}

/// Opens the file for this process alone.
fn open_locked(path: &Path, options: &OpenOptions) -> Result<File> {
    let shown = path.display();
    let file =
        options.open(path).with_context(|| format!("cannot open the flash image {shown}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("the flash image {shown} is in use"),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock the flash image {shown}"))
        }
    }
}

fn read(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the wear of the image at `path` is kept.
fn wear_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".wear");
    name.into()
}

/// The counts in the file at `path`, all 0 if there is none.
fn open_wear(path: &Path, capacity: usize) -> Result<(File, Box<[u32]>)> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    let mut wear = unworn(capacity);
    let bytes = read(&file)?;
    if bytes.is_empty() {
        file.write_all_at(&as_bytes(&wear), 0)?;
    } else {
        let (counts, rest) = bytes.as_chunks();
        let fits = counts.len() == wear.len() && rest.is_empty();
        ensure!(fits, "it has {} bytes, not {}", bytes.len(), 4 * wear.len());
        for (erases, count) in wear.iter_mut().zip(counts) {
            *erases = u32::from_le_bytes(*count);
        }
    }
    Ok((file, wear))
}

fn as_bytes(wear: &[u32]) -> Vec<u8> {
    wear.iter().flat_map(|erases| erases.to_le_bytes()).collect()
}
