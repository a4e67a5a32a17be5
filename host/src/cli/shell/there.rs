//! The session of a shell, which its prompt uses too.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kift_core::wire::{EntryKind, Request};

use super::paths::{Names, resolve};
use crate::cli::Verdict;
use crate::cli::console::{advice, advised};
use crate::client::Client;

/// How long what is in a directory is remembered for completion.
const MEMORY: Duration = Duration::from_secs(5);

/// How often the server is asked something while nobody types: well within the time after which it
/// would take the session for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(100);

/// A session, and where in the server's tree its user is.
pub(in crate::cli) struct There {
    client: Mutex<Option<Client>>,
    directory: Mutex<String>,
    seen: Mutex<HashMap<String, (Instant, Names)>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl There {
    /// In `directory`, and not connected yet.
    pub(in crate::cli) fn new(directory: String) -> Arc<Self> {
        let directory = Mutex::new(directory);
        Arc::new(Self { client: Mutex::default(), directory, seen: Mutex::default() })
    }

    /// From now on `client` is the session.
    pub(in crate::cli) fn connect(&self, client: Client) {
        *lock(&self.client) = Some(client);
    }

    /// Asks something now and then, as long as the shell lives.
    pub(in crate::cli) fn keep_alive(there: &Arc<Self>) -> io::Result<()> {
        let there = Arc::downgrade(there);
        let beat = move || {
            loop {
                thread::sleep(KEEP_ALIVE);
                let Some(there) = there.upgrade() else { return };
                // Who holds it keeps it alive; and that it is over is told when it is used.
                if let Ok(mut client) = there.client.try_lock()
                    && let Some(client) = client.as_mut()
                {
                    let _ = client.ask(&Request::Space);
                }
            }
        };
        thread::Builder::new().name("kift keep-alive".to_owned()).spawn(beat)?;
        Ok(())
    }

    /// Does `work` with the session.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::cli) fn with<T>(&self, work: impl FnOnce(&mut Client) -> T) -> Result<T> {
        lock(&self.client).as_mut().map(work).context("there is no session")
    }

    /// Whether the session has ended.
    pub(in crate::cli) fn is_over(&self) -> bool {
        lock(&self.client).as_ref().is_none_or(Client::is_over)
    }

    /// The directory that the user is in.
    pub(super) fn directory(&self) -> String {
        lock(&self.directory).clone()
    }

    /// Goes to another directory, which must be there.
    pub(super) fn change_directory(&self, text: &str) -> Result<Verdict> {
        let path = resolve(&self.directory(), text);
        match self.with(|client| client.stat(&path))?? {
            Ok(meta) if meta.kind == EntryKind::Directory => {}
            Ok(_) => bail!("{path:?} is not a directory"),
            Err(failure) => {
                bail!(advised(format_args!("cannot go to {path:?}: {failure}"), advice(failure)))
            }
        }
        *lock(&self.directory) = path;
        Ok(Verdict::AllDone)
    }

    /// What is in `directory`, as it would be typed.
    pub(super) fn names(&self, directory: &str) -> Result<Names> {
        let path = resolve(&self.directory(), directory);
        let listing = self.with(|client| client.list(&path))??;
        let listing = listing.map_err(|failure| {
            anyhow::anyhow!(advised(
                format_args!("cannot list {path:?}: {failure}"),
                advice(failure)
            ))
        })?;
        let names = listing.entries.into_iter();
        Ok(names.map(|entry| (entry.name, entry.meta.kind == EntryKind::Directory)).collect())
    }

    /// The same, perhaps as it was a moment ago, and nothing where that cannot be had.
    pub(super) fn names_lately(&self, directory: &str) -> Names {
        let path = resolve(&self.directory(), directory);
        if let Some((at, names)) = lock(&self.seen).get(&path)
            && at.elapsed() < MEMORY
        {
            return names.clone();
        }
        let names = self.names(directory).unwrap_or_default();
        lock(&self.seen).insert(path, (Instant::now(), names.clone()));
        names
    }
}
