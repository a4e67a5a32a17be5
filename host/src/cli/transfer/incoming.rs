//! Fetches files.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kift_core::Tree;
use kift_core::wire::{Code, EntryKind, Meta, Timestamp};

use super::Skip;
use super::account::Account;
use super::mover::{Job, Mover};
use super::outgoing::digest_of;
use crate::cli::meter::Meter;
use crate::client::{ClientError, Crew, FileSink, Pipe, Sink, timestamp};
use crate::directory;
use crate::remote::join;

/// Where everything goes.
#[derive(Debug, Clone)]
pub(in crate::cli) enum Destination {
    StandardOutput,
    /// Files go into it.
    Directory(PathBuf),
    /// The one file becomes it.
    File(PathBuf),
}

impl Mover<'_> {
    /// Fetches what is at `paths`.
    pub(in crate::cli) fn fetch(
        &mut self,
        paths: &[String],
        destination: &Destination,
    ) -> Result<(), ClientError> {
        if matches!(destination, Destination::StandardOutput) {
            self.account.mute();
        }
        for path in paths {
            if self.client.is_stopped() {
                break;
            }
            let own_name = path.rsplit('/').next().unwrap_or_default();
            let local = match destination {
                Destination::StandardOutput => None,
                Destination::Directory(directory) => Some(directory.join(own_name)),
                Destination::File(path) => Some(path.clone()),
            };
            if self.choices.recursive && self.is_directory(path)? {
                match local {
                    Some(local) => {
                        self.fetch_tree(path, local)?;
                    }
                    None => self
                        .account
                        .fail(&format!("{path:?}: a directory does not fit standard output")),
                }
            } else if path.is_empty() {
                self.account.fail("the root is no file: use -r for all that is served");
            } else {
                self.fetch_file(path, local, None)?;
            }
        }
        Ok(())
    }

    fn is_directory(&mut self, path: &str) -> Result<bool, ClientError> {
        self.drain()?;
        // What is not there is told when it is fetched.
        Ok(self.client.stat(path)?.is_ok_and(|meta| meta.kind == EntryKind::Directory))
    }

    /// Fetches what is in the remote directory `top` into `local`, which is made if need be, and
    /// says what there is in it then, or would have been but for a failure. No link that lies there
    /// is followed.
    pub(super) fn fetch_tree(
        &mut self,
        top: &str,
        local: PathBuf,
    ) -> Result<HashSet<PathBuf>, ClientError> {
        let mut expected = HashSet::from([local.clone()]);
        // With what is between the top and each of them.
        let mut directories = vec![(String::new(), local)];
        while let Some((below, local)) = directories.pop() {
            if self.client.is_stopped() {
                break;
            }
            let path = join(top, &below);
            let entries = match self.look(&path)? {
                Ok(entries) => entries,
                Err(failure) => {
                    // Everything else was told.
                    if failure.code() == Code::NotFound {
                        self.account.fail(&format!("{path:?}: {failure}"));
                    }
                    continue;
                }
            };
            if !self.make_directory(&local, below.is_empty()) {
                continue;
            }
            for (name, meta) in entries.iter() {
                let below = join(&below, name);
                let is_directory = meta.kind == EntryKind::Directory;
                if self.choices.filter.leaves_out(&below, is_directory) {
                    self.account.add_left_out(&below);
                    continue;
                }
                let local = local.join(name);
                expected.insert(local.clone());
                if is_directory {
                    directories.push((below, local));
                } else {
                    self.fetch_file(&join(top, &below), Some(local), Some(*meta))?;
                }
            }
        }
        Ok(expected)
    }

    /// Makes a local directory, unless it is there already or this is a dry run; false where that
    /// fails, which is told.
    fn make_directory(&mut self, path: &Path, is_top: bool) -> bool {
        // The top was named by the user, and may be a link; below it one could lead anywhere.
        let there = if is_top { fs::metadata(path) } else { fs::symlink_metadata(path) };
        let result = match there {
            Ok(there) if there.is_dir() => Ok(()),
            Ok(there) if there.is_symlink() => {
                Err(io::Error::other("it is a link, which is not followed"))
            }
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            Err(_) if self.choices.dry_run => {
                self.account.would(format_args!("would make the directory {}", path.display()));
                Ok(())
            }
            Err(_) if is_top => directory::make(path, 0o777),
            Err(_) => fs::create_dir(path).and_then(|()| directory::sync(directory::above(path))),
        };
        if let Err(error) = &result {
            self.account.fail(&format!("{}: cannot make it: {error}", path.display()));
        }
        result.is_ok()
    }

    /// Fetches a file, of which a listing may have told `meta`.
    pub(super) fn fetch_file(
        &mut self,
        remote: &str,
        local: Option<PathBuf>,
        meta: Option<Meta>,
    ) -> Result<(), ClientError> {
        self.account.meter.show(remote);
        if let Some(local) = &local {
            if local.is_dir() {
                let local = local.display();
                self.account
                    .fail(&format!("{local}: is a directory here: name another destination"));
                return Ok(());
            }
            if self.is_here(remote, local, meta)? {
                self.account.add_unchanged(remote);
                return Ok(());
            }
        }
        if self.choices.dry_run {
            let to = local.as_ref().map_or("standard output".into(), |to| to.to_string_lossy());
            self.account.would(format_args!("would fetch {remote:?} to {to}"));
            return Ok(());
        }
        let is_large = |crew: &Crew| meta.is_none_or(|meta| crew.takes(meta.size));
        if let Some(local) = &local
            && self.crew.as_ref().is_some_and(is_large)
            // Behind what is here, only one link goes on.
            && !self.sink(remote, local).has_rest()
            && self.get_in_runs(remote, local)?
        {
            return Ok(());
        }
        let (sink, has_rest): (Box<dyn Sink + Send>, bool) = match &local {
            None => (Box::new(Pipe::new(io::stdout())), false),
            Some(local) => {
                let sink = self.sink(remote, local);
                let has_rest = sink.has_rest();
                (Box::new(sink), has_rest)
            }
        };
        let sink = Box::new(Metered { sink, meter: self.account.meter.clone() });
        self.goes_on |= has_rest;
        let requested = if has_rest {
            self.client.get_rest(remote, sink)
        } else {
            self.client.get(remote, sink)
        };
        self.requested(Job::Fetch { remote: remote.to_owned(), local }, requested)
    }

    /// Where a file is fetched to.
    fn sink(&self, remote: &str, local: &Path) -> FileSink {
        match self.client.name_of(remote) {
            Some(origin) => FileSink::of(origin, local.to_owned(), self.choices.conflict),
            None => FileSink::new(local.to_owned(), self.choices.conflict),
        }
    }

    /// Fetches a file over the data links; false where it is to be fetched over this one.
    fn get_in_runs(&mut self, remote: &str, local: &Path) -> Result<bool, ClientError> {
        self.drain()?;
        let sink = self.sink(remote, local);
        let Some(crew) = self.crew.as_mut().filter(|crew| !crew.is_empty()) else {
            return Ok(false);
        };
        let meter = self.account.meter.clone();
        let begins = |size| meter.expect(Some(size));
        let Some(moved) = crew.get(self.client, remote, sink, begins)? else { return Ok(false) };
        let job = Job::Fetch { remote: remote.to_owned(), local: Some(local.to_path_buf()) };
        self.tell_moved(job, moved);
        Ok(true)
    }

    /// Whether the remote file is here already.
    fn is_here(
        &mut self,
        remote: &str,
        local: &Path,
        meta: Option<Meta>,
    ) -> Result<bool, ClientError> {
        if self.choices.skip == Skip::Never {
            return Ok(false);
        }
        let there = match meta {
            Some(meta) => Some(meta),
            None => self.find(remote)?,
        };
        let (Some(there), Ok(here)) = (there, fs::symlink_metadata(local)) else {
            return Ok(false);
        };
        if !here.is_file() || here.len() != there.size {
            return Ok(false);
        }
        if self.choices.skip == Skip::Time {
            let modified: Option<Timestamp> = here.modified().ok().and_then(timestamp);
            return Ok(modified.is_some() && modified == there.modified);
        }
        let Ok(digest) = digest_of(local) else { return Ok(false) };
        Ok(self.digest_there(remote)? == Some(digest))
    }
}

/// A sink whose bytes a bar is to expect as soon as they are known.
struct Metered {
    sink: Box<dyn Sink + Send>,
    meter: Meter,
}

impl Sink for Metered {
    fn begin(&mut self, size: u64, modified: Option<Timestamp>) {
        self.meter.expect(Some(size));
        self.sink.begin(size, modified);
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.sink.write(data)
    }

    fn commit(&mut self) -> io::Result<u32> {
        self.sink.commit()
    }

    fn joins(&self) -> Option<&Path> {
        self.sink.joins()
    }

    fn have(&mut self) -> Option<Tree> {
        self.sink.have()
    }

    fn restart(&mut self) -> io::Result<()> {
        self.sink.restart()
    }

    fn mark(&mut self, tree: &Tree) {
        self.sink.mark(tree);
    }

    fn durable(&self) -> u32 {
        self.sink.durable()
    }

    fn suspend(&mut self) {
        self.sink.suspend();
    }
}

/// Removes what is in the directory `top` and not `expected` there, but for what the filter leaves
/// out.
pub(super) fn remove_others(mover: &mut Mover<'_>, top: &Path, expected: &HashSet<PathBuf>) {
    let walk = walkdir::WalkDir::new(top).min_depth(1).contents_first(true);
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                mover.account.fail(&format!("{}: {error}", top.display()));
                continue;
            }
        };
        let (path, is_directory) = (entry.path(), entry.file_type().is_dir());
        let below = path.strip_prefix(top).unwrap_or(path).to_string_lossy();
        if expected.contains(path) || is_left_out(mover, &below, is_directory) {
            continue;
        }
        if mover.choices.dry_run {
            mover.account.would(format_args!("would remove {}", path.display()));
            continue;
        }
        let result = if is_directory { fs::remove_dir(path) } else { fs::remove_file(path) };
        match result {
            Ok(()) => mover.account.add_removed(&path.to_string_lossy()),
            // Something in it stays.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => tell(&mut mover.account, path, &error),
        }
    }
}

/// Whether something, or a directory that it lies in, is left out.
fn is_left_out(mover: &Mover<'_>, below: &str, is_directory: bool) -> bool {
    let filter = &mover.choices.filter;
    let mut above = below.match_indices('/').map(|(at, _)| &below[..at]);
    above.any(|above| filter.leaves_out(above, true)) || filter.leaves_out(below, is_directory)
}

fn tell(account: &mut Account<'_>, path: &Path, error: &io::Error) {
    account.fail(&format!("{}: cannot remove it: {error}", path.display()));
}
