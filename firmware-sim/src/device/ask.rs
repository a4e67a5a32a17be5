//! The task that asks: it dials a server, sends a file from flash or fetches one into it, and
//! leaves.
//!
//! Anything that is an `embedded_nal::TcpClientStack` will do as a network.

use core::cell::Cell;
use core::fmt;
use core::net::SocketAddr;
use core::task::{Poll, ready};
use core::time::Duration;

use embedded_nal::TcpClientStack;
use kift_core::Hasher;
use kift_core::driver::{Blocking, NalError, NalStream, Step};
use kift_core::secure::{NoEntropy, Peer, PublicKey, Security};
use kift_core::session::{Config, Error, Event, Failure, Reply, RequestError, Requester};
use kift_core::storage::{Begun, Files, Outcome, RequestId, Store as _};
use kift_core::wire::{
    Ask, CHUNK, Code, Conflict, Digest, Meta, Path, Put, Request, Timestamp, TransferId,
};

use super::frame::{Frame, Frames};
use super::platform::{FLASH_TICK, Platform, settle};
use super::seal::Links;
use crate::disk::{Disk, Handle as _, PeerRole};

/// How long a server may take to accept a connection.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// A file of so many bytes is worth a record in flash, so that sending it goes on after a reset.
const LASTING_LEN: u64 = 64 << 10;

/// Bytes that are read at a time of what is there of a file.
const PIECE_LEN: usize = 256;

/// The errand's request is the first of its session, and its goodbye the second.
const ID: RequestId = RequestId(1);

/// Requests under way at once: there are only two.
const REQUESTS: usize = 2;

/// The session of an errand.
pub type Session<'m, L> = Requester<Frame<'m>, REQUESTS, <L as Links>::Link>;

/// What is to be done. Names in flash are `local`, the server's are `remote`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand<'a> {
    /// Send a file.
    Push {
        /// Which.
        local: &'a str,
        /// Where to; what is there gives way.
        remote: &'a str,
    },
    /// Fetch a file.
    Fetch {
        /// Which.
        remote: &'a str,
        /// Where to; what is there gives way.
        local: &'a str,
    },
}

impl<'a> Errand<'a> {
    /// The name of the file in flash.
    #[must_use]
    pub const fn local(&self) -> &'a str {
        match self {
            Self::Push { local, .. } | Self::Fetch { local, .. } => local,
        }
    }

    /// The name of the file on the server.
    #[must_use]
    pub const fn remote(&self) -> &'a str {
        match self {
            Self::Push { remote, .. } | Self::Fetch { remote, .. } => remote,
        }
    }
}

/// An errand that was done: the file is whole, verified and durable where it was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Bytes of the file.
    pub size: u64,
    /// Its BLAKE3.
    pub root: Digest,
}

/// Why an errand was not done.
#[derive(Debug)]
pub enum Trouble<E> {
    /// There was no connection.
    Dial(NalError<E>),
    /// There was no link: the device cannot make one.
    Link(NoEntropy),
    /// The server has this key, which the device does not know. It was told nothing.
    Stranger(PublicKey),
    /// The server did not take the token.
    Token(Error),
    /// The session ended early.
    Session(Error),
    /// The request was refused or failed.
    Request(Failure),
}

impl<E> Trouble<E> {
    /// Whether the same errand may go well a little later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Dial(_) => true,
            Self::Session(Error::PeerClosed(code)) => {
                matches!(code, Code::TooManySessions | Code::ShuttingDown | Code::TimedOut)
            }
            Self::Session(Error::Disconnected | Error::TimedOut) => true,
            Self::Session(Error::PeerMisbehaved(code)) => matches!(code, Code::Corrupt),
            Self::Session(Error::Closed(_))
            | Self::Link(_)
            | Self::Stranger(_)
            | Self::Token(_) => false,
            Self::Request(failure) => {
                matches!(failure.code(), Code::Busy | Code::TooMany | Code::Changed)
            }
        }
    }
}

impl<E: fmt::Display> fmt::Display for Trouble<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(NalError::TimedOut) => f.write_str("no connection: no answer"),
            Self::Dial(NalError::Stack(error)) => write!(f, "no connection: {error}"),
            Self::Link(error) => write!(f, "{error}"),
            Self::Stranger(key) => write!(
                f,
                "the server's key is not known here: it is {key}, with the fingerprint {}",
                key.fingerprint()
            ),
            Self::Token(error) => write!(
                f,
                "no pairing: {error}; a token must be open at the server, and is good for once"
            ),
            Self::Session(error) => write!(f, "{error}"),
            Self::Request(Failure::Peer(code)) => write!(f, "the server says: {code}"),
            Self::Request(Failure::Local(code)) => write!(f, "on this device: {code}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Trouble<E> {}

/// Who runs errands, one after the other.
#[derive(Debug)]
pub struct Runner<'m, L: Links> {
    frames: &'m [Frames],
    session: Option<Session<'m, L>>,
    config: Config,
    links: L,
}

impl<'m, L: Links> Runner<'m, L> {
    /// Sessions over the first of `frames`, as `config` says, protected by `links`.
    #[must_use]
    pub const fn new(frames: &'m [Frames], config: Config, links: L) -> Self {
        Self { frames, session: None, config, links }
    }

    /// Does `errand` with the server at `remote`; `transfer` names it, and no other.
    ///
    /// A server on a sealed link must have a key that `disk` knows. Where the links are for
    /// pairing, it must have the token, and `disk` knows its key from then on.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn run<S: TcpClientStack>(
        &mut self,
        errand: &Errand<'_>,
        transfer: TransferId,
        stack: S,
        remote: SocketAddr,
        disk: &mut impl Disk,
        board: &impl Platform,
    ) -> Result<Done, Trouble<S::Error>> {
        let local = |code| Trouble::Request(Failure::Local(code));
        let mut port = Port::open(errand, transfer, disk, board).map_err(local)?;
        let result = self.connect_and_ask(errand, stack, remote, &mut port, board);
        port.close(board, result.is_ok()).map_err(local)?;
        result
    }

    /// Makes a session.
    // On the stack, which is given back before it does anything.
    #[inline(never)]
    fn begin(&mut self) -> Result<(), NoEntropy> {
        // What is left of an earlier one would keep the frames.
        self.session = None;
        let link = self.links.link()?;
        if let Some((rx, tx)) = self.frames.first().and_then(Frames::lend)
            && let Ok(session) = Session::<L>::with_security(rx, tx, &self.config, link)
        {
            self.session = Some(session);
        }
        Ok(())
    }

    fn connect_and_ask<S: TcpClientStack>(
        &mut self,
        errand: &Errand<'_>,
        stack: S,
        remote: SocketAddr,
        port: &mut Port<'_, impl Disk>,
        board: &impl Platform,
    ) -> Result<Done, Trouble<S::Error>> {
        self.begin().map_err(Trouble::Link)?;
        let Some(session) = &mut self.session else {
            return Err(Trouble::Session(Error::Closed(Code::Internal)));
        };
        // It may take a while, which no server needs to wait for.
        let root = match session.prefix() {
            Some(hasher) => port.hash(hasher, board).map(|()| hasher.digest()),
            None => Err(Code::Internal),
        };
        let root = root.map_err(|code| Trouble::Request(Failure::Local(code)))?;
        let dialled = board.now().after(DIAL_PATIENCE);
        let dialling = Cell::new(true);
        let mut stream = NalStream::connect(stack, remote, |waits| {
            board.turn(board.now().after(FLASH_TICK));
            if dialling.get() { board.now() < dialled && !board.is_stopping() } else { waits == 0 }
        })
        .map_err(Trouble::Dial)?;
        dialling.set(false);
        let result = converse(session, &mut stream, port, errand.remote(), root, board);
        if !port.disk.is_pairing() {
            self.links.end_pairing();
        }
        // The errand is done, or not; how the connection ends does not change that.
        let _ = stream.close();
        match (port.result, result) {
            (Some(Ok(Reply::Stored { size, root, .. } | Reply::Got { size, root, .. })), _) => {
                Ok(Done { size, root })
            }
            (Some(Ok(_)), _) => Err(Trouble::Request(Failure::Local(Code::Internal))),
            (Some(Err(failure)), _) => Err(Trouble::Request(failure)),
            (None, Err(error)) => Err(match port.server {
                Server::Stranger(key) => Trouble::Stranger(key),
                // Whoever takes the token answers, and whoever does not says nothing, or that.
                _ if self.links.is_pairing() && !is_busy(error) => Trouble::Token(error),
                _ => Trouble::Session(error),
            }),
            (None, Ok(())) => Err(Trouble::Session(Error::Disconnected)),
        }
    }
}

/// Whether the server will have room later, and so did not come to look at a token.
const fn is_busy(error: Error) -> bool {
    matches!(error, Error::PeerClosed(Code::TooManySessions | Code::ShuttingDown))
}

/// The session, from the hello to the goodbye.
fn converse<S, T>(
    session: &mut Requester<Frame<'_>, REQUESTS, S>,
    stream: &mut T,
    port: &mut Port<'_, impl Disk>,
    remote: &str,
    root: Digest,
    board: &impl Platform,
) -> Result<(), Error>
where
    S: Security,
    T: embedded_io::Read + embedded_io::Write,
{
    let mut driver = Blocking::new(stream);
    let (mut asked, mut leaving) = (false, false);
    loop {
        if board.is_stopping() {
            session.abort(Code::Cancelled);
        }
        if !asked {
            asked = match session.request(&port.request(remote, root)) {
                Ok(_) => true,
                Err(RequestError::Refused(code)) => {
                    port.result = Some(Err(Failure::Local(code)));
                    true
                }
                Err(RequestError::Later | RequestError::Over) => false,
            };
        } else if port.result.is_some() && !leaving {
            leaving = session.request(&Request::Goodbye).is_ok();
        }
        let step = driver.step(session, port, board.now());
        if let Server::Paired(key) = port.server {
            port.server = Server::Known;
            if let Err(code) = settle(board, || port.disk.pair(&key, PeerRole::Server)) {
                port.result = Some(Err(Failure::Local(code)));
            }
        }
        if let Step::Closed(result) = step {
            return result;
        }
    }
}

/// The store, as the session of an errand sees it.
struct Port<'a, D> {
    disk: &'a mut D,
    /// By what the server knows the file, or this disk what came of it.
    transfer: TransferId,
    file: File<'a>,
    server: Server,
    result: Option<Result<Reply, Failure>>,
}

/// Who the server is, as far as that is known.
#[derive(Clone, Copy)]
enum Server {
    /// It has not said it, and on a plain link will not.
    Unheard,
    /// Its key is one that the flash has.
    Known,
    /// Its key is none of those.
    Stranger(PublicKey),
    /// It is to show that it has the token, by its first answer.
    Pairing(PublicKey),
    /// It has shown it: its key is to be kept.
    Paired(PublicKey),
}

/// The errand's file in flash.
#[derive(Clone, Copy)]
enum File<'a> {
    /// It is open, to be sent.
    Source(Meta),
    /// It is to be fetched.
    Wanted(Path<'a>),
    /// So many chunks of it came before, and what follows is to be fetched.
    Begun(u32),
    /// The server has said what comes; the store is yet to be told.
    Coming(Path<'a>, u64, Option<Timestamp>),
    /// What comes is being written.
    Open,
}

impl<'a, D: Disk> Port<'a, D> {
    /// The store, with the file open that is to be sent.
    fn open(
        errand: &Errand<'a>,
        transfer: TransferId,
        disk: &'a mut D,
        board: &impl Platform,
    ) -> Result<Self, Code> {
        let path = Path::named(errand.local())?;
        let mut port = Self {
            disk,
            transfer,
            file: File::Wanted(path),
            server: Server::Unheard,
            result: None,
        };
        match errand {
            Errand::Push { remote, .. } => {
                let root = settle(board, || port.disk.root(path))?;
                let meta = settle(board, || port.disk.handle(0).open(ID, path))?;
                port.file = File::Source(meta);
                if port.is_lasting() {
                    let of = digest(&root.0, remote);
                    port.transfer = settle(board, || port.disk.errand(of, transfer))?;
                }
            }
            Errand::Fetch { remote, local } => {
                port.transfer = TransferId(digest(local.as_bytes(), remote));
                let put = port.put(path, None, None, Ask::Ready);
                match settle(board, || port.disk.handle(0).begin(ID, path, &put))? {
                    Begun::Resumed(chunks) => port.file = File::Begun(chunks),
                    Begun::Fresh => port.disk.handle(0).abort(ID),
                    // That was an earlier errand.
                    Begun::Stored { .. } => {}
                }
            }
        }
        Ok(port)
    }

    /// Whether it is a file that is sent, and one that is worth a record.
    const fn is_lasting(&self) -> bool {
        matches!(self.file, File::Source(Meta { size, .. }) if size >= LASTING_LEN)
    }

    /// The hash of what came before, for the request that goes on behind it.
    fn hash(&mut self, hasher: &mut Hasher, board: &impl Platform) -> Result<(), Code> {
        let File::Begun(chunks) = self.file else { return Ok(()) };
        let (mut at, end) = (0, u64::from(chunks).saturating_mul(CHUNK as u64));
        while at < end {
            let mut piece = [0; PIECE_LEN];
            let len = settle(board, || self.disk.handle(0).read(ID, at, &mut piece))?;
            hasher.update(&piece);
            at = at.saturating_add(len.max(1) as u64);
        }
        Ok(())
    }

    fn put<'b>(
        &self,
        path: Path<'b>,
        size: Option<u64>,
        modified: Option<Timestamp>,
        ask: Ask,
    ) -> Put<'b> {
        let (path, transfer, conflict) = (path.as_str(), self.transfer, Conflict::Replace);
        Put { path, transfer, size, modified, conflict, ask }
    }

    /// What is asked of the server, where `root` is the hash of what came before.
    fn request<'b>(&self, remote: &'b str, root: Digest) -> Request<'b> {
        match self.file {
            File::Source(Meta { size, modified, .. }) => {
                let ask = if self.is_lasting() { Ask::Ready } else { Ask::Now };
                let (path, transfer, conflict) = (remote, self.transfer, Conflict::Replace);
                Request::Put(Put { path, transfer, size: Some(size), modified, conflict, ask })
            }
            File::Begun(first) => Request::Resume { path: remote, first, root },
            _ => Request::Get { path: remote, first: 0, count: None },
        }
    }

    /// Tells the store what comes, where it was not told yet.
    fn begin(&mut self) -> Outcome<()> {
        if let File::Coming(path, size, modified) = self.file {
            let put = self.put(path, Some(size), modified, Ask::Now);
            ready!(self.disk.handle(0).begin(ID, path, &put))?;
            self.file = File::Open;
        }
        Poll::Ready(Ok(()))
    }

    /// The session is over, and the errand done or not.
    fn close(&mut self, board: &impl Platform, is_done: bool) -> Result<(), Code> {
        match self.file {
            File::Source(_) => {
                self.disk.handle(0).close(ID);
                // Another errand like it is another.
                if is_done && self.is_lasting() {
                    settle(board, || self.disk.end_errand())?;
                }
            }
            // Where the server has said why not, what came before is of no use.
            File::Begun(_) if self.result.is_some() => self.disk.handle(0).abort(ID),
            File::Begun(_) => self.disk.handle(0).suspend(ID),
            File::Wanted(_) | File::Coming(..) | File::Open => {}
        }
        Ok(())
    }
}

/// Tells an errand from others.
fn digest(what: &[u8], remote: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(what.len() as u32).to_le_bytes()).update(what).update(remote.as_bytes());
    let mut digest = [0; 16];
    digest.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
    digest
}

impl<D: Disk> Files for Port<'_, D> {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        self.disk.handle(0).read(request, at, buf)
    }

    fn write(&mut self, request: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        ready!(self.begin())?;
        self.disk.handle(0).write(request, at, data)
    }

    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        // An empty file comes without data.
        ready!(self.begin())?;
        self.disk.handle(0).commit(request, size, root)
    }

    fn abort(&mut self, request: RequestId) {
        self.disk.handle(0).abort(request);
    }

    fn suspend(&mut self, request: RequestId) {
        self.disk.handle(0).suspend(request);
    }

    fn durable(&mut self, request: RequestId) -> u32 {
        self.disk.handle(0).durable(request)
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        self.server = if peer.pairing {
            Server::Pairing(peer.key)
        } else if ready!(self.disk.knows(&peer.key, PeerRole::Server))? {
            Server::Known
        } else {
            Server::Stranger(peer.key)
        };
        Poll::Ready(match self.server {
            Server::Stranger(_) => Err(Code::Denied),
            _ => Ok(()),
        })
    }

    fn handle_event(&mut self, event: Event<'_>) {
        let is_answer = match event {
            Event::Sending { .. } | Event::Progress { .. } | Event::Working { .. } => true,
            Event::Done { result, .. } => !matches!(result, Err(Failure::Local(_))),
            _ => false,
        };
        if let Server::Pairing(key) = self.server
            && is_answer
        {
            self.server = Server::Paired(key);
        }
        match event {
            Event::Sending { size, modified, .. } => match self.file {
                File::Wanted(path) => self.file = File::Coming(path, size, modified),
                File::Begun(_) => {
                    self.disk.handle(0).set_modified(modified);
                    self.file = File::Open;
                }
                _ => {}
            },
            Event::Done { request: ID, result } => self.result = Some(result),
            _ => {}
        }
    }
}
