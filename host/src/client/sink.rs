//! Where a download goes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kift_core::Tree;
use kift_core::wire::{Conflict, Timestamp, suffixed};
use tempfile::TempPath;

use super::partial::Partial;
use crate::directory;
use crate::together::SMALL_MAX;

/// Names tried before keeping both is given up.
const SUFFIX_MAX: u32 = 10_000;

/// Takes the bytes of one file. Dropped before [`commit`](Self::commit) it leaves nothing behind.
pub trait Sink {
    /// `size` bytes are coming, of a file that is to have this time of last modification.
    fn begin(&mut self, size: u64, modified: Option<Timestamp>);

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, data: &[u8]) -> io::Result<()>;

    /// All bytes came and are verified: makes the file permanent, and gives the number that its
    /// name was made with by [`suffixed`].
    ///
    /// # Errors
    /// The system's; the file is then not there.
    fn commit(&mut self) -> io::Result<u32>;

    /// The file that it makes, where [`commit`](Self::commit) may go on beside that of sinks for other files,
    /// in a thread of its own: the small ones of a tree are made durable together.
    fn joins(&self) -> Option<&Path> {
        None
    }

    /// What an earlier session wrote and is durable, two MiB or more: what is written next comes behind
    /// it. Asked before anything is written.
    fn have(&mut self) -> Option<Tree> {
        None
    }

    /// What was written, if anything, does not count.
    ///
    /// # Errors
    /// It cannot be taken back.
    fn restart(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The MiB that were written have these values. A sink that can be gone on with makes them durable
    /// now and then.
    fn mark(&mut self, tree: &Tree) {
        let _ = tree;
    }

    /// Chunks that are durable.
    fn durable(&self) -> u32 {
        0
    }

    /// The session is over. What is durable may be kept, for [`have`](Self::have) in a later one.
    fn suspend(&mut self) {}
}

/// A file that appears under its name only when it is whole, verified and on stable storage.
///
/// Until then it has a hidden name beside it. Where its origin is known, what is durable of it is left
/// there when it is interrupted, and another sink for the same target and of the same origin goes on
/// with it.
#[derive(Debug)]
pub struct FileSink {
    target: PathBuf,
    conflict: Conflict,
    modified: Option<Timestamp>,
    is_small: bool,
    /// Which file this is a copy of.
    origin: Option<Box<str>>,
    /// Made with the first byte, so that a queue of downloads holds no open files.
    partial: Option<Partial>,
}

impl FileSink {
    /// A sink for the file `target`, of which nothing is left when it is interrupted.
    #[must_use]
    pub fn new(target: PathBuf, conflict: Conflict) -> Self {
        Self { target, conflict, modified: None, is_small: false, origin: None, partial: None }
    }

    /// A sink for the file `target` that can be gone on with: it is a copy of `origin`.
    #[must_use]
    pub fn of(origin: String, target: PathBuf, conflict: Conflict) -> Self {
        Self { origin: Some(origin.into()), ..Self::new(target, conflict) }
    }

    /// Whether an earlier sink may have left something.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.origin.is_some() && Partial::is_there(&self.target)
    }

    /// The file, for others to write to. It is this one's to commit.
    pub(super) fn share(&mut self) -> io::Result<File> {
        self.partial()?.file().try_clone()
    }

    fn partial(&mut self) -> io::Result<&mut Partial> {
        let partial = match self.partial.take() {
            Some(partial) => partial,
            None => Partial::create(&self.target, self.origin.as_deref())?,
        };
        Ok(self.partial.insert(partial))
    }
}

impl Sink for FileSink {
    fn begin(&mut self, size: u64, modified: Option<Timestamp>) {
        self.modified = modified;
        self.is_small = size <= SMALL_MAX;
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.partial()?.write(data)
    }

    fn joins(&self) -> Option<&Path> {
        // Which of two that keep both has which name is a matter of their order.
        (self.is_small && self.conflict != Conflict::KeepBoth).then_some(&*self.target)
    }

    fn commit(&mut self) -> io::Result<u32> {
        self.partial()?;
        let Some(partial) = self.partial.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Some(time) = self.modified.and_then(system_time) {
            partial.file().set_modified(time)?;
        }
        partial.sync()?;
        let suffix = partial.place(|path| match self.conflict {
            Conflict::Replace => {
                path.persist(&self.target)?;
                Ok(0)
            }
            Conflict::Refuse => {
                path.persist_noclobber(&self.target)?;
                Ok(0)
            }
            Conflict::KeepBoth => keep_both(path, &self.target),
        })?;
        directory::sync(directory::above(&self.target))?;
        Ok(suffix)
    }

    fn have(&mut self) -> Option<Tree> {
        if self.partial.is_none() {
            self.partial = Partial::reopen(&self.target, self.origin.as_deref()?);
        }
        self.partial.as_mut()?.have()
    }

    fn restart(&mut self) -> io::Result<()> {
        self.partial = None;
        Ok(())
    }

    fn mark(&mut self, tree: &Tree) {
        if let Some(partial) = &mut self.partial {
            partial.mark(tree);
        }
    }

    fn durable(&self) -> u32 {
        self.partial.as_ref().map_or(0, Partial::durable)
    }

    fn suspend(&mut self) {
        if let Some(partial) = self.partial.take() {
            partial.leave();
        }
    }
}

/// Renames to the first name of [`suffixed`] that is free.
fn keep_both(mut path: TempPath, target: &Path) -> io::Result<u32> {
    let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    for suffix in 0..SUFFIX_MAX {
        match path.persist_noclobber(target.with_file_name(suffixed(name, suffix).as_str())) {
            Ok(()) => return Ok(suffix),
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => {
                path = failed.path
            }
            Err(failed) => return Err(failed.error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn system_time(timestamp: Timestamp) -> Option<SystemTime> {
    let distance = Duration::from_nanos(timestamp.0.unsigned_abs());
    if timestamp.0 >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    }
}

/// The time of a file, as it travels; none where it does not fit.
pub(crate) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).ok()?,
        Err(before) => i64::try_from(before.duration().as_nanos()).ok()?.checked_neg()?,
    };
    Some(Timestamp(nanos))
}

/// Any writer, for what is piped on: its bytes are out before they are verified.
pub struct Pipe<W> {
    writer: W,
    has_begun: bool,
}

impl<W> Pipe<W> {
    /// A sink for all that `writer` takes.
    pub const fn new(writer: W) -> Self {
        Self { writer, has_begun: false }
    }
}

impl<W: Write> Sink for Pipe<W> {
    fn begin(&mut self, _size: u64, _modified: Option<Timestamp>) {}

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.has_begun = true;
        self.writer.write_all(data)
    }

    fn commit(&mut self) -> io::Result<u32> {
        self.writer.flush().map(|()| 0)
    }

    fn restart(&mut self) -> io::Result<()> {
        if self.has_begun {
            return Err(io::Error::other("the link was lost, and some of it is out already"));
        }
        Ok(())
    }
}
