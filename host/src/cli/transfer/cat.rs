//! `kift cat`.

use std::path::Path;

use anyhow::{Result, bail};

use super::incoming::Destination;
use super::{Choices, Mover};
use crate::cli::args::Cat;
use crate::cli::console::Console;
use crate::cli::{Verdict, connect};

pub(in crate::cli) fn run(cat: &Cat, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let Some((first, others)) = cat.remotes.split_first() else { return Ok(Verdict::AllDone) };
    if let Some(other) = others.iter().find(|other| !other.same_server(first)) {
        bail!("{other} is not on {}: show files of one server at a time", first.address());
    }
    let choices = Choices::default();
    let mut client = connect(first, &cat.link, place)?;
    let mut mover = Mover::new(&mut client, &choices, console);
    let paths: Vec<String> = cat.remotes.iter().map(|remote| remote.path.clone()).collect();
    let queued = mover.fetch(&paths, &Destination::StandardOutput);
    mover.goodbye(queued)
}
