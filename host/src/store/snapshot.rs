//! A directory being listed.

use std::os::fd::OwnedFd;

use kift_core::storage::Page;
use kift_core::wire::{Code, Entry, PATH_LEN_MAX, Path};
use rustix::fs::{AtFlags, FileType, RawDir, statat};
use rustix::io::Errno;

use super::reason::reason;
use super::root::Root;

/// Names that one listing may hold in memory: some 50 MB of them.
pub(super) const NAMES_MAX: usize = 1_000_000;

/// Bytes of directory entries that are read at once.
const READ_LEN: usize = 32 * 1024;

/// The names of a directory at one moment, in byte order. What they are is looked up when they are
/// told, so that a name which is gone by then is left out.
#[derive(Debug)]
pub(super) struct Snapshot {
    dir: OwnedFd,
    names: Vec<Box<str>>,
    /// How many of `names` were told.
    told: usize,
    /// Entries whose names are no legal paths.
    pub(super) skipped: u64,
}

impl Snapshot {
    /// Reads the names after `after` in the directory at `path`.
    ///
    /// # Errors
    /// [`Code::TooMany`] for more than `names_max` of them, or why the directory cannot be read.
    pub(super) fn take(
        root: &Root,
        path: Path<'_>,
        after: &str,
        names_max: usize,
    ) -> Result<Self, Code> {
        let dir = root.open_directory(path)?;
        let (mut names, mut skipped) = (Vec::new(), 0);
        let mut buf = Vec::with_capacity(READ_LEN);
        let mut entries = RawDir::new(&dir, buf.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Err(Errno::INTR) => continue,
                entry => entry.map_err(reason)?,
            };
            let served = matches!(
                entry.file_type(),
                FileType::RegularFile | FileType::Directory | FileType::Unknown
            );
            let bytes = entry.file_name().to_bytes();
            if !served || matches!(bytes, b"." | b"..") || bytes <= after.as_bytes() {
                continue;
            }
            match legal(path, bytes) {
                Some(name) if path.is_root() && root.is_reserved(name) => {}
                Some(_) if names.len() >= names_max => return Err(Code::TooMany),
                Some(name) => names.push(name.into()),
                None => skipped += 1,
            }
        }
        names.sort_unstable();
        Ok(Self { dir, names, told: 0, skipped })
    }

    /// Pushes entries until `page` is full, and says whether there are more.
    pub(super) fn fill(&mut self, root: &Root, page: &mut Page<'_>) -> Result<bool, Code> {
        while let Some(name) = self.names.get(self.told) {
            match statat(&self.dir, &**name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => match root.meta(&stat) {
                    Ok(meta) if !page.push(&Entry { name, meta }) => return Ok(true),
                    // Told, or nothing that is served.
                    Ok(_) | Err(_) => {}
                },
                Err(Errno::NOENT) => {}
                Err(error) => return Err(reason(error)),
            }
            self.told += 1;
        }
        Ok(false)
    }
}

/// The name of an entry of `folder`, if a request could ask for it.
fn legal<'n>(folder: Path<'_>, name: &'n [u8]) -> Option<&'n str> {
    let name = std::str::from_utf8(name).ok()?;
    let separator = usize::from(!folder.is_root());
    let fits = folder.as_str().len() + separator + name.len() <= PATH_LEN_MAX;
    (fits && Path::named(name).is_ok()).then_some(name)
}
