//! The vectors and tables of `PROTOCOL.md`, held against the code.
//!
//! Bytes are read from the document itself, so that the two cannot drift: a vector that nothing
//! here checks fails, and so does a check whose vector is missing. Checksums are computed here bit
//! by bit, and hashes are constants, so that the code is not measured with itself.

#[path = "golden/document.rs"]
mod document;
#[path = "golden/frames.rs"]
mod frames;
#[path = "golden/messages.rs"]
mod messages;
#[path = "golden/sealed.rs"]
mod sealed;
#[path = "golden/sessions.rs"]
mod sessions;
#[path = "golden/tables.rs"]
mod tables;

use document::Vectors;
use frames::check_frames;
use messages::{check_messages, check_rejects};
use sealed::check_sealed;
use sessions::{
    check_bad_frames, check_exchanges, check_flights, check_refused_hellos, check_sessions,
};
use tables::{check_codes, check_integers, check_limits, check_names, check_pipelining};

#[test]
fn messages_are_as_documented() {
    check_messages(&Vectors::read());
}

#[test]
fn payloads_to_reject_are_rejected() {
    check_rejects(&Vectors::read());
}

#[test]
fn frames_are_as_documented() {
    check_frames(&Vectors::read());
}

#[test]
fn sessions_are_as_documented() {
    check_sessions(&Vectors::read());
}

#[test]
fn first_flights_are_answered_as_documented() {
    check_flights(&Vectors::read());
}

#[test]
fn bad_frames_close_the_link() {
    check_bad_frames(&Vectors::read());
}

#[test]
fn hellos_to_refuse_are_refused() {
    check_refused_hellos(&Vectors::read());
}

#[test]
fn exchanges_are_as_documented() {
    check_exchanges(&Vectors::read());
}

#[test]
fn sealed_links_are_as_documented() {
    check_sealed(&Vectors::read());
}

#[test]
fn codes_are_as_documented() {
    check_codes();
}

#[test]
fn integers_are_as_documented() {
    check_integers();
}

#[test]
fn limits_are_as_documented() {
    check_limits();
}

#[test]
fn names_are_as_documented() {
    check_names();
}

#[test]
fn pipelining_is_as_documented() {
    check_pipelining();
}

#[test]
fn every_vector_is_checked() {
    let vectors = Vectors::read();
    check_messages(&vectors);
    check_rejects(&vectors);
    check_frames(&vectors);
    check_sessions(&vectors);
    check_flights(&vectors);
    check_bad_frames(&vectors);
    check_refused_hellos(&vectors);
    check_exchanges(&vectors);
    check_sealed(&vectors);
    assert_eq!(vectors.unused(), Vec::<&str>::new(), "nothing checks these");
}
