//! Bytes and values, stateless. Implements sections 3 to 6 of `core/PROTOCOL.md`.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`frame`](self) | the 12-byte header that every frame begins with |
//! | [`path`](self) | which names are legal, and how `name_1.ext` is made |
//! | [`code`](self) | every reason to refuse a request or to close a link |
//! | [`login`](self) | users and their passwords |
//! | [`message`](self) | the payloads: hello, requests, answers, signals, ends of streams, entries |
//! | [`run`](self) | parts of a file that go over several links (feature `host`) |

mod code;
mod frame;
mod login;
mod message;
mod path;
#[cfg(feature = "host")]
mod run;

pub use code::Code;
pub use frame::{
    CHUNK, FILE_SIZE_MAX, FRAME_LEN_MAX, HEADER_LEN, Header, Kind, PREFIX_LEN, Prefix, Record,
    TRAILER_LEN_MAX,
};
pub use login::{PASSWORD_LEN_MAX, Password, USER_LEN_MAX, is_user_name};
pub use message::{
    Answer, Ask, CONTROL_LEN_MAX, Close, Conflict, DecodeError, Digest, Entry, EntryKind, Hello,
    Meta, Put, Request, Role, SIGNAL_LEN_MAX, Signal, Space, Timestamp, TransferId, bytes,
};
pub use path::{NAME_LEN_MAX, PATH_LEN_MAX, Path, suffixed};
#[cfg(feature = "host")]
pub use run::{RUNS_MAX, Run, RunLen, Ticket};
