//! The uploads that this machine has begun and does not know the end of: so that the same command, given
//! again, goes on with them.
//!
//! A directory in that of the [`State`], with a small file an upload, which is locked by whoever is at it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kift_core::wire::TransferId;
use rustix::fs::{FlockOperation, OFlags, flock};
use serde_json::{Value, json};
use tracing::debug;

use crate::client::{new_transfer_id, timestamp};
use crate::state::State;

const DIRECTORY: &str = "uploads";

/// How long an upload is remembered: longer than servers keep what came of it.
const AGE_MAX: Duration = Duration::from_hours(8 * 24);

/// Bytes of the longest file that is read.
const ENTRY_LEN_MAX: u64 = 16 * 1024;

/// The directory.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
}

/// An upload that is under way. It is remembered until it is [forgotten](Self::forget).
#[derive(Debug)]
pub struct Entry {
    /// Locked.
    file: File,
    path: PathBuf,
    /// What names it.
    pub transfer: TransferId,
    /// What is known of an earlier attempt.
    pub earlier: Earlier,
    /// What named the earlier attempt, where the file has changed since.
    pub stale: Option<TransferId>,
}

/// An earlier attempt at an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// There was none.
    None,
    /// It was of the same file.
    Same,
    /// The file has changed since.
    Changed,
}

impl Journal {
    /// Opens the directory, and makes it where it is absent.
    ///
    /// # Errors
    /// The system's.
    pub fn open(state: &State) -> io::Result<Self> {
        let path = state.file(DIRECTORY);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => File::open(state.path())?.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let journal = Self { path };
        journal.sweep();
        Ok(journal)
    }

    /// Remembers that the file `from`, of which this is known, is sent to `to`: a server, a user and a path.
    ///
    /// # Errors
    /// The system's; [`WouldBlock`](io::ErrorKind::WouldBlock) where another process is at just that.
    pub fn enter(&self, from: &Path, meta: &Metadata, to: &str) -> io::Result<Entry> {
        use std::os::unix::ffi::OsStrExt as _;
        let from = fs::canonicalize(from)?;
        let mut hash = blake3::Hasher::new();
        hash.update(from.as_os_str().as_bytes()).update(&[0]).update(to.as_bytes());
        let path = self.path.join(&hash.finalize().to_hex()[..32]);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let modified = meta.modified().ok().and_then(timestamp).map(|time| time.0);
        let version = json!({ "size": meta.len(), "modified": modified });
        let (transfer, earlier, stale) = match read(&mut file)? {
            Some((transfer, of)) if of == version => (transfer, Earlier::Same, None),
            Some((transfer, _)) => (new_transfer_id(), Earlier::Changed, Some(transfer)),
            None => (new_transfer_id(), Earlier::None, None),
        };
        if earlier != Earlier::Same {
            let id = format!("{:032x}", u128::from_be_bytes(transfer.0));
            let from = from.to_string_lossy();
            let text = json!({ "transfer": id, "of": version, "from": from, "to": to });
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            File::open(&self.path)?.sync_all()?;
        }
        Ok(Entry { file, path, transfer, earlier, stale })
    }

    /// Removes what nobody goes on with.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed());
            if !matches!(age, Ok(Ok(age)) if age > AGE_MAX) {
                continue;
            }
            let is_free = File::open(entry.path())
                .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
            if is_free && let Err(error) = fs::remove_file(entry.path()) {
                debug!(path = ?entry.path(), %error, "cannot forget an upload");
            }
        }
    }
}

/// The id, and of which version of the file; none of a file that is new or torn.
fn read(file: &mut File) -> io::Result<Option<(TransferId, Value)>> {
    let mut text = String::new();
    if file.take(ENTRY_LEN_MAX).read_to_string(&mut text).is_err() {
        return Ok(None);
    }
    let Ok(mut entry) = serde_json::from_str::<Value>(&text) else { return Ok(None) };
    let id = entry["transfer"].as_str().and_then(|id| u128::from_str_radix(id, 16).ok());
    Ok(id.map(|id| (TransferId(id.to_be_bytes()), entry["of"].take())))
}

impl Entry {
    /// How the upload ended is known.
    pub fn forget(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            debug!(path = ?self.path, %error, "cannot forget an upload");
        }
        // Only now another process may have it, and finds that it is gone.
        drop(self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Journal, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let state = State::open(Some(&place.path().join("state"))).unwrap();
        let file = place.path().join("file");
        fs::write(&file, "contents").unwrap();
        let journal = Journal::open(&state).unwrap();
        (place, journal, file)
    }

    /// Enters an upload that nobody is at. A process that another test starts has our locks too, until it
    /// runs its program.
    fn enter(journal: &Journal, file: &Path, to: &str) -> Entry {
        loop {
            match journal.enter(file, &file.metadata().unwrap(), to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                entry => return entry.unwrap(),
            }
        }
    }

    #[test]
    fn it_knows_what_was_begun_and_has_no_end() {
        let (_place, journal, file) = place();
        let enter = |to| enter(&journal, &file, to);
        let first = enter("host/a");
        assert_eq!(first.earlier, Earlier::None);
        // Not while somebody is at it.
        let second = journal.enter(&file, &file.metadata().unwrap(), "host/a");
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(enter("host/b").earlier, Earlier::None);
        let id = first.transfer;
        drop(first);
        let again = enter("host/a");
        assert_eq!((again.transfer, again.earlier), (id, Earlier::Same));
        drop(again);
        fs::write(&file, "other contents").unwrap();
        let changed = enter("host/a");
        assert!(changed.transfer != id && changed.earlier == Earlier::Changed);
        assert_eq!(changed.stale, Some(id));
        changed.forget();
        assert_eq!(enter("host/a").earlier, Earlier::None);
    }

    #[test]
    fn what_is_torn_is_new() {
        let (_place, journal, file) = place();
        let enter = || {
            let entry = enter(&journal, &file, "host/a");
            (entry.path.clone(), entry.earlier)
        };
        let (path, _) = enter();
        for text in ["", "{", "{}", "{\"transfer\": \"x\"}", "\u{fffd}"] {
            fs::write(&path, text).unwrap();
            assert_eq!(enter().1, Earlier::None, "{text}");
            assert_eq!(enter().1, Earlier::Same, "{text}");
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let (place, journal, file) = place();
        let Entry { path, file: lock, .. } = enter(&journal, &file, "host/a");
        let old = std::time::SystemTime::now() - AGE_MAX - Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let state = State::open(Some(&place.path().join("state"))).unwrap();
        Journal::open(&state).unwrap();
        assert!(path.exists(), "somebody is at it");
        drop(lock);
        while path.exists() {
            Journal::open(&state).unwrap();
        }
    }
}
