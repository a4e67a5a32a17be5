//! The store, asked as a session asks it, over directories of its own.

mod changes;
mod homes;
mod listing;
mod model;
mod opening;
mod quotas;
mod races;
mod refused;
mod resume;
mod uploads;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use kift_core::storage::{Begun, Files as _, Outcome, Page, RequestId, Store as _};
use kift_core::wire::{
    Ask, Code, Conflict, Digest, Entry, EntryKind, Path, Put, Timestamp, TransferId,
};
use tempfile::TempDir;

use super::{Bounds, Options, Root, Session};

const REQUEST: RequestId = RequestId(1);
const DIGEST: Digest = Digest([0; 32]);

/// A served directory and a session on it.
struct Fixture {
    dir: TempDir,
    root: Arc<Root>,
    session: Session,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Options::default(), |_| {})
    }

    /// Lets `prepare` fill the directory before it is served.
    fn with(options: Options, prepare: impl FnOnce(&TempDir)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(&dir);
        let root = Root::open(dir.path(), options).unwrap();
        let session = Session::new(Arc::clone(&root), "peer".into());
        Self { dir, root, session }
    }

    /// Goes on in a session whose root is the home at `path`.
    fn enter(&mut self, path: &str, bounds: Bounds) {
        let home = self.root.home(path, bounds).unwrap();
        self.session = Session::new(home, "peer".into());
    }

    /// Where `path` is on disk, beneath the served directory.
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// What the file at `path` holds, by the system's own view.
    fn on_disk(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    /// The names in `.kift/` besides the lock, and besides what says what came of uploads.
    fn partials(&self) -> Vec<String> {
        let names = self.reserved().into_iter();
        names.filter(|name| !name.ends_with(".mark") || self.is_of_a_partial(name)).collect()
    }

    fn is_of_a_partial(&self, mark: &str) -> bool {
        self.at(".kift").join(mark.replace(".mark", ".part")).exists()
    }

    /// The names in `.kift/` besides the lock.
    fn reserved(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at(".kift")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "lock").collect()
    }

    /// Begins an upload of which nothing is there.
    fn begin(&mut self, path: &str, put: &Put<'_>) -> Result<(), Code> {
        let begun = until(|| self.session.begin(REQUEST, named(path), put))?;
        assert_eq!(begun, Begun::Fresh);
        Ok(())
    }

    /// The whole of an upload, as a session does it.
    fn put(&mut self, path: &str, data: &[u8], conflict: Conflict) -> Result<u32, Code> {
        self.put_as(path, data, &put(conflict))
    }

    fn put_as(&mut self, path: &str, data: &[u8], put: &Put<'_>) -> Result<u32, Code> {
        self.begin(path, put)?;
        for (i, frame) in data.chunks(32 * 1024).enumerate() {
            let at = i as u64 * 32 * 1024;
            if let Err(code) = until(|| self.session.write(REQUEST, at, frame)) {
                self.session.abort(REQUEST);
                return Err(code);
            }
        }
        self.commit(data.len() as u64)
    }

    fn commit(&mut self, size: u64) -> Result<u32, Code> {
        until(|| self.session.commit(REQUEST, size, DIGEST))
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>, Code> {
        let meta = ready(self.session.open(REQUEST, named(path)))?;
        let mut data = vec![0; meta.size as usize + 1];
        let len = ready(self.session.read(REQUEST, 0, &mut data));
        self.session.close(REQUEST);
        data.truncate(len?);
        Ok(data)
    }

    fn kind(&mut self, path: &str) -> Result<EntryKind, Code> {
        let path = Path::new(path).unwrap();
        ready(self.session.stat(REQUEST, path)).map(|meta| meta.kind)
    }

    /// The names in a directory, and how many were skipped.
    fn list(&mut self, path: &str, after: &str) -> Result<(Vec<String>, u64), Code> {
        ready(self.session.open_directory(REQUEST, Path::new(path).unwrap(), after))?;
        let mut names = Vec::new();
        loop {
            let mut buf = [0; 1024];
            let mut page = Page::new(&mut buf);
            let more = ready(self.session.read_directory(REQUEST, &mut page))?;
            let (len, entries) = (page.len(), page.entries());
            let before = names.len();
            let mut rest = &buf[..len];
            while !rest.is_empty() {
                let (entry, left) = Entry::decode(rest).unwrap();
                names.push(entry.name.to_owned());
                rest = left;
            }
            assert_eq!((names.len() - before) as u64, entries);
            if !more {
                return Ok((names, self.session.close_directory(REQUEST)));
            }
        }
    }

    fn delete(&mut self, path: &str) -> Result<(), Code> {
        until(|| self.session.delete(REQUEST, named(path)))
    }

    fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<(), Code> {
        until(|| self.session.rename(REQUEST, named(from), named(to), replace))
    }

    fn make_directory(&mut self, path: &str) -> Result<(), Code> {
        until(|| self.session.make_directory(REQUEST, named(path)))
    }
}

fn named(path: &str) -> Path<'_> {
    Path::named(path).unwrap()
}

/// An upload about which nothing is known beforehand.
/// An upload that is no other's.
fn put(conflict: Conflict) -> Put<'static> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let transfer = TransferId(u128::from(count).to_be_bytes());
    Put { path: "", transfer, size: None, modified: None, conflict, ask: Ask::Now }
}

fn sized(size: u64) -> Put<'static> {
    Put { size: Some(size), ..put(Conflict::Replace) }
}

fn dated(nanoseconds: i64) -> Put<'static> {
    Put { modified: Some(Timestamp(nanoseconds)), ..put(Conflict::Replace) }
}

/// The result of what may be pending.
fn until<T>(mut ask: impl FnMut() -> Outcome<T>) -> Result<T, Code> {
    loop {
        if let Poll::Ready(result) = ask() {
            return result;
        }
    }
}

/// The result of what is never pending.
fn ready<T>(outcome: Outcome<T>) -> Result<T, Code> {
    match outcome {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("pending"),
    }
}
