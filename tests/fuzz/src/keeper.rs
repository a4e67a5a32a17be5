//! A responder's store that keeps nothing, and holds the session to the port's contract.

use std::collections::VecDeque;
use std::fmt;
use std::task::Poll;

use blake3::hazmat::HasherExt as _;
use kift_core::secure::Peer;
use kift_core::session::Event;
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Settled, Store, Text};
use kift_core::wire::{
    Ask, CHUNK, Digest, Entry, EntryKind, FILE_SIZE_MAX, Hello, Meta, Password, Path, Put, Run,
    RunLen, Space, Ticket, Timestamp, TransferId, is_user_name,
};

use crate::made::{SIZES, contents, listed, root_of};
use crate::script::Script;

/// The one thing that may be open.
enum Open {
    Nothing,
    Upload(Upload),
    /// `next` is where it is to be read next; none before the first read.
    Source {
        id: RequestId,
        size: u64,
        next: Option<u64>,
        is_over: bool,
    },
    Directory {
        id: RequestId,
        next: u64,
        end: u64,
        is_over: bool,
    },
}

/// A file that comes, or a run of one.
pub(crate) struct Upload {
    pub(crate) id: RequestId,
    start: u64,
    size: Option<u64>,
    len: u64,
    hasher: blake3::Hasher,
    pub(crate) is_run: bool,
    has_failed: bool,
    /// Bytes that were there before, and of these what was read.
    resumed: u64,
    read: u64,
}

impl Upload {
    pub(crate) fn new(id: RequestId, start: u64, size: Option<u64>, is_run: bool) -> Self {
        let mut hasher = blake3::Hasher::new();
        if is_run {
            hasher.set_input_offset(start);
        }
        let (len, has_failed, resumed, read) = (0, false, 0, 0);
        Self { id, start, size, len, hasher, is_run, has_failed, resumed, read }
    }

    /// One that goes on behind so many chunks.
    pub(crate) fn resumed(id: RequestId, chunks: u32, size: Option<u64>) -> Self {
        let mut upload = Self::new(id, 0, size, false);
        upload.resumed = u64::from(chunks) * CHUNK as u64;
        upload.len = upload.resumed;
        upload.hasher.update(&contents(0, upload.len as usize));
        upload
    }

    /// What is there is read before anything is written, without gaps.
    fn check_read(&self, id: RequestId, at: u64, len: usize) {
        assert_eq!((id, at), (self.id, self.read), "a gap");
        assert!(self.len == self.resumed && at + len as u64 <= self.resumed);
    }

    /// What is written is what follows, in whole chunks, and no more than was declared.
    pub(crate) fn check(&self, id: RequestId, at: u64, data: &[u8]) {
        assert!(!self.has_failed, "write after one that failed");
        assert_eq!((id, at), (self.id, self.start + self.len), "a gap");
        assert!(!data.is_empty() && self.len.is_multiple_of(CHUNK as u64));
        let len = self.len + data.len() as u64;
        assert!(len <= self.size.unwrap_or(FILE_SIZE_MAX), "more than was declared");
    }

    pub(crate) fn write(&mut self, data: &[u8]) {
        self.hasher.update(data);
        self.len += data.len() as u64;
    }

    pub(crate) fn fail(&mut self) {
        self.has_failed = true;
    }

    /// Whether all of it came, and `root` is its root.
    pub(crate) fn check_whole(&self, id: RequestId, size: u64, root: Digest) {
        assert!(!self.has_failed, "commit after a write that failed");
        assert_eq!((id, size), (self.id, self.len));
        assert!(self.size.is_none_or(|declared| declared == size));
        let is = match self.is_run {
            true => self.hasher.finalize_non_root(),
            false => *self.hasher.finalize().as_bytes(),
        };
        assert_eq!(root.0, is, "commit of what was not verified");
    }
}

/// Bytes behind which every file ends, whatever was said.
const LEN_MAX: u64 = 8 << 10;

/// A store whose every operation comes out as the script has it.
pub struct Keeper {
    script: Script,
    open: Open,
    /// Begun and not yet committed, aborted or settled.
    uploads: u32,
    /// Set aside and not yet settled.
    aside: VecDeque<(RequestId, u64, Digest)>,
    /// The upload that began last goes on behind so many chunks.
    pub resumed: Option<u32>,
    /// The peer's hello.
    pub hello: Option<Hello>,
    /// Peers that asked for admission.
    pub peers: Vec<Peer>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("script", &self.script).finish_non_exhaustive()
    }
}

const DIRECTORY: Meta = Meta { kind: EntryKind::Directory, size: 0, modified: None };

/// How much room there is: always as much.
pub(crate) const SPACE: Space = Space { free: 1, total: 2, file_size_max: 3 };

impl Keeper {
    /// A store that does what the script says.
    #[must_use]
    pub const fn new(script: Script) -> Self {
        Self {
            script,
            open: Open::Nothing,
            uploads: 0,
            aside: VecDeque::new(),
            resumed: None,
            hello: None,
            peers: Vec::new(),
        }
    }

    /// What it says about its room.
    #[must_use]
    pub const fn space() -> Space {
        SPACE
    }

    /// # Panics
    /// Where something is open or pending.
    pub fn assert_closed(&self) {
        self.assert_free();
        self.script.assert_nothing_pending();
        // What is set aside when a session ends is dropped.
        assert_eq!(self.uploads as usize, self.aside.len(), "neither committed nor aborted");
    }

    fn assert_free(&self) {
        assert!(matches!(self.open, Open::Nothing), "something is still open");
    }

    /// An operation for which nothing may be open.
    fn ask(
        &mut self,
        name: &'static str,
        request: RequestId,
        arguments: impl std::hash::Hash,
    ) -> Outcome<u8> {
        self.assert_free();
        assert!(name == "begin" || self.aside.is_empty(), "{name} before what came before it");
        self.script.ask(name, request, arguments)
    }

    fn open_source(&mut self, opened: Outcome<u8>, id: RequestId) -> Outcome<Meta> {
        opened.map_ok(|number| {
            let meta = file(number);
            self.open = Open::Source { id, size: meta.size, next: None, is_over: false };
            meta
        })
    }
}

fn file(number: u8) -> Meta {
    let size = SIZES[usize::from(number) % SIZES.len()];
    Meta { kind: EntryKind::File, size, modified: Some(Timestamp(-1)) }
}

fn assert_named(path: Path<'_>) {
    assert!(Path::named(path.as_str()).is_ok(), "{path:?}");
}

impl Files for Keeper {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        if let Open::Upload(upload) = &mut self.open {
            upload.check_read(request, at, buf.len());
            let asked = self.script.ask("read", request, at);
            return asked.map(|number| {
                buf.copy_from_slice(&contents(at, buf.len()));
                upload.read += buf.len() as u64;
                number.map(|number| if number == 31 { buf.len() / 2 } else { buf.len() })
            });
        }
        let Open::Source { id, size, next, is_over } = &mut self.open else {
            panic!("read {request} without a source")
        };
        assert_eq!(*id, request);
        assert!(!*is_over, "read after the end");
        assert!(next.is_none_or(|next| next == at), "a gap: {next:?}, then {at}");
        assert!(at.is_multiple_of(CHUNK as u64) && at + buf.len() as u64 <= *size);
        let asked = self.script.ask("read", request, at);
        asked.map(|number| {
            // The file may be shorter than it was said to be.
            let is_short = !buf.is_empty() && (number == Ok(31) || at > LEN_MAX);
            *is_over = is_short || number.is_err();
            let n = if is_short { buf.len() / 2 } else { buf.len() };
            buf[..n].copy_from_slice(&contents(at, n));
            *next = Some(at + n as u64);
            number.map(|_| n)
        })
    }

    fn write(&mut self, request: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        let Open::Upload(upload) = &mut self.open else { panic!("write {request}: not open") };
        upload.check(request, at, data);
        let asked = self.script.ask("write", request, (at, data));
        match asked {
            Poll::Ready(Ok(_)) => upload.write(data),
            Poll::Ready(Err(_)) => upload.fail(),
            Poll::Pending => {}
        }
        asked.map_ok(drop)
    }

    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        let Open::Upload(upload) = &self.open else { panic!("commit {request}: not open") };
        upload.check_whole(request, size, root);
        let asked = self.script.ask("commit", request, (size, root));
        if asked.is_ready() {
            self.open = Open::Nothing;
            self.uploads -= 1;
        }
        asked.map_ok(u32::from)
    }

    fn set_aside(&mut self, request: RequestId, size: u64, root: Digest) -> bool {
        let Open::Upload(upload) = &self.open else { panic!("commit {request}: not open") };
        upload.check_whole(request, size, root);
        if upload.is_run || size.is_multiple_of(3) {
            return false;
        }
        self.open = Open::Nothing;
        self.aside.push_back((request, size, root));
        true
    }

    fn settle(&mut self, request: RequestId) -> Outcome<Settled> {
        let &(id, size, root) = self.aside.front().expect("something is set aside");
        assert_eq!(id, request);
        let asked = self.script.ask("settle", request, ());
        if asked.is_ready() {
            self.aside.pop_front();
            self.uploads -= 1;
        }
        asked.map_ok(|number| Settled { size, root, suffix: number.into() })
    }

    fn abort(&mut self, request: RequestId) {
        self.script.forget();
        if let Open::Upload(upload) = &self.open {
            assert_eq!(upload.id, request);
            self.open = Open::Nothing;
            self.uploads -= 1;
        }
        self.assert_free();
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        assert!(self.hello.is_none());
        let asked = self.ask("admit", RequestId(0), (peer.key, peer.pairing));
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
    }
}

impl Store for Keeper {
    fn begin(&mut self, request: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        assert_named(path);
        assert_eq!(path.as_str(), put.path);
        assert!(put.size.is_none_or(|size| size <= FILE_SIZE_MAX));
        assert!(put.ask == Ask::Now || self.aside.is_empty(), "an answer before others");
        self.ask("begin", request, path).map_ok(|number| {
            let chunks = u32::from(number % 4);
            let is_known = put.size.is_none_or(|size| u64::from(chunks) * CHUNK as u64 <= size);
            if put.ask != Ask::Now && number == 30 {
                let size = put.size.unwrap_or(1);
                return Begun::Stored { size, root: root_of(0), suffix: number.into() };
            }
            self.uploads += 1;
            if put.ask != Ask::Now && chunks > 0 && is_known {
                self.open = Open::Upload(Upload::resumed(request, chunks, put.size));
                self.resumed = Some(chunks);
                return Begun::Resumed(chunks);
            }
            self.open = Open::Upload(Upload::new(request, 0, put.size, false));
            Begun::Fresh
        })
    }

    fn open(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        assert_named(path);
        let opened = self.ask("open", request, path);
        self.open_source(opened, request)
    }

    fn close(&mut self, request: RequestId) {
        self.script.forget();
        let open = std::mem::replace(&mut self.open, Open::Nothing);
        assert!(matches!(open, Open::Source { id, .. } if id == request), "close {request}");
    }

    fn stat(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.ask("stat", request, path).map_ok(|number| match number {
            30.. => DIRECTORY,
            _ if path.is_root() => DIRECTORY,
            _ => file(number),
        })
    }

    fn open_directory(&mut self, request: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        assert!(after.is_empty() || Path::name(after).is_ok());
        self.ask("open directory", request, (path, after)).map_ok(|number| {
            let end = number.into();
            self.open = Open::Directory { id: request, next: 0, end, is_over: false };
        })
    }

    fn read_directory(&mut self, request: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        let Open::Directory { id, next, end, is_over } = &mut self.open else {
            panic!("read directory {request}: not open")
        };
        assert_eq!(*id, request);
        assert!(page.is_empty() && !*is_over);
        let asked = self.script.ask("read directory", request, ());
        *is_over = matches!(asked, Poll::Ready(Err(_)));
        asked.map_ok(|number| {
            while *next < *end {
                let (name, meta) = listed(*next);
                // It may also be content with less.
                let is_full = number > 20 && !page.is_empty();
                if is_full || !page.push(&Entry { name: &name, meta }) {
                    assert!(!page.is_empty(), "an entry that fits no page");
                    return true;
                }
                *next += 1;
            }
            *is_over = true;
            false
        })
    }

    fn close_directory(&mut self, request: RequestId) -> u64 {
        self.script.forget();
        let open = std::mem::replace(&mut self.open, Open::Nothing);
        assert!(matches!(open, Open::Directory { id, .. } if id == request), "close {request}");
        1
    }

    fn delete(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        assert_named(path);
        self.ask("delete", request, path).map_ok(drop)
    }

    fn rename(
        &mut self,
        request: RequestId,
        from: Path<'_>,
        to: Path<'_>,
        replace: bool,
    ) -> Outcome<()> {
        assert_named(from);
        assert_named(to);
        self.ask("rename", request, (from, to, replace)).map_ok(drop)
    }

    fn make_directory(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        assert_named(path);
        self.ask("make directory", request, path).map_ok(drop)
    }

    fn space(&mut self, request: RequestId) -> Outcome<Space> {
        self.ask("space", request, ()).map_ok(|_| SPACE)
    }

    fn login(&mut self, request: RequestId, user: &str, password: &Password<'_>) -> Outcome<()> {
        assert!(!self.peers.is_empty(), "a login on a plain link");
        assert!(is_user_name(user));
        self.ask("login", request, (user, password.as_str())).map_ok(drop)
    }

    fn open_text(&mut self, request: RequestId, text: Text) -> Outcome<Meta> {
        let opened = self.ask("open text", request, text == Text::Status);
        self.open_source(opened, request)
    }

    fn discard(&mut self, request: RequestId, transfer: TransferId) -> Outcome<()> {
        self.ask("discard", request, transfer).map_ok(drop)
    }

    fn shut_down(&mut self, request: RequestId) -> Outcome<()> {
        self.ask("shut down", request, ()).map_ok(drop)
    }

    fn ticket(&mut self, request: RequestId) -> Outcome<Ticket> {
        self.ask("ticket", request, ()).map_ok(|number| Ticket([number; 16]))
    }

    fn attach(&mut self, request: RequestId, ticket: Ticket) -> Outcome<()> {
        self.ask("attach", request, ticket.0).map_ok(drop)
    }

    fn begin_transfer(
        &mut self,
        request: RequestId,
        path: Path<'_>,
        put: &Put<'_>,
        runs: RunLen,
    ) -> Outcome<()> {
        assert_named(path);
        let (size, run) = (put.size.expect("known"), runs.bytes().expect("a run"));
        assert!(size > run && size <= FILE_SIZE_MAX && size.div_ceil(run) <= 1 << 16);
        self.ask("begin transfer", request, (path, put.transfer)).map_ok(drop)
    }

    fn begin_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<()> {
        assert!(run.is_valid());
        self.ask("begin run", request, (transfer, run.first, run.size)).map_ok(|_| {
            self.open = Open::Upload(Upload::new(request, run.offset(), Some(run.size), true));
            self.uploads += 1;
        })
    }

    fn commit_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        size: u64,
        root: Digest,
    ) -> Outcome<u32> {
        self.ask("commit transfer", request, (transfer, size, root)).map_ok(u32::from)
    }

    fn open_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        path: Path<'_>,
    ) -> Outcome<Meta> {
        assert_named(path);
        self.ask("open transfer", request, (transfer, path)).map_ok(file)
    }

    fn open_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<Meta> {
        assert!(run.is_valid());
        self.ask("open run", request, (transfer, run.first, run.size)).map_ok(|number| {
            // The file may end before the run does.
            let size = run.offset() + SIZES[usize::from(number) % 7].max(run.size.min(6000));
            self.open = Open::Source { id: request, size, next: None, is_over: false };
            Meta { size, ..file(0) }
        })
    }

    fn release(&mut self, request: RequestId, transfer: TransferId) -> Outcome<()> {
        self.ask("release", request, transfer).map_ok(drop)
    }
}
