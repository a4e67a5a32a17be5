//! Every variant of every message, there and back: section 5, A.1 and A.2.

use std::collections::BTreeMap;

use kift_core::wire::{
    Answer, Ask, Close, Code, Conflict, DecodeError, Entry, EntryKind, FILE_SIZE_MAX, HEADER_LEN,
    Hello, Meta, Password, Put, Request, Role, Run, RunLen, SIGNAL_LEN_MAX, Signal, Space,
    TRAILER_LEN_MAX, Ticket, Timestamp, TransferId,
};

use crate::document::{Vectors, numbered};
use crate::frames::{counting, digest, encoded};

/// BLAKE3 of no bytes.
pub(crate) const ROOT_OF_NOTHING: &str =
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
/// BLAKE3 of the byte `61`.
pub(crate) const ROOT_OF_1: &str =
    "17762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f";
/// BLAKE3 of 1025 bytes `61`.
pub(crate) const ROOT_OF_1025: &str =
    "c59d2e12583df14d951e757a42f1734d355c8c5b1db6b6a33ab2bfabeed40c7d";

#[derive(Debug, PartialEq)]
enum Message<'a> {
    Hello(Hello),
    Request(Request<'a>),
    Answer(Answer),
    Close(Close),
    Signal(Signal),
    Entry(Entry<'a>),
}

impl<'a> Message<'a> {
    fn encode(&self) -> Vec<u8> {
        encoded(|buf| match self {
            Self::Hello(message) => message.encode(buf),
            Self::Request(message) => message.encode(buf),
            Self::Answer(message) => message.encode(buf),
            Self::Close(message) => message.encode(buf),
            Self::Signal(message) => message.encode(buf),
            Self::Entry(message) => message.encode(buf),
        })
    }

    /// Decodes what is of type `of`: the first part of a vector's name.
    fn decode(of: &str, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match of {
            "hello" => Hello::decode(bytes).map(Self::Hello),
            "request" => Request::decode(bytes).map(Self::Request),
            "answer" => Answer::decode(bytes).map(Self::Answer),
            "close" => Close::decode(bytes).map(Self::Close),
            "signal" => Signal::decode(bytes).map(Self::Signal),
            "entry" => match Entry::decode(bytes) {
                Ok((entry, [])) => Ok(Self::Entry(entry)),
                _ => Err(DecodeError::Malformed),
            },
            _ => panic!("no message type {of}"),
        }
    }

    /// The section that numbers the variants, and the variant's number and name. No wildcards: a
    /// new variant belongs here, and in the document.
    fn variant(&self) -> Option<(&'static str, u8, &'static str)> {
        Some(match self {
            Self::Hello(_) | Self::Entry(_) => return None,
            Self::Request(request) => match request {
                Request::Stat { .. } => ("5.2", 0, "Stat"),
                Request::List { .. } => ("5.2", 1, "List"),
                Request::Put(_) => ("5.2", 2, "Put"),
                Request::Get { .. } => ("5.2", 3, "Get"),
                Request::Delete { .. } => ("5.2", 4, "Delete"),
                Request::Rename { .. } => ("5.2", 5, "Rename"),
                Request::MakeDirectory { .. } => ("5.2", 6, "MakeDirectory"),
                Request::Space => ("5.2", 7, "Space"),
                Request::Goodbye => ("5.2", 8, "Goodbye"),
                Request::Login { .. } => ("5.2", 9, "Login"),
                Request::Resume { .. } => ("5.2", 10, "Resume"),
                Request::Status => ("5.2", 11, "Status"),
                Request::Shutdown => ("5.2", 12, "Shutdown"),
                Request::Ticket => ("5.2", 13, "Ticket"),
                Request::Attach { .. } => ("5.2", 14, "Attach"),
                Request::BeginPut { .. } => ("5.2", 15, "BeginPut"),
                Request::PutRun { .. } => ("5.2", 16, "PutRun"),
                Request::Commit { .. } => ("5.2", 17, "Commit"),
                Request::BeginGet { .. } => ("5.2", 18, "BeginGet"),
                Request::GetRun { .. } => ("5.2", 19, "GetRun"),
                Request::Release { .. } => ("5.2", 20, "Release"),
                Request::Partials => ("5.2", 21, "Partials"),
                Request::Discard { .. } => ("5.2", 22, "Discard"),
            },
            Self::Answer(answer) => match answer {
                Answer::Failed(_) => ("5.3", 0, "Failed"),
                Answer::Done => ("5.3", 1, "Done"),
                Answer::Stat { .. } => ("5.3", 2, "Stat"),
                Answer::Listed { .. } => ("5.3", 3, "Listed"),
                Answer::Ready { .. } => ("5.3", 4, "Ready"),
                Answer::Unchanged => ("5.3", 5, "Unchanged"),
                Answer::Stored { .. } => ("5.3", 6, "Stored"),
                Answer::Sending { .. } => ("5.3", 7, "Sending"),
                Answer::Space(_) => ("5.3", 8, "Space"),
                Answer::Ticket(_) => ("5.3", 9, "Ticket"),
            },
            Self::Close(close) => match close {
                Close::End { .. } => ("5.4", 0, "End"),
                Close::Reset(_) => ("5.4", 1, "Reset"),
            },
            Self::Signal(signal) => match signal {
                Signal::Credit(_) => ("5.5", 0, "Credit"),
                Signal::Progress { .. } => ("5.5", 1, "Progress"),
                Signal::Stop => ("5.5", 2, "Stop"),
                Signal::Working { .. } => ("5.5", 3, "Working"),
                Signal::Abort(_) => ("5.5", 4, "Abort"),
            },
        })
    }
}

pub(crate) fn hello(role: Role, credit: u64) -> Hello {
    Hello {
        role,
        batch: 1,
        credit,
        reply_room: 512,
        requests_max: 8,
        path_len_max: 480,
        name_len_max: 255,
    }
}

pub(crate) const TRANSFER: TransferId = TransferId([
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
]);

pub(crate) const FILE: Meta = Meta {
    kind: EntryKind::File,
    size: 1025,
    modified: Some(Timestamp(1_700_000_000_000_000_000)),
};
pub(crate) const DIRECTORY: Meta = Meta { kind: EntryKind::Directory, size: 0, modified: None };

const LONGEST_USER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const LONGEST_PASSWORD: &str = concat!(
    "ébbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
);

fn login(user: &'static str, password: &'static str) -> Request<'static> {
    Request::Login { user, password: Password::new(password).unwrap() }
}

fn messages() -> Vec<(&'static str, Message<'static>)> {
    let put = Put {
        path: "a.bin",
        transfer: TRANSFER,
        size: Some(1025),
        modified: FILE.modified,
        conflict: Conflict::Replace,
        ask: Ask::Now,
    };
    let request = Message::Request;
    let answer = Message::Answer;
    let signal = Message::Signal;
    vec![
        ("hello.requester", Message::Hello(hello(Role::Requester, 4))),
        (
            "hello.responder",
            Message::Hello(Hello {
                role: Role::Responder,
                batch: 32,
                credit: 4096,
                reply_room: 65536,
                requests_max: 1024,
                path_len_max: 127,
                name_len_max: 64,
            }),
        ),
        ("request.stat", request(Request::Stat { path: "a/b", digest: true })),
        ("request.stat.root", request(Request::Stat { path: "", digest: false })),
        ("request.list", request(Request::List { path: "", after: "" })),
        ("request.list.after", request(Request::List { path: "logs", after: "é" })),
        ("request.put.now", request(Request::Put(put))),
        (
            "request.put.time",
            request(Request::Put(Put { conflict: Conflict::Refuse, ask: Ask::Time, ..put })),
        ),
        (
            "request.put.digest",
            request(Request::Put(Put {
                conflict: Conflict::KeepBoth,
                ask: Ask::Digest(counting()),
                ..put
            })),
        ),
        ("request.put.ready", request(Request::Put(Put { ask: Ask::Ready, ..put }))),
        (
            "request.put.open-ended",
            request(Request::Put(Put { size: None, modified: Some(Timestamp(-1)), ..put })),
        ),
        ("request.get", request(Request::Get { path: "a.bin", first: 0, count: None })),
        ("request.get.range", request(Request::Get { path: "a.bin", first: 300, count: Some(1) })),
        ("request.delete", request(Request::Delete { path: "a" })),
        ("request.rename", request(Request::Rename { from: "a", to: "b/c", replace: true })),
        ("request.make-directory", request(Request::MakeDirectory { path: "b" })),
        ("request.space", request(Request::Space)),
        ("request.goodbye", request(Request::Goodbye)),
        ("request.login", request(login("anna", "correct horse"))),
        ("request.login.key-alone", request(login("a", ""))),
        ("request.login.longest", request(login(LONGEST_USER, LONGEST_PASSWORD))),
        ("request.resume", request(Request::Resume { path: "a.bin", first: 1, root: counting() })),
        ("request.status", request(Request::Status)),
        ("request.shutdown", request(Request::Shutdown)),
        ("request.ticket", request(Request::Ticket)),
        ("request.attach", request(Request::Attach { ticket: Ticket(TRANSFER.0) })),
        (
            "request.begin-put",
            request(Request::BeginPut {
                put: Put { size: Some(1 << 21), ..put },
                runs: RunLen(10),
            }),
        ),
        (
            "request.put-run",
            request(Request::PutRun {
                transfer: TRANSFER,
                run: Run { first: 1024, size: 1 << 20 },
            }),
        ),
        (
            "request.commit",
            request(Request::Commit {
                transfer: TRANSFER,
                size: 1 << 21,
                root: digest(ROOT_OF_1025),
            }),
        ),
        ("request.begin-get", request(Request::BeginGet { transfer: TRANSFER, path: "a.bin" })),
        (
            "request.get-run",
            request(Request::GetRun { transfer: TRANSFER, run: Run { first: 0, size: 1025 } }),
        ),
        ("request.release", request(Request::Release { transfer: TRANSFER })),
        ("request.partials", request(Request::Partials)),
        ("request.discard", request(Request::Discard { transfer: TRANSFER })),
        ("answer.failed", answer(Answer::Failed(Code::NotFound))),
        ("answer.failed.newer", answer(Answer::Failed(Code::Unknown(200)))),
        ("answer.done", answer(Answer::Done)),
        ("answer.stat", answer(Answer::Stat { meta: DIRECTORY, digest: None })),
        ("answer.stat.digest", answer(Answer::Stat { meta: FILE, digest: Some(counting()) })),
        (
            "answer.stat.longest",
            answer(Answer::Stat {
                meta: Meta {
                    kind: EntryKind::File,
                    size: u64::MAX,
                    modified: Some(Timestamp(i64::MIN)),
                },
                digest: Some(counting()),
            }),
        ),
        ("answer.listed", answer(Answer::Listed { entries: 128, skipped: 1 })),
        ("answer.ready", answer(Answer::Ready { from: 0, root: digest(ROOT_OF_NOTHING) })),
        ("answer.ready.resumed", answer(Answer::Ready { from: 1, root: counting() })),
        ("answer.unchanged", answer(Answer::Unchanged)),
        (
            "answer.stored",
            answer(Answer::Stored { size: 1025, root: digest(ROOT_OF_1025), suffix: 2 }),
        ),
        (
            "answer.sending",
            answer(Answer::Sending { size: 1, file_size: 1025, modified: Some(Timestamp(1)) }),
        ),
        (
            "answer.space",
            answer(Answer::Space(Space {
                free: 65536,
                total: 1 << 20,
                file_size_max: FILE_SIZE_MAX,
            })),
        ),
        ("answer.ticket", answer(Answer::Ticket(Ticket(TRANSFER.0)))),
        ("close.end", Message::Close(Close::End { size: 0, root: digest(ROOT_OF_NOTHING) })),
        ("close.reset", Message::Close(Close::Reset(Code::Changed))),
        ("signal.credit", signal(Signal::Credit(127))),
        ("signal.credit.two-bytes", signal(Signal::Credit(128))),
        ("signal.credit.three-bytes", signal(Signal::Credit(16384))),
        ("signal.credit.largest", signal(Signal::Credit(u64::MAX))),
        ("signal.progress", signal(Signal::Progress { received: 2, durable: 1 })),
        (
            "signal.progress.largest",
            signal(Signal::Progress { received: u32::MAX, durable: u32::MAX }),
        ),
        ("signal.stop", signal(Signal::Stop)),
        ("signal.working", signal(Signal::Working { done: 4096, total: 0 })),
        ("signal.working.longest", signal(Signal::Working { done: u64::MAX, total: u64::MAX })),
        ("signal.abort", signal(Signal::Abort(Code::ShuttingDown))),
        ("entry.file", Message::Entry(Entry { name: "a.bin", meta: FILE })),
        ("entry.directory", Message::Entry(Entry { name: "logs", meta: DIRECTORY })),
    ]
}

pub(crate) fn check_messages(vectors: &Vectors) {
    let mut seen = BTreeMap::<&str, BTreeMap<u8, String>>::new();
    for (name, message) in messages() {
        vectors.check(name, &message.encode());
        let bytes = vectors.get(name);
        let of = name.split('.').next().unwrap();
        assert_eq!(Message::decode(of, bytes), Ok(message), "{name}");
        for len in 0..bytes.len() {
            let decoded = Message::decode(of, &bytes[..len]);
            assert_eq!(decoded, Err(DecodeError::Malformed), "{name}, {len} bytes of it");
        }
        if let Some((section, number, variant)) = Message::decode(of, bytes).unwrap().variant() {
            assert_eq!(bytes[0], number, "{name}");
            seen.entry(section).or_default().insert(number, variant.into());
        }
    }
    // Every variant has a vector, and the tables number them all.
    for (section, variants) in seen {
        assert_eq!(numbered(section), variants, "section {section}");
    }
    assert_eq!(vectors.get("answer.stat.longest").len(), 56);
    assert_eq!(
        HEADER_LEN + vectors.get("signal.working.longest").len() + TRAILER_LEN_MAX,
        SIGNAL_LEN_MAX
    );

    let (first, rest) = Entry::decode(vectors.get("page")).unwrap();
    let (second, rest) = Entry::decode(rest).unwrap();
    assert_eq!((first.name, second.name, rest.len()), ("a.bin", "logs", 0));
    assert_eq!((first.meta, second.meta), (FILE, DIRECTORY));
}

/// `reject.ERROR.TYPE.why`: payloads that are no message of that type.
pub(crate) fn check_rejects(vectors: &Vectors) {
    for (name, bytes) in vectors.family("reject.", 22) {
        let parts: Vec<_> = name.split('.').collect();
        let error = match parts[1] {
            "unknown" => DecodeError::Unknown,
            "malformed" => DecodeError::Malformed,
            other => panic!("no such error: {other}"),
        };
        assert_eq!(Message::decode(parts[2], bytes), Err(error), "{name}");
    }
}
