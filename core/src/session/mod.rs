//! Who may say what, and when. Implements sections 5 and 8 of `core/PROTOCOL.md`.
//!
//! [`Requester`] asks and [`Responder`] serves; which of them dialled does not matter. Both are
//! driven the same way, through [`Session`] and [`Perform`]: see the crate's documentation for the
//! loop.

mod link;
mod requester;
mod responder;

use core::fmt;
use core::task::Poll;
use core::time::Duration;

pub use requester::{RequestError, Requester};
pub use responder::Responder;

use crate::storage::RequestId;
use crate::time::Instant;
#[cfg(feature = "host")]
use crate::wire::Ticket;
use crate::wire::{Code, Digest, Entry, Hello, Meta, NAME_LEN_MAX, PATH_LEN_MAX, Space, Timestamp};

/// What a session wants its caller to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Action<'a> {
    /// Write some of these bytes to the peer and say how many with [`Session::sent`].
    Send(&'a [u8]),
    /// Call [`Perform::perform`].
    Perform,
    /// Nothing to do until bytes arrive, or this instant.
    Wait(Option<Instant>),
    /// The session is over; there is nothing more to do.
    Closed(Result<(), Error>),
}

/// A session as its driver sees it.
pub trait Session {
    /// Where the next bytes from the peer go. Empty while nothing more can be taken.
    fn recv_slice(&mut self) -> &mut [u8];

    /// `n` bytes were read into [`recv_slice`](Self::recv_slice).
    fn recv_advance(&mut self, n: usize);

    /// [`recv_slice`](Self::recv_slice), and what is left of the last `Send`: for a driver that reads
    /// and writes at once.
    fn split(&mut self) -> (&mut [u8], &[u8]);

    /// Whether reading ahead would help: no whole frame is left to act on, or a stop may come while
    /// this end is sending or hashing.
    fn wants_input(&self) -> bool;

    /// The peer will send nothing more.
    fn recv_end(&mut self);

    /// What to do next. To be called again after doing it, until it says `Wait` or `Closed`.
    fn poll(&mut self, now: Instant) -> Action<'_>;

    /// `n` bytes of the last `Send` were handed to the transport.
    fn sent(&mut self, n: usize);
}

/// A session that does its storage and tells its events through the port `P`.
pub trait Perform<P>: Session {
    /// Does one operation, or tells one event. `Pending`: the port is not done yet, and the
    /// operation is offered again after the next `Wait`.
    fn perform(&mut self, port: &mut P) -> Poll<()>;
}

/// Why a session ended before its goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The peer broke the protocol; it was told this and the link closed.
    PeerMisbehaved(Code),
    /// The peer closed the link and said why.
    PeerClosed(Code),
    /// The stream ended in the middle of the session.
    Disconnected,
    /// Nothing moved for too long, or too little.
    TimedOut,
    /// This end closed the link.
    Closed(Code),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerMisbehaved(code) => write!(f, "the peer broke the protocol: {code}"),
            Self::PeerClosed(code) => write!(f, "the peer closed the link: {code}"),
            Self::Disconnected => f.write_str("the connection was lost"),
            Self::TimedOut => f.write_str("the peer did not answer in time"),
            Self::Closed(code) => write!(f, "the link was closed: {code}"),
        }
    }
}

impl core::error::Error for Error {}

/// What a session tells its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The hellos were exchanged; this is the peer's.
    Opened(Hello),
    /// Requester: an entry of a listing.
    Entry {
        /// Of which request.
        request: RequestId,
        /// The entry.
        entry: Entry<'a>,
    },
    /// Requester: a fetched file begins.
    Sending {
        /// Of which request.
        request: RequestId,
        /// Bytes that follow.
        size: u64,
        /// Bytes of the whole file.
        file_size: u64,
        /// Its time of last modification, where known.
        modified: Option<Timestamp>,
    },
    /// Requester: an upload goes on behind what an earlier attempt left, which is the same here.
    Resumed {
        /// Of which request.
        request: RequestId,
        /// Chunks that need not be sent again.
        chunks: u32,
    },
    /// How far the peer is with data that this end sends, in chunks of the file.
    Progress {
        /// Of which request.
        request: RequestId,
        /// Chunks that arrived.
        received: u32,
        /// Chunks on the peer's stable storage.
        durable: u32,
    },
    /// Requester: the peer works on the request.
    Working {
        /// On which request.
        request: RequestId,
        /// Bytes done.
        done: u64,
        /// Bytes in all; 0 where not known.
        total: u64,
    },
    /// Requester: the request is over.
    Done {
        /// Which request.
        request: RequestId,
        /// What it came to.
        result: Result<Reply, Failure>,
    },
}

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// It is done.
    Done,
    /// What is there.
    Stat {
        /// Kind, size, time.
        meta: Meta,
        /// BLAKE3, where asked for.
        digest: Option<Digest>,
    },
    /// All entries were told.
    Listed {
        /// How many.
        entries: u64,
        /// How many more have names that are not legal paths.
        skipped: u64,
    },
    /// The upload is stored and durable.
    Stored {
        /// Its bytes.
        size: u64,
        /// Its BLAKE3.
        root: Digest,
        /// 0, or the number that [`suffixed`](crate::wire::suffixed) made its name with.
        suffix: u32,
    },
    /// The peer has the same file already.
    Unchanged,
    /// The download is whole, verified, and committed by [`Files::commit`](crate::storage::Files).
    Got {
        /// Its bytes.
        size: u64,
        /// Its BLAKE3.
        root: Digest,
        /// What `commit` gave.
        suffix: u32,
    },
    /// How much room there is.
    Space(Space),
    /// What another link may join the session with.
    #[cfg(feature = "host")]
    Ticket(Ticket),
}

/// Why a request failed, by who caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The peer says so.
    Peer(Code),
    /// This end's own files, or what the peer sent is not what it promised.
    Local(Code),
}

impl Failure {
    /// The reason.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Peer(code) | Self::Local(code) => code,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(code) => write!(f, "{code}"),
            Self::Local(code) => write!(f, "{code} (here)"),
        }
    }
}

/// Whether this end made the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It connected to the peer.
    Dialler,
    /// The peer connected to it.
    Listener,
}

/// What a session is given at its start, besides its buffers.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Whether this end made the connection.
    pub side: Side,
    /// Chunks a data frame may carry, 1 to 32; less where a buffer is too small for it.
    pub batch_max: u8,
    /// Chunks that may be on their way to this end, at least 1: chunk buffers plus what the
    /// transport absorbs. 1 makes the peer wait for each chunk's acknowledgement.
    pub window: u64,
    /// Bytes that this end's transport absorbs while it is itself blocked writing, at least 512
    /// and at most the receive buffer.
    pub reply_room: u32,
    /// Unanswered requests to keep account of, 1 to 1024.
    pub requests_max: u16,
    /// Bytes of the longest path that this end takes, 1 to 480. The peer refuses a longer one
    /// before it asks; one that comes all the same is the store's to refuse.
    pub path_len_max: u16,
    /// Bytes of the longest component of a path, likewise, 1 to 255.
    pub name_len_max: u8,
    /// When to give up.
    pub timeouts: Timeouts,
}

impl Config {
    /// A small device's: one chunk a frame, a window of `window` chunks.
    #[must_use]
    pub const fn small(side: Side, window: u64) -> Self {
        Self {
            side,
            batch_max: 1,
            window,
            reply_room: 512,
            requests_max: 8,
            path_len_max: PATH_LEN_MAX as u16,
            name_len_max: NAME_LEN_MAX as u8,
            timeouts: Timeouts::DEFAULT,
        }
    }
}

/// When to give up. `core/PROTOCOL.md`, section 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start to the peer's hello.
    pub handshake: Duration,
    /// Without a sign of life, while the peer owes something.
    pub stall: Duration,
    /// Without a sign of life, while no request is open.
    pub idle: Duration,
    /// Without a byte taken, for the last bytes once the session is over.
    pub linger: Duration,
    /// Between two reports that work goes on.
    pub working: Duration,
    /// Bytes, either way, that are a sign of life, at least 1; fewer are none. With `stall` it is
    /// the least rate.
    pub stall_len: u32,
}

impl Timeouts {
    /// The protocol's own.
    pub const DEFAULT: Self = Self {
        handshake: Duration::from_secs(10),
        stall: Duration::from_secs(60),
        idle: Duration::from_secs(300),
        linger: Duration::from_secs(2),
        working: Duration::from_secs(2),
        stall_len: 1024,
    };
}

/// The buffers given to a session are too small for a frame of one chunk: 1052 bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuffersTooSmall;

impl fmt::Display for BuffersTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session needs two buffers of at least 1052 bytes")
    }
}

impl core::error::Error for BuffersTooSmall {}
