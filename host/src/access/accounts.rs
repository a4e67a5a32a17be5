//! What a server asks about those who come: may they in, and as whom?

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use kift_core::secure::{PublicKey, Token};
use kift_core::wire::Code;
use tracing::error;

use super::backoff::Backoff;
use super::grant::{Grant, Proof};
use super::keys::{self, AuthorizedKey};
use super::options::Auth;
use super::password::Hash;
use super::token::{self, OpenToken};
use super::users::{self, User};
use super::watched::Watched;
use crate::state::State;

/// Between two looks at the files for sessions that run.
const GLANCE: Duration = Duration::from_secs(1);

/// Everybody whom a server knows, and the files that say so, which may be edited at any time.
#[derive(Debug)]
pub struct Accounts {
    state: State,
    files: Mutex<Files>,
    backoff: Mutex<Backoff>,
}

/// How a client with some key begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// As a user: the key is enough.
    User(Grant),
    /// As nobody yet, who may do nothing but log in by a password.
    Guest,
}

#[derive(Debug)]
struct Files {
    users: Watched<Vec<User>>,
    keys: Watched<Vec<AuthorizedKey>>,
    token: Watched<Option<OpenToken>>,
    looked: Instant,
}

impl Accounts {
    /// Reads the files of a server's `state`.
    ///
    /// # Errors
    /// One of them is loose, damaged, or cannot be read. The message names it and says what to do.
    pub fn open(state: State) -> Result<Self> {
        let files = Files {
            users: Watched::open(users::FILE, users::parse, &state)?,
            keys: Watched::open(keys::FILE, keys::parse, &state)?,
            token: Watched::open(token::FILE, token::parse, &state)?,
            looked: Instant::now(),
        };
        Ok(Self { state, files: Mutex::new(files), backoff: Mutex::default() })
    }

    /// Who comes from the address `from` with the key `key`. The first line for the key counts that
    /// lets a user in now; one that does not, by time, address or user, is as if it were not there.
    ///
    /// # Errors
    /// [`Code::Denied`] where neither the key nor any password could let them in.
    pub fn admit(&self, key: &PublicKey, from: IpAddr) -> Result<Entry, Code> {
        let files = self.files();
        if let Some(grant) = files.by_key(key, from, None) {
            return Ok(Entry::User(grant));
        }
        if files.take_passwords() { Ok(Entry::Guest) } else { Err(Code::Denied) }
    }

    /// What they are as the user `user` by their key alone, if it is enough for that.
    #[must_use]
    pub fn claim(&self, key: &PublicKey, from: IpAddr, user: &str) -> Option<Grant> {
        self.files().by_key(key, from, Some(user))
    }

    /// What they are as the user `user`, whose password they say is `password`. Takes its time:
    /// some ten milliseconds for the hash, more while others are at it, and seconds after wrong ones.
    ///
    /// # Errors
    /// [`Code::LoginFailed`], after the same work, whatever the reason; [`Code::Busy`] where there is
    /// no memory to tell.
    pub fn verify(
        &self,
        key: &PublicKey,
        from: IpAddr,
        user: &str,
        password: &str,
    ) -> Result<Grant, Code> {
        let delay = self.backoff().delay(from, user, Instant::now());
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let hash = self.files().password_of(user);
        let fits = Hash::verify(hash.as_ref(), password).map_err(|_| Code::Busy)?;
        let grant = {
            // Looked at for nobody too, so that it takes as long.
            let files = self.files();
            // They may have changed meanwhile: the hash must still be the user's.
            hash.and_then(|hash| files.by_password(key, from, user, hash))
        };
        match grant.filter(|_| fits) {
            Some(grant) => {
                self.backoff().passed(user);
                Ok(grant)
            }
            None => {
                self.backoff().failed(from, user, Instant::now());
                Err(Code::LoginFailed)
            }
        }
    }

    /// The token that a client may use now to be paired.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        let files = self.files();
        let open = files.token.value.as_ref().filter(|open| SystemTime::now() < open.expires)?;
        Some(open.token.clone())
    }

    /// Spends `token`, which a client with the key `key` has just shown that it knows, and
    /// authorizes the key. Both last when this returns, and of several clients one succeeds.
    ///
    /// # Errors
    /// [`Code::Denied`] where the token is not open any more or its user is gone; [`Code::Io`] where
    /// the files cannot be changed, after which the token may be spent.
    pub fn pair(&self, token: &Token, key: &PublicKey, from: IpAddr) -> Result<Entry, Code> {
        let user = match self.spend(token, key, from) {
            Ok(user) => user.ok_or(Code::Denied)?,
            Err(error) => {
                error!("cannot pair: {error:#}");
                return Err(Code::Io);
            }
        };
        let files = self.files();
        if let Some(grant) = files.by_key(key, from, Some(&user)) {
            return Ok(Entry::User(grant));
        }
        // The user's password may be wanted besides.
        if files.take_passwords() { Ok(Entry::Guest) } else { Err(Code::Denied) }
    }

    /// Gives whose key `key` is from now on.
    fn spend(&self, token: &Token, key: &PublicKey, from: IpAddr) -> Result<Option<String>> {
        let locked = self.state.lock()?;
        let now = SystemTime::now();
        // The token that was shown may have been cancelled since, and another one opened.
        let is_open = |open: &OpenToken| open.token.0 == token.0 && now < open.expires;
        let Some(open) = token::find(&self.state)?.filter(is_open) else {
            return Ok(None);
        };
        let user = users::list(&self.state)?.into_iter().find(|user| user.name == open.user);
        let admits = |user: User| user.options.admit(from, now) && open.options.admit(from, now);
        if !user.is_some_and(admits) {
            return Ok(None);
        }
        // In this order a power cut in between costs a second pairing, and no second key.
        locked.remove(token::FILE)?;
        let new = AuthorizedKey { user: open.user.clone(), key: *key, options: open.options };
        keys::add(&locked, &new)?;
        Ok(Some(open.user))
    }

    /// Whether whoever got `grant` would get the same now. Cheap: the files are looked at once a
    /// second, for all who ask.
    #[must_use]
    pub fn still(&self, grant: &Grant) -> bool {
        let Proof { key, from, password } = grant.proof.clone();
        let files = self.files_lately();
        let now = match password {
            None => files.by_key(&key, from, Some(&grant.user)),
            Some(hash) => files.by_password(&key, from, &grant.user, hash),
        };
        now.as_ref() == Some(grant)
    }

    /// Whether any user can log in by a password.
    #[must_use]
    pub fn takes_passwords(&self) -> bool {
        self.files().take_passwords()
    }

    /// The files as they are now.
    fn files(&self) -> MutexGuard<'_, Files> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.refresh(&self.state);
        files
    }

    /// The files as they were within the last second.
    fn files_lately(&self) -> MutexGuard<'_, Files> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.looked.elapsed() >= GLANCE {
            files.refresh(&self.state);
        }
        files
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn refresh(&mut self, state: &State) {
        self.users.refresh(state);
        self.keys.refresh(state);
        self.token.refresh(state);
        self.looked = Instant::now();
    }

    fn user(&self, name: &str) -> Option<&User> {
        self.users.value.iter().find(|user| user.name == name)
    }

    /// The lines of `key` that count for somebody at `from`, with their users, who count too.
    fn lines(
        &self,
        key: &PublicKey,
        from: IpAddr,
    ) -> impl Iterator<Item = (&User, &AuthorizedKey)> {
        let now = SystemTime::now();
        let lines = self.keys.value.iter().filter(move |line| {
            // Who knows the public key of somebody else gains nothing by this taking time.
            line.key == *key && line.options.admit(from, now)
        });
        lines
            .filter_map(|line| Some((self.user(&line.user)?, line)))
            .filter(move |(user, _)| user.options.admit(from, now))
    }

    /// By the key alone, as a certain user or any.
    fn by_key(&self, key: &PublicKey, from: IpAddr, name: Option<&str>) -> Option<Grant> {
        self.lines(key, from)
            .filter(|(user, _)| name.is_none_or(|name| user.name == name))
            .filter(|(user, _)| user.options.auth.unwrap_or_default().takes_keys())
            .find_map(|(user, line)| {
                let proof = Proof { key: *key, from, password: None };
                Grant::new(&user.name, &user.options, Some(&line.options), proof)
            })
    }

    /// The hash that a password of the user `name` must fit, if one would be of use.
    fn password_of(&self, name: &str) -> Option<Hash> {
        self.user(name).filter(|user| user.takes_passwords())?.hash.clone()
    }

    /// By a password that fitted `hash`.
    fn by_password(&self, key: &PublicKey, from: IpAddr, name: &str, hash: Hash) -> Option<Grant> {
        let user = self.user(name)?;
        let is_theirs = user.takes_passwords() && user.hash.as_ref() == Some(&hash);
        if !is_theirs || !user.options.admit(from, SystemTime::now()) {
            return None;
        }
        let proof = Proof { key: *key, from, password: Some(hash) };
        if user.options.auth != Some(Auth::Both) {
            return Grant::new(name, &user.options, None, proof);
        }
        let (_, line) = self.lines(key, from).find(|(user, _)| user.name == name)?;
        Grant::new(name, &user.options, Some(&line.options), proof)
    }

    fn take_passwords(&self) -> bool {
        self.users.value.iter().any(User::takes_passwords)
    }
}

#[cfg(test)]
mod tests;
