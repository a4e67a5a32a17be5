//! The reserved directory, where uploads are made.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use kift_core::wire::TransferId;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, fsync, mkdirat,
    openat, statat, syncfs,
};
use rustix::io::{Errno, retry_on_intr};

use super::beneath::{RESERVED, open_beneath};
use super::checkpoint::now;

/// What the names of partial uploads end in, and of what is known of them. Nothing else in `.kift/` is
/// ever removed: it may be a later version's.
const PARTIAL: &str = ".part";
const MARK: &str = ".mark";

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
        // An earlier run may have made this, or given files their names, and have come no further. What is
        // found here is taken for durable, so it has to be. (Not every file system knows the second.)
        retry_on_intr(|| fsync(root)).with_context(context)?;
        retry_on_intr(|| syncfs(root)).with_context(context)?;
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

    /// What the names of the files that an earlier run left begin with.
    pub(super) fn stems(&self) -> Result<BTreeSet<String>, Errno> {
        let mut stems = BTreeSet::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if let Some(stem) = [PARTIAL, MARK].iter().find_map(|end| name.strip_suffix(end)) {
                stems.insert(stem.to_owned());
            }
        }
        Ok(stems)
    }

    /// Whether the partial of that stem is there.
    pub(super) fn has_part(&self, stem: &str) -> Result<bool, Errno> {
        match statat(&self.dir, part_name(stem), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What the names of an upload's files begin with, as of no other upload, whatever identity it claims.
pub(super) fn new_stem(transfer: TransferId) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = u128::from_be_bytes(transfer.0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{id:032x}-{:x}-{count}", now())
}

pub(super) fn part_name(stem: &str) -> String {
    format!("{stem}{PARTIAL}")
}

pub(super) fn mark_name(stem: &str) -> String {
    format!("{stem}{MARK}")
}
