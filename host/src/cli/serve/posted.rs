//! Files that say how a server is reached: its port, the token of an offer.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tracing::debug;

use crate::directory;

/// A file with a line in it, for its owner to read, which goes when the server does.
pub(in crate::cli) struct Posted {
    path: PathBuf,
    text: String,
}

impl Posted {
    /// A reader sees the whole line or no file; one that a killed server left gives way.
    pub(in crate::cli) fn write(path: &Path, line: &str) -> Result<Self> {
        let text = format!("{line}\n");
        let write = || {
            let mut partial = tempfile::NamedTempFile::new_in(directory::above(path))?;
            partial.write_all(text.as_bytes())?;
            partial.persist(path)?;
            io::Result::Ok(())
        };
        write().with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(Self { path: path.to_owned(), text })
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        // It may be another server's by now. The sandbox lets nobody read it, but lets us remove it.
        if fs::read_to_string(&self.path).is_ok_and(|text| text != self.text) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            debug!(%error, file = ?self.path, "cannot remove the file");
        }
    }
}
