//! A file on its way in.
//!
//! It is written to a partial in `.kift/`, which has a name (a file without one cannot be continued
//! after a kill, nor take another's place) and, once whole, is renamed to where it belongs.
//!
//! No space is allocated beforehand: runs of zeros are left as holes, so that a sparse image costs
//! what it weighs, and file systems that delay allocation lay out a stream well by themselves. That
//! the file system has room for a declared size is only looked up, so that its sender is told
//! before it sends; of a quota it is reserved.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::thread;
use std::time::Duration;

use kift_core::Tree;
use kift_core::storage::Outcome;
use kift_core::wire::{
    Code, Conflict, Digest, EntryKind, PATH_LEN_MAX, Path, Put, Timestamp, suffixed,
};
use rustix::fs::{Access, AtFlags, Timestamps, accessat, fsync, ftruncate, futimens, renameat};
use rustix::io::{Errno, retry_on_intr};
use tracing::{error, warn};

use crate::background::Background;
use crate::checkpoints::Checkpoints;

use super::attempts::Earlier;
use super::beneath::{Folder, timespec};
use super::change::{rename_new, sync};
use super::checkpoint::{Asked, Placing};
use super::ledger::weight;
use super::partial::Partial;
use super::presence::Presence;
use super::reason::reason;
use super::root::Root;

/// Larger files are synced in the background.
const SYNC_INLINE_MAX: u64 = 4 << 20;

/// How long one call of commit waits for such a sync.
const SYNC_WAIT: Duration = Duration::from_secs(1);

/// How long one call waits for an earlier attempt that comes to its end.
const ENDING_WAIT: Duration = Duration::from_millis(5);

/// Names that are tried to keep both files.
const SUFFIX_MAX: u32 = 9_999;

/// What a write is compared with, piece by piece.
static ZEROS: [u8; 4096] = [0; 4096];

/// An upload between `begin` and `commit` or `abort`.
#[derive(Debug)]
pub(super) struct Upload {
    root: Arc<Root>,
    pub(super) path: Box<str>,
    partial: Arc<Partial>,
    /// Lets this attempt write to it.
    turn: u64,
    sender: Presence,
    pub(super) conflict: Conflict,
    modified: Option<Timestamp>,
    /// Bytes taken.
    pub(super) at: u64,
    /// Bytes of the partial: less than `at` while it ends in zeros.
    len: u64,
    checkpoints: Checkpoints<Code>,
    pub(super) syncing: Option<Background<Result<(), Errno>>>,
    /// All of it is durable, but for its name.
    is_durable: bool,
}

/// Writes to an upload from anywhere in the file.
#[derive(Debug)]
pub(super) struct Writer {
    partial: Arc<Partial>,
    turn: u64,
}

impl Writer {
    pub(super) fn write(&self, at: u64, data: &[u8]) -> Result<(), Code> {
        self.partial.write(self.turn, at, data)
    }
}

/// Where an upload begins.
#[derive(Debug)]
pub(super) enum Start {
    Upload(Box<Upload>),
    Stored(Placing),
}

impl Upload {
    /// Opens an upload of `owner`, if nothing that can be known now speaks against it. If it
    /// `resumes`, it goes on with what an earlier attempt left.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn begin(
        root: &Arc<Root>,
        owner: &str,
        path: Path<'_>,
        put: &Put<'_>,
        resumes: bool,
        sender: &Presence,
    ) -> Outcome<Start> {
        let attempts = &root.served.attempts;
        root.workshop()?;
        let asked = Asked::new(owner, &root.within(path.as_str()), put);
        if resumes && let Some(outcome) = attempts.outcome(&asked) {
            return Poll::Ready(Ok(Start::Stored(outcome)));
        }
        let (folder, name) = root.locate(path)?;
        // By this very upload, it may be: an earlier attempt says so.
        let is_taken = match root.look(&folder, name)? {
            Some((EntryKind::Directory, _)) => return Poll::Ready(Err(Code::IsDirectory)),
            Some((EntryKind::File, _)) => put.conflict == Conflict::Refuse,
            None => false,
        };
        let access = Access::WRITE_OK | Access::EXEC_OK;
        // Where the question itself fails (faccessat2 is younger than openat2), commit decides.
        if let Err(error @ (Errno::ACCESS | Errno::ROFS)) =
            accessat(&folder, ".", access, AtFlags::EACCESS)
        {
            return Poll::Ready(Err(reason(error)));
        }
        let size = put.size.unwrap_or(0);
        check_size(root, size)?;
        let of = |partial, turn, tree: Tree| {
            let at = u64::from(tree.runs()) << 20;
            Self {
                root: Arc::clone(root),
                path: path.as_str().into(),
                partial,
                turn,
                sender: sender.clone(),
                conflict: put.conflict,
                modified: put.modified,
                at,
                len: at,
                checkpoints: Checkpoints::new(tree),
                syncing: None,
                is_durable: false,
            }
        };
        let has_room = |more| Ok(more == 0 || root.room()?.is_none_or(|room| room.free >= more));
        let Poll::Ready(earlier) = attempts.earlier(root, &asked, resumes, sender) else {
            thread::sleep(ENDING_WAIT);
            return Poll::Pending;
        };
        let rest = match earlier? {
            Earlier::Stored(outcome) => return Poll::Ready(Ok(Start::Stored(outcome))),
            Earlier::Rest(partial, turn, tree) => Some(of(partial, turn, *tree)),
            Earlier::Nothing => None,
        };
        if is_taken {
            if let Some(upload) = rest {
                upload.suspend();
            }
            return Poll::Ready(Err(Code::Exists));
        }
        if let Some(upload) = rest {
            let turn = upload.turn;
            let reserved = match has_room(size.saturating_sub(upload.at)) {
                Ok(true) => upload.partial.reserve(turn, weight(EntryKind::File, size)),
                Ok(false) => Poll::Ready(Err(Code::NoSpace)),
                Err(code) => Poll::Ready(Err(code)),
            };
            if let Poll::Ready(Ok(())) = reserved {
                return Poll::Ready(Ok(Start::Upload(Box::new(upload))));
            }
            upload.suspend();
            ready!(reserved)?;
        }
        if !has_room(size)? {
            return Poll::Ready(Err(Code::NoSpace));
        }
        let mut reservation = root.reservation(path);
        ready!(root.reserve(&mut reservation, weight(EntryKind::File, size)))?;
        let partial = Arc::new(Partial::create(root, asked, reservation, sender)?);
        if !attempts.begin(&partial, resumes) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(Start::Upload(Box::new(of(partial, 0, Tree::new())))))
    }

    /// Whether names that look different may be one.
    pub(super) fn folds_case(&self) -> bool {
        self.root.served.folds_case
    }

    /// Chunks that are there of an earlier attempt, before anything is written.
    pub(super) fn chunks(&self) -> u32 {
        u32::try_from(self.at / 1024).unwrap_or(u32::MAX)
    }

    /// The values of the MiB that were written.
    pub(super) fn tree(&self) -> &Tree {
        self.checkpoints.tree()
    }

    /// Takes the next bytes, which begin at `at`.
    pub(super) fn write(&mut self, at: u64, data: &[u8]) -> Outcome<()> {
        if at != self.at {
            return Poll::Ready(Err(Code::Internal));
        }
        self.checkpoints.look()?;
        let end = at.saturating_add(data.len() as u64);
        check_size(&self.root, end)?;
        // Where the size was declared, that much is reserved.
        ready!(self.partial.reserve(self.turn, end))?;
        // What was never written reads as zeros.
        if !is_zero(data) {
            self.partial.write(self.turn, at, data)?;
            self.len = end;
        }
        self.at = end;
        Poll::Ready(Ok(()))
    }

    /// What was written has the values `tree`: it is made durable in the background, if enough is new.
    pub(super) fn mark(&mut self, tree: &Tree) {
        let (partial, turn) = (Arc::clone(&self.partial), self.turn);
        let durable = partial.durable();
        self.checkpoints.written(tree, durable, move |tree| partial.mark(turn, tree));
    }

    /// Chunks from which another attempt could go on after a power cut.
    pub(super) fn durable(&self) -> u32 {
        self.partial.durable()
    }

    /// Leaves what came to a later attempt, and says how many bytes that are.
    pub(super) fn suspend(mut self) -> u64 {
        if let Some(tree) = self.checkpoints.settle(|| self.partial.durable()) {
            // Told in the log; what was durable before remains.
            let _ = self.partial.mark(self.turn, tree);
        }
        match self.partial.leave(self.turn) {
            Some((asked, rest)) => {
                let bytes = u64::from(self.partial.durable()) * 1024;
                self.root.served.attempts.leave(&self.root, asked, rest, bytes);
                bytes
            }
            None => 0,
        }
    }

    /// What became of the last checkpoint, where others write.
    pub(super) fn look(&mut self) -> Result<(), Code> {
        self.checkpoints.look()
    }

    /// For others to write to it, as long as it is this attempt's turn.
    pub(super) fn writer(&self) -> Writer {
        Writer { partial: Arc::clone(&self.partial), turn: self.turn }
    }

    /// What was written elsewhere is to change: nobody goes on behind it.
    ///
    /// # Errors
    /// Somebody might, and nothing of it may change.
    pub(super) fn unmark(&mut self) -> Result<(), Code> {
        let _ = self.checkpoints.settle(|| u32::MAX);
        self.checkpoints = Checkpoints::new(Tree::new());
        self.partial.unmark(self.turn)
    }

    /// Others have written all `size` bytes.
    pub(super) fn written_elsewhere(&mut self, size: u64) {
        self.at = size;
        self.len = size;
    }

    /// Makes the whole file durable, and gives it its name, durably. Gives the suffix of the name.
    /// Pending: to be called again.
    ///
    /// # Errors
    /// [`Code::Cancelled`] where the sender is gone: nobody would be told, and it may have been sent
    /// again. After others nothing is left but what [`sync`] could not make durable.
    pub(super) fn commit(&mut self, size: u64, root: Digest) -> Outcome<u32> {
        if size != self.at {
            return Poll::Ready(Err(Code::SizeMismatch));
        }
        if !self.is_durable {
            ready!(self.finish()).map_err(|error| {
                let path = self.root.within(&self.path);
                error!(?path, %error, "an upload cannot be made durable");
                reason(error)
            })?;
            self.is_durable = true;
        }
        self.place(size, root)
    }

    fn finish(&mut self) -> Poll<Result<(), Errno>> {
        let (partial, modified) = (Arc::clone(&self.partial), self.modified);
        let len = (self.len < self.at).then_some(self.at);
        if self.syncing.is_none() {
            if self.at > SYNC_INLINE_MAX {
                let partial = Arc::clone(&partial);
                let finish = move || partial.sync(|file| finish(file, len, modified));
                match Background::start(finish) {
                    Ok(syncing) => self.syncing = Some(syncing),
                    Err(error) => {
                        warn!(%error, "no thread for a sync, so the session waits for it")
                    }
                }
            }
            if self.syncing.is_none() {
                return Poll::Ready(partial.sync(|file| finish(file, len, modified)));
            }
        }
        let Some(syncing) = &self.syncing else { return Poll::Pending };
        syncing.wait(SYNC_WAIT).map(|result| result.unwrap_or(Err(Errno::IO)))
    }

    /// Gives the partial its name. The way there is looked up again: it may have been renamed.
    fn place(&mut self, size: u64, digest: Digest) -> Outcome<u32> {
        let root = Arc::clone(&self.root);
        let path = Path::named(&self.path)?;
        let change = ready!(root.change(&[path]));
        let (folder, name) = root.locate(path)?;
        let announce = |suffix| self.partial.announce(self.turn, size, digest, suffix);
        let suffix = match self.conflict {
            Conflict::Replace => {
                // Of what is not served nothing gives way. Over a directory the kernel renames no
                // file.
                let there = root.look(&folder, name)?;
                announce(0)?;
                self.partial.place(self.turn, &self.sender, |dir, part| {
                    renameat(dir, part, &folder, name)
                })?;
                if let Some((kind, stat)) = there {
                    change.removed(path, weight(kind, super::beneath::size(&stat)));
                }
                0
            }
            Conflict::Refuse => {
                announce(0)?;
                self.place_new(&folder, name)?;
                0
            }
            Conflict::KeepBoth => self.keep_both(path, &folder, announce)?,
        };
        let asked = self.partial.asked();
        let stem = self.partial.placed(|reservation| {
            change.stored(path, reservation, weight(EntryKind::File, size));
        });
        drop(change);
        sync(&folder, path)?;
        let outcome = Placing { size, root: digest, suffix };
        root.served.attempts.stored(&root, asked, outcome, stem);
        Poll::Ready(Ok(suffix))
    }

    fn keep_both(
        &self,
        path: Path<'_>,
        folder: &Folder<'_>,
        announce: impl Fn(u32) -> Result<(), Code>,
    ) -> Result<u32, Code> {
        let (_, name) = path.split();
        for suffix in 0..=SUFFIX_MAX {
            let kept = suffixed(name, suffix);
            if path.as_str().len() - name.len() + kept.len() > PATH_LEN_MAX {
                // It would be stored where no request reaches it.
                return Err(Code::NameTooLong);
            }
            // Most names that are taken are so already.
            if self.root.look(folder, &kept).is_ok_and(|there| there.is_some()) {
                continue;
            }
            announce(suffix)?;
            match self.place_new(folder, &kept) {
                Ok(()) => return Ok(suffix),
                Err(Code::Exists) => {}
                Err(code) => return Err(code),
            }
        }
        Err(Code::Exists)
    }

    fn place_new(&self, folder: &Folder<'_>, name: &str) -> Result<(), Code> {
        self.partial.place(self.turn, &self.sender, |dir, part| {
            rename_new(dir, part, folder, name, EntryKind::File)
        })
    }

    /// Where the file was stored with `suffix`.
    pub(super) fn stored_path(&self, suffix: u32) -> String {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let folder = &self.path[..self.path.len() - name.len()];
        format!("{folder}{}", suffixed(name, suffix))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Whoever took over goes on with it.
        self.root.served.attempts.drop(&self.partial, self.turn);
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
