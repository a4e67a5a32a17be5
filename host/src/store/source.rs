//! A file on its way out.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use kift_core::wire::{Code, Meta, Path};
use rustix::fs::{Advice, fadvise};
use rustix::io::{pread, retry_on_intr};

use super::reason::reason;
use super::root::Root;

/// Files up to this size are read ahead whole by the kernel in any case.
const READ_AHEAD: u64 = 128 * 1024;

/// An open file.
#[derive(Debug)]
pub(super) struct Source {
    file: Arc<OwnedFd>,
    pub(super) path: Box<str>,
    pub(super) meta: Meta,
    /// Bytes read so far.
    pub(super) bytes: u64,
}

impl Source {
    /// Opens the regular file at `path`.
    pub(super) fn open(root: &Root, path: Path<'_>) -> Result<Self, Code> {
        let (file, meta) = root.open_file(path)?;
        if meta.size > READ_AHEAD {
            // Whether this is heeded or not, the bytes are the same.
            let _ = fadvise(&file, 0, None, Advice::Sequential);
        }
        let file = Arc::new(file);
        Ok(Self { file, path: path.as_str().into(), meta, bytes: 0 })
    }

    /// The same file, for a link to read a run of it.
    pub(super) fn for_run(&self) -> Self {
        let Self { file, path, meta, .. } = self;
        Self { file: Arc::clone(file), path: path.clone(), meta: *meta, bytes: 0 }
    }

    /// Whether the file is not any more what it was when it was opened, as far as one can tell.
    pub(super) fn is_changed(&self, root: &Root) -> bool {
        root.meta_of(&self.file).ok() != Some(self.meta)
    }

    /// Fills `buf` from byte `at` on, short only where the file ends.
    pub(super) fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<usize, Code> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = at.saturating_add(filled as u64);
            match retry_on_intr(|| pread(&self.file, &mut *rest, at)).map_err(reason)? {
                0 => break,
                n => filled += n,
            }
        }
        self.bytes = self.bytes.saturating_add(filled as u64);
        Ok(filled)
    }
}
