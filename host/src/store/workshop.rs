//! The reserved directory, where uploads are made.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use kift_core::wire::TransferId;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdirat, openat,
    unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use tracing::warn;

use super::beneath::{RESERVED, open_beneath};

/// What the names of partial uploads end in. Nothing else in `.kift/` is ever removed: it may be a
/// later version's.
const PARTIAL: &str = ".part";

/// The file in `.kift/` that a server locks.
const LOCK: &str = "lock";

/// The reserved directory, while this process holds its lock.
pub(super) struct Workshop {
    pub(super) dir: OwnedFd,
    _lock: OwnedFd,
}

impl Workshop {
    /// Makes the reserved directory in `root`, which messages call `shown`, and locks it.
    pub(super) fn open(root: &OwnedFd, shown: &Path) -> Result<Self> {
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
    pub(super) fn remove_leftovers(&self) -> Result<u64, Errno> {
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
