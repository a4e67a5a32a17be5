//! A store in memory that checks how it is used and fails when it is told to.

mod faults;
mod store;
mod transfers;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::task::Poll;

use kift_core::secure::Peer;
use kift_core::session::Event;
use kift_core::storage::{Files, Outcome, RequestId, Settled};
use kift_core::wire::{
    CHUNK, Code, Conflict, Digest, EntryKind, Meta, Path, Run, Timestamp, TransferId, suffixed,
};

use crate::busy::Busy;
pub use faults::{Faults, Record};
pub use transfers::{Transfers, value};

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its contents.
    pub data: Vec<u8>,
    /// Its time of last modification.
    pub modified: Option<Timestamp>,
}

/// The one thing that may be open.
#[derive(Debug)]
enum Open {
    Nothing,
    Upload {
        id: RequestId,
        path: String,
        put: OwnedPut,
        data: Vec<u8>,
        resumed: u64,
        writes: usize,
    },
    Run {
        id: RequestId,
        transfer: TransferId,
        run: Run,
        data: Vec<u8>,
    },
    Source {
        id: RequestId,
        path: String,
        data: Vec<u8>,
        at: Option<u64>,
    },
    Directory {
        id: RequestId,
        path: String,
        left: Vec<(String, Meta)>,
        told: usize,
        skipped: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OwnedPut {
    transfer: TransferId,
    size: Option<u64>,
    modified: Option<Timestamp>,
    conflict: Conflict,
}

/// What is kept of uploads beyond their sessions.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    rests: HashMap<TransferId, (String, OwnedPut, Vec<u8>)>,
    stored: HashMap<TransferId, (u64, Digest, u32)>,
}

/// Files and directories in memory.
#[derive(Debug)]
pub struct Memory {
    /// The files, by path.
    pub files: BTreeMap<String, File>,
    /// The directories, without the root.
    pub directories: BTreeSet<String>,
    /// Names that a listing leaves out and counts, by directory.
    pub unspeakable: BTreeMap<String, u64>,
    /// What goes wrong.
    pub faults: Faults,
    /// What is pending.
    pub busy: Busy,
    /// What was done.
    pub record: Record,
    /// Progress reports that came.
    pub progress: Vec<(RequestId, u32, u32)>,
    /// Peers that asked for admission.
    pub peers: Vec<Peer>,
    /// Why none is admitted.
    pub turns_away: Option<Code>,
    /// Whether it is still being thought about.
    pub considers: bool,
    /// Who may log in, and by what password.
    pub users: BTreeMap<String, String>,
    /// The users that tried, and whether they might.
    pub logins: Vec<(String, bool)>,
    /// What is kept of uploads, where they can be gone on with.
    pub kept: Option<Kept>,
    /// What it says that it is doing, where it says so.
    pub status: Option<String>,
    /// Whether it was asked to end, where that may be asked.
    pub ending: Option<bool>,
    /// Files in runs, which the links of a session share.
    pub transfers: Option<Transfers>,
    /// Whether uploads are set aside, where that may be.
    pub sets_aside: bool,
    open: Open,
    /// What was set aside.
    aside: VecDeque<(RequestId, Whole)>,
}

/// An upload that is whole.
#[derive(Debug)]
struct Whole {
    path: String,
    put: OwnedPut,
    data: Vec<u8>,
    root: Digest,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            directories: BTreeSet::new(),
            unspeakable: BTreeMap::new(),
            faults: Faults::default(),
            busy: Busy::never(),
            record: Record::default(),
            progress: Vec::new(),
            peers: Vec::new(),
            turns_away: None,
            considers: false,
            users: BTreeMap::new(),
            logins: Vec::new(),
            kept: None,
            status: None,
            ending: None,
            transfers: None,
            sets_aside: true,
            open: Open::Nothing,
            aside: VecDeque::new(),
        }
    }
}

impl Memory {
    /// Stores `data` as `path`.
    pub fn put(&mut self, path: &str, data: impl Into<Vec<u8>>) {
        self.files.insert(path.to_owned(), File { data: data.into(), modified: None });
    }

    /// The contents of `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|file| file.data.as_slice())
    }

    /// Bytes that are kept of uploads that were interrupted.
    #[must_use]
    pub fn rest_len(&self) -> u64 {
        let rests = self.kept.iter().flat_map(|kept| kept.rests.values());
        rests.map(|(.., data)| data.len() as u64).sum()
    }

    /// Asserts that nothing is open or pending, and that every upload came to an end.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn assert_closed(&self) {
        assert!(matches!(self.open, Open::Nothing), "left open: {:?}", self.what_is_open());
        assert!(!self.busy.has_pending(), "left pending: {:?}", self.busy);
        let Record { begun, committed, aborted, opened, closed, .. } = self.record;
        // What was set aside when a session ended is dropped.
        assert_eq!(begun, committed + aborted + self.aside.len(), "{:?}", self.record);
        assert_eq!(opened, closed, "{:?}", self.record);
    }

    fn what_is_open(&self) -> String {
        match &self.open {
            Open::Nothing => "nothing".to_owned(),
            Open::Upload { id, path, .. } => format!("upload {id} of {path}"),
            Open::Run { id, run, .. } => format!("run {id}, {run:?}"),
            Open::Source { id, path, .. } => format!("source {id} of {path}"),
            Open::Directory { id, path, .. } => format!("directory {id} of {path}"),
        }
    }

    /// The contract: one thing is open at a time.
    fn assert_free(&self) {
        assert!(matches!(self.open, Open::Nothing), "still open: {}", self.what_is_open());
    }

    /// Nor is anything set aside, except where uploads follow that do not ask.
    fn assert_settled(&self) {
        self.assert_free();
        assert!(self.aside.is_empty(), "something else before what was set aside is settled");
    }

    fn transfers(&self) -> Result<&Transfers, Code> {
        self.transfers.as_ref().ok_or(Code::Unsupported)
    }

    fn open_file(&mut self, request: RequestId, path: Path<'_>) -> Result<Meta, Code> {
        let meta = match self.meta(path)? {
            Meta { kind: EntryKind::Directory, .. } => return Err(Code::IsDirectory),
            meta => meta,
        };
        self.record.opened += 1;
        let path = path.as_str().to_owned();
        let mut data = self.files[&path].data.clone();
        data.truncate(self.faults.shrink.get(&path).map_or(usize::MAX, |&len| len as usize));
        self.open = Open::Source { id: request, path, data, at: None };
        Ok(meta)
    }

    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.directories.contains(path)
    }

    fn meta(&self, path: Path<'_>) -> Result<Meta, Code> {
        let path = path.as_str();
        if self.is_directory(path) {
            return Ok(Meta { kind: EntryKind::Directory, size: 0, modified: None });
        }
        let file = self.files.get(path).ok_or(Code::NotFound)?;
        Ok(Meta { kind: EntryKind::File, size: file.data.len() as u64, modified: file.modified })
    }

    /// Whether something could be made at `path`.
    fn check_place(&self, path: Path<'_>, conflict: Conflict) -> Result<(), Code> {
        let (folder, _) = path.split();
        if self.files.contains_key(folder.as_str()) {
            Err(Code::NotDirectory)
        } else if !self.is_directory(folder.as_str()) {
            Err(Code::NotFound)
        } else if self.is_directory(path.as_str()) && conflict != Conflict::KeepBoth {
            Err(Code::IsDirectory)
        } else if conflict == Conflict::Refuse && self.files.contains_key(path.as_str()) {
            Err(Code::Exists)
        } else {
            Ok(())
        }
    }

    fn children(&self, path: &str) -> Vec<(String, Meta)> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let child = |full: &String| {
            let name = full.strip_prefix(&prefix)?;
            (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
        };
        let mut children: Vec<_> = self
            .files
            .keys()
            .chain(&self.directories)
            .filter_map(|full| Some((child(full)?, self.meta(Path::new(full).ok()?).ok()?)))
            .collect();
        children.sort_by(|(a, _), (b, _)| a.cmp(b));
        children
    }

    fn store(&mut self, path: &str, file: File, conflict: Conflict) -> Result<u32, Code> {
        let path = Path::new(path)?;
        self.check_place(path, conflict)?;
        let (folder, name) = path.split();
        for suffix in 0..u32::MAX {
            let name = suffixed(name, suffix);
            let full = match folder.as_str() {
                "" => name.to_string(),
                folder => format!("{folder}/{name}"),
            };
            let taken = self.files.contains_key(&full) || self.is_directory(&full);
            if !taken || conflict == Conflict::Replace {
                self.files.insert(full, file);
                return Ok(suffix);
            }
        }
        Err(Code::TooMany)
    }
}

impl Memory {
    /// The upload that is open, all of which came.
    fn take_whole(&mut self, request: RequestId, size: u64, root: Digest) -> Whole {
        let open = std::mem::replace(&mut self.open, Open::Nothing);
        let Open::Upload { id, path, put, data, .. } = open else {
            panic!("commit {request} without an upload")
        };
        assert_eq!(id, request);
        assert_eq!(size, data.len() as u64);
        assert!(put.size.is_none_or(|declared| declared == size));
        assert_eq!(root.0, *blake3::hash(&data).as_bytes(), "commit of what was not verified");
        Whole { path, put, data, root }
    }

    fn store_whole(&mut self, Whole { path, put, data, root }: Whole) -> Result<u32, Code> {
        self.record.committed += 1;
        if let Some(&code) = self.faults.commit.get(&path) {
            return Err(code);
        }
        let size = data.len() as u64;
        let stored = self.store(&path, File { data, modified: put.modified }, put.conflict);
        if let (Some(kept), Ok(suffix)) = (&mut self.kept, stored) {
            kept.stored.insert(put.transfer, (size, root, suffix));
        }
        stored
    }
}

impl Files for Memory {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        if self.busy.is_pending(&format!("read {request} {at}")) {
            return Poll::Pending;
        }
        if let Open::Upload { id, data, resumed, writes: 0, .. } = &self.open {
            assert_eq!(*id, request);
            assert!(at + buf.len() as u64 <= *resumed, "more than is there");
            buf.copy_from_slice(&data[at as usize..][..buf.len()]);
            return Poll::Ready(Ok(buf.len()));
        }
        let Open::Source { id, path, data, at: expected } = &mut self.open else {
            panic!("read {request} without a source")
        };
        assert_eq!(*id, request);
        assert!(expected.is_none_or(|expected| expected == at), "a gap: {expected:?}, then {at}");
        if let Some(&(from, code)) = self.faults.read.get(path)
            && at + buf.len() as u64 > from
        {
            return Poll::Ready(Err(code));
        }
        let rest = data.get(at as usize..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        *expected = Some(at + n as u64);
        self.record.read += n as u64;
        Poll::Ready(Ok(n))
    }

    fn write(&mut self, request: RequestId, at: u64, more: &[u8]) -> Outcome<()> {
        if self.busy.is_pending(&format!("write {request} {at} {}", more.len())) {
            return Poll::Pending;
        }
        if let Open::Run { id, run, data, .. } = &mut self.open {
            assert_eq!((*id, run.offset() + data.len() as u64), (request, at), "a gap");
            data.extend_from_slice(more);
            assert!(data.len() as u64 <= run.size, "more than was declared");
            return Poll::Ready(Ok(()));
        }
        let Open::Upload { id, path, put, data, writes, .. } = &mut self.open else {
            panic!("write {request} without an upload")
        };
        assert_eq!(*id, request);
        assert_eq!(at, data.len() as u64, "a gap");
        assert!(!more.is_empty() && at.is_multiple_of(1024));
        if let Some(&(nth, code)) = self.faults.write.get(path)
            && nth == *writes
        {
            return Poll::Ready(Err(code));
        }
        *writes += 1;
        data.extend_from_slice(more);
        assert!(put.size.is_none_or(|size| data.len() as u64 <= size), "more than was declared");
        Poll::Ready(Ok(()))
    }

    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        if self.busy.is_pending(&format!("commit {request} {size} {root}")) {
            return Poll::Pending;
        }
        let open = std::mem::replace(&mut self.open, Open::Nothing);
        if let Open::Run { id, transfer, run, data } = open {
            assert_eq!((id, run.size, data.len() as u64), (request, size, size));
            assert_eq!(root, value(run, &data), "commit of what was not verified");
            self.record.committed += 1;
            let stored = self.transfers().is_ok_and(|of| of.store(transfer, run, &data, root));
            return Poll::Ready(if stored { Ok(0) } else { Err(Code::NotFound) });
        }
        self.open = open;
        let whole = self.take_whole(request, size, root);
        Poll::Ready(self.store_whole(whole))
    }

    fn set_aside(&mut self, request: RequestId, size: u64, root: Digest) -> bool {
        if !self.sets_aside || !matches!(self.open, Open::Upload { .. }) {
            return false;
        }
        let whole = self.take_whole(request, size, root);
        self.aside.push_back((request, whole));
        self.record.set_aside += 1;
        true
    }

    fn settle(&mut self, request: RequestId) -> Outcome<Settled> {
        if self.busy.is_pending(&format!("settle {request}")) {
            return Poll::Pending;
        }
        let (id, whole) = self.aside.pop_front().expect("something is set aside");
        assert_eq!(id, request);
        let (size, root) = (whole.data.len() as u64, whole.root);
        Poll::Ready(self.store_whole(whole).map(|suffix| Settled { size, root, suffix }))
    }

    fn abort(&mut self, request: RequestId) {
        self.busy.forget();
        if let Open::Upload { id, .. } | Open::Run { id, .. } = &self.open {
            assert_eq!(*id, request);
            self.record.aborted += 1;
            self.open = Open::Nothing;
        }
        self.assert_free();
    }

    fn suspend(&mut self, request: RequestId) {
        if let (Some(kept), Open::Upload { path, put, data, .. }) = (&mut self.kept, &self.open) {
            let whole = data.len() / CHUNK * CHUNK;
            if whole > 0 {
                let rest = (path.clone(), put.clone(), data[..whole].to_vec());
                kept.rests.insert(put.transfer, rest);
            }
        }
        self.abort(request);
    }

    fn durable(&mut self, request: RequestId) -> u32 {
        match (&self.kept, &self.open) {
            (Some(_), Open::Upload { id, data, .. }) => {
                assert_eq!(*id, request);
                (data.len() / CHUNK) as u32
            }
            _ => 0,
        }
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        if self.considers {
            return Poll::Pending;
        }
        self.peers.push(*peer);
        Poll::Ready(self.turns_away.map_or(Ok(()), Err))
    }

    fn handle_event(&mut self, event: Event<'_>) {
        if let Event::Progress { request, received, durable } = event {
            self.progress.push((request, received, durable));
        }
    }
}
