//! The port, and the log.

use std::sync::Arc;
use std::task::{Poll, ready};

use kift_core::Tree;
use kift_core::session::Event;
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Settled, Store};
use kift_core::wire::{Ask, Code, Digest, Meta, Path, Put, Run, RunLen, Space, TransferId};
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::aside::{Aside, Whole};
use super::checkpoint::Placing;
use super::presence::Presence;
use super::root::Root;
use super::snapshot::{NAMES_MAX, Snapshot};
use super::source::Source;
use super::transfers::{OpenRun, Transfers};
use super::upload::{Start, Upload};

/// One connection's use of a [`Root`]. The log calls paths what they are beneath the served
/// directory.
///
/// It does what it is asked at once, except that a commit of a large file is pending while it is
/// synced, and whatever changes a home while that is counted. An upload left open when this is
/// dropped is removed.
///
/// Under a quota a file counts its bytes, holes too, and a chunk at least, as does a directory.
/// Uploads that are under way count what they declared, or what came, beside the files that they
/// are to replace.
#[derive(Debug)]
pub struct Session {
    root: Arc<Root>,
    /// Whose uploads these are; empty where nobody has a name.
    owner: Box<str>,
    peer: String,
    presence: Presence,
    pub(super) open: Open,
    aside: Aside,
    /// The request that was last asked what is at a path. If it opens that file too, it does so for
    /// the BLAKE3 and not to send it.
    looked: RequestId,
    transfers: Arc<Transfers>,
}

/// The one thing that is open.
#[derive(Debug)]
pub(super) enum Open {
    Nothing,
    Upload(Box<Upload>),
    Source(Source),
    /// A part of an upload.
    Run(OpenRun),
    /// A file that a part is read of.
    Part(Source),
    Directory(Snapshot),
}

impl Session {
    /// For the connection of `peer`, as it is to be named in the log.
    #[must_use]
    pub fn new(root: Arc<Root>, peer: String) -> Self {
        Self::joining(root, "", peer, Arc::default())
    }

    /// For the connection of `peer`, who is `owner`, that shares `transfers` with another.
    pub(crate) fn joining(
        root: Arc<Root>,
        owner: &str,
        peer: String,
        transfers: Arc<Transfers>,
    ) -> Self {
        Self {
            root,
            owner: owner.into(),
            peer,
            presence: Presence::default(),
            open: Open::Nothing,
            aside: Aside::default(),
            looked: RequestId::default(),
            transfers,
        }
    }

    /// Stores nothing of the peer once it is gone.
    #[must_use]
    pub(crate) fn of(self, presence: Presence) -> Self {
        Self { presence, ..self }
    }

    /// What a file in runs is called beneath the served directory.
    pub(crate) fn path_of(&self, transfer: TransferId) -> Option<String> {
        let path = self.transfers.path(transfer)?;
        Some(self.root.within(&path).into_owned())
    }

    /// What its connections have in common.
    pub(crate) fn transfers(&self) -> &Arc<Transfers> {
        &self.transfers
    }

    /// The session of this control link is over, and so are its files in runs.
    pub(crate) fn end(&self) {
        for path in self.transfers.end() {
            let path = self.root.within(&path);
            info!(peer = self.peer, ?path, "kept an upload that was interrupted");
        }
    }

    /// As the log names the peer.
    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// What the log calls a path.
    pub(crate) fn within(&self, path: Path<'_>) -> String {
        self.root.within(path.as_str()).into_owned()
    }

    /// Logs a refusal or failure.
    fn told<T>(&self, what: &str, path: &str, result: Result<T, Code>) -> Outcome<T> {
        if let Err(code) = &result {
            warn!(peer = self.peer, path = ?self.root.within(path), %code, "{what} failed");
        }
        Poll::Ready(result)
    }

    /// Logs what came of an upload.
    fn stored(&self, upload: &Upload, size: u64, result: Result<u32, Code>) -> Outcome<u32> {
        if let Ok(suffix) = result {
            let path = upload.stored_path(suffix);
            info!(peer = self.peer, path = ?self.root.within(&path), bytes = size, "stored");
        }
        self.told("store", &upload.path, result)
    }

    /// Logs a change that was made or not.
    fn changed(
        &self,
        done: &str,
        what: &str,
        path: Path<'_>,
        result: Result<(), Code>,
    ) -> Outcome<()> {
        if result.is_ok() {
            info!(peer = self.peer, path = ?self.root.within(path.as_str()), "{done}");
        }
        self.told(what, path.as_str(), result)
    }
}

impl Session {
    /// The uploads of this user that were interrupted and can go on, an object each.
    pub(crate) fn partials(&self) -> Vec<Value> {
        let rests = self.root.served.attempts.shown(&self.owner);
        let objects = rests.into_iter().filter_map(|rest| {
            let path = self.root.without_home(&rest.path)?;
            Some(json!({
                "path": path, "durable": rest.durable, "size": rest.size, "age_s": rest.age,
                "transfer": format!("{:032x}", u128::from_be_bytes(rest.transfer.0)),
            }))
        });
        objects.collect()
    }
}

impl Files for Session {
    fn read(&mut self, _request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let (Open::Source(source) | Open::Part(source)) = &mut self.open else {
            return Poll::Ready(Err(Code::Internal));
        };
        match source.read(at, buf) {
            Ok(n) => Poll::Ready(Ok(n)),
            Err(code) => {
                let path = source.path.clone();
                self.told("read", &path, Err(code))
            }
        }
    }

    fn write(&mut self, _request: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        if let Open::Run(run) = &mut self.open {
            let written = run.write(at, data);
            let of = Arc::clone(&run.of);
            return self.told("write", &of.path, written);
        }
        let Open::Upload(upload) = &mut self.open else {
            return Poll::Ready(Err(Code::Internal));
        };
        match ready!(upload.write(at, data)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(code) => {
                let path = upload.path.clone();
                self.told("write", &path, Err(code))
            }
        }
    }

    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        let mut upload = match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Upload(upload) => upload,
            Open::Run(run) => {
                run.store(root);
                return Poll::Ready(Ok(0));
            }
            other => {
                self.open = other;
                return Poll::Ready(Err(Code::Internal));
            }
        };
        let Poll::Ready(result) = upload.commit(size, root) else {
            self.open = Open::Upload(upload);
            return Poll::Pending;
        };
        if result == Err(Code::Cancelled) {
            self.open = Open::Upload(upload);
            self.suspend(request);
            return Poll::Ready(result);
        }
        self.stored(&upload, size, result)
    }

    fn set_aside(&mut self, request: RequestId, size: u64, root: Digest) -> bool {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Upload(upload) if self.aside.takes(&upload, size) => {
                self.aside.push(request, upload, size, root);
                true
            }
            other => {
                self.open = other;
                false
            }
        }
    }

    fn settle(&mut self, request: RequestId) -> Outcome<Settled> {
        match ready!(self.aside.settle(request)) {
            Some(Whole { upload, size, root, result: Some(result), .. }) => {
                let settled = |suffix| Settled { size, root, suffix };
                self.stored(&upload, size, result).map_ok(settled)
            }
            _ => Poll::Ready(Err(Code::Internal)),
        }
    }

    fn abort(&mut self, _request: RequestId) {
        match &self.open {
            Open::Upload(upload) => {
                let path = self.root.within(&upload.path);
                info!(peer = self.peer, ?path, bytes = upload.at, "dropped an upload");
            }
            Open::Run(run) => {
                let path = self.root.within(&run.of.path);
                debug!(peer = self.peer, ?path, at = run.at, "dropped a part of an upload");
            }
            _ => return,
        }
        self.open = Open::Nothing;
    }

    fn suspend(&mut self, request: RequestId) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Upload(upload) => {
                let (path, at) = (self.root.within(&upload.path).into_owned(), upload.at);
                let durable = upload.suspend();
                if durable > 0 {
                    info!(
                        peer = self.peer,
                        ?path,
                        bytes = at,
                        durable,
                        "kept an upload that was interrupted"
                    );
                } else {
                    info!(peer = self.peer, ?path, bytes = at, "dropped an upload");
                }
            }
            other => {
                self.open = other;
                self.abort(request);
            }
        }
    }

    fn durable(&mut self, _request: RequestId) -> u32 {
        match &self.open {
            Open::Upload(upload) => upload.durable(),
            _ => 0,
        }
    }

    fn mark(&mut self, _request: RequestId, tree: &Tree) {
        if let Open::Upload(upload) = &mut self.open {
            upload.mark(tree);
        }
    }

    fn handle_event(&mut self, event: Event<'_>) {
        if let Event::Progress { request, received, durable } = event
            && durable > 0
        {
            debug!(peer = self.peer, %request, chunks = received, durable, "received by peer");
        }
    }
}

impl Store for Session {
    fn discard(&mut self, _request: RequestId, transfer: TransferId) -> Outcome<()> {
        let result = self.root.served.attempts.discard(&self.root, &self.owner, transfer);
        if result.is_ok() {
            info!(peer = self.peer, "forgot the rest of an upload");
        }
        self.told("discard", "", result)
    }

    fn begin(&mut self, _request: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        let resumes = put.ask != Ask::Now;
        let start = Upload::begin(&self.root, &self.owner, path, put, resumes, &self.presence);
        let start = ready!(start);
        let begun = start.map(|start| match start {
            Start::Upload(upload) => {
                let chunks = upload.chunks();
                self.open = Open::Upload(upload);
                if chunks == 0 {
                    return Begun::Fresh;
                }
                let path = self.root.within(path.as_str());
                info!(peer = self.peer, ?path, chunks, "goes on with an upload");
                Begun::Resumed(chunks)
            }
            Start::Stored(Placing { size, root, suffix }) => {
                let path = self.root.within(path.as_str());
                info!(peer = self.peer, ?path, "was stored before, and is not again");
                Begun::Stored { size, root, suffix }
            }
        });
        self.told("upload", path.as_str(), begun)
    }

    fn tree(&mut self, _request: RequestId) -> Option<Tree> {
        match &self.open {
            Open::Upload(upload) => Some(upload.tree().clone()),
            _ => None,
        }
    }

    fn open(&mut self, _request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        let opened = Source::open(&self.root, path).map(|source| {
            let meta = source.meta;
            self.open = Open::Source(source);
            meta
        });
        self.told("open", path.as_str(), opened)
    }

    fn close(&mut self, request: RequestId) {
        if let Open::Source(Source { path, meta, bytes, .. }) = &self.open {
            let (path, bytes, size) = (self.root.within(path), *bytes, meta.size);
            if request == self.looked {
                debug!(peer = self.peer, %request, ?path, bytes, size, "read for its BLAKE3");
            } else if bytes == size {
                info!(peer = self.peer, %request, ?path, bytes, "sent");
            } else {
                info!(peer = self.peer, %request, ?path, bytes, size, "sent in part");
            }
            self.open = Open::Nothing;
        }
        if let Open::Part(_) = &self.open {
            self.open = Open::Nothing;
        }
    }

    fn stat(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.looked = request;
        // Not a warning: to ask is how a peer finds out whether something is there.
        Poll::Ready(self.root.find(path).inspect_err(|code| {
            let path = self.root.within(path.as_str());
            debug!(peer = self.peer, ?path, %code, "not found");
        }))
    }

    fn open_directory(&mut self, _request: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        let opened = Snapshot::take(&self.root, path, after, NAMES_MAX).map(|snapshot| {
            self.open = Open::Directory(snapshot);
        });
        self.told("list", path.as_str(), opened)
    }

    fn read_directory(&mut self, _request: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        let Open::Directory(snapshot) = &mut self.open else {
            return Poll::Ready(Err(Code::Internal));
        };
        let filled = snapshot.fill(&self.root, page);
        self.told("list", "", filled)
    }

    fn close_directory(&mut self, _request: RequestId) -> u64 {
        let Open::Directory(snapshot) = &self.open else { return 0 };
        let skipped = snapshot.skipped;
        self.open = Open::Nothing;
        skipped
    }

    fn delete(&mut self, _request: RequestId, path: Path<'_>) -> Outcome<()> {
        let result = ready!(self.root.delete(path));
        self.changed("deleted", "delete", path, result)
    }

    fn rename(
        &mut self,
        _request: RequestId,
        from: Path<'_>,
        to: Path<'_>,
        replace: bool,
    ) -> Outcome<()> {
        let result = ready!(self.root.rename(from, to, replace));
        let (path, to) = (self.root.within(from.as_str()), self.root.within(to.as_str()));
        match &result {
            Ok(()) => info!(peer = self.peer, ?path, ?to, "renamed"),
            Err(code) => warn!(peer = self.peer, ?path, ?to, %code, "rename failed"),
        }
        Poll::Ready(result)
    }

    fn make_directory(&mut self, _request: RequestId, path: Path<'_>) -> Outcome<()> {
        let result = ready!(self.root.make_directory(path));
        self.changed("made directory", "make directory", path, result)
    }

    fn space(&mut self, _request: RequestId) -> Outcome<Space> {
        let space = ready!(self.root.space());
        self.told("space", "", space)
    }

    fn begin_transfer(
        &mut self,
        _request: RequestId,
        path: Path<'_>,
        put: &Put<'_>,
        runs: RunLen,
    ) -> Outcome<()> {
        let start = Upload::begin(&self.root, &self.owner, path, put, false, &self.presence);
        let start = ready!(start);
        let size = put.size.unwrap_or(0);
        let begun = start.and_then(|start| match start {
            Start::Upload(upload) => self.transfers.begin(put.transfer, *upload, size, runs),
            // Only of one that resumes.
            Start::Stored(_) => Err(Code::Internal),
        });
        self.told("upload", path.as_str(), begun)
    }

    fn begin_run(&mut self, _request: RequestId, transfer: TransferId, run: Run) -> Outcome<()> {
        let begun = self.transfers.upload(transfer).and_then(|of| OpenRun::begin(of, run));
        let begun = begun.map(|run| self.open = Open::Run(run));
        self.told("part of an upload", "", begun)
    }

    fn commit_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        size: u64,
        root: Digest,
    ) -> Outcome<u32> {
        if matches!(self.open, Open::Nothing) {
            match self.transfers.take(transfer, size, root) {
                Ok(upload) => self.open = Open::Upload(Box::new(upload)),
                Err(code) => return self.told("store", "", Err(code)),
            }
        }
        self.commit(request, size, root)
    }

    fn open_transfer(
        &mut self,
        _request: RequestId,
        transfer: TransferId,
        path: Path<'_>,
    ) -> Outcome<Meta> {
        let opened = Source::open(&self.root, path).and_then(|source| {
            let meta = source.meta;
            self.transfers.open(transfer, source).map(|()| meta)
        });
        self.told("open", path.as_str(), opened)
    }

    fn open_run(&mut self, _request: RequestId, transfer: TransferId, _run: Run) -> Outcome<Meta> {
        let opened = self.transfers.source(transfer).map(|source| {
            let meta = source.meta;
            self.open = Open::Part(source);
            meta
        });
        self.told("open", "", opened)
    }

    fn release(&mut self, _request: RequestId, transfer: TransferId) -> Outcome<()> {
        let source = match self.transfers.release(transfer) {
            Ok(Some(source)) => source,
            Ok(None) => {
                info!(peer = self.peer, "dropped an upload");
                return Poll::Ready(Ok(()));
            }
            Err(code) => return Poll::Ready(Err(code)),
        };
        if source.is_changed(&self.root) {
            return self.told("read", &source.path, Err(Code::Changed));
        }
        let path = self.root.within(&source.path);
        info!(peer = self.peer, ?path, size = source.meta.size, "was open for its parts");
        Poll::Ready(Ok(()))
    }
}
