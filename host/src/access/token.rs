//! The file `token`: `TOKEN USER EXPIRES [OPTIONS]`, at most one line.
//!
//! Who first dials with the token is the user from then on: their key is authorized with the options, and
//! the token is gone.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Error, Result, bail};
use kift_core::secure::Token;
use zeroize::Zeroizing;

use super::lines;
use super::options::{Options, show_time, time, to_the_second};
use crate::secure::SystemRandom;
use crate::state::{Locked, State};

/// The file's name.
pub(super) const FILE: &str = "token";

/// A token that nobody has used yet.
#[derive(Debug, Clone)]
pub struct OpenToken {
    /// What both ends must know.
    pub token: Token,
    /// Who its bearer will be.
    pub user: String,
    /// When nobody may use it any more, to the second.
    pub expires: SystemTime,
    /// What the user may not do with the key that it authorizes.
    pub options: Options,
}

impl OpenToken {
    /// A new one for `user`, that lasts for `lasts` from now.
    ///
    /// # Errors
    /// There is no randomness, or the options cannot be those of a key.
    pub fn new(user: &str, options: Options, lasts: Duration) -> Result<Self> {
        let token = Token::generate(&mut SystemRandom)?;
        let expires = SystemTime::now().checked_add(lasts).context("nothing lasts that long")?;
        let expires = to_the_second(expires);
        Ok(Self { token, user: user.to_owned(), expires, options: options.of_a_key()? })
    }
}

impl FromStr for OpenToken {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        // Not by its text, which no message may show.
        let token = words.next().unwrap_or_default().parse()?;
        let user = lines::name(words.next().unwrap_or_default())?.to_owned();
        let expires = time(words.next().unwrap_or_default())?;
        let options = words.next().map(str::parse::<Options>).transpose()?;
        let options = options.unwrap_or_default().of_a_key()?;
        if words.next().is_some() {
            bail!("there is more than TOKEN USER EXPIRES OPTIONS");
        }
        Ok(Self { token, user, expires, options })
    }
}

impl fmt::Display for OpenToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_text().unwrap_or_default();
        write!(f, "{token} {} {}", self.user, show_time(self.expires))?;
        if self.options == Options::default() { Ok(()) } else { write!(f, " {}", self.options) }
    }
}

/// The token in `text`.
pub(super) fn parse(text: &str, state: &State) -> Result<Option<OpenToken>> {
    let mut tokens = lines::parse(text, &state.file(FILE), str::parse)?;
    if tokens.len() > 1 {
        bail!("{} has more than one token\nrun `kift pair` again", state.file(FILE).display());
    }
    Ok(tokens.pop())
}

/// The token that was opened last and not used yet; it may have expired.
///
/// # Errors
/// The file is loose, damaged, or cannot be read.
pub fn find(state: &State) -> Result<Option<OpenToken>> {
    parse(&state.read(FILE)?.unwrap_or_default(), state)
}

/// Opens `token`, in place of the one that may be open. Gives whether there was one.
///
/// # Errors
/// It cannot be written.
pub fn open(locked: &Locked<'_>, token: &OpenToken) -> Result<bool> {
    let was_open = locked.state().file(FILE).exists();
    locked.replace(FILE, &Zeroizing::new(format!("{token}\n")))?;
    Ok(was_open)
}

/// Closes the token that may be open, and gives whether there was one.
///
/// # Errors
/// It cannot be removed.
pub fn cancel(locked: &Locked<'_>) -> Result<bool> {
    let was_open = locked.state().file(FILE).exists();
    locked.remove(FILE)?;
    Ok(was_open)
}
