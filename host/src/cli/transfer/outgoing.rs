//! Sends files.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use kift_core::wire::{Ask, Digest, EntryKind, Meta, Put, Request, TransferId};

use super::Skip;
use super::mover::{Job, Mover};
use super::tree::{NOT_UTF8, branches};
use crate::client::{ClientError, Contents, Patient, Upload, new_transfer_id, timestamp};
use crate::journal::{Earlier, Entry};
use crate::remote::join;

/// Bytes of the smallest file that is worth being gone on with.
const REMEMBERED_MIN: u64 = 2 << 20;

/// Where files are sent to.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Target<'a> {
    /// The path on the server.
    pub(in crate::cli) path: &'a str,
    /// Files go into it, rather than becoming it.
    pub(in crate::cli) is_directory: bool,
    /// The name that a single file gets in it.
    pub(in crate::cli) name: Option<&'a str>,
}

/// Something to be sent.
#[derive(Debug)]
enum Item {
    Directory { remote: String },
    File { local: PathBuf, remote: String, meta: Metadata },
    StandardInput { remote: String },
}

impl Target<'_> {
    /// The path that a file gets whose own name is `own`, where it has one; `single` if no other is
    /// sent.
    fn of(&self, own: Option<&str>, single: bool) -> Result<String> {
        let path = self.path;
        match (self.name, self.is_directory, own) {
            (Some(name), true, _) => Ok(join(path, name)),
            (Some(_), false, _) => bail!("{path:?} is not a directory, and --name needs one"),
            (None, true, Some(name)) => Ok(join(path, name)),
            (None, true, None) => bail!("standard input has no name: add one to {path:?}"),
            (None, false, _) if single => Ok(path.to_owned()),
            (None, false, _) => {
                bail!("{path:?} is not a directory: several files need one (`kift mkdir` makes it)")
            }
        }
    }
}

impl Mover<'_> {
    /// Sends `files`, of which `-` is standard input, to `target`.
    ///
    /// # Errors
    /// The outer one says why nothing was sent; the inner one ends the client.
    pub(in crate::cli) fn send(
        &mut self,
        files: &[PathBuf],
        target: Target<'_>,
    ) -> Result<Result<(), ClientError>> {
        if target.name.is_some() && files.len() != 1 {
            bail!("--name is for a single file, and {} are given", files.len());
        }
        let mut items = Vec::new();
        let single = files.len() == 1;
        for local in files {
            if local.as_os_str() == "-" {
                items.push(Item::StandardInput { remote: target.of(None, single)? });
                continue;
            }
            let meta = match local.metadata() {
                Ok(meta) => meta,
                Err(error) => {
                    self.account.fail(&format!("{}: {error}", local.display()));
                    continue;
                }
            };
            let own = match local.file_name().map(|name| name.to_str()) {
                Some(Some(name)) => name,
                Some(None) => {
                    self.account.fail(&format!("{}: {NOT_UTF8}", local.display()));
                    continue;
                }
                // `.`, `..` and `/`: what is in them goes straight into the target.
                None => "",
            };
            let remote = target.of(Some(own), single)?;
            if !meta.is_dir() {
                items.push(Item::File { local: local.clone(), remote, meta });
            } else if self.choices.recursive {
                self.add_tree(&mut items, local, &remote);
            } else {
                self.account.fail(&format!(
                    "{}: is a directory: use -r to send what is in it",
                    local.display()
                ));
            }
        }
        Ok(self.send_all(items))
    }

    /// Sends what is in the directory `top` into `target`, which is made if need be, and says what
    /// there is in it then, or would have been but for a failure.
    pub(super) fn send_tree(
        &mut self,
        top: &Path,
        target: &str,
    ) -> Result<Vec<String>, ClientError> {
        let mut items = Vec::new();
        for (at, _) in target.match_indices('/') {
            items.push(Item::Directory { remote: target[..at].to_owned() });
        }
        self.add_tree(&mut items, top, target);
        let remotes = items.iter().map(|item| item.remote().to_owned()).collect();
        self.send_all(items)?;
        Ok(remotes)
    }

    fn add_tree(&mut self, items: &mut Vec<Item>, top: &Path, target: &str) {
        for branch in branches(top, &self.choices.filter, &mut self.account) {
            let remote = join(target, &branch.below);
            match branch.file {
                None if remote.is_empty() => {}
                None => items.push(Item::Directory { remote }),
                Some(meta) => items.push(Item::File { local: branch.local, remote, meta }),
            }
        }
    }

    fn send_all(&mut self, items: Vec<Item>) -> Result<(), ClientError> {
        // A pipe's bytes are not known before they came.
        let sizes = items.iter().map(Item::size);
        self.account.meter.expect(sizes.sum());
        for item in items {
            if self.client.is_stopped() {
                break;
            }
            self.send_one(item)?;
        }
        Ok(())
    }

    fn send_one(&mut self, item: Item) -> Result<(), ClientError> {
        let dry_run = self.choices.dry_run;
        match item {
            Item::Directory { remote } if dry_run => {
                if self.find(&remote)?.is_none() {
                    self.account.would(format_args!("would make the directory {remote:?}"));
                }
                Ok(())
            }
            Item::StandardInput { remote } if dry_run => {
                self.account.would(format_args!("would send standard input to {remote:?}"));
                Ok(())
            }
            Item::Directory { remote } => {
                let request = Request::MakeDirectory { path: &remote };
                let requested = self.client.request(&request);
                self.requested(Job::MakeDirectory { remote }, requested)
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
                self.put(None, remote, Box::new(Patient(input)), None, Ask::Now)
            }
            Item::File { local, remote, meta } => match self.is_there(&local, &meta, &remote)? {
                Ok(There::Unchanged) => {
                    self.account.meter.unexpect(meta.len());
                    self.account.add_unchanged(&remote);
                    Ok(())
                }
                Ok(_) if dry_run => {
                    let local = local.display();
                    self.account.would(format_args!("would send {local} to {remote:?}"));
                    Ok(())
                }
                Ok(There::Perhaps(digest)) => self.send_file(local, remote, Ask::Digest(digest)),
                Ok(There::Changed) => self.send_file(local, remote, Ask::Now),
                Err(error) => {
                    self.account.fail(&format!("{}: {error}", local.display()));
                    Ok(())
                }
            },
        }
    }

    pub(super) fn send_file(
        &mut self,
        local: PathBuf,
        remote: String,
        ask: Ask,
    ) -> Result<(), ClientError> {
        self.account.meter.show(&remote);
        let opened = File::open(&local).and_then(|file| Ok((file.metadata()?, file)));
        let (meta, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.account.fail(&format!("{}: {error}", local.display()));
                return Ok(());
            }
        };
        if meta.is_file() && self.crew.as_ref().is_some_and(|crew| crew.takes(meta.len())) {
            self.put_in_runs(local, remote, file, &meta, ask)
        } else if meta.is_file() {
            self.put(Some(local), remote, Box::new(file), Some(&meta), ask)
        } else {
            self.put(Some(local), remote, Box::new(Patient(file)), None, Ask::Now)
        }
    }

    /// Sends a large file over the data links, or over this one if none is left.
    fn put_in_runs(
        &mut self,
        local: PathBuf,
        remote: String,
        file: File,
        meta: &Metadata,
        ask: Ask,
    ) -> Result<(), ClientError> {
        let mut attempt = self.attempt(Some(&local), &remote, Some(meta))?;
        // Of what an earlier one stored, only one link can tell.
        if !attempt.is_another {
            self.drain()?;
            let put = Put {
                path: &remote,
                transfer: attempt.transfer,
                size: Some(meta.len()),
                modified: meta.modified().ok().and_then(timestamp),
                conflict: self.choices.conflict,
                ask,
            };
            let moved = match (&mut self.crew, file.try_clone()) {
                (Some(crew), Ok(file)) => crew.put(self.client, file, put)?,
                _ => None,
            };
            if let Some(moved) = moved {
                let job = Job::Send { local: Some(local), remote, entry: attempt.entry };
                self.tell_moved(job, moved);
                return Ok(());
            }
            attempt.is_another = true;
        }
        self.put_again(Some(local), remote, Box::new(file), Some(meta), ask, attempt)
    }

    fn put(
        &mut self,
        local: Option<PathBuf>,
        remote: String,
        source: Box<dyn Contents + Send>,
        meta: Option<&Metadata>,
        ask: Ask,
    ) -> Result<(), ClientError> {
        let attempt = self.attempt(local.as_deref(), &remote, meta)?;
        self.put_again(local, remote, source, meta, ask, attempt)
    }

    fn put_again(
        &mut self,
        local: Option<PathBuf>,
        remote: String,
        source: Box<dyn Contents + Send>,
        meta: Option<&Metadata>,
        ask: Ask,
        attempt: Attempt,
    ) -> Result<(), ClientError> {
        let Attempt { transfer, is_another, entry } = attempt;
        let ask = if is_another && ask == Ask::Now { Ask::Ready } else { ask };
        self.goes_on |= (is_another || entry.is_some()) && ask != Ask::Now;
        let requested = self.client.put(Upload {
            transfer,
            path: &remote,
            size: meta.map(Metadata::len),
            modified: meta.and_then(|meta| meta.modified().ok()).and_then(timestamp),
            conflict: self.choices.conflict,
            ask,
            source,
        });
        self.requested(Job::Send { local, remote, entry }, requested)
    }

    /// An attempt at an upload, which is remembered if it is worth it. What is left of another version of
    /// the file is forgotten.
    fn attempt(
        &mut self,
        local: Option<&Path>,
        remote: &str,
        meta: Option<&Metadata>,
    ) -> Result<Attempt, ClientError> {
        let entry = match (local, meta) {
            (Some(local), Some(meta)) => self.enter(local, remote, meta),
            _ => None,
        };
        if let Some(transfer) = entry.as_ref().and_then(|entry| entry.stale) {
            self.request(Job::Discard, &Request::Discard { transfer })?;
        }
        Ok(Attempt {
            transfer: entry.as_ref().map_or_else(new_transfer_id, |entry| entry.transfer),
            is_another: entry.as_ref().is_some_and(|entry| entry.earlier == Earlier::Same),
            entry,
        })
    }

    /// Remembers an upload that is worth it.
    fn enter(&mut self, local: &Path, remote: &str, meta: &Metadata) -> Option<Entry> {
        if meta.len() < REMEMBERED_MIN {
            return None;
        }
        let to = self.client.name_of(remote)?;
        match self.journal.as_ref()?.enter(local, meta, &to) {
            Ok(entry) => {
                if entry.earlier == Earlier::Changed {
                    let local = local.display();
                    self.account.tell(&format!("{local} has changed since, and begins again"));
                }
                Some(entry)
            }
            Err(error) => {
                self.account.detail(format_args!("an upload cannot be remembered: {error}"));
                None
            }
        }
    }

    /// Whether the file `local` is at its destination already.
    fn is_there(
        &mut self,
        local: &Path,
        meta: &Metadata,
        remote: &str,
    ) -> Result<io::Result<There>, ClientError> {
        if self.choices.skip == Skip::Never || !meta.is_file() {
            return Ok(Ok(There::Changed));
        }
        let same_size = |there: &Meta| there.kind == EntryKind::File && there.size == meta.len();
        let Some(there) = self.find(remote)?.filter(same_size) else {
            return Ok(Ok(There::Changed));
        };
        if self.choices.skip == Skip::Time {
            let modified = meta.modified().ok().and_then(timestamp);
            let is_same = modified.is_some() && there.modified == modified;
            return Ok(Ok(if is_same { There::Unchanged } else { There::Changed }));
        }
        let digest = match digest_of(local) {
            Ok(digest) => digest,
            Err(error) => return Ok(Err(error)),
        };
        // Otherwise the server compares when the file is offered.
        if self.choices.dry_run && self.digest_there(remote)? == Some(digest) {
            return Ok(Ok(There::Unchanged));
        }
        Ok(Ok(There::Perhaps(digest)))
    }
}

/// An attempt at an upload.
struct Attempt {
    /// Names the upload.
    transfer: TransferId,
    /// There was one before.
    is_another: bool,
    entry: Option<Entry>,
}

/// What is known of a file at its destination before it is sent.
enum There {
    /// It is not there, or another one is.
    Changed,
    Unchanged,
    /// It is there if the file there has this hash too.
    Perhaps(Digest),
}

/// The BLAKE3 of a local file.
pub(super) fn digest_of(local: &Path) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(local)?)?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

impl Item {
    fn remote(&self) -> &str {
        match self {
            Self::Directory { remote }
            | Self::File { remote, .. }
            | Self::StandardInput { remote } => remote,
        }
    }

    /// Bytes to be sent, where they are known.
    fn size(&self) -> Option<u64> {
        match self {
            Self::Directory { .. } => Some(0),
            Self::File { meta, .. } => meta.is_file().then_some(meta.len()),
            Self::StandardInput { .. } => None,
        }
    }
}
