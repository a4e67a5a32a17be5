//! The served directory.

use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use kift_core::wire::{Code, FILE_SIZE_MAX, Space, TransferId};
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, fstatvfs, mkdirat,
    openat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use tracing::{info, warn};

use super::beneath::{RESERVED, open_beneath, same_file};
use super::reason::reason;

/// What the names of partial uploads end in. Nothing else in `.kift/` is ever removed: it may be a
/// later version's.
const PARTIAL: &str = ".part";

/// The file in `.kift/` that a server locks.
const LOCK: &str = "lock";

/// How a directory is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Nothing is changed, not even by the server itself: no `.kift/` is made and no lock taken.
    pub read_only: bool,
    /// Regular files with several links are served too. Another of their names may lie outside the
    /// root.
    pub allow_hardlinks: bool,
}

/// A served directory, shared by all [`Session`](super::Session)s.
pub struct Root {
    path: PathBuf,
    pub(super) dir: OwnedFd,
    workshop: Option<Workshop>,
    pub(super) allow_hardlinks: bool,
    /// The file system takes `.KIFT` for `.kift`.
    pub(super) folds_case: bool,
}

/// The reserved directory, while this process holds its lock.
pub(super) struct Workshop {
    pub(super) dir: OwnedFd,
    _lock: OwnedFd,
}

impl Root {
    /// Takes `dir` to be served. Unless read-only, this makes the reserved `.kift/` in it, locks it
    /// against a second server, and removes the partial uploads that an earlier run left there.
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
        if let Some(workshop) = &workshop {
            let removed = workshop
                .remove_leftovers()
                .with_context(|| format!("cannot clear {shown}/{RESERVED}"))?;
            if removed > 0 {
                info!(root = ?path, removed, "removed partial uploads that an earlier run left");
            }
        }
        let folds_case = same_file(&fd, RESERVED, &RESERVED.to_ascii_uppercase());
        let allow_hardlinks = options.allow_hardlinks;
        Ok(Arc::new(Self { path, dir: fd, workshop, allow_hardlinks, folds_case }))
    }

    /// Where the directory was when it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing may be changed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.workshop.is_none()
    }

    /// Where uploads are made, for everything that changes something.
    pub(super) fn workshop(&self) -> Result<&Workshop, Code> {
        self.workshop.as_ref().ok_or(Code::ReadOnly)
    }

    /// How much room there is; none where the file system does not say.
    pub(super) fn space(&self) -> Result<Option<Space>, Code> {
        let system = fstatvfs(&self.dir).map_err(reason)?;
        if system.f_blocks == 0 {
            return Ok(None);
        }
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let total = system.f_blocks.saturating_mul(system.f_frsize);
        Ok(Some(Space { free, total, file_size_max: free.min(FILE_SIZE_MAX) }))
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Workshop {
    fn open(root: &OwnedFd, shown: &Path) -> Result<Self> {
        let shown = shown.display();
        match mkdirat(root, RESERVED, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot make {shown}/{RESERVED}, where uploads are kept until they are whole (a directory that cannot be written can be served read-only)")
                });
            }
        }
        let context = || {
            format!("cannot use {shown}/{RESERVED}, where uploads are kept until they are whole")
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open_beneath(root, RESERVED, flags).with_context(context)?;
        let mode = Mode::from_raw_mode(fstat(&dir).with_context(context)?.st_mode);
        let others = Mode::RWXG | Mode::RWXO;
        if mode.intersects(others) {
            fchmod(&dir, mode.difference(others)).with_context(context)?;
        }
        let flags =
            OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let lock = retry_on_intr(|| openat(&dir, LOCK, flags, mode)).with_context(context)?;
        if !FileType::from_raw_mode(fstat(&lock).with_context(context)?.st_mode).is_file() {
            bail!("{shown}/{RESERVED}/{LOCK} is not a regular file: remove it");
        }
        match retry_on_intr(|| flock(&lock, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(Errno::WOULDBLOCK) => bail!(
                "{shown} is already being served by another process, which has {shown}/{RESERVED}/{LOCK} locked: \
                 stop that one first, serve another directory, or serve this one read-only"
            ),
            Err(error) => Err(error).with_context(context),
        }
    }

    /// Removes what an earlier run left unfinished, and says how many that were. None of it has a
    /// checkpoint from which it could be continued.
    fn remove_leftovers(&self) -> Result<u64, Errno> {
        let mut leftovers = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_bytes().ends_with(PARTIAL.as_bytes()) {
                leftovers.push(entry.file_name().to_owned());
            }
        }
        let mut removed = 0;
        for name in leftovers {
            match unlinkat(&self.dir, &name, AtFlags::empty()) {
                Ok(()) => removed += 1,
                Err(error) => warn!(?name, %error, "cannot remove a partial upload"),
            }
        }
        Ok(removed)
    }
}

/// A name for a partial that no other upload of this process has, whatever identity it claims.
pub(super) fn partial_name(transfer: TransferId) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = u128::from_be_bytes(transfer.0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{id:032x}-{count}{PARTIAL}")
}
