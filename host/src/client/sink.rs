//! Where a download goes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kift_core::wire::{Conflict, Timestamp, suffixed};
use tempfile::{NamedTempFile, TempPath};

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
}

/// A file that appears under its name only when it is whole, verified and on stable storage.
#[derive(Debug)]
pub struct FileSink {
    target: PathBuf,
    conflict: Conflict,
    modified: Option<Timestamp>,
    partial: Option<Partial>,
}

/// Made with the first byte, so that a queue of downloads holds no open files.
#[derive(Debug)]
struct Partial {
    file: File,
    path: TempPath,
}

impl FileSink {
    /// A sink for the file `target`.
    #[must_use]
    pub fn new(target: PathBuf, conflict: Conflict) -> Self {
        Self { target, conflict, modified: None, partial: None }
    }

    /// The file, for others to write to. It is this one's to commit.
    pub(super) fn share(&mut self) -> io::Result<File> {
        self.partial()?.file.try_clone()
    }

    fn partial(&mut self) -> io::Result<&mut Partial> {
        if self.partial.is_none() {
            let (file, path) = new_partial(directory_of(&self.target))?.into_parts();
            self.partial = Some(Partial { file, path });
        }
        self.partial.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A hidden file in `directory`, with the mode that a new file of the user's has.
fn new_partial(directory: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new()
        .prefix(".kift-")
        .suffix(".part")
        // The system takes the umask off.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Sink for FileSink {
    fn begin(&mut self, _size: u64, modified: Option<Timestamp>) {
        self.modified = modified;
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.partial()?.file.write_all(data)
    }

    fn commit(&mut self) -> io::Result<u32> {
        self.partial()?;
        let Some(Partial { file, path }) = self.partial.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Some(time) = self.modified.and_then(system_time) {
            file.set_modified(time)?;
        }
        file.sync_all()?;
        drop(file);
        let suffix = match self.conflict {
            Conflict::Replace => {
                path.persist(&self.target)?;
                0
            }
            Conflict::Refuse => {
                path.persist_noclobber(&self.target)?;
                0
            }
            Conflict::KeepBoth => keep_both(path, &self.target)?,
        };
        File::open(directory_of(&self.target))?.sync_all()?;
        Ok(suffix)
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
pub struct Pipe<W>(pub W);

impl<W: Write> Sink for Pipe<W> {
    fn begin(&mut self, _size: u64, _modified: Option<Timestamp>) {}

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.write_all(data)
    }

    fn commit(&mut self) -> io::Result<u32> {
        self.0.flush().map(|()| 0)
    }
}
