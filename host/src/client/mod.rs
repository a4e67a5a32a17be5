//! The client: a requester over a stream, with files of this machine at its other side.

mod again;
mod crew;
mod desk;
mod invitation;
mod link;
mod partial;
mod sink;
mod source;
mod status;
mod work;

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Clock};

use embedded_io::{Read, Write};
use kift_core::Hasher;
use kift_core::driver::{Blocking, Step};
use kift_core::secure::{NoEntropy, PublicKey};
use kift_core::session::{Error, Failure, Reply, RequestError, Requester, Side};
use kift_core::storage::RequestId;
use kift_core::wire::{
    Ask, Code, Conflict, Meta, Put, Request, Run, RunLen, Timestamp, TransferId,
};

use crate::net::{Socket, WINDOW, buffer, session_config, since};
use crate::remote::Remote;
use crate::secure::HostNoise;
use again::{Again, Login, encoded};
pub(crate) use again::{is_passing, wait};
pub use crew::{Crew, LINKS_MAX, Moved};
use desk::Desk;
pub use desk::{DataStep, Done, Notice};
pub use invitation::Invitation;
pub use link::{Expect, Link};
pub(crate) use sink::timestamp;
pub use sink::{FileSink, Pipe, Sink};
pub use source::{Contents, Patient};

/// Requests that a client keeps under way at once.
pub const REQUESTS_MAX: usize = 64;

/// How long a connection attempt may take, for each address of the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an interrupted client tries to tell its peer, which may not take anything any more.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Why a client cannot go on.
#[derive(Debug)]
pub enum ClientError {
    /// No connection.
    Connect {
        /// To where.
        address: String,
        /// Why not.
        error: io::Error,
    },
    /// The session is over.
    Session(Error),
    /// The server's key is not one that was expected. Nothing was said to it, not even who this
    /// client is.
    Stranger(PublicKey),
    /// No keys can be made for a link.
    NoEntropy(NoEntropy),
    /// In a further session the server does not take this user any more.
    LoggedOut(Code),
    /// The user interrupted it.
    Interrupted,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { address, error } => write!(f, "cannot connect to {address}: {error}"),
            Self::Session(error) => error.fmt(f),
            Self::Stranger(key) => {
                write!(f, "the server shows a key that is not expected: {}", key.fingerprint())
            }
            Self::NoEntropy(error) => error.fmt(f),
            Self::LoggedOut(code) => write!(f, "cannot log in again: {code}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for ClientError {}

/// An entry of a remote directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub meta: Meta,
}

/// A remote directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// In byte order of their names.
    pub entries: Vec<RemoteEntry>,
    /// Entries left out because their names are not legal paths.
    pub skipped: u64,
}

/// A file to be sent.
pub struct Upload<'a> {
    /// Where to.
    pub path: &'a str,
    /// Bytes, where known.
    pub size: Option<u64>,
    /// The time of last modification to give it.
    pub modified: Option<Timestamp>,
    /// What to do where the name is taken.
    pub conflict: Conflict,
    /// Whether the server is to look first if it has the file already.
    pub ask: Ask,
    /// What names it: that of an earlier attempt, to go on with what is there of that.
    pub transfer: TransferId,
    /// Its contents. Where a read would block, it is tried again later.
    pub source: Box<dyn Contents + Send>,
}

/// A client of one server.
///
/// Requests are pipelined: [`put`](Self::put) and [`get`](Self::get) return as soon as the request
/// is on its way, and [`take_done`](Self::take_done) tells what came of which.
pub struct Client<T: embedded_io::ErrorType = Socket> {
    session: Requester<Vec<u8>, REQUESTS_MAX, HostNoise>,
    driver: Blocking<T>,
    desk: Desk,
    /// With whom, where this made the connection.
    remote: Option<Remote>,
    /// Chunks that are taken before any is acknowledged.
    window: u32,
    origin: Clock,
    interrupted: Arc<AtomicBool>,
    /// When that was noticed.
    interrupted_at: Option<Clock>,
    stopped: Arc<AtomicBool>,
    /// The number of the request that was made last in this session.
    last: RequestId,
    /// The same over all sessions: what its users call it.
    count: u32,
    again: Option<Again<T>>,
    login: Option<Login>,
    is_over: bool,
    error: Option<Error>,
}

impl Client<Socket> {
    /// Connects to the server that `remote` names, by a link that is protected as `link` says.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::NoEntropy`].
    pub fn connect(remote: &Remote, link: Link) -> Result<Self, ClientError> {
        Self::connect_with(remote, link, WINDOW)
    }

    /// The same, and takes at most `window` chunks, one or more, before it acknowledges any.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(remote: &Remote, link: Link, window: u32) -> Result<Self, ClientError> {
        let error = |error| ClientError::Connect { address: remote.address(), error };
        let stream = connect(remote).map_err(error)?;
        let socket = Socket::new(stream).map_err(error)?;
        let client = Self::over(Blocking::with_read_ready(socket), link, window)?;
        Ok(Self { remote: Some(remote.clone()), ..client })
    }
}

/// The first of the host's addresses that answers.
fn connect(remote: &Remote) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (remote.host.as_str(), remote.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl<T: Read + Write> Client<T> {
    /// A client over any byte stream that keeps the contract of [`kift_core::driver`], which takes at
    /// most `window` chunks before it acknowledges any.
    ///
    /// # Errors
    /// [`ClientError::NoEntropy`].
    pub fn over(driver: Blocking<T>, link: Link, window: u32) -> Result<Self, ClientError> {
        let noise = link.protect().map_err(ClientError::NoEntropy)?;
        let config = session_config(Side::Dialler, window.max(1));
        let session = Requester::with_security(buffer(), buffer(), &config, noise)
            .unwrap_or_else(|_| unreachable!("BUFFER_LEN is many chunks"));
        Ok(Self {
            session,
            driver,
            desk: Desk::new(link),
            remote: None,
            window,
            origin: Clock::now(),
            interrupted: Arc::default(),
            interrupted_at: None,
            stopped: Arc::default(),
            last: RequestId::default(),
            count: 0,
            again: None,
            login: None,
            is_over: false,
            error: None,
        })
    }

    /// Works until the server was found to be the right one and said what it can take. Nobody needs
    /// to wait for that: it only tells early what the first request would.
    ///
    /// # Errors
    /// The end of the session.
    pub fn open(&mut self) -> Result<(), ClientError> {
        while !self.desk.is_open() {
            self.step()?;
        }
        Ok(())
    }

    /// Whether the session has ended, so that nothing can be asked any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What the file at `path` on this server is called elsewhere: by server, user and path. None on a link
    /// that this did not make.
    #[must_use]
    pub fn name_of(&self, path: &str) -> Option<String> {
        let remote = self.remote.as_ref()?;
        let user = remote.user.as_deref().unwrap_or_default();
        Some(format!("{user}@{}/{path}", remote.address()))
    }

    /// The server's key, once it was found to be the right one.
    #[must_use]
    pub fn server(&self) -> Option<PublicKey> {
        self.desk.server(true)
    }

    /// Makes the client give up as soon as `flag` is set.
    pub fn interrupt_by(&mut self, flag: Arc<AtomicBool>) {
        self.interrupted = flag;
    }

    /// Makes the client stop what is under way as soon as `flag` is set, and as long as it is. The
    /// session goes on: each request is answered, by [`Code::Cancelled`] where it was not done yet.
    pub fn stop_by(&mut self, flag: Arc<AtomicBool>) {
        self.stopped = flag;
    }

    /// Whether that flag is set, and so nothing further should be begun.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Calls `f` with each step that data take.
    pub fn on_steps(&mut self, f: impl FnMut(DataStep) + Send + 'static) {
        self.desk.on_steps(Box::new(f));
    }

    /// Calls `f` with what a user may want to know.
    pub fn on_notices(&mut self, f: impl FnMut(Notice<'_>) + Send + 'static) {
        self.desk.on_notices(Box::new(f));
    }

    /// Calls `f` with the number of bytes of files that went either way, as they go.
    pub fn on_bytes(&mut self, f: impl FnMut(u64) + Send + 'static) {
        self.desk.on_bytes(Box::new(f));
    }

    /// Sends `request` as soon as the session takes it.
    ///
    /// # Errors
    /// The outer one ends the client; the inner one says why this request is not legal.
    pub fn request(
        &mut self,
        request: &Request<'_>,
    ) -> Result<Result<RequestId, Code>, ClientError> {
        loop {
            match self.session.request(request) {
                Ok(number) => {
                    self.last = number;
                    self.count += 1;
                    let id = RequestId(self.count);
                    // Who logs in does so anew in each session, and a password is not kept here.
                    let is_login = matches!(request, Request::Login { .. });
                    let bytes = if is_login { Vec::new() } else { encoded(request) };
                    self.desk.add(id, number, bytes);
                    return Ok(Ok(id));
                }
                Err(RequestError::Refused(code)) => return Ok(Err(code)),
                Err(RequestError::Over) if self.is_over => return Err(self.how_it_ended()),
                // Why it is over is known when its last bytes are out.
                Err(RequestError::Later | RequestError::Over) => self.step()?,
            }
        }
    }

    /// Begins to send a file.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn put(&mut self, upload: Upload<'_>) -> Result<Result<RequestId, Code>, ClientError> {
        let put = Put {
            path: upload.path,
            transfer: upload.transfer,
            size: upload.size,
            modified: upload.modified,
            conflict: upload.conflict,
            ask: upload.ask,
        };
        // The request is taken only when the source before was read to its end.
        let id = match self.request(&Request::Put(put))? {
            Ok(id) => id,
            Err(code) => return Ok(Err(code)),
        };
        self.desk.set_source(id, upload.source);
        Ok(Ok(id))
    }

    /// Begins to fetch a file into `sink`.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn get(
        &mut self,
        path: &str,
        sink: Box<dyn Sink + Send>,
    ) -> Result<Result<RequestId, Code>, ClientError> {
        let requested = self.request(&Request::Get { path, first: 0, count: None })?;
        Ok(requested.inspect(|id| self.desk.set_sink(*id, sink)))
    }

    /// The same, behind what an earlier session left in `sink`, if it left anything. Waits until what was
    /// asked before is answered.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn get_rest(
        &mut self,
        path: &str,
        mut sink: Box<dyn Sink + Send>,
    ) -> Result<Result<RequestId, Code>, ClientError> {
        let Some(tree) = sink.have() else { return self.get(path, sink) };
        while !self.session.is_idle() {
            self.step()?;
        }
        let (first, hasher) = (tree.runs() << RunLen::MIN.0, Hasher::continued(tree));
        let root = hasher.digest();
        if let Some(prefix) = self.session.prefix() {
            *prefix = hasher;
        }
        let requested = self.request(&Request::Resume { path, first, root })?;
        Ok(requested.inspect(|id| self.desk.set_sink_with(*id, sink, first)))
    }

    /// Begins to send one run of a file, from a source that holds the run alone.
    fn put_run(
        &mut self,
        transfer: TransferId,
        run: Run,
        source: Box<dyn Contents + Send>,
    ) -> Result<Result<RequestId, Code>, ClientError> {
        let requested = self.request(&Request::PutRun { transfer, run })?;
        Ok(requested.inspect(|id| {
            self.desk.set_offset(*id, run.offset());
            self.desk.set_source(*id, source);
        }))
    }

    /// Begins to fetch one run of a file.
    fn get_run(
        &mut self,
        transfer: TransferId,
        run: Run,
        sink: Box<dyn Sink + Send>,
    ) -> Result<Result<RequestId, Code>, ClientError> {
        let requested = self.request(&Request::GetRun { transfer, run })?;
        Ok(requested.inspect(|id| {
            self.desk.set_offset(*id, run.offset());
            self.desk.set_sink(*id, sink);
        }))
    }

    /// What became of a request, oldest first, for those whose end was not yet told.
    pub fn take_done(&mut self) -> Option<Done> {
        self.desk.take_done()
    }

    /// Works until some request is over or none is open, and tells the one that is.
    ///
    /// # Errors
    /// The end of the session.
    pub fn next_done(&mut self) -> Result<Option<Done>, ClientError> {
        loop {
            if let Some(done) = self.desk.take_done() {
                return Ok(Some(done));
            }
            if self.session.is_idle() {
                return Ok(None);
            }
            self.step()?;
        }
    }

    /// Sends `request`, which must not carry data, and waits for its end. No other may be open.
    ///
    /// # Errors
    /// The outer one ends the client; the inner one is the request's.
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Result<Reply, Failure>, ClientError> {
        if let Err(code) = self.request(request)? {
            return Ok(Err(Failure::Local(code)));
        }
        match self.next_done()? {
            Some(done) => Ok(done.result),
            None => Err(self.how_it_ended()),
        }
    }

    /// Lists a directory.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn list(&mut self, path: &str) -> Result<Result<Listing, Failure>, ClientError> {
        let result = self.ask(&Request::List { path, after: "" })?;
        let entries = self.desk.take_entries();
        Ok(match result {
            Ok(Reply::Listed { skipped, .. }) => Ok(Listing { entries, skipped }),
            Ok(_) => Err(Failure::Local(Code::Internal)),
            Err(failure) => Err(failure),
        })
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn stat(&mut self, path: &str) -> Result<Result<Meta, Failure>, ClientError> {
        Ok(match self.ask(&Request::Stat { path, digest: false })? {
            Ok(Reply::Stat { meta, .. }) => Ok(meta),
            Ok(_) => Err(Failure::Local(Code::Internal)),
            Err(failure) => Err(failure),
        })
    }

    /// Says goodbye right behind the requests that are open, and works until all are answered and
    /// the session is over. [`take_done`](Self::take_done) then tells what came of them.
    ///
    /// # Errors
    /// Where the session ended before that.
    pub fn finish(&mut self) -> Result<(), ClientError> {
        let (goodbyes, result) = match self.request(&Request::Goodbye) {
            Ok(Ok(_)) => (1, self.run()),
            Ok(Err(code)) => (0, Err(ClientError::Session(Error::Closed(code)))),
            Err(error) => (0, Err(error)),
        };
        // A server that is being stopped leaves with its last answer, which holds all the same.
        if self.session.requests_open() <= goodbyes { Ok(()) } else { result }
    }

    fn run(&mut self) -> Result<(), ClientError> {
        while !self.is_over {
            self.step()?;
        }
        Ok(())
    }

    /// Sends `request`, which must not carry data, as the only one of its session, and ends that.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_last(
        mut self,
        request: &Request<'_>,
    ) -> Result<Result<Reply, Failure>, ClientError> {
        if let Err(code) = self.request(request)? {
            return Ok(Err(Failure::Local(code)));
        }
        self.finish()?;
        self.take_done().map(|done| done.result).ok_or_else(|| self.how_it_ended())
    }

    fn step(&mut self) -> Result<(), ClientError> {
        match self.step_once() {
            Err(lost) if self.again.is_some() => self.go_on(lost),
            result => result,
        }
    }

    fn step_once(&mut self) -> Result<(), ClientError> {
        if self.interrupted.load(Ordering::Relaxed) {
            self.session.abort(Code::Cancelled);
            if self.interrupted_at.get_or_insert_with(Clock::now).elapsed() > FAREWELL_MAX {
                self.is_over = true;
                return Err(ClientError::Interrupted);
            }
        }
        if self.is_stopped() {
            self.stop_all();
        }
        if let Step::Closed(result) =
            self.driver.step(&mut self.session, &mut self.desk, since(self.origin))
        {
            self.is_over = true;
            self.error = result.err();
            if self.error.is_some() {
                return Err(self.how_it_ended());
            }
        }
        Ok(())
    }

    /// Stops every request that is open. One that is stopped already stays so, and one whose stop does
    /// not fit now has its turn at the next step.
    fn stop_all(&mut self) {
        let last = self.last.0;
        let open = u32::try_from(self.session.requests_open()).unwrap_or(u32::MAX);
        for number in last.saturating_sub(open)..last {
            let _ = self.session.stop(RequestId(number + 1));
        }
    }

    fn how_it_ended(&self) -> ClientError {
        if self.interrupted.load(Ordering::Relaxed) {
            return ClientError::Interrupted;
        }
        if let Some(key) = self.desk.server(false) {
            return ClientError::Stranger(key);
        }
        ClientError::Session(self.error.unwrap_or(Error::Disconnected))
    }
}

/// A name for an upload that no other has.
#[must_use]
pub fn new_transfer_id() -> TransferId {
    let mut id = [0; 16];
    // Where the system has no random numbers the name is only less surely unique; the server tells
    // concurrent uploads apart by itself.
    let _ = rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty());
    TransferId(id)
}
