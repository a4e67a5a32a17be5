//! The kift file-transfer protocol, for anything from a microcontroller to a server.
//!
//! No allocation, no `unsafe`, no I/O: bytes, files and time come in through calls, and what is to
//! be done comes out as one [`Action`](session::Action) at a time. `core/PROTOCOL.md` specifies what
//! travels; the modules say how, each knowing those below it and none above:
//!
//! | module | does |
//! | --- | --- |
//! | [`driver`] | moves bytes between a session and a byte stream: the only I/O |
//! | [`session`] | who may say what, and when: [`Requester`](session::Requester), [`Responder`](session::Responder) |
//! | [`storage`] | the port through which a session reads and writes files |
//! | `transfer` | chunks, credit, counts, hash |
//! | [`secure`] | first flight, handshake, record protection |
//! | `framing` | a byte stream and whole frames |
//! | [`wire`] | bytes and values |
//!
//! With the feature `log` or `defmt` a session says to that logger what it does and why it ends; with both,
//! to both. Without them, which is the default, no text and no call is left of that. `core/README.md`
//! has an example. `defmt` is said to on bare metal only.
//!
//! # The loop
//!
//! Feed one thing, then drain [`poll`](session::Session::poll) until it waits:
//!
//! ```text
//! loop {
//!     match session.poll(now) {
//!         Send(bytes)  => session.sent(write(bytes)),
//!         Perform      => session.perform(port),       // may be pending: see `storage`
//!         Closed(how)  => return how,
//!         Wait(until)  => session.recv_advance(read(session.recv_slice())),
//!     }
//! }
//! ```
//!
//! [`Blocking::step`](driver::Blocking::step) is one turn of this loop over `embedded_io::{Read, Write}`, and `Async::step`,
//! with the feature `async`, one over `embedded_io_async::{Read, Write}`; most programs need nothing
//! else. Between turns a requester's application may send another
//! [`request`](session::Requester::request).

#![no_std]
#![forbid(unsafe_code)]
// Its two ends are compiled as they stand there, and run.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod bytes;
pub mod driver;
mod framing;
pub mod secure;
pub mod session;
pub mod storage;
pub mod time;
mod trace;
mod transfer;
pub mod wire;

pub use transfer::Hasher;
#[cfg(feature = "host")]
pub use transfer::Tree;

pub use secure::{Checksum, VERSION_MAJOR, VERSION_MINOR, crc32c};
