//! A store in memory that checks how it is used and fails when it is told to.

mod faults;
mod transfers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::task::Poll;

use kift_core::secure::Peer;
use kift_core::session::Event;
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Store, Text};
use kift_core::wire::{
    Ask, CHUNK, Code, Conflict, Digest, Entry, EntryKind, Meta, Password, Path, Put, Run, RunLen,
    Space, Ticket, Timestamp, TransferId, suffixed,
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
    open: Open,
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
            open: Open::Nothing,
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
        assert_eq!(begun, committed + aborted, "{:?}", self.record);
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
        let Open::Upload { id, path, put, data, .. } = open else {
            panic!("commit {request} without an upload")
        };
        assert_eq!(id, request);
        assert_eq!(size, data.len() as u64);
        assert!(put.size.is_none_or(|declared| declared == size));
        assert_eq!(root.0, *blake3::hash(&data).as_bytes(), "commit of what was not verified");
        self.record.committed += 1;
        if let Some(&code) = self.faults.commit.get(&path) {
            return Poll::Ready(Err(code));
        }
        let stored = self.store(&path, File { data, modified: put.modified }, put.conflict);
        if let (Some(kept), Ok(suffix)) = (&mut self.kept, stored) {
            kept.stored.insert(put.transfer, (size, root, suffix));
        }
        Poll::Ready(stored)
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

impl Store for Memory {
    fn begin(&mut self, request: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        self.assert_free();
        assert_eq!(path.as_str(), put.path);
        if self.busy.is_pending(&format!("begin {request} {path}")) {
            return Poll::Pending;
        }
        let path = path.as_str().to_owned();
        if let Some(&code) = self.faults.begin.get(&path) {
            return Poll::Ready(Err(code));
        }
        let &Put { transfer, size, modified, conflict, ask, .. } = put;
        if let Some(&(size, root, suffix)) =
            self.kept.as_ref().and_then(|kept| kept.stored.get(&transfer))
        {
            return Poll::Ready(Ok(Begun::Stored { size, root, suffix }));
        }
        let checked = Path::new(&path).and_then(|path| self.check_place(path, conflict));
        Poll::Ready(checked.map(|()| {
            self.record.begun += 1;
            let put = OwnedPut { transfer, size, modified, conflict };
            let rest = self.kept.as_mut().and_then(|kept| kept.rests.remove(&transfer));
            let data = match rest {
                Some((of, as_put, data)) if ask != Ask::Now && of == path && as_put == put => data,
                _ => Vec::new(),
            };
            let resumed = data.len() as u64;
            self.open = Open::Upload { id: request, path, put, data, resumed, writes: 0 };
            match resumed {
                0 => Begun::Fresh,
                len => Begun::Resumed((len / CHUNK as u64) as u32),
            }
        }))
    }

    fn open(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.assert_free();
        if self.busy.is_pending(&format!("open {request} {path}")) {
            return Poll::Pending;
        }
        Poll::Ready(self.open_file(request, path))
    }

    fn close(&mut self, request: RequestId) {
        self.busy.forget();
        let Open::Source { id, .. } = &self.open else { panic!("close {request}: not open") };
        assert_eq!(*id, request);
        self.record.closed += 1;
        self.open = Open::Nothing;
    }

    fn stat(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.assert_free();
        if self.busy.is_pending(&format!("stat {request} {path}")) {
            return Poll::Pending;
        }
        Poll::Ready(self.meta(path))
    }

    fn open_directory(&mut self, request: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("open directory {request} {path} {after}")) {
            return Poll::Pending;
        }
        let path = path.as_str().to_owned();
        if self.files.contains_key(&path) {
            return Poll::Ready(Err(Code::NotDirectory));
        }
        if !self.is_directory(&path) {
            return Poll::Ready(Err(Code::NotFound));
        }
        let mut left = self.children(&path);
        left.retain(|(name, _)| name.as_str() > after);
        left.reverse();
        let skipped = self.unspeakable.get(&path).copied().unwrap_or(0);
        self.record.opened += 1;
        self.open = Open::Directory { id: request, path, left, told: 0, skipped };
        Poll::Ready(Ok(()))
    }

    fn read_directory(&mut self, request: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        if self.busy.is_pending(&format!("read directory {request}")) {
            return Poll::Pending;
        }
        let Open::Directory { id, path, left, told, .. } = &mut self.open else {
            panic!("read directory {request}: not open")
        };
        assert_eq!(*id, request);
        assert!(page.is_empty());
        let fault = self.faults.directory.get(path);
        while let Some((name, meta)) = left.last() {
            if let Some(&(after, code)) = fault
                && *told >= after
            {
                return Poll::Ready(Err(code));
            }
            if !page.push(&Entry { name, meta: *meta }) {
                assert!(!page.is_empty(), "an entry that fits no page");
                return Poll::Ready(Ok(true));
            }
            *told += 1;
            left.pop();
        }
        Poll::Ready(Ok(false))
    }

    fn close_directory(&mut self, request: RequestId) -> u64 {
        self.busy.forget();
        let Open::Directory { id, skipped, .. } = &self.open else {
            panic!("close directory {request}: not open")
        };
        assert_eq!(*id, request);
        let skipped = *skipped;
        self.record.closed += 1;
        self.open = Open::Nothing;
        skipped
    }

    fn delete(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("delete {request} {path}")) {
            return Poll::Pending;
        }
        let path = path.as_str();
        Poll::Ready(if self.files.remove(path).is_some() {
            Ok(())
        } else if !self.is_directory(path) {
            Err(Code::NotFound)
        } else if !self.children(path).is_empty() {
            Err(Code::NotEmpty)
        } else {
            self.directories.remove(path);
            Ok(())
        })
    }

    fn rename(
        &mut self,
        request: RequestId,
        from: Path<'_>,
        to: Path<'_>,
        replace: bool,
    ) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("rename {request} {from} {to} {replace}")) {
            return Poll::Pending;
        }
        let conflict = if replace { Conflict::Replace } else { Conflict::Refuse };
        let result = match self.files.get(from.as_str()).cloned() {
            None => Err(Code::NotFound),
            Some(file) => self.check_place(to, conflict).map(|()| {
                self.files.remove(from.as_str());
                self.files.insert(to.as_str().to_owned(), file);
            }),
        };
        Poll::Ready(result)
    }

    fn make_directory(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("make directory {request} {path}")) {
            return Poll::Pending;
        }
        let result = match self.check_place(path, Conflict::Refuse) {
            Err(Code::IsDirectory) => Err(Code::Exists),
            other => other.map(|()| {
                self.directories.insert(path.as_str().to_owned());
            }),
        };
        Poll::Ready(result)
    }

    fn space(&mut self, request: RequestId) -> Outcome<Space> {
        if self.busy.is_pending(&format!("space {request}")) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(Space { free: 1 << 40, total: 1 << 41, file_size_max: 1 << 42 }))
    }

    fn login(&mut self, request: RequestId, user: &str, password: &Password<'_>) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("login {request} {user} {}", password.as_str())) {
            return Poll::Pending;
        }
        let good = self.users.get(user).is_some_and(|known| known == password.as_str());
        self.logins.push((user.to_owned(), good));
        Poll::Ready(if good { Ok(()) } else { Err(Code::LoginFailed) })
    }

    fn open_text(&mut self, request: RequestId, text: Text) -> Outcome<Meta> {
        self.assert_free();
        if self.busy.is_pending(&format!("open {text:?} {request}")) {
            return Poll::Pending;
        }
        let text = match (text, &self.kept) {
            (Text::Status, _) => self.status.clone(),
            (Text::Partials, None) => None,
            (Text::Partials, Some(kept)) => {
                Some(kept.rests.values().map(|(path, ..)| format!("{path}\n")).collect())
            }
        };
        let Some(text) = text else { return Poll::Ready(Err(Code::Unsupported)) };
        let data = text.into_bytes();
        let meta = Meta { kind: EntryKind::File, size: data.len() as u64, modified: None };
        self.record.opened += 1;
        self.open = Open::Source { id: request, path: String::new(), data, at: None };
        Poll::Ready(Ok(meta))
    }

    fn discard(&mut self, request: RequestId, transfer: TransferId) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("discard {request}")) {
            return Poll::Pending;
        }
        let Some(kept) = &mut self.kept else { return Poll::Ready(Err(Code::Unsupported)) };
        Poll::Ready(kept.rests.remove(&transfer).map(drop).ok_or(Code::NotFound))
    }

    fn shut_down(&mut self, request: RequestId) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("shut down {request}")) {
            return Poll::Pending;
        }
        let Some(ending) = &mut self.ending else { return Poll::Ready(Err(Code::Unsupported)) };
        *ending = true;
        Poll::Ready(Ok(()))
    }

    fn ticket(&mut self, _request: RequestId) -> Outcome<Ticket> {
        self.assert_free();
        Poll::Ready(self.transfers().map(Transfers::ticket))
    }

    fn attach(&mut self, _request: RequestId, ticket: Ticket) -> Outcome<()> {
        self.assert_free();
        Poll::Ready(self.transfers().and_then(|transfers| transfers.attach(ticket)))
    }

    fn begin_transfer(
        &mut self,
        request: RequestId,
        path: Path<'_>,
        put: &Put<'_>,
        runs: RunLen,
    ) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("begin transfer {request} {path}")) {
            return Poll::Pending;
        }
        let &Put { size, modified, conflict, transfer, .. } = put;
        Poll::Ready(self.check_place(path, conflict).and_then(|()| {
            let put = OwnedPut { transfer, size, modified, conflict };
            let upload = transfers::Upload::new(path.as_str().to_owned(), put, runs);
            self.transfers().map(|transfers| transfers.begin(transfer, upload))
        }))
    }

    fn begin_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<()> {
        self.assert_free();
        if self.busy.is_pending(&format!("begin run {request} {run:?}")) {
            return Poll::Pending;
        }
        Poll::Ready(self.transfers().and_then(|of| of.check(transfer, run)).map(|()| {
            self.record.begun += 1;
            self.open = Open::Run { id: request, transfer, run, data: Vec::new() };
        }))
    }

    fn commit_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        size: u64,
        root: Digest,
    ) -> Outcome<u32> {
        self.assert_free();
        if self.busy.is_pending(&format!("commit transfer {request}")) {
            return Poll::Pending;
        }
        let upload = self.transfers().and_then(|of| of.take(transfer, size, root));
        Poll::Ready(upload.and_then(|transfers::Upload { path, put, data, .. }| {
            self.store(&path, File { data, modified: put.modified }, put.conflict)
        }))
    }

    fn open_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        path: Path<'_>,
    ) -> Outcome<Meta> {
        self.assert_free();
        if self.busy.is_pending(&format!("open transfer {request} {path}")) {
            return Poll::Pending;
        }
        Poll::Ready(self.meta(path).and_then(|meta| {
            self.transfers().map(|of| of.open(transfer, path.as_str()))?;
            Ok(meta)
        }))
    }

    fn open_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<Meta> {
        self.assert_free();
        if self.busy.is_pending(&format!("open run {request} {run:?}")) {
            return Poll::Pending;
        }
        let path = self.transfers().and_then(|of| of.source(transfer));
        Poll::Ready(path.and_then(|path| self.open_file(request, Path::new(&path)?)))
    }

    fn release(&mut self, _request: RequestId, transfer: TransferId) -> Outcome<()> {
        self.assert_free();
        Poll::Ready(self.transfers().and_then(|of| of.release(transfer)))
    }
}
