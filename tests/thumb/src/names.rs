//! What a store and an application call besides a session: paths, names, texts of errors, frames.

#![no_std]
#![no_main]

mod bare;

use core::fmt::{self, Write as _};
use core::hint::black_box;

use kift_core::secure::{Forged, NoEntropy, PublicKey};
use kift_core::session::{BuffersTooSmall, Error, Failure, RequestError};
use kift_core::storage::RequestId;
use kift_core::wire::{Code, DecodeError, Digest, Header, Path, Prefix, suffixed};

use crate::bare::{any, any_text};

/// Takes text.
struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        black_box(text);
        if any() == 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

fn show(what: &impl fmt::Display) {
    let _ = black_box(write!(Console, "{what}"));
}

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    let code = Code::from(any() as u8);
    show(&black_box(Error::PeerMisbehaved(code)));
    show(&black_box(RequestError::Refused(code)));
    show(&black_box(Failure::Local(code)));
    show(&black_box(DecodeError::Unknown));
    show(&BuffersTooSmall);
    show(&NoEntropy);
    show(&Forged);
    show(&PublicKey(black_box([0; 32])));
    show(&RequestId(any()));
    show(&Digest(black_box([0; 32])));
    black_box(suffixed(any_text(), any()));
    if let Ok(path) = Path::new(any_text()) {
        show(&path);
        black_box((path.split(), path.is_root()));
        path.components().for_each(|name| _ = black_box(name));
    }
    let frame = black_box([0_u8; 16]);
    let _ = black_box((Prefix::parse(&frame), Header::parse(&frame)));
    loop {}
}
