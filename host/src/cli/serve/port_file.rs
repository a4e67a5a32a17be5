//! The file that says which port was taken.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tracing::debug;

/// A file with the port in it, which goes when the server does.
pub(super) struct PortFile {
    path: PathBuf,
    text: String,
}

impl PortFile {
    /// A reader sees the whole port or no file; one that a killed server left gives way.
    pub(super) fn write(path: &Path, port: u16) -> Result<Self> {
        let text = format!("{port}\n");
        let write = || {
            let mut partial = tempfile::NamedTempFile::new_in(directory_of(path))?;
            partial.write_all(text.as_bytes())?;
            partial.persist(path)?;
            io::Result::Ok(())
        };
        write().with_context(|| format!("cannot write the port to {}", path.display()))?;
        Ok(Self { path: path.to_owned(), text })
    }
}

impl Drop for PortFile {
    fn drop(&mut self) {
        // It may be another server's by now. The sandbox lets nobody read it, but lets us remove it.
        if fs::read_to_string(&self.path).is_ok_and(|text| text != self.text) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            debug!(%error, file = ?self.path, "cannot remove the file with the port");
        }
    }
}

/// The directory in which a file lies.
pub(super) fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
