//! Finding paths under the root without ever leaving it, and what is served of what is found.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kift_core::wire::{Code, EntryKind, Meta, Path, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, statat};
use rustix::io::Errno;

use super::reason::reason;
use super::root::{Root, Served};

/// The directory under the root that belongs to the server alone.
pub(super) const RESERVED: &str = ".kift";

/// The kernel gives up on a lookup where it was disturbed by renames; more often than this it is
/// not chance.
const LOOKUPS_MAX: u32 = 32;

/// How a directory is opened.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

const NANOSECONDS: i64 = 1_000_000_000;

/// Opens `path` beneath `dir`, through no link and into no other file system.
pub(super) fn open_beneath(
    dir: impl AsFd,
    path: impl AsRef<OsStr>,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let path = Some(path.as_ref()).filter(|path| !path.is_empty()).unwrap_or(OsStr::new("."));
    let mut lookups = 0;
    loop {
        match openat2(&dir, path, flags, Mode::empty(), resolve) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if lookups < LOOKUPS_MAX => lookups += 1,
            result => return result,
        }
    }
}

/// Whether two names in `dir` are one file.
pub(super) fn same_file(dir: &OwnedFd, a: &str, b: &str) -> bool {
    let find = |name| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    matches!((find(a), find(b)), (Ok(a), Ok(b)) if is_same(&a, &b))
}

/// Whether these are of one file.
pub(super) fn is_same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// The directory that a name is looked up in. It may be synced.
#[derive(Debug)]
pub(super) enum Folder<'r> {
    Root(&'r OwnedFd),
    Beneath(OwnedFd),
}

impl AsFd for Folder<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(dir) => dir.as_fd(),
            Self::Beneath(dir) => dir.as_fd(),
        }
    }
}

impl Served {
    /// Whether `name`, in the served directory, is the reserved one.
    pub(super) fn is_reserved(&self, name: &str) -> bool {
        // Which names a file system that folds case takes for one, it alone knows.
        name == RESERVED || self.folds_case && same_file(&self.dir, name, RESERVED)
    }
}

impl Root {
    /// Refuses what lies in the reserved directory, and that itself.
    fn guard(&self, path: Path<'_>) -> Result<(), Code> {
        match path.components().next() {
            Some(first) if self.is_reserved(first) => Err(Code::BadName),
            _ => Ok(()),
        }
    }

    /// Whether `name`, at the top, is the reserved directory. A home has none: it lies beside it.
    pub(super) fn is_reserved(&self, name: &str) -> bool {
        self.home.is_empty() && self.served.is_reserved(name)
    }

    /// Where every path begins. A home, too, is found anew each time.
    pub(super) fn top(&self) -> Result<Folder<'_>, Code> {
        if self.home.is_empty() {
            return Ok(Folder::Root(&self.served.dir));
        }
        let home = open_beneath(&self.served.dir, &*self.home, DIRECTORY);
        home.map(Folder::Beneath).map_err(reason)
    }

    /// Opens what is at `path`.
    pub(super) fn open_at(&self, path: Path<'_>, flags: OFlags) -> Result<OwnedFd, Code> {
        self.guard(path)?;
        open_beneath(self.top()?, path.as_str(), flags | OFlags::CLOEXEC).map_err(reason)
    }

    /// The directory at `path`, to be listed or synced.
    pub(super) fn open_directory(&self, path: Path<'_>) -> Result<OwnedFd, Code> {
        self.open_at(path, DIRECTORY)
    }

    /// The regular file at `path`, to be read.
    ///
    /// What is there is looked at first, without opening it: to open a FIFO lets its writer go on,
    /// and to open a device may do anything at all.
    pub(super) fn open_file(&self, path: Path<'_>) -> Result<(OwnedFd, Meta), Code> {
        self.regular(self.find(path)?)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_at(path, flags)?;
        // It may be another file by now.
        let meta = self.regular(self.meta(&fstat(&file).map_err(reason)?)?)?;
        Ok((file, meta))
    }

    /// What is known of an open file.
    pub(super) fn meta_of(&self, file: impl AsFd) -> Result<Meta, Code> {
        self.meta(&fstat(file).map_err(reason)?)
    }

    fn regular(&self, meta: Meta) -> Result<Meta, Code> {
        match meta.kind {
            EntryKind::File => Ok(meta),
            EntryKind::Directory => Err(Code::IsDirectory),
        }
    }

    /// What is at `path`, found without opening it.
    pub(super) fn find(&self, path: Path<'_>) -> Result<Meta, Code> {
        let found = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        self.meta(&fstat(found).map_err(reason)?)
    }

    /// The directory that `path` lies in, and its name there, for what changes a directory.
    pub(super) fn locate<'p>(&self, path: Path<'p>) -> Result<(Folder<'_>, &'p str), Code> {
        self.guard(path)?;
        match path.split() {
            (_, "") => Err(Code::BadName),
            (Path::ROOT, name) => Ok((self.top()?, name)),
            (folder, name) => Ok((Folder::Beneath(self.open_directory(folder)?), name)),
        }
    }

    /// What `name` is in `folder`, if it is there.
    ///
    /// # Errors
    /// [`Code::NotRegular`] where it is nothing that is served, or why it cannot be known.
    pub(super) fn look(
        &self,
        folder: &Folder<'_>,
        name: &str,
    ) -> Result<Option<(EntryKind, Stat)>, Code> {
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((self.kind(&stat)?, stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(reason(error)),
        }
    }

    /// What the peer is told of a file or directory.
    pub(super) fn meta(&self, stat: &Stat) -> Result<Meta, Code> {
        let kind = self.kind(stat)?;
        let size = match kind {
            EntryKind::File => size(stat),
            EntryKind::Directory => 0,
        };
        Ok(Meta { kind, size, modified: modified(stat) })
    }

    fn kind(&self, stat: &Stat) -> Result<EntryKind, Code> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(EntryKind::Directory),
            FileType::RegularFile if stat.st_nlink <= 1 || self.served.allow_hardlinks => {
                Ok(EntryKind::File)
            }
            _ => Err(Code::NotRegular),
        }
    }
}

/// Bytes of a file.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The time of last modification; none before 1677 and after 2262, which 64 bits cannot say.
fn modified(stat: &Stat) -> Option<Timestamp> {
    let seconds = i128::from(stat.st_mtime) * i128::from(NANOSECONDS);
    i64::try_from(seconds + i128::from(stat.st_mtime_nsec)).ok().map(Timestamp)
}

/// The other way round.
pub(super) fn timespec(time: Timestamp) -> rustix::fs::Timespec {
    rustix::fs::Timespec {
        tv_sec: time.0.div_euclid(NANOSECONDS),
        tv_nsec: time.0.rem_euclid(NANOSECONDS),
    }
}
