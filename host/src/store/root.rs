//! The served directory, and the homes in it.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};

use anyhow::{Context as _, Result, anyhow, bail};
use kift_core::storage::Outcome;
use kift_core::wire::{self, Code, FILE_SIZE_MAX, Space};
use rustix::fs::{Mode, OFlags, fstatvfs, openat};
use rustix::io::{Errno, retry_on_intr};

use super::attempts::Attempts;
use super::beneath::{RESERVED, open_beneath, same_file};
use super::ledger::Ledger;
use super::reason::reason;
use super::workshop::Workshop;

/// How a directory is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Nothing is changed, not even by the server itself: no `.kift/` is made and no lock taken.
    pub read_only: bool,
    /// Regular files with several links are served too. Another of their names may lie outside the
    /// root.
    pub allow_hardlinks: bool,
}

/// How much may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Bytes of all files together, counted as [`Session`](super::Session) says.
    pub quota: Option<u64>,
    /// Bytes of the largest file.
    pub largest: Option<u64>,
}

/// A served directory, or a home in it, for [`Session`](super::Session)s to share.
#[derive(Debug)]
pub struct Root {
    pub(super) served: Arc<Served>,
    /// Beneath the served directory; empty for that itself.
    pub(super) home: Box<str>,
    pub(super) bounds: Bounds,
}

/// What all homes share.
pub(super) struct Served {
    path: PathBuf,
    pub(super) dir: OwnedFd,
    workshop: Option<Workshop>,
    pub(super) allow_hardlinks: bool,
    /// The file system takes `.KIFT` for `.kift`.
    pub(super) folds_case: bool,
    pub(super) ledger: Ledger,
    pub(super) attempts: Attempts,
    /// Held while an upload gets its name.
    pub(super) placing: Mutex<()>,
}

impl Root {
    /// Takes `dir` to be served. Unless read-only, this makes the reserved `.kift/` in it, locks it
    /// against a second server, and removes the partial uploads that an earlier run left there and
    /// nobody can go on with.
    ///
    /// # Errors
    /// `dir` is no directory that can be opened, or cannot be written, or another server has it, or
    /// the kernel is older than Linux 5.6. The message names the directory and says what to do.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Self>> {
        let shown = dir.display();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| openat(rustix::fs::CWD, dir, flags, Mode::empty()))
            .with_context(|| format!("cannot open the directory {shown}"))?;
        match open_beneath(&fd, ".", OFlags::PATH | OFlags::CLOEXEC) {
            Ok(_) => {}
            Err(Errno::NOSYS | Errno::PERM) => bail!(
                "cannot serve {shown}: the system call openat2, which keeps clients inside it, is \
                 missing or forbidden here (it needs Linux 5.6, and a container that lets it pass)"
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot serve {shown}")),
        }
        let path = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let workshop = if options.read_only { None } else { Some(Workshop::open(&fd, dir)?) };
        let folds_case = same_file(&fd, RESERVED, &RESERVED.to_ascii_uppercase());
        let allow_hardlinks = options.allow_hardlinks;
        let served = Served {
            path,
            dir: fd,
            workshop,
            allow_hardlinks,
            folds_case,
            ledger: Ledger::default(),
            attempts: Attempts::default(),
            placing: Mutex::default(),
        };
        let (served, bounds) = (Arc::new(served), Bounds::default());
        let root = Arc::new(Self { served, home: "".into(), bounds });
        root.load_attempts().map_err(|code| anyhow!("cannot read {shown}/{RESERVED}: {code}"))?;
        Ok(root)
    }

    /// The directory at `path` as a root of its own: whoever is given that reaches nothing outside
    /// it, and stores no more in it than `bounds` say. Directories that are missing are made.
    ///
    /// # Errors
    /// `path` is not legal, is reserved, leads over a link or to something else than a directory,
    /// or is missing where nothing is changed.
    pub fn home(&self, path: &str, bounds: Bounds) -> Result<Arc<Self>, Code> {
        let path = wire::Path::new(path)?;
        if let Err(Code::NotFound) = self.open_directory(path) {
            self.make_directories(path)?;
        }
        self.open_directory(path)?;
        let home = self.within(path.as_str()).into();
        Ok(Arc::new(Self { served: Arc::clone(&self.served), home, bounds }))
    }

    /// Where the served directory was when it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.served.path
    }

    /// Whether nothing may be changed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.served.workshop.is_none()
    }

    /// `path`, as it is called beneath the served directory.
    pub(super) fn within<'p>(&self, path: &'p str) -> Cow<'p, str> {
        match (&*self.home, path) {
            ("", path) => path.into(),
            (home, "") => home.to_owned().into(),
            (home, path) => format!("{home}/{path}").into(),
        }
    }

    /// What `path`, which is one beneath the served directory, is called here; none outside the home.
    pub(super) fn without_home<'p>(&self, path: &'p str) -> Option<&'p str> {
        match &*self.home {
            "" => Some(path),
            home => path.strip_prefix(home)?.strip_prefix('/'),
        }
    }

    /// Where uploads are made, for everything that changes something.
    pub(super) fn workshop(&self) -> Result<&Workshop, Code> {
        self.served.workshop.as_ref().ok_or(Code::ReadOnly)
    }

    /// How much room the file system has; none where it does not say.
    pub(super) fn room(&self) -> Result<Option<Space>, Code> {
        let system = fstatvfs(self.top()?).map_err(reason)?;
        if system.f_blocks == 0 {
            return Ok(None);
        }
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let total = system.f_blocks.saturating_mul(system.f_frsize);
        Ok(Some(Space { free, total, file_size_max: FILE_SIZE_MAX }))
    }

    /// How much room there is: what the file system and the quota both leave.
    pub(super) fn space(&self) -> Outcome<Space> {
        let left = match self.bounds.quota {
            Some(quota) => ready!(self.left(quota)).map(|left| Some((left, quota))),
            None => Ok(None),
        };
        let room = || -> Result<Space, Code> {
            let all = Space { free: u64::MAX, total: u64::MAX, file_size_max: FILE_SIZE_MAX };
            let space = match (self.room()?, left?) {
                (Some(room), None) => room,
                (room, Some((free, total))) => {
                    let room = room.unwrap_or(all);
                    Space { free: room.free.min(free), total: room.total.min(total), ..room }
                }
                (None, None) => return Err(Code::Unsupported),
            };
            let largest = self.bounds.largest.unwrap_or(FILE_SIZE_MAX);
            let file_size_max = space.file_size_max.min(space.free).min(largest);
            Ok(Space { file_size_max, ..space })
        };
        Poll::Ready(room())
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("path", &self.path).finish_non_exhaustive()
    }
}
