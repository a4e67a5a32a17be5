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

/// Where there is no user, makes one who may do everything, as whose server it is, by this machine's own key
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
    let options = Options { rights: Some(Rights::ALL), ..Options::default() };
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::access::{Accounts, Entry};

    #[test]
    fn the_first_user_gets_in_by_key_and_by_password() {
        let place = tempfile::tempdir().unwrap();
        let state = State::open(Some(place.path())).unwrap();
        let (name, password) = first_user(&state).unwrap().unwrap();
        assert!(first_user(&state).unwrap().is_none());
        assert_eq!(name, login_name());
        assert_eq!(password.len(), GROUPS * GROUP_LEN + GROUPS - 1);
        assert_eq!(password.split('-').map(str::len).collect::<Vec<_>>(), [GROUP_LEN; GROUPS]);

        let accounts = Accounts::open(state.clone()).unwrap();
        let (ours, here) = (*state.key().unwrap().unwrap().public(), IpAddr::from([127, 0, 0, 1]));
        let Ok(Entry::User(grant)) = accounts.admit(&ours, here) else { panic!("not by key") };
        assert_eq!((grant.user, grant.rights), (name.clone(), Rights::ALL));
        assert_eq!(grant.home, "");
        let stranger = kift_core::secure::PublicKey([7; 32]);
        assert!(accounts.verify(&stranger, here, &name, &password).is_ok());
    }

    #[test]
    fn there_is_one_first_user_of_many_starts() {
        let place = tempfile::tempdir().unwrap();
        let state = State::open(Some(place.path())).unwrap();
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..3).map(|_| scope.spawn(|| first_user(&state).unwrap().is_some())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|made| *made).count()
        });
        assert_eq!((made, users::list(&state).unwrap().len()), (1, 1));
        assert_eq!(keys::list(&state).unwrap().len(), 1);
    }

    #[test]
    fn passwords_differ() {
        assert_ne!(*password().unwrap(), *password().unwrap());
    }

    #[test]
    fn login_names_are_made_legal() {
        for (login, name) in [("anna", "anna"), ("Anna", "anna"), ("", "kift"), ("a b", "kift")] {
            assert_eq!(name_of(login), name);
        }
    }
}
