//! The file `authorized_keys`: `USER x25519 KEY [OPTIONS]`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail};
use kift_core::secure::PublicKey;

use super::lines;
use super::options::Options;
use crate::state::{Locked, State};

/// The file's name.
pub const FILE: &str = "authorized_keys";

/// The one kind of key.
pub const KIND: &str = "x25519";

/// A key that lets a user in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedKey {
    /// Whose it is. Where there is no such user, it lets nobody in.
    pub user: String,
    /// The key.
    pub key: PublicKey,
    /// What its user may not do with it.
    pub options: Options,
}

impl FromStr for AuthorizedKey {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let user = lines::name(words.next().unwrap_or_default())?.to_owned();
        match words.next() {
            Some(KIND) => {}
            Some(other) => bail!("{other:?} is no kind of key: behind the name belongs {KIND}"),
            None => bail!("behind the name belong {KIND} and a key"),
        }
        let key = words.next().unwrap_or_default();
        let key = key.parse().with_context(|| format!("{key:?} is no key"))?;
        let options = words.next().map(str::parse::<Options>).transpose()?;
        let options = options.unwrap_or_default().of_a_key()?;
        if words.next().is_some() {
            bail!("there is more than USER {KIND} KEY OPTIONS; options have no spaces");
        }
        Ok(Self { user, key, options })
    }
}

impl fmt::Display for AuthorizedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {KIND} {}", self.user, self.key)?;
        if self.options == Options::default() { Ok(()) } else { write!(f, " {}", self.options) }
    }
}

/// The keys in `text`.
pub(super) fn parse(text: &str, state: &State) -> Result<Vec<AuthorizedKey>> {
    lines::parse(text, &state.file(FILE), str::parse)
}

/// All keys, in the order of the file, which is that in which they are looked at.
///
/// # Errors
/// The file may be changed by others, is damaged, or cannot be read.
pub fn list(state: &State) -> Result<Vec<AuthorizedKey>> {
    parse(&state.read(FILE)?.unwrap_or_default(), state)
}

/// Puts a key into the file, unless it is there for the same user. Gives whether it was put there.
///
/// # Errors
/// The file cannot be read or written.
pub fn add(locked: &Locked<'_>, new: &AuthorizedKey) -> Result<bool> {
    let there = list(locked.state())?;
    if there.iter().any(|old| old.user == new.user && old.key == new.key) {
        return Ok(false);
    }
    locked.append(FILE, &new.to_string())?;
    Ok(true)
}

/// Takes out the keys that `out` says, and gives how many that were.
///
/// # Errors
/// The file cannot be read or written.
pub fn remove(locked: &Locked<'_>, out: impl Fn(&AuthorizedKey) -> bool) -> Result<usize> {
    let text = locked.read(FILE)?.unwrap_or_default();
    let count = parse(&text, locked.state())?.iter().filter(|key| out(key)).count();
    if count > 0 {
        let changed = lines::change(&text, |line| match line.parse() {
            Ok(key) if out(&key) => None,
            _ => Some(line.to_owned()),
        });
        locked.replace(FILE, &changed)?;
    }
    Ok(count)
}
