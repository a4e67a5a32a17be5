//! A file on its way in.
//!
//! It is written to a partial in `.kift/`, which has a name (a file without one cannot be continued
//! after a kill, nor take another's place) and, once whole, is renamed to where it belongs.
//!
//! No space is allocated beforehand: runs of zeros are left as holes, so that a sparse image costs
//! what it weighs, and file systems that delay allocation lay out a stream well by themselves. That
//! the file system has room for a declared size is only looked up, so that its sender is told
//! before it sends; of a quota it is reserved.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use kift_core::storage::Outcome;
use kift_core::wire::{
    Code, Conflict, EntryKind, PATH_LEN_MAX, Path, Put, Timestamp, TransferId, suffixed,
};
use rustix::fs::{
    Access, AtFlags, Mode, OFlags, Timestamps, accessat, fsync, ftruncate, futimens, openat,
    renameat, unlinkat,
};
use rustix::io::{Errno, pwrite, retry_on_intr};
use tracing::{error, warn};

use super::background::Background;
use super::beneath::{Folder, size, timespec};
use super::change::{rename_new, sync};
use super::ledger::{Reservation, weight};
use super::reason::reason;
use super::root::Root;
use super::workshop::partial_name;

/// What a stored file's permissions are before the umask. The partial has them from the start:
/// nobody else can enter `.kift/`.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// Larger files are synced in the background.
const SYNC_INLINE_MAX: u64 = 4 << 20;

/// How long one call of commit waits for such a sync.
const SYNC_WAIT: Duration = Duration::from_secs(1);

/// Names that are tried to keep both files.
const SUFFIX_MAX: u32 = 9_999;

/// What a write is compared with, piece by piece.
static ZEROS: [u8; 4096] = [0; 4096];

/// An upload between `begin` and `commit` or `abort`.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) path: Box<str>,
    partial: Partial,
    conflict: Conflict,
    modified: Option<Timestamp>,
    /// Bytes taken.
    pub(super) at: u64,
    /// Bytes of the partial: less than `at` while it ends in zeros.
    len: u64,
    reservation: Reservation,
    pub(super) syncing: Option<Background<Result<(), Errno>>>,
    /// All of it is durable, but for its name.
    is_durable: bool,
}

impl Upload {
    /// Opens an upload, if nothing that can be known now speaks against it.
    pub(super) fn begin(root: &Arc<Root>, path: Path<'_>, put: &Put<'_>) -> Outcome<Self> {
        root.workshop()?;
        let (folder, name) = root.locate(path)?;
        match root.look(&folder, name)? {
            Some((EntryKind::Directory, _)) => return Poll::Ready(Err(Code::IsDirectory)),
            Some((EntryKind::File, _)) if put.conflict == Conflict::Refuse => {
                return Poll::Ready(Err(Code::Exists));
            }
            Some((EntryKind::File, _)) | None => {}
        }
        let access = Access::WRITE_OK | Access::EXEC_OK;
        // Where the question itself fails (faccessat2 is younger than openat2), commit decides.
        if let Err(error @ (Errno::ACCESS | Errno::ROFS)) =
            accessat(&folder, ".", access, AtFlags::EACCESS)
        {
            return Poll::Ready(Err(reason(error)));
        }
        let size = put.size.unwrap_or(0);
        check_size(root, size)?;
        if size > 0 && root.room()?.is_some_and(|room| room.free < size) {
            return Poll::Ready(Err(Code::NoSpace));
        }
        let mut reservation = root.reservation(path);
        ready!(root.reserve(&mut reservation, weight(EntryKind::File, size)))?;
        Poll::Ready(Ok(Self {
            path: path.as_str().into(),
            partial: Partial::create(root, put.transfer)?,
            conflict: put.conflict,
            modified: put.modified,
            at: 0,
            len: 0,
            reservation,
            syncing: None,
            is_durable: false,
        }))
    }

    /// Takes the next bytes, which begin at `at`.
    pub(super) fn write(&mut self, at: u64, data: &[u8]) -> Outcome<()> {
        if at != self.at {
            return Poll::Ready(Err(Code::Internal));
        }
        let (root, end) = (&self.partial.root, at.saturating_add(data.len() as u64));
        check_size(root, end)?;
        // Where the size was declared, that much is reserved.
        ready!(root.reserve(&mut self.reservation, end))?;
        // What was never written reads as zeros.
        if !is_zero(data) {
            write_all(&self.partial.file, at, data).map_err(reason)?;
            self.len = end;
        }
        self.at = end;
        Poll::Ready(Ok(()))
    }

    /// What is written to, where others write it.
    pub(super) fn file(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.partial.file)
    }

    /// Others have written all `size` bytes.
    pub(super) fn written_elsewhere(&mut self, size: u64) {
        self.at = size;
        self.len = size;
    }

    /// Makes the whole file durable, and gives it its name, durably. Gives the suffix of the name.
    /// Pending: to be called again. After an error nothing is left but what
    /// [`sync`] could not make durable.
    pub(super) fn commit(&mut self, size: u64) -> Outcome<u32> {
        if size != self.at {
            return Poll::Ready(Err(Code::SizeMismatch));
        }
        if !self.is_durable {
            ready!(self.finish()).map_err(|error| {
                let path = self.partial.root.within(&self.path);
                error!(?path, %error, "an upload cannot be made durable");
                reason(error)
            })?;
            self.is_durable = true;
        }
        self.place()
    }

    fn finish(&mut self) -> Poll<Result<(), Errno>> {
        let (file, modified) = (&self.partial.file, self.modified);
        let len = (self.len < self.at).then_some(self.at);
        if self.syncing.is_none() {
            if self.at > SYNC_INLINE_MAX {
                let file = Arc::clone(file);
                match Background::start(move || finish(&file, len, modified)) {
                    Ok(syncing) => self.syncing = Some(syncing),
                    Err(error) => {
                        warn!(%error, "no thread for a sync, so the session waits for it")
                    }
                }
            }
            if self.syncing.is_none() {
                return Poll::Ready(finish(file, len, modified));
            }
        }
        let Some(syncing) = &self.syncing else { return Poll::Pending };
        syncing.wait(SYNC_WAIT).map(|result| result.unwrap_or(Err(Errno::IO)))
    }

    /// Gives the partial its name. The way there is looked up again: it may have been renamed.
    fn place(&mut self) -> Outcome<u32> {
        let root = Arc::clone(&self.partial.root);
        let path = Path::named(&self.path)?;
        let change = ready!(root.change(&[path]));
        let (folder, name) = root.locate(path)?;
        let suffix = match self.conflict {
            Conflict::Replace => {
                // Of what is not served nothing gives way. Over a directory the kernel renames no
                // file.
                let there = root.look(&folder, name)?;
                let workshop = root.workshop()?;
                renameat(&workshop.dir, &self.partial.name, &folder, name).map_err(reason)?;
                if let Some((kind, stat)) = there {
                    change.removed(path, weight(kind, size(&stat)));
                }
                0
            }
            Conflict::Refuse => {
                self.partial.place_new(&folder, name).map_err(reason)?;
                0
            }
            Conflict::KeepBoth => self.keep_both(path, &folder)?,
        };
        self.partial.placed = true;
        change.stored(path, &mut self.reservation, weight(EntryKind::File, self.at));
        drop(change);
        sync(&folder, path)?;
        Poll::Ready(Ok(suffix))
    }

    fn keep_both(&self, path: Path<'_>, folder: &Folder<'_>) -> Result<u32, Code> {
        let (_, name) = path.split();
        for suffix in 0..=SUFFIX_MAX {
            let kept = suffixed(name, suffix);
            if path.as_str().len() - name.len() + kept.len() > PATH_LEN_MAX {
                // It would be stored where no request reaches it.
                return Err(Code::NameTooLong);
            }
            match self.partial.place_new(folder, &kept) {
                Ok(()) => return Ok(suffix),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(reason(error)),
            }
        }
        Err(Code::Exists)
    }

    /// Where the file was stored with `suffix`.
    pub(super) fn stored_path(&self, suffix: u32) -> String {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let folder = &self.path[..self.path.len() - name.len()];
        format!("{folder}{}", suffixed(name, suffix))
    }
}

/// A file in `.kift/`, which goes when this is dropped, unless it was placed.
#[derive(Debug)]
struct Partial {
    root: Arc<Root>,
    name: String,
    /// Shared with a sync in the background.
    file: Arc<OwnedFd>,
    placed: bool,
}

impl Partial {
    fn create(root: &Arc<Root>, transfer: TransferId) -> Result<Self, Code> {
        let workshop = root.workshop()?;
        let name = partial_name(transfer);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(&workshop.dir, &name, flags, FILE_MODE));
        let file = file.map_err(|error| {
            error!(name, %error, "cannot create a partial upload");
            match reason(error) {
                // The peer would take it for its own path.
                Code::NotFound | Code::Exists => Code::Io,
                code => code,
            }
        })?;
        Ok(Self { root: Arc::clone(root), name, file: Arc::new(file), placed: false })
    }

    fn place_new(&self, folder: impl AsFd, name: &str) -> Result<(), Errno> {
        let workshop = self.root.workshop().map_err(|_| Errno::ROFS)?;
        rename_new(&workshop.dir, &self.name, folder, name, EntryKind::File)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if let Ok(workshop) = self.root.workshop()
            && let Err(error) = unlinkat(&workshop.dir, &self.name, AtFlags::empty())
        {
            warn!(name = self.name, %error, "cannot remove a partial upload; the next start will");
        }
    }
}

/// Refuses a file of more bytes than one may have.
fn check_size(root: &Root, size: u64) -> Result<(), Code> {
    if root.bounds.largest.is_some_and(|largest| size > largest) {
        return Err(Code::TooLarge);
    }
    Ok(())
}

/// Gives the file its length, where it ends in a hole, and its time, and makes it durable.
fn finish(file: &OwnedFd, len: Option<u64>, modified: Option<Timestamp>) -> Result<(), Errno> {
    if let Some(len) = len {
        retry_on_intr(|| ftruncate(file, len))?;
    }
    if let Some(modified) = modified {
        let time = timespec(modified);
        futimens(file, &Timestamps { last_access: time, last_modification: time })?;
    }
    // Not `fdatasync`, which need not keep the time.
    retry_on_intr(|| fsync(file))
}

/// One system call, but for a file system that takes less.
pub(super) fn write_all(file: &OwnedFd, mut at: u64, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        let n = retry_on_intr(|| pwrite(file, data, at))?;
        data = data.get(n..).filter(|_| n > 0).ok_or(Errno::IO)?;
        at = at.saturating_add(n as u64);
    }
    Ok(())
}

/// Whether all bytes are zero. Of other contents it looks at the first few only.
fn is_zero(data: &[u8]) -> bool {
    data.chunks(ZEROS.len()).all(|piece| *piece == ZEROS[..piece.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_every_byte_zero() {
        for len in [0, 1, 1023, 1024, 4095, 4096, 4097, 32_768] {
            let mut data = vec![0; len];
            assert!(is_zero(&data), "{len} zeros");
            for at in [0, len / 2, len.saturating_sub(1)] {
                let Some(byte) = data.get_mut(at) else { continue };
                *byte = 1;
                assert!(!is_zero(&data), "a one at {at} of {len}");
                data[at] = 0;
            }
        }
    }
}
