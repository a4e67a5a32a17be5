//! The servers that a client has met: `known_hosts` in its state.
//!
//! A line an entry, `HOST:PORT x25519 KEY`; lines that are empty or begin with `#` are the user's.
//! A server may have several lines, while its key is being changed.

use std::path::PathBuf;

use anyhow::{Result, bail};
use kift_core::secure::PublicKey;

use crate::state::{State, entries};

const FILE: &str = "known_hosts";

/// Where they are kept.
#[must_use]
pub fn file(state: &State) -> PathBuf {
    state.file(FILE)
}

/// The server and the key that an entry names.
fn parse(entry: &str) -> Result<(&str, PublicKey)> {
    let mut words = entry.split_whitespace();
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(address), Some("x25519"), Some(key), None) => Ok((address, key.parse()?)),
        _ => bail!("an entry is HOST:PORT x25519 KEY"),
    }
}

/// The keys by which the server at `address` (`host:port`) is known.
///
/// # Errors
/// The file cannot be read, or has a line that is none. Then nobody is trusted: that line may be
/// the one that matters.
pub fn known(state: &State, address: &str) -> Result<Vec<PublicKey>> {
    let Some(text) = state.read(FILE)? else { return Ok(Vec::new()) };
    let mut keys = Vec::new();
    for (number, entry) in entries(&text) {
        match parse(entry) {
            Ok((of, key)) if of.eq_ignore_ascii_case(address) => keys.push(key),
            Ok(_) => {}
            Err(error) => bail!("{}, line {number}: {error}", file(state).display()),
        }
    }
    Ok(keys)
}

/// From now on the server at `address` is known by `key` too.
///
/// # Errors
/// The file cannot be read or written.
pub fn remember(state: &State, address: &str, key: &PublicKey) -> Result<()> {
    if known(state, address)?.contains(key) {
        return Ok(());
    }
    state.append(FILE, &format!("{address} x25519 {key}"))
}

/// The server at `address` is not known any more. Says how many keys it had.
///
/// # Errors
/// The file cannot be read or written.
pub fn forget(state: &State, address: &str) -> Result<usize> {
    let locked = state.lock()?;
    let Some(text) = locked.read(FILE)? else { return Ok(0) };
    let is_of = |line: &str| {
        entries(line)
            .any(|(_, entry)| parse(entry).is_ok_and(|(of, _)| of.eq_ignore_ascii_case(address)))
    };
    let (gone, kept): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| is_of(line));
    if !gone.is_empty() {
        let kept: String = kept.iter().map(|line| format!("{line}\n")).collect();
        locked.replace(FILE, &kept)?;
    }
    Ok(gone.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let place = tempfile::tempdir().unwrap();
        let state = State::open(Some(place.path())).unwrap();
        (place, state)
    }

    #[test]
    fn servers_are_remembered_and_forgotten() {
        let (_place, state) = state();
        let [one, two] = [[1; 32], [2; 32]].map(PublicKey);
        assert_eq!(known(&state, "lab:5438").unwrap(), []);
        assert_eq!(forget(&state, "lab:5438").unwrap(), 0);
        remember(&state, "lab:5438", &one).unwrap();
        remember(&state, "lab:5438", &one).unwrap();
        remember(&state, "[::1]:1", &two).unwrap();
        state.append(FILE, "# mine").unwrap();
        assert_eq!(known(&state, "LAB:5438").unwrap(), [one]);
        assert_eq!(known(&state, "lab:5439").unwrap(), []);
        remember(&state, "Lab:5438", &two).unwrap();
        assert_eq!(known(&state, "lab:5438").unwrap(), [one, two]);
        assert_eq!(forget(&state, "lab:5438").unwrap(), 2);
        assert_eq!(known(&state, "lab:5438").unwrap(), []);
        assert_eq!(known(&state, "[::1]:1").unwrap(), [two]);
        assert!(state.read(FILE).unwrap().unwrap().contains("# mine"));
    }

    #[test]
    fn a_line_that_is_none_trusts_nobody() {
        let (_place, state) = state();
        let key = PublicKey([1; 32]);
        remember(&state, "lab:1", &key).unwrap();
        for line in ["lab:1", "lab:1 ed25519 AAAA", "lab:1 x25519 AAAA", "x", "a x25519 b c"] {
            let mut text = state.read(FILE).unwrap().unwrap().to_string();
            text.push_str(line);
            state.replace("known_hosts", &text).unwrap();
            let error = known(&state, "lab:1").unwrap_err().to_string();
            assert!(error.contains("known_hosts, line 2"), "{error}");
            state.replace("known_hosts", &format!("lab:1 x25519 {key}\n")).unwrap();
        }
    }
}
