//! A device that serves.

use core::hint::black_box;

use kift_core::driver::Step;
use kift_core::session::Responder;
use kift_core::storage::{Begun, Outcome, Page, RequestId, Store};
use kift_core::wire::{
    Code, Digest, Entry, EntryKind, Meta, Password, Path, Put, Space, Timestamp,
};

use crate::bare::{any, any_text};
use crate::world::{BUFFER_LEN, Port, any_config, any_u64, outcome, place};

type Session = Responder<&'static mut [u8], crate::Link>;

/// Makes the session. On its own, so that what it takes of the stack is given back: a session is
/// made where it is returned, and then moved to its place.
#[inline(never)]
fn begin(link: crate::Link) -> Option<&'static mut Session> {
    let rx: &'static mut [u8] = place!(RESPONDER_RX: [u8; BUFFER_LEN] = [0; BUFFER_LEN]);
    let tx: &'static mut [u8] = place!(RESPONDER_TX: [u8; BUFFER_LEN] = [0; BUFFER_LEN]);
    let session = Session::with_security(rx, tx, &any_config(), link).ok()?;
    Some(place!(RESPONDER: Session = session))
}

/// Serves one session.
#[inline(never)]
pub fn serve() {
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
            0 => session.shut_down(),
            1 => session.abort(Code::from(any() as u8)),
            _ => {
                black_box(session.is_idle());
            }
        }
    }
}

fn any_meta() -> Meta {
    Meta {
        kind: if any() == 0 { EntryKind::File } else { EntryKind::Directory },
        size: any_u64(),
        modified: (any() == 0).then(|| Timestamp(any_u64() as i64)),
    }
}

impl Store for Port {
    fn begin(&mut self, request: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        black_box((request, path, put));
        outcome(|| match any() {
            0 => Begun::Fresh,
            1 => Begun::Resumed(any()),
            _ => Begun::Stored { size: any_u64(), root: Digest([any() as u8; 32]), suffix: any() },
        })
    }

    fn open(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        black_box((request, path));
        outcome(any_meta)
    }

    fn close(&mut self, request: RequestId) {
        black_box(request);
    }

    fn stat(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        black_box((request, path));
        outcome(any_meta)
    }

    fn open_directory(&mut self, request: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        black_box((request, path, after));
        outcome(|| ())
    }

    fn read_directory(&mut self, request: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        black_box(request);
        while page.push(&Entry { name: any_text(), meta: any_meta() }) {}
        outcome(|| any() == 0)
    }

    fn close_directory(&mut self, request: RequestId) -> u64 {
        black_box(request);
        any_u64()
    }

    fn delete(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        black_box((request, path));
        outcome(|| ())
    }

    fn rename(
        &mut self,
        request: RequestId,
        from: Path<'_>,
        to: Path<'_>,
        replace: bool,
    ) -> Outcome<()> {
        black_box((request, from, to, replace));
        outcome(|| ())
    }

    fn make_directory(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        black_box((request, path));
        outcome(|| ())
    }

    fn space(&mut self, request: RequestId) -> Outcome<Space> {
        black_box(request);
        outcome(|| Space { free: any_u64(), total: any_u64(), file_size_max: any_u64() })
    }

    fn login(&mut self, request: RequestId, user: &str, password: &Password<'_>) -> Outcome<()> {
        black_box((request, user, password.as_str()));
        outcome(|| ())
    }
}
