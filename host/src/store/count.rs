//! Counting what lies in a home.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use kift_core::wire::{Code, EntryKind};
use rustix::fs::{AtFlags, FileType, RawDir, statat};
use rustix::io::Errno;
use tracing::{debug, error};

use crate::background::Background;

use super::beneath::{DIRECTORY, open_beneath, size};
use super::ledger::weight;
use super::reason::reason;
use super::root::Served;

/// Files and directories of a home. Where there are more, its quota cannot be kept.
const ENTRIES_MAX: u64 = 10_000_000;

/// Names of directories that one count may hold in memory.
const NAMES_MAX: usize = 1_000_000;

/// How deep directories may lie in one another. No request reaches a quarter of that, but renames
/// put what is deep into what is deep.
const DEPTH_MAX: usize = 1_000;

/// Bytes of a path after which it begins anew at a descriptor: the kernel takes 4,095.
const PATH_LEN: usize = 2_048;

/// Bytes of directory entries that are read at once.
const READ_LEN: usize = 32 * 1024;

/// A count under way, which ends when this is dropped, even by a panic.
struct Count {
    served: Arc<Served>,
    home: Box<str>,
    started: Instant,
    result: Result<u64, Code>,
}

impl Count {
    fn run(mut self) {
        self.result = self.served.weigh(&self.home);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        match self.result {
            Ok(bytes) => debug!(home = self.home, bytes, ?took, "counted"),
            Err(code) => {
                error!(home = self.home, %code, "cannot count a home: its quota takes nothing")
            }
        }
        self.served.ledger.end_count(&self.home, self.result, took);
    }
}

impl Served {
    /// Counts `home` in the background, unless that is under way.
    pub(super) fn count(self: &Arc<Self>, home: &str) {
        if !self.ledger.start_count(home) {
            return;
        }
        let count = Count {
            served: Arc::clone(self),
            home: home.into(),
            started: Instant::now(),
            result: Err(Code::Busy),
        };
        // Without a thread to spare it has failed, and is tried again later.
        let _ = Background::start(move || count.run());
    }

    /// What lies in `home`.
    pub(super) fn weigh(&self, home: &str) -> Result<u64, Code> {
        let top = match open_beneath(&self.dir, home, DIRECTORY) {
            Ok(top) => top,
            Err(Errno::NOENT) => return Ok(0),
            Err(error) => return Err(reason(error)),
        };
        let is_reserved = |name: &OsStr| {
            home.is_empty() && name.to_str().is_some_and(|name| self.is_reserved(name))
        };
        let mut tally = Tally::default();
        let due = tally.read(&top, is_reserved)?;
        let mut levels = vec![Level { anchor: Rc::new(top), path: OsString::new(), due }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.due.pop() else {
                levels.pop();
                continue;
            };
            tally.names -= 1;
            let path = level.beneath(&name);
            let dir = match open_beneath(&level.anchor, &path, DIRECTORY) {
                Ok(dir) => dir,
                // Gone by other means, another file system, or closed to the server too.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS) => {
                    continue;
                }
                Err(error) => return Err(reason(error)),
            };
            let due = tally.read(&dir, |_| false)?;
            let level = if path.len() > PATH_LEN {
                Level { anchor: Rc::new(dir), path: OsString::new(), due }
            } else {
                Level { anchor: Rc::clone(&level.anchor), path, due }
            };
            levels.push(level);
            if levels.len() > DEPTH_MAX {
                return Err(Code::TooMany);
            }
        }
        Ok(tally.sum)
    }
}

/// A directory on the way to the one that is being read.
struct Level {
    /// What `path` begins at.
    anchor: Rc<OwnedFd>,
    path: OsString,
    /// The directories in it that were not read yet.
    due: Vec<OsString>,
}

impl Level {
    fn beneath(&self, name: &OsStr) -> OsString {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push("/");
        }
        path.push(name);
        path
    }
}

#[derive(Default)]
struct Tally {
    sum: u64,
    entries: u64,
    /// Names that are held in memory.
    names: usize,
}

impl Tally {
    /// Counts what lies in `dir`, and gives the names of the directories.
    fn read(
        &mut self,
        dir: &OwnedFd,
        is_left_out: impl Fn(&OsStr) -> bool,
    ) -> Result<Vec<OsString>, Code> {
        let mut due = Vec::new();
        let mut buf = Vec::with_capacity(READ_LEN);
        let mut entries = RawDir::new(dir, buf.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Err(Errno::INTR) => continue,
                entry => entry.map_err(reason)?,
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." || is_left_out(name) {
                continue;
            }
            self.entries += 1;
            let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(reason(error)),
            };
            let weight = match FileType::from_raw_mode(stat.st_mode) {
                // Each name of a file counts, as each may be removed for itself.
                FileType::RegularFile => weight(EntryKind::File, size(&stat)),
                FileType::Directory => {
                    due.push(name.to_owned());
                    self.names += 1;
                    weight(EntryKind::Directory, 0)
                }
                _ => 0,
            };
            self.sum = self.sum.saturating_add(weight);
            if self.entries > ENTRIES_MAX || self.names > NAMES_MAX {
                return Err(Code::TooMany);
            }
        }
        Ok(due)
    }
}
