//! What lies on a client's desk: the requests that are open, with their sources and sinks, and the news.

use std::collections::VecDeque;
use std::io;
use std::task::Poll;
use std::time::Duration;

use kift_core::Tree;
use kift_core::secure::{Peer, PublicKey};
use kift_core::session::{Event, Failure, Reply};
use kift_core::storage::{Files, Outcome, RequestId, Settled};
use kift_core::wire::{CHUNK, Code, Digest, Request};

use super::source::{Contents, Source};
use super::{ClientError, Link, RemoteEntry, Sink};
use crate::together;

/// A request that is over.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub request: RequestId,
    /// What it came to.
    pub result: Result<Reply, Failure>,
    /// What this machine's files had to do with a failure.
    pub reason: Option<io::Error>,
    /// It went on behind so many bytes that an earlier session had moved, or was to.
    pub resumed: Option<u64>,
    /// Bytes of it that were there before anything was moved by this client.
    pub skipped: u64,
}

/// What a user may want to know while requests go on.
#[derive(Debug)]
pub enum Notice<'a> {
    /// The link was lost, and another one is tried after a while.
    Lost {
        /// Why.
        why: &'a ClientError,
        /// After how long.
        wait: Duration,
    },
    /// A file goes on behind what an earlier session moved.
    Resumed {
        /// Its path on the server.
        path: &'a str,
        /// Bytes that are there already.
        bytes: u64,
    },
}

/// What is done with notices.
type OnNotices = Box<dyn FnMut(Notice<'_>) + Send>;

/// A request that is not over.
pub(super) struct Open {
    /// What it is called here, whichever session it is in.
    pub(super) id: RequestId,
    /// What its session calls it.
    pub(super) number: RequestId,
    /// As it was made; empty where it must not be kept.
    pub(super) request: Vec<u8>,
    source: Option<Source>,
    sink: Option<Box<dyn Sink + Send>>,
    aside: Option<Aside>,
    /// Why this end's files failed it.
    reason: Option<io::Error>,
    resumed: Option<u64>,
    skipped: u64,
    /// It was made in an earlier session too.
    is_repeated: bool,
    /// Up to which byte of its file bytes were counted as moved.
    counted: u64,
}

/// A file that is made durable together with others.
struct Aside {
    name: String,
    size: u64,
    root: Digest,
    /// What came of it, once that is known.
    result: Option<io::Result<u32>>,
}

/// A step of a file on its way. Chunks are counted from the file's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataStep {
    /// Bytes were read to be sent, from this chunk on.
    Sent {
        /// The first of them.
        chunk: u64,
        /// How many bytes.
        len: usize,
    },
    /// Bytes came and were written, from this chunk on.
    Came {
        /// The first of them.
        chunk: u64,
        /// How many bytes.
        len: usize,
    },
    /// The server has taken so many chunks.
    Acknowledged {
        /// How many of those that were sent.
        chunks: u32,
    },
}

/// The port of a client's session.
pub(super) struct Desk {
    link: Link,
    /// The server's key, and whether it is the right one.
    server: Option<(PublicKey, bool)>,
    is_open: bool,
    /// In the order in which they were made.
    open: VecDeque<Open>,
    /// Something went on since this was asked last.
    has_moved: bool,
    done: VecDeque<Done>,
    entries: Vec<RemoteEntry>,
    on_bytes: Option<Box<dyn FnMut(u64) + Send>>,
    on_steps: Option<Box<dyn FnMut(DataStep) + Send>>,
    on_notices: Option<OnNotices>,
}

impl Desk {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            server: None,
            is_open: false,
            open: VecDeque::new(),
            has_moved: false,
            done: VecDeque::new(),
            entries: Vec::new(),
            on_bytes: None,
            on_steps: None,
            on_notices: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The server's key, if it was admitted or if it was not.
    pub(super) fn server(&self, admitted: bool) -> Option<PublicKey> {
        self.server.filter(|server| server.1 == admitted).map(|server| server.0)
    }

    pub(super) fn on_bytes(&mut self, f: Box<dyn FnMut(u64) + Send>) {
        self.on_bytes = Some(f);
    }

    pub(super) fn on_steps(&mut self, f: Box<dyn FnMut(DataStep) + Send>) {
        self.on_steps = Some(f);
    }

    fn step(&mut self, step: DataStep) {
        if let Some(f) = &mut self.on_steps {
            f(step);
        }
    }

    pub(super) fn on_notices(&mut self, f: OnNotices) {
        self.on_notices = Some(f);
    }

    pub(super) fn tell(&mut self, notice: Notice<'_>) {
        if let Some(f) = &mut self.on_notices {
            f(notice);
        }
    }

    /// A request was made.
    pub(super) fn add(&mut self, id: RequestId, number: RequestId, request: Vec<u8>) {
        self.open.push_back(Open {
            id,
            number,
            request,
            source: None,
            sink: None,
            aside: None,
            reason: None,
            resumed: None,
            skipped: 0,
            is_repeated: false,
            counted: 0,
        });
    }

    /// The data of a request begin at byte `offset` of the file.
    pub(super) fn set_offset(&mut self, id: RequestId, offset: u64) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.counted = offset;
        }
    }

    pub(super) fn set_source(&mut self, id: RequestId, source: Box<dyn Contents + Send>) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.source = Some(Source::new(source));
        }
    }

    pub(super) fn set_sink(&mut self, id: RequestId, sink: Box<dyn Sink + Send>) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.sink = Some(sink);
        }
    }

    /// The same for a sink in which the first `chunks` are there.
    pub(super) fn set_sink_with(&mut self, id: RequestId, sink: Box<dyn Sink + Send>, chunks: u32) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            let bytes = u64::from(chunks) * CHUNK as u64;
            open.sink = Some(sink);
            (open.resumed, open.skipped) = (Some(bytes), bytes);
            // What is there did not move now.
            open.counted = bytes;
        }
    }

    /// The request at place `at` of those that are open.
    pub(super) fn open_at(&mut self, at: usize) -> Option<&mut Open> {
        self.open.get_mut(at)
    }

    /// Requests that are open.
    pub(super) fn open_len(&self) -> usize {
        self.open.len()
    }

    /// A request was made again.
    pub(super) fn renumber(&mut self, id: RequestId, number: RequestId) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.number = number;
            open.is_repeated = true;
        }
    }

    /// The request at place `at` cannot be made again.
    pub(super) fn give_up(&mut self, at: usize, error: io::Error) {
        if let Some(open) = self.open.remove(at) {
            let (result, reason) = (Err(Failure::Local(code_of(&error))), Some(error));
            let (request, skipped) = (open.id, open.skipped);
            self.done.push_back(Done { request, result, reason, resumed: None, skipped });
        }
    }

    /// Another session takes the place of the one that `other` was the desk of.
    pub(super) fn take_over(&mut self, other: &Self) {
        self.server = other.server;
        self.is_open = other.is_open;
    }

    /// Whether anything went on since this was asked last.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// The entries of a listing that is made again.
    pub(super) fn forget_entries(&mut self) {
        self.entries.clear();
    }

    pub(super) fn take_done(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    pub(super) fn take_entries(&mut self) -> Vec<RemoteEntry> {
        std::mem::take(&mut self.entries)
    }

    /// How the link is protected.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Bytes of files went, here or on another link.
    pub(super) fn count(&mut self, bytes: u64) {
        if let Some(f) = &mut self.on_bytes {
            f(bytes);
        }
    }

    fn get(&mut self, number: RequestId) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| open.number == number)
    }

    fn sink(&mut self, number: RequestId) -> Option<&mut Box<dyn Sink + Send>> {
        self.get(number)?.sink.as_mut()
    }

    /// Keeps the error for the user and gives the code for the session.
    fn blame(&mut self, number: RequestId, error: io::Error) -> Code {
        let code = code_of(&error);
        if let Some(open) = self.get(number) {
            open.reason = Some(error);
        }
        code
    }

    /// Bytes of a file moved, up to its byte `end`: each is counted once, in however many sessions.
    fn moved(&mut self, number: RequestId, end: u64) {
        self.has_moved = true;
        if let Some(open) = self.get(number) {
            let new = end.saturating_sub(open.counted);
            open.counted = open.counted.max(end);
            self.count(new);
        }
    }

    /// A file goes on behind its first `bytes`.
    fn resumed(&mut self, number: RequestId, bytes: u64) {
        let Some(open) = self.get(number) else { return };
        open.resumed = Some(bytes);
        if !open.is_repeated {
            open.skipped = bytes;
        }
        let request = open.request.clone();
        let path = match Request::decode(&request) {
            Ok(Request::Put(put)) => put.path,
            Ok(Request::Get { path, .. } | Request::Resume { path, .. }) => path,
            _ => return,
        };
        self.tell(Notice::Resumed { path, bytes });
    }
}

impl Open {
    /// Has the source at its first byte again.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.source.as_mut().map_or(Ok(()), Source::rewind)
    }

    /// Whether it is set aside, and nothing came of it yet.
    fn waits(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.result.is_none())
    }

    /// Makes what was set aside durable.
    fn commit(&mut self) {
        if let (Some(aside), Some(sink)) = (&mut self.aside, &mut self.sink) {
            aside.result = Some(sink.commit());
        }
    }

    /// What an earlier session left in the sink; none where it begins anew.
    pub(super) fn have(&mut self) -> io::Result<Option<Tree>> {
        let Some(sink) = &mut self.sink else { return Ok(None) };
        let have = sink.have();
        if have.is_none() {
            sink.restart()?;
        }
        self.resumed = have.as_ref().map(|tree| u64::from(tree.runs()) << 20);
        Ok(have)
    }
}

impl Files for Desk {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let result = match self.get(request).and_then(|open| open.source.as_mut()) {
            Some(source) => source.fill(buf),
            None => return Poll::Ready(Err(Code::Internal)),
        };
        Poll::Ready(match result {
            Ok(n) => {
                self.moved(request, at + n as u64);
                if n > 0 {
                    self.step(DataStep::Sent { chunk: at / CHUNK as u64, len: n });
                }
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => Err(self.blame(request, error)),
        })
    }

    fn write(&mut self, request: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        let Some(sink) = self.sink(request) else { return Poll::Ready(Err(Code::Internal)) };
        Poll::Ready(match sink.write(data) {
            Ok(()) => {
                self.moved(request, at + data.len() as u64);
                self.step(DataStep::Came { chunk: at / CHUNK as u64, len: data.len() });
                Ok(())
            }
            Err(error) => Err(self.blame(request, error)),
        })
    }

    fn commit(&mut self, request: RequestId, _size: u64, _root: Digest) -> Outcome<u32> {
        let Some(sink) = self.sink(request) else { return Poll::Ready(Err(Code::Internal)) };
        Poll::Ready(match sink.commit() {
            Ok(suffix) => Ok(suffix),
            Err(error) => Err(self.blame(request, error)),
        })
    }

    fn set_aside(&mut self, request: RequestId, size: u64, root: Digest) -> bool {
        let Some(path) = self.sink(request).and_then(|sink| sink.joins()) else { return false };
        // Where a file system does not tell upper case from lower, another name may be this one, too.
        let name = path.to_string_lossy().to_lowercase();
        let mut others = self.open.iter().filter_map(|open| open.aside.as_ref());
        if others.any(|other| other.name == name) {
            return false;
        }
        if let Some(open) = self.get(request) {
            open.aside = Some(Aside { name, size, root, result: None });
        }
        true
    }

    fn settle(&mut self, request: RequestId) -> Outcome<Settled> {
        if self.get(request).is_some_and(|open| open.waits()) {
            // What finds no thread is made durable when it is asked for.
            together::each(self.open.iter_mut().filter(|open| open.waits()), Open::commit);
        }
        let aside = self.get(request).and_then(|open| open.aside.take());
        Poll::Ready(match aside {
            Some(Aside { size, root, result: Some(Ok(suffix)), .. }) => {
                Ok(Settled { size, root, suffix })
            }
            Some(Aside { result: Some(Err(error)), .. }) => Err(self.blame(request, error)),
            _ => Err(Code::Internal),
        })
    }

    fn abort(&mut self, request: RequestId) {
        // A sink that is dropped leaves nothing behind.
        if let Some(open) = self.get(request) {
            open.sink = None;
        }
    }

    fn suspend(&mut self, request: RequestId) {
        if let Some(sink) = self.sink(request) {
            sink.suspend();
        }
    }

    fn durable(&mut self, request: RequestId) -> u32 {
        self.sink(request).map_or(0, |sink| sink.durable())
    }

    fn mark(&mut self, request: RequestId, tree: &Tree) {
        if let Some(sink) = self.sink(request) {
            sink.mark(tree);
        }
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        let admitted = self.link.admits(peer);
        self.server = Some((peer.key, admitted));
        Poll::Ready(if admitted { Ok(()) } else { Err(Code::Denied) })
    }

    fn handle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Opened(_) => self.is_open = true,
            Event::Sending { request, size, file_size, modified } => {
                if size < file_size && self.get(request).is_some_and(|open| open.resumed.is_some())
                {
                    self.resumed(request, file_size - size);
                }
                if let Some(sink) = self.sink(request) {
                    sink.begin(size, modified);
                }
            }
            Event::Resumed { request, chunks } => {
                self.resumed(request, u64::from(chunks) * CHUNK as u64);
            }
            Event::Progress { received, .. } => {
                self.step(DataStep::Acknowledged { chunks: received });
            }
            Event::Entry { entry, .. } => {
                let entry = RemoteEntry { name: entry.name.to_owned(), meta: entry.meta };
                self.entries.push(entry);
            }
            Event::Done { request, result } => {
                self.has_moved = true;
                let Some(at) = self.open.iter().position(|open| open.number == request) else {
                    return;
                };
                if let Some(open) = self.open.remove(at) {
                    let Open { id, reason, resumed, skipped, .. } = open;
                    self.done.push_back(Done { request: id, result, reason, resumed, skipped });
                }
            }
            _ => {}
        }
    }
}

/// What the peer is told of an error of this end's files.
fn code_of(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
        io::ErrorKind::PermissionDenied => Code::Denied,
        io::ErrorKind::AlreadyExists => Code::Exists,
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::IsADirectory => Code::IsDirectory,
        _ => Code::Io,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use kift_core::wire::Timestamp;

    use super::*;

    const ROOT: Digest = Digest([0; 32]);

    /// Says when it is made permanent: the earlier it came, the longer that takes.
    struct Slow {
        number: u32,
        name: &'static str,
        said: Arc<Mutex<Vec<u32>>>,
    }

    impl Sink for Slow {
        fn begin(&mut self, _: u64, _: Option<Timestamp>) {}

        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn joins(&self) -> Option<&Path> {
            (!self.name.is_empty()).then_some(Path::new(self.name))
        }

        fn commit(&mut self) -> io::Result<u32> {
            std::thread::sleep(Duration::from_millis(u64::from(100 - 20 * self.number)));
            self.said.lock().unwrap().push(self.number);
            if self.name == "bad" { Err(io::ErrorKind::StorageFull.into()) } else { Ok(0) }
        }
    }

    /// Has files of these names come whole, one behind the other, and says which were set aside.
    fn fetched<const N: usize>(
        names: [&'static str; N],
    ) -> (Desk, [bool; N], Arc<Mutex<Vec<u32>>>) {
        let (mut desk, said) = (Desk::new(Link::Plain), Arc::default());
        let mut number = 0..;
        let aside = names.map(|name| {
            let (number, said) = (number.next().unwrap(), Arc::clone(&said));
            desk.add(RequestId(number), RequestId(number), Vec::new());
            desk.set_sink(RequestId(number), Box::new(Slow { number, name, said }));
            desk.set_aside(RequestId(number), 0, ROOT)
        });
        (desk, aside, said)
    }

    #[test]
    fn what_is_set_aside_is_made_durable_at_once() {
        let (mut desk, aside, said) = fetched(["a", "b", "bad", "c"]);
        assert!(aside == [true; 4] && said.lock().unwrap().is_empty());
        let settled = Settled { size: 0, root: ROOT, suffix: 0 };
        assert_eq!(desk.settle(RequestId(0)), Poll::Ready(Ok(settled)));
        // The first before the others, and those at once.
        assert_eq!(*said.lock().unwrap(), [0, 3, 2, 1]);
        assert_eq!(desk.settle(RequestId(1)), Poll::Ready(Ok(settled)));
        assert_eq!(desk.settle(RequestId(2)), Poll::Ready(Err(Code::NoSpace)));
        let reason = desk.get(RequestId(2)).and_then(|open| open.reason.take());
        assert_eq!(reason.map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        assert_eq!(desk.settle(RequestId(3)), Poll::Ready(Ok(settled)));
        assert_eq!(said.lock().unwrap().len(), 4);
    }

    #[test]
    fn whatever_may_be_the_same_file_is_not() {
        let (_, aside, _) = fetched(["f", "F", "g", "f", ""]);
        assert_eq!(aside, [true, false, true, false, false]);
    }
}
