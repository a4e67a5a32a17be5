//! Sealed links by `snow`, another implementation of Noise: for peers that send whatever they are
//! told to, which the core's own would not.

use kift_core::secure::SecretKey;
use kift_core::wire::{Header, Hello, PREFIX_LEN, Prefix, Record};
use snow::{Builder, TransportState};

use crate::raw::Frame;

/// An end with `key` of a link by the suite `name` and number, whose dialler's clear bytes are
/// `clear`.
///
/// # Panics
/// Where there is no such suite.
#[must_use]
pub fn begin(name: &str, key: &SecretKey, clear: &[u8], suite: u8) -> Builder<'static> {
    // They live as long as the test.
    let prologue: &'static [u8] = [clear, &[suite]].concat().leak();
    let key: &'static [u8] = key.as_bytes().to_vec().leak();
    let builder = Builder::new(name.parse().expect("a name"));
    builder.local_private_key(key).expect("once").prologue(prologue).expect("once")
}

/// What `write` writes.
///
/// # Panics
/// Where it fails.
pub fn written(mut write: impl FnMut(&mut [u8]) -> Result<usize, snow::Error>) -> Vec<u8> {
    let mut out = vec![0; 1 << 16];
    let len = write(&mut out).expect("its turn");
    out.truncate(len);
    out
}

/// A record of the handshake.
#[must_use]
pub fn handshake_record(body: &[u8]) -> Vec<u8> {
    record(Record::Handshake, body)
}

/// A hello as a handshake carries it.
///
/// # Panics
/// Never: there is room.
#[must_use]
pub fn encoded(hello: &Hello) -> Vec<u8> {
    let mut buf = [0; 64];
    let len = hello.encode(&mut buf).expect("room");
    buf[..len].to_vec()
}

/// `frame`, sealed.
pub fn sealed(transport: &mut TransportState, frame: &Frame) -> Vec<u8> {
    // What a plain frame has between prefix and checksum.
    let plain = frame.bytes();
    let text = &plain[PREFIX_LEN..plain.len() - 4];
    record(Record::Sealed, &written(|out| transport.write_message(text, out)))
}

/// A sealed frame, opened.
///
/// # Panics
/// Where it is none.
pub fn opened(transport: &mut TransportState, frame: &[u8]) -> Frame {
    assert_eq!(frame[2], Record::Sealed as u8);
    let text = written(|out| transport.read_message(&frame[PREFIX_LEN..], out));
    let head = [&frame[..PREFIX_LEN], &text].concat();
    let Header { kind, request, index } = Header::parse(&head).expect("a header");
    Frame { kind, request, index, payload: text[8..].to_vec() }
}

fn record(record: Record, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; PREFIX_LEN];
    Prefix { len: body.len() as u16, record }.emit(&mut bytes);
    bytes.extend_from_slice(body);
    bytes
}
