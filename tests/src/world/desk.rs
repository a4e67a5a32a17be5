//! What the client does, has and remembers.

use std::task::Poll;

use kift_core::Hasher;
use kift_core::secure::{Peer, Security};
use kift_core::session::{Event, Failure, Reply, RequestError, Requester};
use kift_core::storage::{Files, Outcome, RequestId};
use kift_core::wire::{Ask, CHUNK, Conflict, Digest, Put, Request, TransferId};

use super::NAMES;
use crate::rng::{Rng, contents};

/// Chunks of a download that are made durable together.
const CHECKPOINT: usize = 16;

/// Something to do.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// An upload of the bytes of `version`.
    Put { path: &'static str, version: u64, len: usize, conflict: Conflict, transfer: TransferId },
    /// A download.
    Get { path: &'static str },
}

/// The client's application.
pub(super) struct Desk {
    work: Vec<Work>,
    rng: Rng,
    /// What the file of an upload has held, at last what it holds now.
    versions: Vec<Vec<u8>>,
    /// It changes before the next attempt, and that is noticed, or not until what was sent is compared.
    change: Option<bool>,
    changed_unnoticed: bool,
    /// Chunks of it that the server said are durable.
    durable: u32,
    /// Of a download, what came of it, and how much of that a power cut leaves.
    have: Vec<u8>,
    safe: usize,
    got: Vec<u8>,
    session: Session,
}

/// What belongs to one request.
#[derive(Debug, Default)]
struct Session {
    request: Option<RequestId>,
    resumed: u32,
    /// Chunks that were known to be durable when it was asked.
    floor: u32,
    result: Option<Result<Reply, Failure>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("work", &self.work.last())
            .field("left", &self.work.len())
            .field("durable", &self.durable)
            .field("have", &self.have.len())
            .field("safe", &self.safe)
            .field("session", &self.session)
            .finish()
    }
}

impl Desk {
    pub(super) fn new(rng: &mut Rng, jobs: usize, len_max: usize) -> Self {
        let mut own = Rng::new(rng.bits());
        let work = (0..jobs).map(|_| any_work(&mut own, len_max)).collect();
        let mut desk = Self {
            work,
            rng: own,
            versions: Vec::new(),
            change: None,
            changed_unnoticed: false,
            durable: 0,
            have: Vec::new(),
            safe: 0,
            got: Vec::new(),
            session: Session::default(),
        };
        desk.begin();
        desk
    }

    /// What is to be done now.
    pub(super) fn work(&self) -> Option<&Work> {
        self.work.last()
    }

    /// The bytes of the upload.
    pub(super) fn source(&self) -> &[u8] {
        self.versions.last().map_or(&[], Vec::as_slice)
    }

    /// What was fetched.
    pub(super) fn got(&self) -> Vec<u8> {
        self.got.clone()
    }

    /// What the server may come to have.
    pub(super) fn under_way(&self) -> Option<(String, Vec<Vec<u8>>)> {
        match self.work()? {
            Work::Put { path, .. } => Some(((*path).to_owned(), self.versions.clone())),
            Work::Get { .. } => None,
        }
    }

    /// The next job.
    pub(super) fn next(&mut self) {
        self.work.pop();
        self.begin();
    }

    fn begin(&mut self) {
        (self.durable, self.safe, self.change, self.changed_unnoticed) = (0, 0, None, false);
        self.have.clear();
        self.versions.clear();
        if let Some(Work::Put { version, len, .. }) = self.work.last() {
            self.versions.push(contents(*len, *version));
        }
    }

    /// The file that is sent changes. What is to be kept beside others would be two then, so that of
    /// those that replace another.
    pub(super) fn source_changes(&mut self) {
        if let Some(Work::Put { conflict: Conflict::Replace, .. }) = self.work() {
            self.change = Some(self.rng.chance(50));
        }
    }

    /// Begins again with what is there now, as another upload. False where nothing had changed.
    pub(super) fn begin_anew(&mut self) -> bool {
        self.durable = 0;
        if let Some(Work::Put { transfer, .. }) = self.work.last_mut() {
            *transfer = any_transfer(&mut self.rng);
        }
        std::mem::take(&mut self.changed_unnoticed)
    }

    fn apply_change(&mut self) {
        if let Some(is_noticed) = self.change.take() {
            let (len, version) = (self.source().len(), self.rng.bits());
            self.versions.push(contents(len, version));
            self.changed_unnoticed = true;
            self.durable = 0;
            if is_noticed {
                self.begin_anew();
            }
        }
    }

    /// The client's process ended, or its power did, which loses what was not synced.
    pub(super) fn restart(&mut self, loses: bool) {
        if loses {
            self.have.truncate(self.safe);
        }
        self.have.truncate(self.have.len() / CHUNK * CHUNK);
        self.session = Session::default();
    }

    /// Asks for what is to be done; false where that is not possible yet.
    pub(super) fn ask<S: Security>(&mut self, requester: &mut Requester<Vec<u8>, 1024, S>) -> bool {
        self.have.truncate(self.have.len() / CHUNK * CHUNK);
        self.apply_change();
        let size = Some(self.source().len() as u64);
        let request = match self.work.last() {
            Some(&Work::Put { path, conflict, transfer, .. }) => Request::Put(Put {
                path,
                transfer,
                size,
                modified: None,
                conflict,
                ask: Ask::Ready,
            }),
            Some(&Work::Get { path }) if self.have.is_empty() => {
                Request::Get { path, first: 0, count: None }
            }
            Some(&Work::Get { path }) => {
                let Some(hasher) = requester.prefix() else { return false };
                *hasher = Hasher::new();
                hasher.update(&self.have);
                let first = (self.have.len() / CHUNK) as u32;
                Request::Resume { path, first, root: hasher.digest() }
            }
            None => Request::Goodbye,
        };
        match requester.request(&request) {
            Ok(id) => {
                let floor = self.durable;
                self.session = Session { request: Some(id), floor, ..Session::default() };
                true
            }
            Err(RequestError::Later | RequestError::Over) => false,
            Err(RequestError::Refused(code)) => panic!("{request:?}: {code}"),
        }
    }

    /// What the job came to, told once.
    pub(super) fn take_result(&mut self) -> Option<Result<Reply, Failure>> {
        self.session.result.take()
    }

    /// Whether this attempt went on behind an earlier one.
    pub(super) fn resumed(&self) -> bool {
        self.session.resumed > 0
    }

    /// Bytes that were known to be durable when it asked.
    pub(super) fn known_durable(&self) -> u64 {
        (u64::from(self.session.floor) * CHUNK as u64).min(self.source().len() as u64)
    }
}

fn any_transfer(rng: &mut Rng) -> TransferId {
    TransferId(rng.bytes(16).try_into().expect("16 bytes"))
}

fn any_work(rng: &mut Rng, len_max: usize) -> Work {
    let path = NAMES[rng.below(NAMES.len())];
    if rng.chance(25) {
        return Work::Get { path };
    }
    let conflict = [Conflict::Replace, Conflict::KeepBoth, Conflict::Refuse][rng.below(3)];
    let len = if rng.chance(20) { rng.below(3000) } else { rng.between(len_max / 4 * 3, len_max) };
    Work::Put { path, version: rng.bits(), len, conflict, transfer: any_transfer(rng) }
}

impl Files for Desk {
    fn read(&mut self, _: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        if self.rng.chance(5) {
            return Poll::Pending;
        }
        let rest = self.source().get(at as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Poll::Ready(Ok(n))
    }

    fn write(&mut self, _: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        if self.rng.chance(5) {
            return Poll::Pending;
        }
        assert_eq!(at, self.have.len() as u64, "a gap");
        self.have.extend_from_slice(data);
        self.safe = self.have.len() / CHUNK / CHECKPOINT * CHECKPOINT * CHUNK;
        Poll::Ready(Ok(()))
    }

    fn commit(&mut self, _: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        assert_eq!(size, self.have.len() as u64);
        assert_eq!(root.0, *blake3::hash(&self.have).as_bytes(), "commit of what was not verified");
        self.got = std::mem::take(&mut self.have);
        self.safe = 0;
        Poll::Ready(Ok(0))
    }

    fn abort(&mut self, _: RequestId) {
        self.have.clear();
        self.safe = 0;
    }

    fn suspend(&mut self, _: RequestId) {
        self.have.truncate(self.have.len() / CHUNK * CHUNK);
        self.safe = self.have.len();
    }

    fn admit(&mut self, _: &Peer) -> Outcome<()> {
        Poll::Ready(Ok(()))
    }

    fn handle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Progress { request, durable, .. } if Some(request) == self.session.request => {
                self.durable = self.durable.max(durable);
            }
            Event::Resumed { request, chunks } if Some(request) == self.session.request => {
                self.session.resumed = chunks;
                self.durable = self.durable.max(chunks);
            }
            Event::Done { request, result } if Some(request) == self.session.request => {
                self.session.result = Some(result);
            }
            _ => {}
        }
    }
}
