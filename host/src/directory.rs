//! Directories, as they have to be for what is in them to be durable.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// The one that `path` is in.
pub(crate) fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    }
}

/// Makes the names that are in `path` durable.
///
/// # Errors
/// The system's.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the directory `path`, and those above it that are not there, durably.
///
/// # Errors
/// The system's.
pub(crate) fn make(path: &Path, mode: u32) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.exists() {
        return Ok(());
    }
    make(above(path), mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        // By somebody else in this moment.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    sync(above(path))
}
