//! Every request, and what comes of it.

use kift_core::wire::{Answer, Ask, Code, Conflict, Kind, Put, Request, Timestamp, TransferId};

use crate::dial::Dial;
use crate::raw::Frame;

/// What a request does with its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Says what is there.
    Stat,
    /// Says what is in it.
    List,
    /// Makes a directory.
    MakeDirectory,
    /// Anything else.
    Rest,
}

/// The file that is given to requests for two paths.
pub const GOOD: &str = "good";

/// What is uploaded.
pub const EVIL: &[u8] = b"evil";

/// An upload of [`EVIL`].
#[must_use]
pub fn put(path: &str, ask: Ask) -> Request<'_> {
    let (size, modified) = (Some(EVIL.len() as u64), Some(Timestamp(1)));
    let conflict = Conflict::Replace;
    Request::Put(Put { path, transfer: TransferId([7; 16]), size, modified, conflict, ask })
}

/// Every request that names `path`.
#[must_use]
pub fn requests(path: &str) -> Vec<(Does, Request<'_>)> {
    vec![
        (Does::Stat, Request::Stat { path, digest: false }),
        (Does::Stat, Request::Stat { path, digest: true }),
        (Does::List, Request::List { path, after: "" }),
        (Does::MakeDirectory, Request::MakeDirectory { path }),
        (Does::Rest, put(path, Ask::Now)),
        (Does::Rest, put(path, Ask::Time)),
        (Does::Rest, Request::Get { path, first: 0, count: None }),
        (Does::Rest, Request::Delete { path }),
        (Does::Rest, Request::Rename { from: path, to: "renamed", replace: true }),
        (Does::Rest, Request::Rename { from: GOOD, to: path, replace: false }),
        (Does::Rest, Request::Rename { from: GOOD, to: path, replace: true }),
    ]
}

/// Sends `request`, with [`EVIL`] behind it where it is an upload whose data come at once, and gives
/// why it was refused, if it was. Takes all that comes of it.
///
/// # Panics
/// Where the server closes the link.
#[track_caller]
pub fn outcome(dial: &mut Dial, request: &Request<'_>) -> Result<Answer, Code> {
    let number = dial.request(request);
    if let Request::Put(Put { ask: Ask::Now, .. }) = request {
        send(dial, number, EVIL);
    }
    loop {
        let frame = dial.frame().expect("the link is open");
        match frame.as_answer() {
            Some(Answer::Failed(code)) => return Err(code),
            Some(Answer::Ready { .. }) => send(dial, number, EVIL),
            Some(answer @ Answer::Sending { .. }) => {
                while dial.frame().expect("the link is open").kind != Kind::Close {}
                return Ok(answer);
            }
            Some(answer) => return Ok(answer),
            None => assert!(matches!(frame.kind, Kind::Signal | Kind::Page), "{frame:?}"),
        }
    }
}

/// Sends a file of one chunk at most.
#[track_caller]
pub fn send(dial: &mut Dial, number: u16, data: &[u8]) {
    if !data.is_empty() {
        dial.tell(&Frame::data(number, 0, data));
    }
    dial.tell(&Frame::end(number, data));
}
