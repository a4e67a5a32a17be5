//! The payloads of control frames. `core/PROTOCOL.md`, sections 4 and 5.
//!
//! Each is one postcard-encoded value. A published variant never changes: a new field means a new
//! variant at the end. What only hosts ask of each other lies above the rest and is compiled in by the
//! feature `host`, so that a device that meets it answers `Unsupported`.

use core::fmt;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{Code, FILE_SIZE_MAX, Password, Path, is_user_name};
#[cfg(feature = "host")]
use super::{RUNS_MAX, Run, RunLen, Ticket};

/// Bytes of the longest control payload.
pub const CONTROL_LEN_MAX: usize = 1024;

/// Bytes of the longest [`Signal`] as a frame, trailer included.
pub const SIGNAL_LEN_MAX: usize = super::HEADER_LEN + 21 + super::TRAILER_LEN_MAX;

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(#[serde(deserialize_with = "bytes")] pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one upload across links and restarts; chosen at random by the requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransferId(#[serde(deserialize_with = "bytes")] pub [u8; 16]);

/// `N` bytes, as they are, for serde's `deserialize_with`. What serde itself has for this is a step
/// for each byte, and so takes several times the flash.
///
/// # Errors
/// There are fewer.
pub fn bytes<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    struct Bytes<const N: usize>;

    impl<'de, const N: usize> Visitor<'de> for Bytes<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
            let mut bytes = [0; N];
            for byte in &mut bytes {
                *byte = seq.next_element()?.ok_or_else(|| A::Error::custom("too few bytes"))?;
            }
            Ok(bytes)
        }
    }

    deserializer.deserialize_tuple(N, Bytes)
}

/// Nanoseconds since 1970-01-01T00:00:00Z, leap seconds left out as in POSIX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

/// Who asks and who serves. It does not follow from who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Sends requests.
    Requester,
    /// Answers them.
    Responder,
}

/// What an end can take, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who asks and who serves.
    pub role: Role,
    /// Chunks that a data frame to this end may carry, 1 to 32. The smaller of both ends' holds.
    pub batch: u8,
    /// Chunks that may be sent to this end before it grants more, at least 1.
    pub credit: u64,
    /// Bytes that this end absorbs while it is itself blocked writing, at least 512.
    pub reply_room: u32,
    /// Unanswered requests that this end keeps account of, 1 to 1024.
    pub requests_max: u16,
    /// Bytes of the longest path that this end takes, at most 480.
    pub path_len_max: u16,
    /// Bytes of the longest component that this end takes, at most 255.
    pub name_len_max: u8,
}

impl Hello {
    /// Whether every field is inside its limits.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..=32).contains(&self.batch)
            && self.credit >= 1
            && self.reply_room >= 512
            && (1..=1024).contains(&self.requests_max)
            && (1..=super::PATH_LEN_MAX).contains(&usize::from(self.path_len_max))
            && self.name_len_max >= 1
    }
}

/// What to do where the name of an upload is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Conflict {
    /// The new file takes the old one's place, at once and whole.
    #[default]
    Replace,
    /// The new file gets the first free name of [`suffixed`](super::suffixed).
    KeepBoth,
    /// The request is refused with [`Code::Exists`].
    Refuse,
}

/// When an upload's data follow its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// At once.
    Now,
    /// After `Ready`; `Unchanged` is answered where size and time are equal.
    Time,
    /// After `Ready`; `Unchanged` is answered where size and BLAKE3 are equal.
    Digest(Digest),
    /// After `Ready`, whatever is there: an earlier attempt with this id may have come some way, or all
    /// of it.
    Ready,
}

/// An upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put<'a> {
    /// Where to.
    pub path: &'a str,
    /// Names this upload across links and restarts.
    pub transfer: TransferId,
    /// Bytes, where known.
    pub size: Option<u64>,
    /// The time of last modification that the stored file gets.
    pub modified: Option<Timestamp>,
    /// What to do where the name is taken.
    pub conflict: Conflict,
    /// When the data follow.
    pub ask: Ask,
}

/// What a requester asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// What is at a path; with `digest`, its BLAKE3 too. Answer: `Stat`.
    Stat {
        /// Of what.
        path: &'a str,
        /// Whether to read the whole file for its BLAKE3.
        digest: bool,
    },
    /// The entries of a directory, in byte order of their names: pages, then `Listed`.
    List {
        /// Of what directory.
        path: &'a str,
        /// Only names that come after this one; empty for all.
        after: &'a str,
    },
    /// Store a file: data, then one close, then `Stored`.
    Put(#[serde(borrow)] Put<'a>),
    /// Fetch a file: `Sending`, data, then one close.
    Get {
        /// Of what file.
        path: &'a str,
        /// The first chunk.
        first: u32,
        /// How many chunks; none for all that follow.
        count: Option<u32>,
    },
    /// Remove a file or an empty directory. Answer: `Done`.
    Delete {
        /// Which.
        path: &'a str,
    },
    /// Give a file or directory another name. Answer: `Done`.
    Rename {
        /// Its name now.
        from: &'a str,
        /// Its name then.
        to: &'a str,
        /// Whether a file that has that name gives way.
        replace: bool,
    },
    /// Make a directory. Answer: `Done`.
    MakeDirectory {
        /// Which.
        path: &'a str,
    },
    /// How much room there is. Answer: `Space`.
    Space,
    /// The session ends. Answer: `Done`, then both ends close.
    Goodbye,
    /// Who asks, on a sealed link, before anything else is asked. Answer: `Done`.
    Login {
        /// As whom.
        user: &'a str,
        /// Empty where the key is to do alone.
        #[serde(borrow)]
        password: Password<'a>,
    },
    /// Go on with a file of which there are chunks already: `Sending`, the data behind them, then one
    /// close for the whole file.
    Resume {
        /// Of what file.
        path: &'a str,
        /// Chunks that are there.
        first: u32,
        /// Their BLAKE3: of another file's beginning nothing is sent.
        root: Digest,
    },
    /// What the responder is doing: `Sending`, a text of lines, then one close.
    #[cfg(feature = "host")]
    Status,
    /// The responder's program is to end, gracefully. Answer: `Done`.
    #[cfg(feature = "host")]
    Shutdown,
    /// What another link may join this session with. Answer: `Ticket`.
    #[cfg(feature = "host")]
    Ticket,
    /// This link joins the session that the ticket was made for. Answer: `Done`.
    #[cfg(feature = "host")]
    Attach {
        /// What that session was given.
        ticket: Ticket,
    },
    /// Store a file that comes in runs, on any link of the session. Answer: `Done`, or `Unchanged`.
    #[cfg(feature = "host")]
    BeginPut {
        /// The file. `Now` means: whatever is there.
        #[serde(borrow)]
        put: Put<'a>,
        /// How long its runs are.
        runs: RunLen,
    },
    /// One run of such a file: data, then one close, then `Stored`.
    #[cfg(feature = "host")]
    PutRun {
        /// Of which file.
        transfer: TransferId,
        /// Which part of it.
        run: Run,
    },
    /// All runs of the file were stored: give it its name. Answer: `Stored`.
    #[cfg(feature = "host")]
    Commit {
        /// Which file.
        transfer: TransferId,
        /// Its bytes.
        size: u64,
        /// Its BLAKE3.
        root: Digest,
    },
    /// Open a file to be fetched in runs, on any link of the session. Answer: `Stat`.
    #[cfg(feature = "host")]
    BeginGet {
        /// What it is called from now on.
        transfer: TransferId,
        /// Of what file.
        path: &'a str,
    },
    /// Fetch one run of such a file: `Sending`, data, then one close.
    #[cfg(feature = "host")]
    GetRun {
        /// Of which file.
        transfer: TransferId,
        /// Which part of it.
        run: Run,
    },
    /// A file in runs is done with. Answer: `Done`.
    #[cfg(feature = "host")]
    Release {
        /// Which.
        transfer: TransferId,
    },
    /// The uploads of this user that were interrupted and can go on: `Sending`, a text of lines, then one
    /// close.
    #[cfg(feature = "host")]
    Partials,
    /// Forget what is left of an upload.
    #[cfg(feature = "host")]
    Discard {
        /// Which.
        transfer: TransferId,
    },
}

/// How many requests are known.
const REQUESTS: u8 = if cfg!(feature = "host") { 23 } else { 11 };

/// How many answers are known.
const ANSWERS: u8 = if cfg!(feature = "host") { 10 } else { 9 };

impl<'a> Request<'a> {
    /// What is asked for, in a word.
    pub(crate) const fn verb(&self) -> &'static str {
        match self {
            Self::Stat { .. } => "stat",
            Self::List { .. } => "list",
            Self::Put(_) => "put",
            Self::Get { .. } => "get",
            Self::Delete { .. } => "delete",
            Self::Rename { .. } => "rename",
            Self::MakeDirectory { .. } => "make directory",
            Self::Space => "space",
            Self::Goodbye => "goodbye",
            Self::Login { .. } => "login",
            Self::Resume { .. } => "resume",
            #[cfg(feature = "host")]
            Self::Status => "status",
            #[cfg(feature = "host")]
            Self::Shutdown => "shutdown",
            #[cfg(feature = "host")]
            Self::Ticket => "ticket",
            #[cfg(feature = "host")]
            Self::Attach { .. } => "attach",
            #[cfg(feature = "host")]
            Self::BeginPut { .. } => "begin put",
            #[cfg(feature = "host")]
            Self::PutRun { .. } => "put run",
            #[cfg(feature = "host")]
            Self::Commit { .. } => "commit",
            #[cfg(feature = "host")]
            Self::BeginGet { .. } => "begin get",
            #[cfg(feature = "host")]
            Self::GetRun { .. } => "get run",
            #[cfg(feature = "host")]
            Self::Release { .. } => "release",
            #[cfg(feature = "host")]
            Self::Partials => "partials",
            #[cfg(feature = "host")]
            Self::Discard { .. } => "discard",
        }
    }

    /// The paths that the request names, the root where it names fewer than two.
    ///
    /// # Errors
    /// Why the request is not legal: a path, a size without chunk numbers, a run, or the name of a user.
    pub fn paths(&self) -> Result<[Path<'a>; 2], Code> {
        let path = match *self {
            Self::Stat { path, .. } => Path::new(path)?,
            Self::List { path, after } => {
                if !after.is_empty() {
                    Path::name(after)?;
                }
                Path::new(path)?
            }
            Self::Put(Put { size: Some(size), .. }) if size > FILE_SIZE_MAX => {
                return Err(Code::TooLarge);
            }
            Self::Put(Put { path, .. })
            | Self::Get { path, .. }
            | Self::Resume { path, .. }
            | Self::Delete { path }
            | Self::MakeDirectory { path } => Path::named(path)?,
            Self::Rename { from, to, .. } => {
                return Ok([Path::named(from)?, Path::named(to)?]);
            }
            Self::Login { user, .. } if !is_user_name(user) => return Err(Code::BadName),
            Self::Space | Self::Goodbye | Self::Login { .. } => Path::ROOT,
            #[cfg(feature = "host")]
            Self::BeginPut { put: Put { size, path, .. }, runs } => {
                let size = size.ok_or(Code::SizeRequired)?;
                if size > FILE_SIZE_MAX {
                    return Err(Code::TooLarge);
                }
                runs.bytes()
                    .filter(|run| size > *run && size.div_ceil(*run) <= RUNS_MAX)
                    .ok_or(Code::BadRange)?;
                Path::named(path)?
            }
            #[cfg(feature = "host")]
            Self::BeginGet { path, .. } => Path::named(path)?,
            #[cfg(feature = "host")]
            Self::PutRun { run, .. } | Self::GetRun { run, .. } if !run.is_valid() => {
                return Err(Code::BadRange);
            }
            #[cfg(feature = "host")]
            _ => Path::ROOT,
        };
        Ok([path, Path::ROOT])
    }

    /// Whether a stream of data follows it at once, or may.
    pub(crate) fn has_data(&self) -> bool {
        #[cfg(feature = "host")]
        if let Self::PutRun { .. } = self {
            return true;
        }
        matches!(self, Self::Put(_))
    }
}

/// What is known of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// File or directory.
    pub kind: EntryKind,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Time of last modification, where known.
    pub modified: Option<Timestamp>,
}

/// File or directory: nothing else is ever shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// Room in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// That may still be stored.
    pub free: u64,
    /// In all.
    pub total: u64,
    /// Of the largest file that is taken.
    pub file_size_max: u64,
}

/// What a responder answers, in the order of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The request was refused or failed, and why. Its data, if any, are discarded to their close.
    Failed(Code),
    /// Done, durably.
    Done,
    /// What is there.
    Stat {
        /// Kind, size, time.
        meta: Meta,
        /// BLAKE3 of the whole file, where asked for.
        digest: Option<Digest>,
    },
    /// The directory ended.
    Listed {
        /// Entries in the pages before.
        entries: u64,
        /// Entries left out because their names are not legal paths.
        skipped: u64,
    },
    /// Send the data, from this chunk on.
    Ready {
        /// The first chunk: as many of an earlier attempt are durable.
        from: u32,
        /// BLAKE3 of the chunks before it.
        root: Digest,
    },
    /// The file is there already and is the same.
    Unchanged,
    /// The file is stored: whole, verified and durable under its final name.
    Stored {
        /// Its bytes.
        size: u64,
        /// Its BLAKE3.
        root: Digest,
        /// 0, or the number that [`suffixed`](super::suffixed) made its name with.
        suffix: u32,
    },
    /// Data follow.
    Sending {
        /// Bytes that follow.
        size: u64,
        /// Bytes of the whole file.
        file_size: u64,
        /// Time of last modification, where known.
        modified: Option<Timestamp>,
    },
    /// How much room there is.
    Space(Space),
    /// What another link may join the session with.
    #[cfg(feature = "host")]
    Ticket(Ticket),
}

/// The one end of a data stream, in order with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Close {
    /// All was sent.
    End {
        /// Bytes of the stream.
        size: u64,
        /// BLAKE3 of the stream.
        root: Digest,
    },
    /// It was broken off; what came is worth nothing.
    Reset(Code),
}

/// What is acted on when it arrives, ahead of what is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// The receiver of data takes chunks up to this count, cumulative since the hello.
    Credit(u64),
    /// How much of the request's data has come.
    Progress {
        /// Chunks received: a power cut may lose them.
        received: u32,
        /// Chunks on stable storage.
        durable: u32,
    },
    /// The requester wants no more of the request. A responder refuses an upload by its answer.
    Stop,
    /// Work on the request goes on: the responder's, or the requester's source keeps it waiting.
    Working {
        /// Bytes done.
        done: u64,
        /// Bytes in all; 0 where not known.
        total: u64,
    },
    /// The link is about to be closed, and why.
    Abort(Code),
}

/// A line of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// A single legal component.
    pub name: &'a str,
    /// What it is.
    pub meta: Meta,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A variant of a later version.
    Unknown,
    /// Not a message.
    Malformed,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "message of a later version",
            Self::Malformed => "malformed message",
        })
    }
}

impl core::error::Error for DecodeError {}

/// Decodes `payload`, all of it, as an enum of `variants` known variants.
fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8], variants: u8) -> Result<T, DecodeError> {
    match payload.first() {
        // Known numbers take one byte, so a number that takes more is not known either.
        Some(&number) if number >= variants => return Err(DecodeError::Unknown),
        _ => {}
    }
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        _ => Err(DecodeError::Malformed),
    }
}

macro_rules! message {
    ($name:ident $(<$life:lifetime>)?, $variants:expr) => {
        impl<'a> $name $(<$life>)? {
            /// Decodes a whole payload.
            ///
            /// # Errors
            /// [`DecodeError`], by which a message of a later version can be told from garbage.
            pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
                decode(payload, $variants)
            }

            /// Encodes into the beginning of `buf` and gives the length; none where it is too short.
            #[must_use]
            pub fn encode(&self, buf: &mut [u8]) -> Option<usize> {
                postcard::to_slice(self, buf).ok().map(|used| used.len())
            }
        }
    };
}

message!(Request<'a>, REQUESTS);
message!(Answer, ANSWERS);
message!(Close, 2);
message!(Signal, 5);
message!(Hello, 2); // its first field is the role

impl<'a> Entry<'a> {
    /// Decodes the first entry of a page and gives the rest.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`].
    pub fn decode(page: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        postcard::take_from_bytes(page).map_err(|_| DecodeError::Malformed)
    }

    /// Encodes into the beginning of `buf` and gives the length; none where it is too short.
    #[must_use]
    pub fn encode(&self, buf: &mut [u8]) -> Option<usize> {
        postcard::to_slice(self, buf).ok().map(|used| used.len())
    }
}
