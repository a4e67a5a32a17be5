//! What lies on a client's desk: the source being sent, the sinks being filled, and the news.

use std::collections::VecDeque;
use std::io;
use std::task::Poll;

use kift_core::secure::{Peer, PublicKey};
use kift_core::session::{Event, Failure, Reply};
use kift_core::storage::{Files, Outcome, RequestId};
use kift_core::wire::{CHUNK, Code, Digest};

use super::source::Source;
use super::{Link, RemoteEntry, Sink};

/// A request that is over.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub request: RequestId,
    /// What it came to.
    pub result: Result<Reply, Failure>,
    /// What this machine's files had to do with a failure.
    pub reason: Option<io::Error>,
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
    source: Option<(RequestId, Source)>,
    /// In the order of their requests.
    sinks: VecDeque<(RequestId, Box<dyn Sink + Send>)>,
    done: VecDeque<Done>,
    entries: Vec<RemoteEntry>,
    /// Why this end's files failed requests that are not over yet.
    reasons: Vec<(RequestId, io::Error)>,
    on_bytes: Option<Box<dyn FnMut(u64) + Send>>,
    on_steps: Option<Box<dyn FnMut(DataStep) + Send>>,
}

impl Desk {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            server: None,
            is_open: false,
            source: None,
            sinks: VecDeque::new(),
            done: VecDeque::new(),
            entries: Vec::new(),
            reasons: Vec::new(),
            on_bytes: None,
            on_steps: None,
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

    pub(super) fn set_source(&mut self, id: RequestId, source: Box<dyn io::Read + Send>) {
        self.source = Some((id, Source::new(source)));
    }

    pub(super) fn add_sink(&mut self, id: RequestId, sink: Box<dyn Sink + Send>) {
        self.sinks.push_back((id, sink));
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

    /// The sink of the download under way, which is the oldest.
    fn sink(&mut self, id: RequestId) -> Option<&mut Box<dyn Sink + Send>> {
        self.sinks.iter_mut().find(|(of, _)| *of == id).map(|(_, sink)| sink)
    }

    /// Keeps the error for the user and gives the code for the session.
    fn blame(&mut self, id: RequestId, error: io::Error) -> Code {
        let code = code_of(&error);
        self.reasons.push((id, error));
        code
    }
}

impl Files for Desk {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let result = match &mut self.source {
            Some((of, source)) if *of == request => source.fill(buf),
            _ => return Poll::Ready(Err(Code::Internal)),
        };
        Poll::Ready(match result {
            Ok(n) => {
                self.count(n as u64);
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
                self.count(data.len() as u64);
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

    fn abort(&mut self, request: RequestId) {
        // A sink that is dropped leaves nothing behind.
        self.sinks.retain(|(of, _)| *of != request);
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        let admitted = self.link.admits(peer);
        self.server = Some((peer.key, admitted));
        Poll::Ready(if admitted { Ok(()) } else { Err(Code::Denied) })
    }

    fn handle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Opened(_) => self.is_open = true,
            Event::Sending { request, size, modified, .. } => {
                if let Some(sink) = self.sink(request) {
                    sink.begin(size, modified);
                }
            }
            Event::Progress { received, .. } => {
                self.step(DataStep::Acknowledged { chunks: received });
            }
            Event::Entry { entry, .. } => {
                let entry = RemoteEntry { name: entry.name.to_owned(), meta: entry.meta };
                self.entries.push(entry);
            }
            Event::Done { request, result } => {
                self.sinks.retain(|(of, _)| *of != request);
                if self.source.as_ref().is_some_and(|(of, _)| *of == request) {
                    self.source = None;
                }
                let reason = self.reasons.iter().position(|(of, _)| *of == request);
                let reason = reason.map(|at| self.reasons.swap_remove(at).1);
                self.done.push_back(Done { request, result, reason });
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
