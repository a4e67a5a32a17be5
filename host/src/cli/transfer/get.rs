//! `kift get`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::incoming::Destination;
use super::{Choices, Mover};
use crate::cli::Verdict;
use crate::cli::args::Get;
use crate::cli::connect::connect_patiently;
use crate::cli::console::Console;
use crate::remote::Remote;

pub(in crate::cli) fn run(get: &Get, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let (remotes, destination) = split(&get.operands)?;
    let Some(first) = remotes.first() else { bail!("nothing to fetch is named") };
    let destination = destination_of(destination, remotes.len())?;
    let choices = Choices {
        recursive: get.recursive,
        conflict: get.on_conflict.into(),
        filter: get.selection.filter()?,
        skip: get.selection.skip(),
        dry_run: get.selection.dry_run,
    };
    let mut client = connect_patiently(first, &get.link, get.retry, place, console)?;
    let mut mover = Mover::new(&mut client, &choices, console);
    mover.gather(get.links)?;
    let paths: Vec<String> = remotes.iter().map(|remote| remote.path.clone()).collect();
    let queued = mover.fetch(&paths, &destination);
    mover.goodbye(queued)
}

/// The sources, which are all on one server, and the place they go to.
pub(super) fn split(operands: &[String]) -> Result<(Vec<Remote>, Option<&str>)> {
    let Some((first, rest)) = operands.split_first() else { return Ok((Vec::new(), None)) };
    let first: Remote = first.parse()?;
    let (rest, destination) = match rest.split_last() {
        Some((last, others)) => match last.parse::<Remote>() {
            Ok(remote) if remote.same_server(&first) => (rest, None),
            _ => (others, Some(last.as_str())),
        },
        None => (rest, None),
    };
    let mut remotes = vec![first];
    for text in rest {
        let remote: Remote = text.parse()?;
        if !remote.same_server(&remotes[0]) {
            bail!("{remote} is not on {}: fetch from one server at a time", remotes[0].address());
        }
        remotes.push(remote);
    }
    Ok((remotes, destination))
}

fn destination_of(text: Option<&str>, sources: usize) -> Result<Destination> {
    let text = text.unwrap_or(".");
    if text == "-" {
        if sources > 1 {
            bail!("standard output takes one file, and {sources} are named: use `kift cat`");
        }
        return Ok(Destination::StandardOutput);
    }
    let path = PathBuf::from(text);
    if path.is_dir() {
        return Ok(Destination::Directory(path));
    }
    if text.ends_with('/') || sources > 1 {
        bail!("{text:?} is not a directory here: make it first");
    }
    Ok(Destination::File(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(operands: &[&str]) -> (Vec<String>, Option<String>) {
        let operands: Vec<String> = operands.iter().map(|&text| text.to_owned()).collect();
        let (remotes, destination) = split(&operands).unwrap();
        (remotes.iter().map(|r| r.path.clone()).collect(), destination.map(ToOwned::to_owned))
    }

    #[test]
    fn the_last_operand_is_a_destination_unless_it_is_on_the_same_server() {
        assert_eq!(texts(&["h/a"]), (vec!["a".into()], None));
        assert_eq!(texts(&["h/a", "b"]), (vec!["a".into()], Some("b".into())));
        assert_eq!(texts(&["h/a", "h/b"]), (vec!["a".into(), "b".into()], None));
        assert_eq!(texts(&["h/a", "h/b", "-"]), (vec!["a".into(), "b".into()], Some("-".into())));
        assert_eq!(texts(&["h/a", "h:1/b"]), (vec!["a".into()], Some("h:1/b".into())));
        assert_eq!(texts(&["h/a", "./h/b"]), (vec!["a".into()], Some("./h/b".into())));
    }

    #[test]
    fn sources_are_on_one_server() {
        let operands: Vec<String> = ["h/a", "g/b", "c"].map(Into::into).into();
        assert!(split(&operands).unwrap_err().to_string().contains("one server"));
    }
}
