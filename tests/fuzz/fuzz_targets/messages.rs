//! Payloads, names and texts: no bytes do harm, and what is understood is said again in the same way.

#![no_main]

use std::fmt::Debug;
use std::str::FromStr;

use kift_core::secure::{Fingerprint, PublicKey, Token};
use kift_core::wire::{
    Answer, CONTROL_LEN_MAX, Close, Code, DecodeError, Entry, HEADER_LEN, Header, Hello,
    NAME_LEN_MAX, PATH_LEN_MAX, PREFIX_LEN, Password, Path, Prefix, Request, SIGNAL_LEN_MAX,
    Signal, TRAILER_LEN_MAX, is_user_name, suffixed,
};
use libfuzzer_sys::fuzz_target;

/// Bytes of the longest answer.
const ANSWER_LEN_MAX: usize = 56;

fuzz_target!(|input: &[u8]| {
    let Some((&which, bytes)) = input.split_first() else { return };
    match which % 10 {
        0 => request(bytes),
        1 => {
            let len =
                message(bytes, |bytes| Answer::decode(bytes), |answer, buf| answer.encode(buf));
            assert!(len <= ANSWER_LEN_MAX);
        }
        2 => _ = message(bytes, |bytes| Close::decode(bytes), |close, buf| close.encode(buf)),
        3 => {
            let len =
                message(bytes, |bytes| Signal::decode(bytes), |signal, buf| signal.encode(buf));
            assert!(len <= SIGNAL_LEN_MAX - HEADER_LEN - TRAILER_LEN_MAX);
        }
        4 => {
            if let Ok(hello) = Hello::decode(bytes) {
                let _ = hello.is_valid();
            }
            message(bytes, |bytes| Hello::decode(bytes), |hello, buf| hello.encode(buf));
        }
        5 => page(bytes),
        6 => frame(bytes),
        7 => names(bytes),
        8 => path(bytes),
        _ => texts(bytes),
    }
});

/// Decodes, encodes and decodes again. Gives the length of what was encoded.
fn message<'a, T: Debug + PartialEq>(
    bytes: &'a [u8],
    decode: impl for<'b> Fn(&'b [u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T, &mut [u8]) -> Option<usize>,
) -> usize {
    let Ok(message) = decode(bytes) else { return 0 };
    let mut buf = vec![0; bytes.len()];
    let len = encode(&message, &mut buf).expect("no longer than it was");
    assert_eq!(decode(&buf[..len]), Ok(message));
    for short in 0..len {
        assert!(decode(&buf[..short]).is_err(), "a part of a message is none");
    }
    len
}

fn request(bytes: &[u8]) {
    let Ok(request) = Request::decode(bytes) else { return };
    let mut buf = vec![0; bytes.len()];
    let len = request.encode(&mut buf).expect("no longer than it was");
    assert_eq!(Request::decode(&buf[..len]), Ok(request));
    if let Ok(paths) = request.paths() {
        paths.into_iter().for_each(check_path);
        // The bounds on what is legal keep it in a frame.
        assert!(len <= CONTROL_LEN_MAX, "{len}");
        if let Request::Login { user, password } = request {
            assert!(is_user_name(user) && Password::new(password.as_str()) == Some(password));
        }
    }
}

fn page(mut bytes: &[u8]) {
    while let Ok((entry, rest)) = Entry::decode(bytes) {
        let mut buf = vec![0; bytes.len()];
        let len = entry.encode(&mut buf).expect("no longer than it was");
        assert_eq!(Entry::decode(&buf[..len]), Ok((entry, &[][..])));
        if let Ok(name) = Path::name(entry.name) {
            check_path(name);
            // Any entry fits an empty page.
            assert!(len <= 279 && !name.as_str().contains('/'));
        }
        assert!(rest.len() < bytes.len());
        bytes = rest;
    }
}

fn frame(bytes: &[u8]) {
    let mut buf = [0; HEADER_LEN];
    if let Ok(Some(prefix)) = Prefix::parse(bytes) {
        prefix.emit(&mut buf);
        assert_eq!(buf[..PREFIX_LEN], bytes[..PREFIX_LEN]);
    }
    if let Some(header) = Header::parse(bytes) {
        header.emit(&mut buf);
        assert_eq!(buf[PREFIX_LEN..], bytes[PREFIX_LEN..HEADER_LEN]);
    }
}

/// Whether a path is legal, by the words of the specification.
fn verdict(path: &str) -> Result<(), Code> {
    if path.len() > PATH_LEN_MAX {
        return Err(Code::NameTooLong);
    }
    for name in path.split('/').filter(|_| !path.is_empty()) {
        if name.len() > NAME_LEN_MAX {
            return Err(Code::NameTooLong);
        }
        if matches!(name, "" | "." | "..") || name.contains('\0') {
            return Err(Code::BadName);
        }
    }
    Ok(())
}

fn check_path(path: Path<'_>) {
    assert_eq!(verdict(path.as_str()), Ok(()));
    assert!(!path.as_str().starts_with('/'));
    let (folder, name) = path.split();
    assert_eq!(verdict(folder.as_str()), Ok(()));
    let joined = if folder.is_root() { name.to_owned() } else { format!("{folder}/{name}") };
    assert_eq!(joined, path.as_str());
    assert_eq!(path.components().last().unwrap_or(""), name);
}

fn path(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let path = Path::new(text);
    assert_eq!(path.map(|_| ()), verdict(text));
    let Ok(path) = path else { return };
    check_path(path);
    assert_eq!(Path::named(text).is_ok(), !text.is_empty());
    assert_eq!(Path::name(text).is_ok(), !text.is_empty() && !text.contains('/'));
}

/// Names that are kept beside others are names too, and of each length that there may be.
fn names(bytes: &[u8]) {
    let Some((suffix, text)) = bytes.split_first_chunk() else { return };
    let suffix = u32::from_le_bytes(*suffix);
    let Ok(name) = str::from_utf8(text) else { return };
    let made = suffixed(name, suffix);
    if Path::name(name).is_ok() {
        assert!(Path::name(&made).is_ok(), "{made:?}");
        assert_eq!(made == name, suffix == 0);
    }
}

/// What people copy.
fn texts(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    said_again::<PublicKey>(text);
    said_again::<Fingerprint>(text);
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.as_text(), Some(text));
    }
    let _ = is_user_name(text);
    assert!(Password::new(text).is_none_or(|password| password.as_str() == text));
}

fn said_again<T: FromStr + ToString>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}
