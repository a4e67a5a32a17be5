//! `kift put`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use kift_core::wire::{Code, EntryKind};

use super::outgoing::Target;
use super::{Choices, Mover};
use crate::cli::Verdict;
use crate::cli::args::Put;
use crate::cli::connect::connect_patiently;
use crate::cli::console::{Console, advice, advised};
use crate::client::Client;
use crate::remote::Remote;

pub(in crate::cli) fn run(put: &Put, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let (files, remote) = split(&put.operands)?;
    let choices = Choices {
        recursive: put.recursive,
        conflict: put.on_conflict.into(),
        filter: put.selection.filter()?,
        skip: put.selection.skip(),
        dry_run: put.selection.dry_run,
    };
    let mut client = connect_patiently(&remote, &put.link, put.retry, place, console)?;
    let target = Target {
        path: &remote.path,
        is_directory: remote.is_directory || is_directory(&mut client, &remote.path)?,
        name: put.name.as_deref(),
    };
    let mut mover = Mover::new(&mut client, &choices, console);
    mover.remember(place);
    mover.gather(put.links)?;
    let queued = mover.send(files, target)?;
    mover.goodbye(queued)
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

/// Whether a path that was written without a slash at its end is a directory all the same.
pub(in crate::cli) fn is_directory(client: &mut Client, path: &str) -> Result<bool> {
    match client.stat(path)? {
        Ok(meta) => Ok(meta.kind == EntryKind::Directory),
        // Who may leave files, and nothing else, is not told.
        Err(failure) if matches!(failure.code(), Code::NotFound | Code::Denied) => Ok(false),
        Err(failure) => bail!(advised(format_args!("{path:?}: {failure}"), advice(failure))),
    }
}
