//! `kift sync`: makes a directory like another one, one of them on a server.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use kift_core::wire::{Conflict, EntryKind, Request};

use super::incoming::remove_others;
use super::mover::Job;
use super::{Choices, Mover, Skip};
use crate::cli::Verdict;
use crate::cli::args::Sync;
use crate::cli::connect::connect_patiently;
use crate::cli::console::Console;
use crate::client::ClientError;
use crate::remote::{Remote, join};

/// Which way files go.
enum Way {
    Up(PathBuf, Remote),
    Down(Remote, PathBuf),
}

pub(in crate::cli) fn run(sync: &Sync, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let way = way(&sync.source, &sync.destination)?;
    let choices = Choices {
        recursive: true,
        conflict: Conflict::Replace,
        filter: sync.filters.filter()?,
        skip: if sync.checksum { Skip::Checksum } else { Skip::Time },
        dry_run: sync.dry_run,
    };
    let (Way::Up(_, remote) | Way::Down(remote, _)) = &way;
    let mut client = connect_patiently(remote, &sync.link, sync.retry, place, console)?;
    let mut mover = Mover::new(&mut client, &choices, console);
    mover.remember(place);
    mover.gather(sync.links)?;
    let queued = match &way {
        Way::Up(here, there) => up(&mut mover, here, &there.path, sync.delete),
        Way::Down(there, here) => down(&mut mover, &there.path, here, sync.delete),
    };
    mover.goodbye(queued)
}

/// Which of the two is on a server: the one that is no path of a local directory.
fn way(source: &str, destination: &str) -> Result<Way> {
    let is_here = |text: &str| text.starts_with(['/', '.']) || Path::new(text).is_dir();
    match (is_here(source), is_here(destination)) {
        (true, false) => {
            let here = PathBuf::from(source);
            if !here.is_dir() {
                bail!("{source} is not a directory here: `kift put` sends single files");
            }
            Ok(Way::Up(here, destination.parse()?))
        }
        (false, true) => Ok(Way::Down(source.parse()?, destination.into())),
        (true, true) => bail!(
            "both {source} and {destination} are here, and one must be on a server\nwrite a server \
             as kift://HOST/PATH where a directory here has the same name"
        ),
        (false, false) => bail!(
            "neither {source} nor {destination} is a directory here\nwrite a new directory here with \
             ./ in front"
        ),
    }
}

fn up(mover: &mut Mover<'_>, here: &Path, there: &str, delete: bool) -> Result<(), ClientError> {
    let expected: HashSet<String> = mover.send_tree(here, there)?.into_iter().collect();
    if delete && may_remove(mover)? {
        remove_remote_others(mover, there, "", &expected)?;
    }
    Ok(())
}

fn down(mover: &mut Mover<'_>, there: &str, here: &Path, delete: bool) -> Result<(), ClientError> {
    let expected = mover.fetch_tree(there, here.to_owned())?;
    if delete && may_remove(mover)? && here.is_dir() {
        remove_others(mover, here, &expected);
    }
    Ok(())
}

/// Nothing is removed where anything went wrong: what could not be read would be taken for gone.
fn may_remove(mover: &mut Mover<'_>) -> Result<bool, ClientError> {
    mover.drain()?;
    if mover.account.has_failures() || mover.client.is_stopped() {
        mover.account.fail("nothing was removed, since not everything could be compared and moved");
        return Ok(false);
    }
    Ok(true)
}

/// Removes what is in a remote directory, `below` the one that is synced, and not expected there.
/// Says whether nothing is left in it.
fn remove_remote_others(
    mover: &mut Mover<'_>,
    top: &str,
    below: &str,
    expected: &HashSet<String>,
) -> Result<bool, ClientError> {
    let mut is_empty = true;
    // What cannot be listed is left as it is.
    let Ok(entries) = mover.look(&join(top, below))? else { return Ok(false) };
    for (name, meta) in entries.iter() {
        let below = join(below, name);
        let path = join(top, &below);
        let is_directory = meta.kind == EntryKind::Directory;
        if mover.choices.filter.leaves_out(&below, is_directory) {
            is_empty = false;
            continue;
        }
        let is_expected = expected.contains(&path);
        let is_bare = !is_directory || remove_remote_others(mover, top, &below, expected)?;
        if is_expected || !is_bare {
            is_empty = false;
        } else if mover.choices.dry_run {
            mover.account.would(format_args!("would remove {path:?}"));
        } else {
            let request = Request::Delete { path: &path };
            mover.request(Job::Remove { remote: path.clone() }, &request)?;
        }
    }
    Ok(is_empty)
}
