//! The storage port: what a session asks of whatever keeps the files.
//!
//! When a session answers [`poll`](crate::session::Session::poll) with `Action::Perform`, its
//! caller passes the port to `perform`, and the session does exactly one operation on it. An
//! operation may be *pending* (a block erase takes 50 ms, a sync takes longer): the network is then
//! served and the same operation is offered again, with the same arguments. A store that is always
//! done at once never returns `Poll::Pending`.
//!
//! A requester's end implements [`Files`]; a responder's [`Store`], which is more. One thing is open
//! in a session at a time: an upload between `begin` and `commit` or `abort`, a source between
//! `open` and `close`, or a directory between `open_directory` and `close_directory`.
//!
//! Reasons are [`Code`]s because each of them travels to the peer or to the user as it is.

use core::fmt;
use core::task::Poll;

#[cfg(feature = "host")]
use crate::Tree;
use crate::secure::Peer;
use crate::session::Event;
use crate::wire::{Code, Digest, Entry, Meta, Password, Path, Put, Space};
#[cfg(feature = "host")]
use crate::wire::{Run, RunLen, Ticket, TransferId};

/// What an operation came to.
pub type Outcome<T> = Poll<Result<T, Code>>;

/// The number of a request, counted from 1 on each link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequestId(pub u32);

impl RequestId {
    /// What frames carry: the low 16 bits.
    #[must_use]
    pub const fn low(self) -> u16 {
        self.0 as u16
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where an upload begins: one that does not ask, at its first chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// At its first chunk.
    Fresh,
    /// Behind so many chunks of an earlier attempt with the same transfer id: these are durable.
    Resumed(u32),
    /// Nowhere: an earlier attempt with the same transfer id was stored.
    Stored {
        /// Its bytes.
        size: u64,
        /// Its BLAKE3.
        root: Digest,
        /// What [`commit`](Files::commit) gave.
        suffix: u32,
    },
}

/// A file that was set aside and is stored now.
#[cfg(feature = "host")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Its bytes.
    pub size: u64,
    /// Its BLAKE3.
    pub root: Digest,
    /// What [`commit`](Files::commit) gives.
    pub suffix: u32,
}

/// What the application says in a text, one JSON object a line.
#[cfg(feature = "host")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// What it is doing.
    Status,
    /// The uploads of the peer that were interrupted and can go on.
    Partials,
}

/// The contents of files, read and written in order.
pub trait Files {
    /// Fills `buf` from the open source, from byte `at` of the file on; fewer bytes mean that the
    /// file ends there. `at` grows without gaps. Where it was pending, `buf` may be another and of
    /// another length when it is offered again.
    ///
    /// # Errors
    /// What the reader of the file is told.
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize>;

    /// Writes `data` at byte `at` of the file: whole chunks, except at its end, without gaps. After
    /// an error the session calls [`abort`](Self::abort).
    ///
    /// # Errors
    /// What the writer of the file is told.
    fn write(&mut self, request: RequestId, at: u64, data: &[u8]) -> Outcome<()>;

    /// All `size` bytes were written, and `root` is their verified BLAKE3: makes the file appear
    /// under its final name, durably. Gives the number that
    /// [`suffixed`](crate::wire::suffixed) made the name with, 0 for the name as asked.
    ///
    /// # Errors
    /// What the writer of the file is told. Nothing may then be left under the final name that was
    /// not there before; `abort` is not called.
    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32>;

    /// All of the file was written, as for [`commit`](Self::commit), and more came behind it. It may be set
    /// aside, to be made durable together with those behind it; whether it is, this says. Others may be
    /// begun then, and [`settle`](Self::settle) gives what `commit` would have. If it is not, `commit`
    /// follows. Where the session ends before, a download is settled all the same, and an upload is not.
    #[cfg(feature = "host")]
    fn set_aside(&mut self, request: RequestId, size: u64, root: Digest) -> bool {
        let _ = (request, size, root);
        false
    }

    /// Makes what was set aside appear, as [`commit`](Self::commit) does, and gives what came of the file
    /// of `request`: of those that are left, the one that was set aside first. Another may be open.
    ///
    /// # Errors
    /// What the writer of that file is told.
    #[cfg(feature = "host")]
    fn settle(&mut self, request: RequestId) -> Outcome<Settled> {
        let _ = request;
        Poll::Ready(Err(Code::Internal))
    }

    /// What was written for this request is worth nothing. An operation on it that is pending is
    /// not offered again; there may be nothing else.
    fn abort(&mut self, request: RequestId);

    /// The session ended while this file was written. What is durable of it may be kept, for an
    /// attempt that goes on from there; whoever does not say otherwise keeps nothing.
    fn suspend(&mut self, request: RequestId) {
        self.abort(request);
    }

    /// Chunks, from the file's first, that a power cut would leave. They are told to the sender, so
    /// they must be on stable storage, with what is needed to go on behind them.
    fn durable(&mut self, request: RequestId) -> u32 {
        let _ = request;
        0
    }

    /// Whole MiB of the file were written, and have these values: a checkpoint may be made here.
    /// Whoever goes on from it by [`tree`](Store::tree) need not read them again.
    #[cfg(feature = "host")]
    fn mark(&mut self, request: RequestId, tree: &Tree) {
        let _ = (request, tree);
    }

    /// Whether the peer of a sealed link is welcome. Nothing else is asked of the port before this,
    /// and a dialler has not yet said who it is. It may be pending for as long as it takes to ask a
    /// person; the peer's own deadline goes on. Whoever does not say otherwise admits nobody.
    ///
    /// # Errors
    /// Why not: a dialler is told, to a listener nothing more is said.
    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        let _ = peer;
        Poll::Ready(Err(Code::Denied))
    }

    /// Something happened that the application may want to know.
    fn handle_event(&mut self, event: Event<'_>) {
        let _ = event;
    }
}

/// Everything a responder serves.
pub trait Store: Files {
    /// Opens an upload. Whether the name is taken is checked here, and decided at `commit`. An
    /// attempt with the same transfer id that is open elsewhere gets nothing more written. Where it
    /// is [`Begun::Resumed`], [`read`](Files::read) gives the chunks that are there, until `write`.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn begin(&mut self, request: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun>;

    /// The values of the MiB that such an upload goes on behind, if they were kept: two or more, and
    /// as many as were said. Otherwise they are read again.
    #[cfg(feature = "host")]
    fn tree(&mut self, request: RequestId) -> Option<Tree> {
        let _ = request;
        None
    }

    /// Opens a regular file as the source of [`read`](Files::read).
    ///
    /// # Errors
    /// The reason of the refusal.
    fn open(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta>;

    /// Closes the source that [`open`](Self::open) or one of its kind opened.
    fn close(&mut self, request: RequestId);

    /// What is at `path`, which may be the root.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn stat(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta>;

    /// Opens a directory to walk one snapshot of its entries, in byte order of their names, from
    /// the first name greater than `after`.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn open_directory(&mut self, request: RequestId, path: Path<'_>, after: &str) -> Outcome<()>;

    /// Pushes entries until the page is full (`Ok(true)`) or there are no more (`Ok(false)`).
    ///
    /// # Errors
    /// The reason why the listing ends early.
    fn read_directory(&mut self, request: RequestId, page: &mut Page<'_>) -> Outcome<bool>;

    /// Closes the directory, and says how many entries were left out because their names are not
    /// legal paths.
    fn close_directory(&mut self, request: RequestId) -> u64;

    /// Removes a file, or a directory that is empty, durably.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn delete(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()>;

    /// Gives a file or directory another name, durably. With `replace` a file of that name gives way.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn rename(
        &mut self,
        request: RequestId,
        from: Path<'_>,
        to: Path<'_>,
        replace: bool,
    ) -> Outcome<()>;

    /// Makes a directory, durably.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn make_directory(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()>;

    /// How much room there is.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn space(&mut self, request: RequestId) -> Outcome<Space>;

    /// The peer of a sealed link says who it is. An empty password asks whether its key, which was
    /// [admitted](Files::admit), is enough for that. What is done for a peer that has not logged
    /// in, and how often it may try, is for the store to say: the session passes all requests on.
    /// Whoever does not say otherwise knows peers by their keys alone.
    ///
    /// # Errors
    /// [`Code::LoginFailed`], the same for an unknown user and a wrong password.
    fn login(&mut self, request: RequestId, user: &str, password: &Password<'_>) -> Outcome<()> {
        let _ = (request, user, password);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Opens a text as the source of [`read`](Files::read). Its size is that of [`Meta`] and does not
    /// change any more.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[cfg(feature = "host")]
    fn open_text(&mut self, request: RequestId, text: Text) -> Outcome<Meta> {
        let _ = (request, text);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Forgets what is left of an upload that was interrupted.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[cfg(feature = "host")]
    fn discard(&mut self, request: RequestId, transfer: TransferId) -> Outcome<()> {
        let _ = (request, transfer);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// The application is to end, gracefully, and the peer is told that it will: so this only takes
    /// note of it.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[cfg(feature = "host")]
    fn shut_down(&mut self, request: RequestId) -> Outcome<()> {
        let _ = request;
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Makes a ticket, by which one other link may join the session of this one within half a
    /// minute.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[cfg(feature = "host")]
    fn ticket(&mut self, request: RequestId) -> Outcome<Ticket> {
        let _ = request;
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Joins the session that `ticket` was made for, which is thereby used up.
    ///
    /// # Errors
    /// [`Code::Denied`], the same for every ticket that is none.
    #[cfg(feature = "host")]
    fn attach(&mut self, request: RequestId, ticket: Ticket) -> Outcome<()> {
        let _ = (request, ticket);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Opens an upload in runs, as [`begin`](Self::begin) does one in a single stream. It belongs to
    /// the session, whose every link may store its runs; its size is known and needs two of them.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[cfg(feature = "host")]
    fn begin_transfer(
        &mut self,
        request: RequestId,
        path: Path<'_>,
        put: &Put<'_>,
        runs: RunLen,
    ) -> Outcome<()> {
        let _ = (request, path, put, runs);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Opens one run of such an upload. [`write`](Files::write) and [`commit`](Files::commit) or
    /// [`abort`](Files::abort) follow, as for a file; what is committed is the run alone, and has
    /// the value of its subtree for a root.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[cfg(feature = "host")]
    fn begin_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<()> {
        let _ = (request, transfer, run);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Makes the upload appear under its final name, durably, if all its runs came and their values
    /// make `root`. Gives what [`commit`](Files::commit) does.
    ///
    /// # Errors
    /// The reason of the refusal. Nothing may then be left of the upload.
    #[cfg(feature = "host")]
    fn commit_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        size: u64,
        root: Digest,
    ) -> Outcome<u32> {
        let _ = (request, transfer, size, root);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Opens a regular file, whose runs every link of the session may then fetch.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[cfg(feature = "host")]
    fn open_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        path: Path<'_>,
    ) -> Outcome<Meta> {
        let _ = (request, transfer, path);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Opens one run of it as the source of [`read`](Files::read), and gives what is known of the
    /// file. [`close`](Self::close) follows.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[cfg(feature = "host")]
    fn open_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<Meta> {
        let _ = (request, transfer, run);
        Poll::Ready(Err(Code::Unsupported))
    }

    /// Drops what came of an upload in runs, or closes the source of a download.
    ///
    /// # Errors
    /// [`Code::Changed`] where that file is not what it was when it was opened; the reason of the
    /// refusal.
    #[cfg(feature = "host")]
    fn release(&mut self, request: RequestId, transfer: TransferId) -> Outcome<()> {
        let _ = (request, transfer);
        Poll::Ready(Err(Code::Unsupported))
    }
}

/// A page of a listing while it is being filled.
#[derive(Debug)]
pub struct Page<'a> {
    buf: &'a mut [u8],
    len: usize,
    entries: u64,
}

impl<'a> Page<'a> {
    /// An empty page over `buf`.
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0, entries: 0 }
    }

    /// Appends `entry` if it fits, and says whether it did. Any entry fits an empty page.
    #[must_use]
    pub fn push(&mut self, entry: &Entry<'_>) -> bool {
        let Some(free) = self.buf.get_mut(self.len..) else { return false };
        let Some(len) = entry.encode(free) else { return false };
        self.len = self.len.saturating_add(len);
        self.entries = self.entries.saturating_add(1);
        true
    }

    /// Bytes filled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries pushed.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }
}
