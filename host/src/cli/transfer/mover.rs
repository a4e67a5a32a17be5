//! Requests under way, and what came of them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result};
use indicatif::HumanBytes;
use kift_core::session::{Failure, Reply};
use kift_core::storage::RequestId;
use kift_core::wire::{Ask, Code, Digest, Meta, Request, suffixed};
use serde_json::json;

use super::Choices;
use super::account::Account;
use crate::cli::Verdict;
use crate::cli::connect::again;
use crate::cli::console::{Console, advice, advised};
use crate::cli::meter::Meter;
use crate::client::{Client, ClientError, Crew, Done, Moved, Notice};
use crate::journal::{Entry, Journal};
use crate::state::State;

/// The entries of a remote directory.
pub(super) type Entries = BTreeMap<String, Meta>;

/// What a request that is under way is for.
#[derive(Debug)]
pub(super) enum Job {
    /// None for standard input.
    Send {
        local: Option<PathBuf>,
        remote: String,
        /// By which a later command goes on with it.
        entry: Option<Entry>,
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
    /// Of what an earlier attempt left: whether it is there does not matter.
    Discard,
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
    /// Where uploads are remembered.
    pub(super) journal: Option<Journal>,
    /// Something of an earlier attempt was asked for: it may turn out to have changed since.
    pub(super) goes_on: bool,
    /// What is to be moved anew: it has changed since an earlier attempt.
    changed: Vec<Job>,
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
        let (notes, meter) = (console.clone(), account.meter.clone());
        client.on_notices(move |notice| {
            let told = match notice {
                Notice::Lost { why, wait } => again(why, wait),
                Notice::Resumed { path, bytes } => {
                    format!("{path:?} goes on behind the {} that are there", HumanBytes(bytes))
                }
            };
            meter.aside(|| notes.summary(format_args!("{told}")));
        });
        Self {
            client,
            choices,
            account,
            open: HashMap::new(),
            crew: None,
            seen: HashMap::new(),
            journal: None,
            goes_on: false,
            changed: Vec::new(),
        }
    }

    /// Remembers uploads in the directory `place` or where this machine usually remembers things, so that
    /// a later command can go on with them.
    pub(in crate::cli) fn remember(&mut self, place: Option<&Path>) {
        // Without it, uploads only begin anew.
        let opened = State::open(place).map_err(|error| format!("{error:#}"));
        let opened = opened.and_then(|state| Journal::open(&state).map_err(|e| e.to_string()));
        match opened {
            Ok(journal) => self.journal = Some(journal),
            Err(error) => {
                self.account.detail(format_args!("uploads cannot be remembered: {error}"));
            }
        }
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
        let result = queued.and_then(|()| self.move_changed()).and_then(|()| self.client.finish());
        self.conclude(result)
    }

    /// The same, and the session goes on.
    pub(in crate::cli) fn settle(mut self, queued: Result<(), ClientError>) -> Result<Verdict> {
        let result = queued.and_then(|()| self.move_changed()).and_then(|()| self.drain());
        self.conclude(result)
    }

    /// Moves anew what has changed since an earlier attempt, if that can be among what is under way.
    fn move_changed(&mut self) -> Result<(), ClientError> {
        // In another session anything may be found to have changed.
        let mut may_come = self.goes_on || self.client.retries();
        while may_come || !self.changed.is_empty() {
            self.drain()?;
            may_come = false;
            for job in std::mem::take(&mut self.changed) {
                let (remote, side) = (job.remote(), if job.is_sent() { "here" } else { "there" });
                let told = format!("{remote:?} has changed {side} since, and begins again");
                self.account.tell(&told);
                match job {
                    Job::Send { local: Some(local), remote, .. } => {
                        self.send_file(local, remote, Ask::Now)?;
                    }
                    Job::Fetch { remote, local } => self.fetch_file(&remote, local, None)?,
                    Job::Send { .. }
                    | Job::MakeDirectory { .. }
                    | Job::Remove { .. }
                    | Job::Discard => {}
                }
            }
        }
        Ok(())
    }

    fn conclude(&mut self, result: Result<(), ClientError>) -> Result<Verdict> {
        // Answers came although the session may have broken.
        self.tell_done();
        for job in std::mem::take(&mut self.changed) {
            self.tell_failure(&job, Failure::Local(Code::Changed), None);
        }
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
        let Done { result, reason, resumed, skipped, .. } = done;
        self.tell_moved(job, Moved { result, reason, resumed, skipped });
    }

    /// Tells what came of `job`.
    pub(super) fn tell_moved(&mut self, mut job: Job, moved: Moved) {
        if let Job::Send { entry, .. } = &mut job
            && let Some(entry) = entry.take()
        {
            entry.forget();
        }
        if moved.is_of_what_changed() {
            self.changed.push(job);
            return;
        }
        let skipped = moved.skipped;
        match (moved.result, &job) {
            (Ok(Reply::Stored { size, root, suffix }), Job::Send { remote, .. }) => {
                let path = with_suffix(remote, suffix);
                self.account.add(size.saturating_sub(skipped));
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
                self.account.add(size.saturating_sub(skipped));
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
            (Err(_), Job::Discard) => {}
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
    fn is_sent(&self) -> bool {
        matches!(self, Self::Send { .. })
    }

    fn remote(&self) -> &str {
        match self {
            Self::Send { remote, .. }
            | Self::Fetch { remote, .. }
            | Self::MakeDirectory { remote }
            | Self::Remove { remote } => remote,
            Self::Discard => "",
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
        (Job::Send { local, remote, .. }, None) => {
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
        (Job::Discard, _) => format!("cannot discard what was left of an upload: {failure}"),
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
