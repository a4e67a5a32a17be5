//! The first user, so that a server is of use as soon as it is started.

use anyhow::Result;
use kift_core::secure::Token;
use zeroize::Zeroizing;

use super::keys::{self, AuthorizedKey};
use super::lines;
use super::options::Options;
use super::password::Hash;
use super::rights::Rights;
use super::users::{self, User};
use crate::secure::SystemRandom;
use crate::state::State;

/// Groups of a password that is made here, and characters of each: 100 random bits in all.
const GROUPS: usize = 4;
const GROUP_LEN: usize = 5;

/// Where there is no user, makes one who may read and write everything, by this machine's own key
/// and by a new password. Gives name and password, to be shown once.
///
/// # Errors
/// The state cannot be read or written, or there is no randomness.
pub fn first_user(state: &State) -> Result<Option<(String, Zeroizing<String>)>> {
    if !users::list(state)?.is_empty() {
        return Ok(None);
    }
    let (key, _) = state.key_or_new()?;
    let password = password()?;
    let hash = Some(Hash::new(&password)?);
    let locked = state.lock()?;
    // Another process may have made one meanwhile.
    if !users::list(state)?.is_empty() {
        return Ok(None);
    }
    let name = login_name();
    let options = Options { rights: Some(Rights::READ_WRITE), ..Options::default() };
    // The key first: without its user it lets nobody in.
    let key = AuthorizedKey { user: name.clone(), key: *key.public(), options: Options::default() };
    keys::add(&locked, &key)?;
    users::add(&locked, &User { name: name.clone(), options, hash })?;
    Ok(Some((name, password)))
}

/// The name that whoever runs this has on this machine, as far as it can be a user's.
#[must_use]
pub fn login_name() -> String {
    name_of(&std::env::var("USER").unwrap_or_default())
}

fn name_of(login: &str) -> String {
    let login = login.to_ascii_lowercase();
    lines::name(&login).map_or_else(|_| "kift".to_owned(), str::to_owned)
}

/// A random one, which is easy to copy.
fn password() -> Result<Zeroizing<String>> {
    let token = Token::generate(&mut SystemRandom)?;
    let mut characters = token.as_text().unwrap_or_default().chars();
    let mut password = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_LEN + 1)));
    for group in 0..GROUPS {
        if group > 0 {
            password.push('-');
        }
        password.extend(characters.by_ref().take(GROUP_LEN));
    }
    Ok(password)
}
