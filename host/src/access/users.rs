//! The file `users`: `NAME OPTIONS [PASSWORD-HASH]`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail};
use zeroize::Zeroizing;

use super::lines;
use super::options::Options;
use super::password::Hash;
use crate::state::{Locked, State};

/// The file's name.
pub(super) const FILE: &str = "users";

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their name.
    pub name: String,
    /// What they may do. It names rights.
    pub options: Options,
    /// What is kept of their password, where they have one.
    pub hash: Option<Hash>,
}

impl User {
    /// A user without a password.
    ///
    /// # Errors
    /// The name is none, or the options name no rights.
    pub fn new(name: &str, options: Options) -> Result<Self> {
        let no_name = || format!("{name:?} is no user's name");
        let name = lines::name(name).with_context(no_name)?.to_owned();
        if options.rights.is_none() {
            bail!("{name} has no rights: put ro or rw to the options");
        }
        Ok(Self { name, options, hash: None })
    }

    /// Whether a password can let them in.
    pub(super) fn takes_passwords(&self) -> bool {
        self.hash.is_some() && self.options.auth.unwrap_or_default().takes_passwords()
    }
}

impl FromStr for User {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let name = lines::name(words.next().unwrap_or_default())?;
        let options = words.next().context("behind the name belong options, such as rw")?;
        let user = Self::new(name, options.parse()?)?;
        let hash = words.next().map(str::parse).transpose()?;
        if words.next().is_some() {
            bail!("there is more than NAME OPTIONS PASSWORD-HASH; options have no spaces");
        }
        Ok(Self { hash, ..user })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.options)?;
        self.hash.iter().try_for_each(|hash| write!(f, " {hash}"))
    }
}

/// The users in `text`, each once.
pub(super) fn parse(text: &str, state: &State) -> Result<Vec<User>> {
    let file = state.file(FILE);
    let users: Vec<User> = lines::parse(text, &file, str::parse)?;
    let mut names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    names.sort_unstable();
    if let Some([twice, _]) = names.windows(2).find(|two| two.first() == two.last()) {
        bail!("{}: {twice} has two lines: remove one", file.display());
    }
    Ok(users)
}

/// All users, in the order of the file.
///
/// # Errors
/// The file is loose, damaged, or cannot be read.
pub fn list(state: &State) -> Result<Vec<User>> {
    parse(&state.read(FILE)?.unwrap_or_default(), state)
}

/// The user `name`.
///
/// # Errors
/// As of [`list`], or there is none.
pub fn find(state: &State, name: &str) -> Result<User> {
    let user = list(state)?.into_iter().find(|user| user.name == name);
    user.with_context(|| nobody(state, name))
}

fn nobody(state: &State, name: &str) -> String {
    format!("{name:?} is no user in {}: `kift user ls` shows them", state.file(FILE).display())
}

/// Refuses a name that a user has.
///
/// # Errors
/// There is one of that name, or the file cannot be read.
pub fn check_new(state: &State, name: &str) -> Result<()> {
    if list(state)?.iter().any(|old| old.name == name) {
        bail!(
            "{name} is there already: `kift user passwd` changes the password, and `kift user set` \
             what they may do"
        );
    }
    Ok(())
}

/// Puts a new user into the file.
///
/// # Errors
/// There is one of that name, or the file cannot be read or written.
pub fn add(locked: &Locked<'_>, user: &User) -> Result<()> {
    check_new(locked.state(), &user.name)?;
    locked.append(FILE, &Zeroizing::new(user.to_string()))
}

/// Puts `user` in place of the one of that name, or takes that out where none is given.
///
/// # Errors
/// There is none of that name, or the file cannot be read or written.
pub fn set(locked: &Locked<'_>, name: &str, user: Option<&User>) -> Result<()> {
    let text = locked.read(FILE)?.unwrap_or_default();
    if !parse(&text, locked.state())?.iter().any(|old| old.name == name) {
        bail!(nobody(locked.state(), name));
    }
    let changed = lines::change(&text, |line| match line.split_whitespace().next() {
        Some(first) if first == name => user.map(ToString::to_string),
        _ => Some(line.to_owned()),
    });
    locked.replace(FILE, &Zeroizing::new(changed))
}
