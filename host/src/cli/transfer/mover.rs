//! Requests under way, and what came of them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use kift_core::session::{Failure, Reply};
use kift_core::storage::RequestId;
use kift_core::wire::{Code, Digest, Meta, Request, suffixed};
use serde_json::json;

use super::Choices;
use super::account::Account;
use crate::cli::Verdict;
use crate::cli::console::{Console, advice, advised};
use crate::cli::meter::Meter;
use crate::client::{Client, ClientError, Crew, Done, Moved};

/// The entries of a remote directory.
pub(super) type Entries = BTreeMap<String, Meta>;

/// What a request that is under way is for.
#[derive(Debug)]
pub(super) enum Job {
    /// None for standard input.
    Send {
        local: Option<PathBuf>,
        remote: String,
    },
    /// None for standard output.
    Fetch {
        remote: String,
        local: Option<PathBuf>,
    },
    MakeDirectory {
        remote: String,
    },
    Remove {
        remote: String,
    },
}

/// Moves files over a client that is connected.
pub(in crate::cli) struct Mover<'a> {
    pub(super) client: &'a mut Client,
    pub(super) choices: &'a Choices,
    pub(in crate::cli) account: Account<'a>,
    open: HashMap<RequestId, Job>,
    /// Data links, for large files.
    pub(super) crew: Option<Crew>,
    /// Remote directories as they were when they were looked at.
    seen: HashMap<String, Result<Rc<Entries>, Failure>>,
}

impl<'a> Mover<'a> {
    /// Nothing is under way yet, neither here nor on `client`.
    pub(in crate::cli) fn new(
        client: &'a mut Client,
        choices: &'a Choices,
        console: &'a Console,
    ) -> Self {
        let account = Account::new(console);
        let counter = account.meter.clone();
        client.on_bytes(move |n| counter.add(n));
        if console.shows_steps() {
            let (console, meter) = (console.clone(), account.meter.clone());
            client.on_steps(move |step| meter.aside(|| console.step(step)));
        }
        Self { client, choices, account, open: HashMap::new(), crew: None, seen: HashMap::new() }
    }

    /// Knows how far it is.
    pub(in crate::cli) fn meter(&self) -> &Meter {
        &self.account.meter
    }

    /// Adds data links to the session, as far as they can be had.
    pub(in crate::cli) fn gather(&mut self, links: Option<u8>) -> Result<(), ClientError> {
        let Some(links) = links else { return Ok(()) };
        let (crew, missing) = Crew::gather(self.client, links)?;
        for why in missing {
            self.account.detail(format_args!("a data link cannot be had: {why}"));
        }
        self.account.detail(format_args!("{} data links", crew.len()));
        self.crew = Some(crew);
        Ok(())
    }

    /// Says goodbye behind the last request, waits until all are answered, and sums up. `queued` is
    /// how it went until here.
    pub(in crate::cli) fn goodbye(mut self, queued: Result<(), ClientError>) -> Result<Verdict> {
        let result = queued.and_then(|()| self.client.finish());
        self.conclude(result)
    }

    /// The same, and the session goes on.
    pub(in crate::cli) fn settle(mut self, queued: Result<(), ClientError>) -> Result<Verdict> {
        let result = queued.and_then(|()| self.drain());
        self.conclude(result)
    }

    fn conclude(&mut self, result: Result<(), ClientError>) -> Result<Verdict> {
        // Answers came although the session may have broken.
        self.tell_done();
        let verdict = self.account.close(result.is_ok());
        let Err(error) = result else { return Ok(verdict) };
        let is_sending = self.open.values().any(|job| matches!(job, Job::Send { .. }));
        let done = if is_sending { "stored" } else { "fetched" };
        let (moved, unknown) = (self.account.moved(), self.open.len());
        Err(error).with_context(|| {
            format!("{moved} files were {done}, {unknown} were under way and are not known to be")
        })
    }

    /// Waits until all that is under way is answered.
    pub(super) fn drain(&mut self) -> Result<(), ClientError> {
        while let Some(done) = self.client.next_done()? {
            self.tell(done);
        }
        Ok(())
    }

    /// Tells what is over, without waiting for more.
    fn tell_done(&mut self) {
        while let Some(done) = self.client.take_done() {
            self.tell(done);
        }
    }

    /// A request for `job` was made, or was not legal.
    pub(super) fn requested(
        &mut self,
        job: Job,
        requested: Result<Result<RequestId, Code>, ClientError>,
    ) -> Result<(), ClientError> {
        self.tell_done();
        match requested? {
            Ok(id) => {
                self.open.insert(id, job);
            }
            Err(code) => self.tell_failure(&job, Failure::Local(code), None),
        }
        Ok(())
    }

    /// Asks for something that moves no data.
    pub(super) fn request(&mut self, job: Job, request: &Request<'_>) -> Result<(), ClientError> {
        let requested = self.client.request(request);
        self.requested(job, requested)
    }

    /// What is in a remote directory, as it was when this was asked first. Why it cannot be listed is
    /// told, unless it is not there.
    pub(super) fn look(
        &mut self,
        directory: &str,
    ) -> Result<Result<Rc<Entries>, Failure>, ClientError> {
        if let Some(seen) = self.seen.get(directory) {
            return Ok(seen.clone());
        }
        // Answers of files under way come first.
        self.drain()?;
        let seen = match self.client.list(directory)? {
            Ok(listing) => {
                if listing.skipped > 0 {
                    self.account.fail(&format!(
                        "{directory}: {} names are not UTF-8 or too long, and are left out",
                        listing.skipped
                    ));
                }
                let entries = listing.entries.into_iter().map(|entry| (entry.name, entry.meta));
                Ok(Rc::new(entries.collect()))
            }
            Err(failure) => {
                if failure.code() != Code::NotFound {
                    let told = format_args!("cannot list {directory:?}: {failure}");
                    self.account.fail(&advised(told, advice(failure)));
                }
                Err(failure)
            }
        };
        self.seen.insert(directory.to_owned(), seen.clone());
        Ok(seen)
    }

    /// What is at `path`, by the listing of its directory.
    pub(super) fn find(&mut self, path: &str) -> Result<Option<Meta>, ClientError> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.look(directory)?.ok().and_then(|entries| entries.get(name).copied()))
    }

    /// The BLAKE3 of a remote file; none where it cannot be had.
    pub(super) fn digest_there(&mut self, path: &str) -> Result<Option<Digest>, ClientError> {
        self.drain()?;
        Ok(match self.client.ask(&Request::Stat { path, digest: true })? {
            Ok(Reply::Stat { digest, .. }) => digest,
            _ => None,
        })
    }

    fn tell(&mut self, done: Done) {
        let Some(job) = self.open.remove(&done.request) else { return };
        self.tell_moved(&job, Moved { result: done.result, reason: done.reason });
    }

    /// Tells what came of `job`.
    pub(super) fn tell_moved(&mut self, job: &Job, moved: Moved) {
        match (moved.result, job) {
            (Ok(Reply::Stored { size, root, suffix }), Job::Send { remote, .. }) => {
                let path = with_suffix(remote, suffix);
                self.account.add(size);
                let (blake3, console) = (root.to_string(), self.account.console);
                self.account.meter.aside(|| {
                    console.object(&json!({ "path": path, "size": size, "blake3": blake3 }));
                    console.detail(format_args!("stored {path:?}, {size} bytes, blake3 {blake3}"));
                    if suffix > 0 && !console.json {
                        console.summary(format_args!("{remote:?} was there: stored as {path:?}"));
                    }
                });
            }
            (Ok(Reply::Unchanged), Job::Send { remote, .. }) => self.account.add_unchanged(remote),
            (Ok(Reply::Got { size, root, suffix }), Job::Fetch { remote, local }) => {
                self.account.add(size);
                let Some(local) = local else { return };
                let stored = match local.file_name().and_then(|name| name.to_str()) {
                    Some(name) if suffix > 0 => {
                        local.with_file_name(suffixed(name, suffix).as_str())
                    }
                    _ => local.clone(),
                };
                let (blake3, console) = (root.to_string(), self.account.console);
                self.account.meter.aside(|| {
                    console.object(&json!({
                        "path": remote, "file": stored, "size": size, "blake3": blake3,
                    }));
                    console
                        .detail(format_args!("fetched {stored:?}, {size} bytes, blake3 {blake3}"));
                    if suffix > 0 && !console.json {
                        console.summary(format_args!("{local:?} was there: stored as {stored:?}"));
                    }
                });
            }
            (Ok(Reply::Done), Job::Remove { remote }) => self.account.add_removed(remote),
            (Err(failure), Job::MakeDirectory { .. }) if failure.code() == Code::Exists => {}
            (Err(failure), job) => self.tell_failure(job, failure, moved.reason),
            (Ok(_), _) => {}
        }
    }

    fn tell_failure(&mut self, job: &Job, failure: Failure, reason: Option<io::Error>) {
        let told = if failure.code() == Code::Cancelled && self.client.is_stopped() {
            format!("{}: stopped, and nothing of it was kept", job.remote())
        } else {
            failed(job, failure, reason)
        };
        self.account.fail(&told);
    }
}

impl Job {
    fn remote(&self) -> &str {
        match self {
            Self::Send { remote, .. }
            | Self::Fetch { remote, .. }
            | Self::MakeDirectory { remote }
            | Self::Remove { remote } => remote,
        }
    }
}

/// How a failure is told.
fn failed(job: &Job, failure: Failure, reason: Option<io::Error>) -> String {
    let advice = advice(failure);
    match (job, reason) {
        (Job::Send { local, .. }, Some(error)) => {
            format!("{}: cannot read it: {error}", shown(local.as_ref()))
        }
        (Job::Send { local, remote }, None) => {
            let local = shown(local.as_ref());
            match failure {
                Failure::Peer(Code::Cancelled) => {
                    format!("{local}: became shorter while it was read, and was not stored")
                }
                Failure::Peer(Code::NotFound) => advised(
                    format_args!("{local} to {remote:?}: there is no such directory"),
                    "make it with `kift mkdir`",
                ),
                _ => advised(format_args!("{local} to {remote:?}: {failure}"), advice),
            }
        }
        (Job::Fetch { local: Some(local), .. }, Some(error))
            if error.kind() == io::ErrorKind::AlreadyExists =>
        {
            advised(
                format_args!("{}: already exists", local.display()),
                "use --on-conflict replace or keep-both",
            )
        }
        (Job::Fetch { remote, local: Some(local) }, Some(error)) => {
            format!("{remote}: cannot write {}: {error}", local.display())
        }
        (Job::Fetch { remote, local: None }, Some(error)) => {
            format!("{remote}: cannot write standard output: {error}")
        }
        (Job::Fetch { remote, .. }, None) => advised(format_args!("{remote}: {failure}"), advice),
        (Job::MakeDirectory { remote }, _) => {
            advised(format_args!("directory {remote:?}: {failure}"), advice)
        }
        (Job::Remove { remote }, _) => {
            advised(format_args!("cannot remove {remote:?}: {failure}"), advice)
        }
    }
}

fn shown(local: Option<&PathBuf>) -> String {
    local.map_or_else(|| "standard input".to_owned(), |local| local.display().to_string())
}

/// The path under which a file was stored.
fn with_suffix(path: &str, suffix: u32) -> String {
    match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/{}", suffixed(name, suffix)),
        None => suffixed(path, suffix).to_string(),
    }
}
