//! `kift put`.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kift_core::session::{Failure, Reply};
use kift_core::storage::RequestId;
use kift_core::wire::{Code, EntryKind, Request, suffixed};
use serde_json::json;
use walkdir::WalkDir;

use super::args::Put;
use super::console::{Account, Console, advice, advised};
use super::{Verdict, connect, explain};
use crate::client::{Client, ClientError, Done, Patient, Upload, timestamp};
use crate::remote::{Remote, join};

/// Something to be sent.
#[derive(Debug)]
enum Item {
    Directory { remote: String },
    File { local: PathBuf, remote: String },
    StandardInput { remote: String },
}

/// What is to be sent, under names that are relative to the target.
#[derive(Debug, Default)]
struct Plan {
    items: Vec<Item>,
    /// Bytes, as far as they are known.
    bytes: Option<u64>,
    failed: u64,
}

/// What is being sent, and what became of it.
struct Sending<'a> {
    put: &'a Put,
    account: Account<'a>,
    open: HashMap<RequestId, Item>,
}

pub(super) fn run(put: &Put, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let (files, remote) = split(&put.operands)?;
    if put.name.is_some() && files.len() != 1 {
        bail!("--name is for a single file, and {} are given", files.len());
    }
    let mut client = connect(&remote, &put.link, place)?;
    let names_directory = remote.is_directory || is_directory(&mut client, &remote)?;
    let plan = plan(put, files, &remote, names_directory, console)?;
    let meter = console.meter(plan.bytes);
    let counter = meter.clone();
    client.on_bytes(move |n| counter.add(n));
    let account = Account::new(console, meter, plan.failed);
    let mut sending = Sending { put, account, open: HashMap::new() };
    let result = sending.send_all(&mut client, plan.items);
    let verdict = sending.account.close();
    if let Err(error) = result {
        let stored = sending.account.files;
        let unknown = sending.open.len();
        return Err(explain(error)).with_context(|| {
            format!("{stored} files were stored, {unknown} were under way and are not known to be")
        });
    }
    Ok(verdict)
}

/// The files, and where they go to.
fn split(operands: &[PathBuf]) -> Result<(&[PathBuf], Remote)> {
    let Some((remote, files @ [_, ..])) = operands.split_last() else {
        bail!("what to send and where to are both needed: kift put FILE... REMOTE")
    };
    let Some(remote) = remote.to_str() else {
        bail!("{} names no server: it is not UTF-8", remote.display())
    };
    Ok((files, remote.parse()?))
}

/// Whether the target, which was written without a slash at its end, is a directory all the same.
fn is_directory(client: &mut Client, remote: &Remote) -> Result<bool> {
    match client.stat(&remote.path).map_err(explain)? {
        Ok(meta) => Ok(meta.kind == EntryKind::Directory),
        // Who may leave files, and nothing else, is not told.
        Err(failure) if matches!(failure.code(), Code::NotFound | Code::Denied) => Ok(false),
        Err(failure) => bail!(advised(format_args!("{remote}: {failure}"), advice(failure))),
    }
}

/// Finds what is to be sent; what cannot be is told at once.
fn plan(
    put: &Put,
    files: &[PathBuf],
    remote: &Remote,
    names_directory: bool,
    console: &Console,
) -> Result<Plan> {
    let mut plan = Plan { bytes: Some(0), ..Plan::default() };
    let single = files.len() == 1;
    for local in files {
        let target = |own_name: Option<&str>| -> Result<String> {
            match (&put.name, names_directory, own_name) {
                (Some(name), true, _) => Ok(remote.join(name)),
                (Some(_), false, _) => bail!("{remote} is not a directory, and --name needs one"),
                (None, true, Some(name)) => Ok(remote.join(name)),
                (None, true, None) => bail!("standard input has no name: add one to {remote}"),
                (None, false, _) if single => Ok(remote.path.clone()),
                (None, false, _) => bail!(
                    "{remote} is not a directory: several files need one (`kift mkdir` makes it)"
                ),
            }
        };
        if local.as_os_str() == "-" {
            plan.items.push(Item::StandardInput { remote: target(None)? });
            plan.bytes = None;
            continue;
        }
        let meta = match local.metadata() {
            Ok(meta) => meta,
            Err(error) => {
                plan.fail(console, local, &error);
                continue;
            }
        };
        let own_name = match local.file_name().map(|name| name.to_str()) {
            Some(Some(name)) => Some(name),
            Some(None) => {
                plan.fail(console, local, &"the name is not UTF-8, as names on the wire must be");
                continue;
            }
            // `.`, `..` and `/`: what is in them goes straight into the target.
            None => Some(""),
        };
        if !meta.is_dir() {
            plan.add(Item::File { local: local.clone(), remote: target(own_name)? }, &meta);
        } else if put.recursive {
            plan.add_tree(console, local, &target(own_name)?);
        } else {
            plan.fail(console, local, &"is a directory: use -r to send what is in it");
        }
    }
    Ok(plan)
}

impl Plan {
    fn fail(&mut self, console: &Console, local: &Path, reason: &dyn std::fmt::Display) {
        self.failed += 1;
        console.error(format_args!("{}: {reason}", local.display()));
    }

    fn add(&mut self, item: Item, meta: &Metadata) {
        // A pipe's bytes are not known before they came.
        self.bytes = self.bytes.filter(|_| meta.is_file()).map(|bytes| bytes + meta.len());
        self.items.push(item);
    }

    fn add_tree(&mut self, console: &Console, top: &Path, target: &str) {
        for entry in WalkDir::new(top).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(top).to_path_buf();
                    self.fail(console, &path, &error);
                    continue;
                }
            };
            let Some(below) = entry.path().strip_prefix(top).ok().and_then(Path::to_str) else {
                let reason = "the name is not UTF-8, as names on the wire must be";
                self.fail(console, entry.path(), &reason);
                continue;
            };
            let remote = join(target, below);
            let kind = entry.file_type();
            if kind.is_dir() {
                if !remote.is_empty() {
                    self.items.push(Item::Directory { remote });
                }
            } else if kind.is_file() {
                match entry.metadata() {
                    Ok(meta) => {
                        self.add(Item::File { local: entry.path().to_path_buf(), remote }, &meta);
                    }
                    Err(error) => self.fail(console, entry.path(), &error),
                }
            } else {
                self.fail(
                    console,
                    entry.path(),
                    &"skipped: neither a regular file nor a directory",
                );
            }
        }
    }
}

impl Sending<'_> {
    fn send_all(&mut self, client: &mut Client, items: Vec<Item>) -> Result<(), ClientError> {
        for item in items {
            let sent = self.send(client, item);
            while let Some(done) = client.take_done() {
                self.tell(done);
            }
            sent?;
        }
        // The goodbye travels behind the last file, and answers come although the session may break.
        let result = client.finish();
        while let Some(done) = client.take_done() {
            self.tell(done);
        }
        result
    }

    fn send(&mut self, client: &mut Client, item: Item) -> Result<(), ClientError> {
        let conflict = self.put.on_conflict.into();
        let requested = match &item {
            Item::Directory { remote } => {
                client.request(&Request::MakeDirectory { path: remote })?
            }
            Item::StandardInput { remote } => {
                // Not through the buffer of `Stdin`, which would hide bytes from a poll.
                let input = match io::stdin().as_fd().try_clone_to_owned() {
                    Ok(input) => File::from(input),
                    Err(error) => {
                        self.account.fail(&format!("standard input: {error}"));
                        return Ok(());
                    }
                };
                client.put(Upload {
                    path: remote,
                    size: None,
                    modified: None,
                    conflict,
                    source: Box::new(Patient(input)),
                })?
            }
            Item::File { local, remote } => {
                self.account.meter.show(remote);
                let (file, meta) = match open(local) {
                    Ok(opened) => opened,
                    Err(error) => {
                        self.account.fail(&format!("{}: {error}", local.display()));
                        return Ok(());
                    }
                };
                client.put(Upload {
                    path: remote,
                    size: meta.is_file().then_some(meta.len()),
                    modified: meta.modified().ok().filter(|_| meta.is_file()).and_then(timestamp),
                    conflict,
                    source: if meta.is_file() { Box::new(file) } else { Box::new(Patient(file)) },
                })?
            }
        };
        match requested {
            Ok(id) => {
                self.open.insert(id, item);
            }
            Err(code) => self.tell_failure(&item, Failure::Local(code), None),
        }
        Ok(())
    }

    fn tell(&mut self, done: Done) {
        let Some(item) = self.open.remove(&done.request) else { return };
        match (done.result, &item) {
            (
                Ok(Reply::Stored { size, root, suffix }),
                Item::File { remote, .. } | Item::StandardInput { remote },
            ) => {
                let path = with_suffix(remote, suffix);
                self.account.add(size);
                let blake3 = root.to_string();
                self.account.meter.aside(|| {
                    self.account
                        .console
                        .object(&json!({ "path": path, "size": size, "blake3": blake3 }));
                    self.account
                        .console
                        .detail(format_args!("stored {path:?}, {size} bytes, blake3 {blake3}"));
                    if suffix > 0 && !self.account.console.json {
                        self.account
                            .console
                            .summary(format_args!("{remote:?} was there: stored as {path:?}"));
                    }
                });
            }
            (Err(failure), Item::Directory { .. }) if failure.code() == Code::Exists => {}
            (Err(failure), item) => self.tell_failure(item, failure, done.reason),
            (Ok(_), _) => {}
        }
    }

    fn tell_failure(&mut self, item: &Item, failure: Failure, reason: Option<io::Error>) {
        let (local, remote) = match item {
            Item::File { local, remote } => (local.display().to_string(), remote),
            Item::StandardInput { remote } => ("standard input".to_owned(), remote),
            Item::Directory { remote } => ("directory".to_owned(), remote),
        };
        self.account.fail(&match (reason, failure) {
            (Some(error), _) => format!("{local}: cannot read it: {error}"),
            (None, Failure::Peer(Code::Cancelled)) => {
                format!("{local}: became shorter while it was read, and was not stored")
            }
            (None, Failure::Peer(Code::NotFound)) => {
                format!(
                    "{local} to {remote:?}: there is no such directory: make it with `kift mkdir`"
                )
            }
            (None, _) => advised(format_args!("{local} to {remote:?}: {failure}"), advice(failure)),
        });
    }
}

fn open(local: &Path) -> io::Result<(File, Metadata)> {
    let file = File::open(local)?;
    let meta = file.metadata()?;
    Ok((file, meta))
}

/// The path under which a file was stored.
fn with_suffix(path: &str, suffix: u32) -> String {
    match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/{}", suffixed(name, suffix)),
        None => suffixed(path, suffix).to_string(),
    }
}
