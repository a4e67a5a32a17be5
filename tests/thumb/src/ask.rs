//! A device that asks.

use core::hint::black_box;

use kift_core::driver::Step;
use kift_core::session::Requester;
use kift_core::storage::RequestId;
use kift_core::wire::{Ask, Code, Conflict, Digest, Password, Put, Request, Timestamp, TransferId};

use crate::bare::{any, any_text};
use crate::world::{BUFFER_LEN, any_config, any_u64, place};

type Session = Requester<&'static mut [u8], 8, crate::Link>;

/// Makes the session. On its own, so that what it takes of the stack is given back: a session is
/// made where it is returned, and then moved to its place.
#[inline(never)]
fn begin(link: crate::Link) -> Option<&'static mut Session> {
    let rx: &'static mut [u8] = place!(REQUESTER_RX: [u8; BUFFER_LEN] = [0; BUFFER_LEN]);
    let tx: &'static mut [u8] = place!(REQUESTER_TX: [u8; BUFFER_LEN] = [0; BUFFER_LEN]);
    let session = Session::with_security(rx, tx, &any_config(), link).ok()?;
    Some(place!(REQUESTER: Session = session))
}

/// Sends requests of every kind until the session is over.
#[inline(never)]
pub fn ask() {
    let Some(session) = crate::link().and_then(begin) else { return };
    let mut driver = crate::driver();
    loop {
        match crate::step(&mut driver, session) {
            Step::Closed(result) => {
                let _ = black_box(result);
                return;
            }
            Step::Moved | Step::Waited => {}
        }
        match any() {
            0 => {
                let _ = black_box(session.request(&any_request()));
            }
            1 => {
                let _ = black_box(session.stop(RequestId(any())));
            }
            2 => session.abort(Code::from(any() as u8)),
            3 => {
                if let Some(hasher) = session.prefix() {
                    hasher.update(any_text().as_bytes());
                }
            }
            _ => {
                black_box((session.is_idle(), session.requests_open(), session.uploading()));
            }
        }
    }
}

fn any_request() -> Request<'static> {
    let path = any_text();
    match any() {
        0 => Request::Stat { path, digest: any() == 0 },
        1 => Request::List { path, after: any_text() },
        2 => Request::Put(Put {
            path,
            transfer: TransferId(black_box([0; 16])),
            size: (any() == 0).then(any_u64),
            modified: (any() == 0).then(|| Timestamp(any_u64() as i64)),
            conflict: black_box(Conflict::Replace),
            ask: match any() {
                0 => Ask::Now,
                1 => Ask::Time,
                2 => Ask::Ready,
                _ => Ask::Digest(Digest(black_box([0; 32]))),
            },
        }),
        3 => Request::Get { path, first: any(), count: (any() == 0).then(any) },
        9 => Request::Resume { path, first: any(), root: Digest(black_box([0; 32])) },
        4 => Request::Delete { path },
        5 => Request::Rename { from: path, to: any_text(), replace: any() == 0 },
        6 => Request::MakeDirectory { path },
        7 => Request::Space,
        8 => {
            let password = Password::new(any_text()).unwrap_or_default();
            Request::Login { user: path, password }
        }
        _ => Request::Goodbye,
    }
}
