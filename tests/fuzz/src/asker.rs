//! A requester's application that keeps nothing, and holds the session to the port's contract.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::task::Poll;

use kift_core::secure::Peer;
use kift_core::session::{Event, Reply};
use kift_core::storage::{Files, Outcome, RequestId, Settled};
use kift_core::wire::{
    Answer, Ask, CHUNK, Code, Digest, EntryKind, FILE_SIZE_MAX, Hello, Meta, Path, Put, Request,
    Run, Ticket,
};

use crate::keeper::{SPACE, Upload};
use crate::made::{SIZES, Stream, contents, page, root_of};
use crate::script::Script;

/// What a request is for, and how far it is.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Done,
    Stat,
    Begun,
    Listing {
        entries: u64,
    },
    Space,
    Ticket,
    Upload {
        start: u64,
        len: u64,
        size: Option<u64>,
        is_over: bool,
        asks: bool,
    },
    Download {
        first: u32,
        count: Option<u32>,
        run: Option<Run>,
    },
    /// The rest of one.
    Rest {
        first: u32,
    },
    Commit {
        size: u64,
    },
}

/// An application whose every operation comes out as the script has it.
pub struct Asker {
    script: Script,
    /// What was asked for and is not over.
    wanted: BTreeMap<RequestId, Wanted>,
    /// The request that was over last.
    done: u32,
    /// A download that has begun and is not over.
    download: Option<Upload>,
    /// Downloads that were set aside: size and root.
    aside: VecDeque<(RequestId, u64, Digest)>,
    /// The download that was committed last: its size and root.
    committed: Option<(RequestId, u64, Digest)>,
    /// The peer's hello.
    pub hello: Option<Hello>,
    /// Peers that asked for admission.
    pub peers: Vec<Peer>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Asker {
    /// An application that does what the script says.
    #[must_use]
    pub const fn new(script: Script) -> Self {
        Self {
            script,
            wanted: BTreeMap::new(),
            done: 0,
            download: None,
            aside: VecDeque::new(),
            committed: None,
            hello: None,
            peers: Vec::new(),
        }
    }

    /// A request was sent.
    ///
    /// # Panics
    /// Where its number is not the next.
    pub fn accepted(&mut self, id: RequestId, request: &Request<'_>) {
        let (start, len, is_over) = (0, 0, false);
        let wanted = match *request {
            Request::Stat { .. } | Request::BeginGet { .. } => Wanted::Stat,
            Request::BeginPut { .. } => Wanted::Begun,
            Request::List { .. } => Wanted::Listing { entries: 0 },
            Request::Space => Wanted::Space,
            Request::Ticket => Wanted::Ticket,
            Request::Put(Put { size, ask, .. }) => {
                Wanted::Upload { start, len, size, is_over, asks: ask != Ask::Now }
            }
            Request::Resume { first, .. } => Wanted::Rest { first },
            Request::PutRun { run, .. } => {
                let start = run.offset();
                Wanted::Upload { start, len, size: Some(run.size), is_over, asks: false }
            }
            Request::Get { first, count, .. } => Wanted::Download { first, count, run: None },
            Request::Status | Request::Partials => {
                Wanted::Download { first: 0, count: None, run: None }
            }
            Request::GetRun { run, .. } => {
                Wanted::Download { first: run.first, count: None, run: Some(run) }
            }
            Request::Commit { size, .. } => Wanted::Commit { size },
            _ => Wanted::Done,
        };
        assert_eq!(id.0, self.last() + 1);
        self.wanted.insert(id, wanted);
    }

    /// The request that was sent last.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.wanted.last_key_value().map_or(self.done, |(id, _)| id.0)
    }

    /// The number of the request whose answer is due.
    #[must_use]
    pub const fn front(&self) -> u16 {
        (self.done + 1) as u16
    }

    /// What is due for the request in front: `number` chooses where there is a choice.
    #[must_use]
    pub fn due(&self, number: u8) -> Option<Answer> {
        let file_size = SIZES[usize::from(number) % SIZES.len()];
        Some(match *self.wanted.first_key_value()?.1 {
            Wanted::Done | Wanted::Begun => Answer::Done,
            Wanted::Stat => {
                let meta = Meta { kind: EntryKind::File, size: file_size, modified: None };
                Answer::Stat { meta, digest: Some(root_of(0)) }
            }
            Wanted::Listing { entries } => Answer::Listed { entries, skipped: 1 },
            Wanted::Space => Answer::Space(SPACE),
            Wanted::Ticket => Answer::Ticket(Ticket([1; 16])),
            Wanted::Upload { len, .. } if number >= 128 => {
                Answer::Stored { size: len, root: root_of(0), suffix: 1 }
            }
            Wanted::Upload { .. } if number >= 64 => {
                let from = u32::from(number % 4);
                // Mostly the source's.
                let is = if number < 72 { 0 } else { u64::from(from) * CHUNK as u64 };
                Answer::Ready { from, root: root_of(is) }
            }
            Wanted::Upload { .. } => Answer::Ready { from: 0, root: root_of(0) },
            Wanted::Rest { first } => {
                let size = file_size.saturating_sub(u64::from(first) * CHUNK as u64);
                Answer::Sending { size, file_size, modified: None }
            }
            Wanted::Download { run: Some(run), .. } => {
                let file_size = (run.offset() + run.size).max(file_size.min(FILE_SIZE_MAX));
                Answer::Sending { size: run.size, file_size, modified: None }
            }
            Wanted::Download { first, count, .. } => {
                let rest = file_size.saturating_sub(u64::from(first) * CHUNK as u64);
                let most = count.map_or(u64::MAX, |count| u64::from(count) * CHUNK as u64);
                Answer::Sending { size: rest.min(most), file_size, modified: None }
            }
            Wanted::Commit { size } => Answer::Stored { size, root: root_of(0), suffix: 0 },
        })
    }

    /// The page of entries that is due, for as many as `count`.
    #[must_use]
    pub fn due_page(&self, count: u64) -> Vec<u8> {
        let is_aside = |id: &RequestId| self.aside.iter().any(|(aside, ..)| aside == id);
        match self.wanted.iter().find(|(id, _)| !is_aside(id)) {
            Some((_, Wanted::Listing { entries })) => page(*entries, count),
            _ => page(0, count),
        }
    }

    /// The stream that is due.
    #[must_use]
    pub fn due_stream(&self) -> Stream {
        match self.wanted.first_key_value() {
            Some((_, Wanted::Download { first, run, .. })) => Stream::new(*first, *run),
            Some((_, Wanted::Rest { first })) => Stream::behind(*first),
            _ => Stream::default(),
        }
    }

    /// # Panics
    /// Where a download is open.
    pub fn assert_closed(&self) {
        assert!(self.download.is_none(), "neither committed nor aborted");
        assert!(self.aside.is_empty(), "set aside, and not settled");
    }

    fn handle_done(&mut self, request: RequestId, result: Result<Reply, Code>) {
        assert_eq!(request.0, self.done + 1, "each is over once, in the order asked");
        self.done += 1;
        let wanted = self.wanted.remove(&request).expect("asked for");
        let is_open = self.download.as_ref().is_some_and(|download| download.id == request);
        assert!(!is_open, "over, and its download is not");
        // An upload that was refused is not read any more.
        self.script.forget_those_of(request);
        let Ok(reply) = result else { return };
        let fits = match (wanted, reply) {
            (Wanted::Done | Wanted::Begun, Reply::Done)
            | (Wanted::Begun, Reply::Unchanged)
            | (Wanted::Stat, Reply::Stat { .. })
            | (Wanted::Ticket, Reply::Ticket(_))
            | (Wanted::Space, Reply::Space(_)) => true,
            (Wanted::Upload { len, .. }, Reply::Unchanged) => len == 0,
            (
                Wanted::Upload { asks: true, len: 0, size: declared, .. },
                Reply::Stored { size, .. },
            ) => declared.is_none_or(|declared| declared == size) || size == 0,
            (Wanted::Listing { entries: told }, Reply::Listed { entries, .. }) => told == entries,
            (Wanted::Upload { len: sent, .. }, Reply::Stored { size, .. })
            | (Wanted::Commit { size: sent }, Reply::Stored { size, .. }) => sent == size,
            (Wanted::Download { .. } | Wanted::Rest { .. }, Reply::Got { size, root, .. }) => {
                self.committed == Some((request, size, root))
            }
            _ => false,
        };
        assert!(fits, "{reply:?} for {wanted:?}");
    }
}

impl Files for Asker {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let Some(Wanted::Upload { start, len, size, is_over, .. }) = self.wanted.get_mut(&request)
        else {
            panic!("read {request} without a source")
        };
        assert!(!*is_over, "read after the end");
        assert_eq!(*start + *len, at, "a gap");
        assert!(!buf.is_empty() && at.is_multiple_of(CHUNK as u64));
        let asked = self.script.ask("read", request, at);
        asked.map(|number| {
            let wanted = size.unwrap_or(3 << 10);
            let left = usize::try_from(wanted.saturating_sub(*len)).unwrap_or(usize::MAX);
            // The source may be shorter or longer than it was said to be.
            let n = match number {
                Ok(31) => buf.len() / 2,
                Ok(30) => buf.len(),
                Ok(_) if *len > 8 << 10 => 0,
                Ok(_) => buf.len().min(left),
                Err(_) => 0,
            };
            *is_over = n < buf.len();
            // What does not fit what was declared is not sent.
            if !*is_over || size.is_none() {
                *len += n as u64;
            }
            buf[..n].copy_from_slice(&contents(at, n));
            number.map(|_| n)
        })
    }

    fn write(&mut self, request: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        let download = self.download.as_mut().expect("told that it begins");
        download.check(request, at, data);
        let asked = self.script.ask("write", request, (at, data));
        match asked {
            Poll::Ready(Ok(_)) => download.write(data),
            Poll::Ready(Err(_)) => download.fail(),
            Poll::Pending => {}
        }
        asked.map_ok(drop)
    }

    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        assert!(self.aside.is_empty(), "before those that were set aside");
        self.download.as_ref().expect("begun").check_whole(request, size, root);
        let asked = self.script.ask("commit", request, (size, root));
        if asked.is_ready() {
            self.download = None;
            self.committed = Some((request, size, root));
        }
        asked.map_ok(u32::from)
    }

    fn set_aside(&mut self, request: RequestId, size: u64, root: Digest) -> bool {
        let download = self.download.as_ref().expect("begun");
        download.check_whole(request, size, root);
        if download.is_run || size.is_multiple_of(3) {
            return false;
        }
        self.download = None;
        self.aside.push_back((request, size, root));
        true
    }

    fn settle(&mut self, request: RequestId) -> Outcome<Settled> {
        let &(id, size, root) = self.aside.front().expect("something is set aside");
        assert_eq!(id, request);
        let asked = self.script.ask("settle", request, ());
        if asked.is_ready() {
            self.committed = self.aside.pop_front();
        }
        asked.map_ok(|number| Settled { size, root, suffix: number.into() })
    }

    fn abort(&mut self, request: RequestId) {
        self.script.forget();
        let download = self.download.take().expect("begun and not over");
        assert_eq!(download.id, request);
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        assert!(self.hello.is_none());
        let asked = self.script.ask("admit", RequestId(0), (peer.key, peer.pairing));
        if asked.is_ready() {
            self.peers.push(*peer);
        }
        asked.map_ok(drop)
    }

    fn handle_event(&mut self, event: Event<'_>) {
        if let Event::Opened(hello) = event {
            assert_eq!(self.hello.replace(hello), None, "opened twice");
        }
        assert!(self.hello.is_some(), "{event:?} before it was opened");
        match event {
            Event::Entry { request, entry } => {
                assert!(Path::name(entry.name).is_ok(), "{entry:?}");
                let Some(Wanted::Listing { entries }) = self.wanted.get_mut(&request) else {
                    panic!("{event:?}")
                };
                *entries += 1;
            }
            Event::Sending { request, size, file_size, .. } => {
                let (first, run) = match self.wanted.get(&request) {
                    Some(&Wanted::Download { first, run, .. }) => (first, run),
                    Some(&Wanted::Rest { first }) => {
                        assert_eq!(u64::from(first) * CHUNK as u64 + size, file_size);
                        let download = Upload::resumed(request, first, Some(file_size));
                        assert!(self.download.replace(download).is_none(), "two at a time");
                        return;
                    }
                    _ => panic!("{event:?}"),
                };
                let start = u64::from(first) * CHUNK as u64;
                assert!(start + size <= file_size && file_size <= FILE_SIZE_MAX);
                assert!(run.is_none_or(|run| run.size == size));
                let download = Upload::new(request, start, Some(size), run.is_some());
                assert!(self.download.replace(download).is_none(), "two downloads at a time");
            }
            Event::Progress { request, .. } | Event::Working { request, .. } => {
                assert!(self.wanted.contains_key(&request), "{event:?}");
            }
            Event::Done { request, result } => {
                self.handle_done(request, result.map_err(|failure| failure.code()));
            }
            _ => {}
        }
    }
}
