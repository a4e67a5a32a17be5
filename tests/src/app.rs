//! The requester's application: feeds uploads from memory, gathers downloads and all that is told.

use std::collections::{BTreeMap, VecDeque};
use std::task::Poll;

use kift_core::secure::Peer;
use kift_core::session::{Event, Failure, Reply};
use kift_core::storage::{Files, Outcome, RequestId, Settled};
use kift_core::wire::{
    Ask, CHUNK, Code, Conflict, Digest, Hello, Meta, Password, Put, Request, Run, RunLen, Ticket,
    Timestamp, TransferId,
};

use crate::busy::Busy;
use crate::memory::value;

/// What every upload is called.
const TRANSFER: TransferId = TransferId([7; 16]);

/// Bytes of a download that is set aside.
const SET_ASIDE_MAX: u64 = 20_000;

/// Where an upload's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The bytes there are.
    pub data: Vec<u8>,
    /// Reading from this byte on fails.
    pub fails: Option<(u64, Code)>,
}

/// A request with all it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// An upload.
    Put {
        /// Where to.
        path: String,
        /// What its source holds.
        source: Source,
        /// The size that is declared.
        size: Option<u64>,
        /// Time of last modification.
        modified: Option<Timestamp>,
        /// Where the name is taken.
        conflict: Conflict,
        /// When data follow.
        ask: Ask,
    },
    /// A download of a range.
    Get {
        /// Of what.
        path: String,
        /// From this chunk on.
        first: u32,
        /// So many chunks.
        count: Option<u32>,
    },
    /// The rest of a download.
    Resume {
        /// Of what.
        path: String,
        /// What is there, in whole chunks.
        have: Vec<u8>,
    },
    /// A listing.
    List {
        /// Of what.
        path: String,
        /// Names after this one.
        after: String,
    },
    /// What is there.
    Stat {
        /// At this path.
        path: String,
        /// With its hash.
        digest: bool,
    },
    /// Removes something.
    Delete {
        /// At this path.
        path: String,
    },
    /// Renames something.
    Rename {
        /// Its name now.
        from: String,
        /// Its name then.
        to: String,
        /// Whether a file of that name gives way.
        replace: bool,
    },
    /// Makes a directory.
    MakeDirectory {
        /// Here.
        path: String,
    },
    /// Asks for free space.
    Space,
    /// Ends the session.
    Goodbye,
    /// Asks what the responder is doing.
    Status,
    /// Asks which uploads were interrupted.
    Partials,
    /// Asks for what is left of the upload to be forgotten.
    Discard,
    /// Asks the responder's application to end.
    Shutdown,
    /// Asks for a ticket.
    Ticket,
    /// Joins another link's session.
    Attach(Ticket),
    /// Begins an upload in runs.
    BeginPut {
        /// Where to.
        path: String,
        /// Its bytes.
        size: Option<u64>,
        /// When it need not be made.
        ask: Ask,
        /// How long its runs are.
        runs: RunLen,
    },
    /// Uploads a run.
    PutRun {
        /// Which.
        run: Run,
        /// The whole file.
        source: Source,
    },
    /// Ends an upload in runs.
    Commit {
        /// Its bytes.
        size: u64,
        /// Its root.
        root: Digest,
    },
    /// Begins a download in runs.
    BeginGet {
        /// Of what.
        path: String,
    },
    /// Downloads a run.
    GetRun {
        /// Which.
        run: Run,
    },
    /// Ends a download in runs, or drops an upload.
    Release,
    /// Says who asks.
    Login {
        /// As whom.
        user: String,
        /// By what.
        password: String,
    },
}

impl Job {
    /// A plain upload of `data`.
    #[must_use]
    pub fn put(path: &str, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        Self::Put {
            path: path.to_owned(),
            size: Some(data.len() as u64),
            source: Source { data, fails: None },
            modified: None,
            conflict: Conflict::Replace,
            ask: Ask::Now,
        }
    }

    /// As this upload, but `conflict` where the name is taken.
    #[must_use]
    pub fn or(mut self, otherwise: Conflict) -> Self {
        if let Self::Put { conflict, .. } = &mut self {
            *conflict = otherwise;
        }
        self
    }

    /// As this upload, with `ask` before its data.
    #[must_use]
    pub fn asking(mut self, how: Ask) -> Self {
        if let Self::Put { ask, .. } = &mut self {
            *ask = how;
        }
        self
    }

    /// As this upload, modified at `time`.
    #[must_use]
    pub fn modified(mut self, time: i64) -> Self {
        if let Self::Put { modified, .. } = &mut self {
            *modified = Some(Timestamp(time));
        }
        self
    }

    /// As this upload, with `len` declared.
    #[must_use]
    pub fn declaring(mut self, len: Option<u64>) -> Self {
        if let Self::Put { size, .. } = &mut self {
            *size = len;
        }
        self
    }

    /// As this upload, from a source that fails at byte `at`.
    #[must_use]
    pub fn failing(mut self, at: u64, code: Code) -> Self {
        if let Self::Put { source, .. } = &mut self {
            source.fails = Some((at, code));
        }
        self
    }

    /// A download of a whole file.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::Get { path: path.to_owned(), first: 0, count: None }
    }

    /// A listing.
    #[must_use]
    pub fn list(path: &str) -> Self {
        Self::List { path: path.to_owned(), after: String::new() }
    }

    /// A stat.
    #[must_use]
    pub fn stat(path: &str, digest: bool) -> Self {
        Self::Stat { path: path.to_owned(), digest }
    }

    /// A login.
    #[must_use]
    pub fn login(user: &str, password: &str) -> Self {
        Self::Login { user: user.to_owned(), password: password.to_owned() }
    }

    /// What is sent.
    ///
    /// # Panics
    /// Where a password is none.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        match self {
            Self::Put { path, size, modified, conflict, ask, .. } => Request::Put(Put {
                path,
                transfer: TRANSFER,
                size: *size,
                modified: *modified,
                conflict: *conflict,
                ask: *ask,
            }),
            Self::Get { path, first, count } => Request::Get { path, first: *first, count: *count },
            Self::Resume { path, have } => Request::Resume {
                path,
                first: (have.len() / CHUNK) as u32,
                root: Digest(*blake3::hash(have).as_bytes()),
            },
            Self::List { path, after } => Request::List { path, after },
            Self::Stat { path, digest } => Request::Stat { path, digest: *digest },
            Self::Delete { path } => Request::Delete { path },
            Self::Rename { from, to, replace } => Request::Rename { from, to, replace: *replace },
            Self::MakeDirectory { path } => Request::MakeDirectory { path },
            Self::Space => Request::Space,
            Self::Goodbye => Request::Goodbye,
            Self::Status => Request::Status,
            Self::Partials => Request::Partials,
            Self::Discard => Request::Discard { transfer: TRANSFER },
            Self::Shutdown => Request::Shutdown,
            Self::Ticket => Request::Ticket,
            Self::Attach(ticket) => Request::Attach { ticket: *ticket },
            Self::BeginPut { path, size, ask, runs } => Request::BeginPut {
                put: Put {
                    path,
                    transfer: TRANSFER,
                    size: *size,
                    modified: None,
                    conflict: Conflict::Replace,
                    ask: *ask,
                },
                runs: *runs,
            },
            Self::PutRun { run, .. } => Request::PutRun { transfer: TRANSFER, run: *run },
            Self::Commit { size, root } => {
                Request::Commit { transfer: TRANSFER, size: *size, root: *root }
            }
            Self::BeginGet { path } => Request::BeginGet { transfer: TRANSFER, path },
            Self::GetRun { run } => Request::GetRun { transfer: TRANSFER, run: *run },
            Self::Release => Request::Release { transfer: TRANSFER },
            Self::Login { user, password } => {
                Request::Login { user, password: Password::new(password).expect("a password") }
            }
        }
    }
}

/// What an application came to know.
#[derive(Debug)]
pub struct App {
    /// The sources of uploads.
    pub sources: BTreeMap<RequestId, Source>,
    /// Which downloads are of a run.
    pub runs: BTreeMap<RequestId, Run>,
    /// Downloads under way.
    pub partial: BTreeMap<RequestId, Vec<u8>>,
    /// What there was of downloads before.
    pub had: BTreeMap<RequestId, Vec<u8>>,
    /// Downloads of which the session left this.
    pub left: BTreeMap<RequestId, Vec<u8>>,
    /// Chunks of uploads that did not have to be sent again.
    pub resumed: BTreeMap<RequestId, u32>,
    /// Bytes that were read of sources to be sent.
    pub sent: u64,
    /// Downloads that were set aside, and not yet settled.
    aside: VecDeque<(RequestId, Digest, Vec<u8>)>,
    /// How many ever were.
    pub set_aside: usize,
    /// Downloads that were committed.
    pub got: BTreeMap<RequestId, Vec<u8>>,
    /// Downloads that were aborted.
    pub aborted: Vec<RequestId>,
    /// Entries of listings.
    pub entries: BTreeMap<RequestId, Vec<(String, Meta)>>,
    /// Beginnings of downloads: size and file size.
    pub sending: BTreeMap<RequestId, (u64, u64)>,
    /// Results.
    pub results: BTreeMap<RequestId, Result<Reply, Failure>>,
    /// Reports that work goes on.
    pub working: Vec<(RequestId, u64, u64)>,
    /// Reports of progress.
    pub progress: Vec<(RequestId, u32, u32)>,
    /// The responder's hello.
    pub hello: Option<Hello>,
    /// What is pending.
    pub busy: Busy,
    /// The nth write of any download fails.
    pub fail_write: Option<(usize, Code)>,
    /// Commits fail.
    pub fail_commit: Option<Code>,
    /// Peers that asked for admission.
    pub peers: Vec<Peer>,
    /// Why none is admitted.
    pub turns_away: Option<Code>,
    /// Whether it is still being thought about.
    pub considers: bool,
    writes: usize,
}

impl Default for App {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            runs: BTreeMap::new(),
            partial: BTreeMap::new(),
            had: BTreeMap::new(),
            left: BTreeMap::new(),
            resumed: BTreeMap::new(),
            sent: 0,
            aside: VecDeque::new(),
            set_aside: 0,
            got: BTreeMap::new(),
            aborted: Vec::new(),
            entries: BTreeMap::new(),
            sending: BTreeMap::new(),
            results: BTreeMap::new(),
            working: Vec::new(),
            progress: Vec::new(),
            hello: None,
            busy: Busy::never(),
            fail_write: None,
            fail_commit: None,
            peers: Vec::new(),
            turns_away: None,
            considers: false,
            writes: 0,
        }
    }
}

impl App {
    /// The request `id` was accepted: what it needs is put in place.
    pub fn accepted(&mut self, id: RequestId, job: &Job) {
        match job {
            Job::Put { source, .. } | Job::PutRun { source, .. } => {
                self.sources.insert(id, source.clone());
            }
            Job::GetRun { run } => {
                self.runs.insert(id, *run);
            }
            Job::Resume { have, .. } => {
                self.had.insert(id, have.clone());
            }
            _ => {}
        }
    }

    /// Asserts that no download is left open.
    ///
    /// # Panics
    /// Where one is.
    pub fn assert_closed(&self) {
        assert!(self.partial.is_empty(), "left open: {:?}", self.partial.keys());
        assert!(self.aside.is_empty(), "{} were not settled", self.aside.len());
    }
}

impl App {
    /// The download of `request`, all of which came.
    fn take_whole(&mut self, request: RequestId, size: u64, root: Digest) -> Vec<u8> {
        let data = self.partial.remove(&request).expect("begun");
        assert_eq!(size, data.len() as u64);
        let digest = match self.runs.get(&request) {
            Some(&run) => value(run, &data),
            None => Digest(*blake3::hash(&data).as_bytes()),
        };
        assert_eq!(root, digest, "commit of what was not verified");
        data
    }

    fn keep(&mut self, request: RequestId, data: Vec<u8>) -> Result<(), Code> {
        match self.fail_commit {
            Some(code) => Err(code),
            None => {
                self.got.insert(request, data);
                Ok(())
            }
        }
    }
}

impl Files for App {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        if self.busy.is_pending(&format!("read {request} {at}")) {
            return Poll::Pending;
        }
        let Source { data, fails } = self.sources.get(&request).expect("a source is in place");
        if let Some((from, code)) = *fails
            && at + buf.len() as u64 > from
        {
            return Poll::Ready(Err(code));
        }
        let rest = data.get(at as usize..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.sent += n as u64;
        Poll::Ready(Ok(n))
    }

    fn write(&mut self, request: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        if self.busy.is_pending(&format!("write {request} {at} {}", data.len())) {
            return Poll::Pending;
        }
        let (size, _) = self.sending.get(&request).expect("told that it begins");
        let partial = self.partial.get_mut(&request).expect("begun");
        let had = self.had.get(&request).map_or(0, Vec::len);
        assert!((partial.len() - had + data.len()) as u64 <= *size, "more than was promised");
        assert!(partial.is_empty() || at.is_multiple_of(1024));
        assert!(had == 0 || at == partial.len() as u64, "a gap");
        self.writes += 1;
        if let Some((nth, code)) = self.fail_write
            && nth + 1 == self.writes
        {
            return Poll::Ready(Err(code));
        }
        partial.extend_from_slice(data);
        Poll::Ready(Ok(()))
    }

    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        if self.busy.is_pending(&format!("commit {request} {size} {root}")) {
            return Poll::Pending;
        }
        assert!(self.aside.is_empty(), "before those that were set aside");
        let data = self.take_whole(request, size, root);
        Poll::Ready(self.keep(request, data).map(|()| 0))
    }

    fn set_aside(&mut self, request: RequestId, size: u64, root: Digest) -> bool {
        if size > SET_ASIDE_MAX {
            return false;
        }
        let data = self.take_whole(request, size, root);
        self.aside.push_back((request, root, data));
        self.set_aside += 1;
        true
    }

    fn settle(&mut self, request: RequestId) -> Outcome<Settled> {
        if self.busy.is_pending(&format!("settle {request}")) {
            return Poll::Pending;
        }
        let (id, root, data) = self.aside.pop_front().expect("something is set aside");
        assert_eq!(id, request);
        let size = data.len() as u64;
        Poll::Ready(self.keep(request, data).map(|()| Settled { size, root, suffix: 0 }))
    }

    fn abort(&mut self, request: RequestId) {
        self.busy.forget();
        self.partial.remove(&request).expect("begun and not over");
        self.aborted.push(request);
    }

    fn suspend(&mut self, request: RequestId) {
        self.busy.forget();
        let mut data = self.partial.remove(&request).expect("begun and not over");
        data.truncate(data.len() / CHUNK * CHUNK);
        self.left.insert(request, data);
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        if self.considers {
            return Poll::Pending;
        }
        self.peers.push(*peer);
        Poll::Ready(self.turns_away.map_or(Ok(()), Err))
    }

    fn handle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Opened(hello) => assert!(self.hello.replace(hello).is_none()),
            Event::Entry { request, entry } => {
                let entry = (entry.name.to_owned(), entry.meta);
                self.entries.entry(request).or_default().push(entry);
            }
            Event::Sending { request, size, file_size, .. } => {
                assert!(self.sending.insert(request, (size, file_size)).is_none());
                let had = self.had.get(&request).cloned().unwrap_or_default();
                assert!(self.partial.insert(request, had).is_none());
                assert!(self.partial.len() == 1, "two downloads at a time");
            }
            Event::Progress { request, received, durable } => {
                self.progress.push((request, received, durable));
            }
            Event::Resumed { request, chunks } => {
                assert!(self.resumed.insert(request, chunks).is_none());
                // What was only compared is not sent.
                self.sent -= u64::from(chunks) * CHUNK as u64;
            }
            Event::Working { request, done, total } => self.working.push((request, done, total)),
            Event::Done { request, result } => {
                // Each once, in the order asked.
                assert!(self.results.last_key_value().is_none_or(|(last, _)| *last < request));
                assert!(!self.partial.contains_key(&request));
                self.results.insert(request, result);
                if self.sources.remove(&request).is_some() {
                    // Refused while its source was not done: it is not read any more.
                    self.busy.forget_those(&format!("read {request} "));
                }
            }
            _ => {}
        }
    }
}
