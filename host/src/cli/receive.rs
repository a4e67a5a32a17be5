//! `kift receive`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use indicatif::HumanBytes;
use kift_core::wire::{self, Code, EntryKind, Meta};
use serde_json::json;

use super::Verdict;
use super::args::Receive;
use super::connect::{Interrupts, connect_to_offer};
use super::console::{Console, printable};
use super::manage::failed;
use super::shell::There;
use super::transfer::{Choices, Destination, Mover};
use crate::client::Client;
use crate::remote::join;

/// Something that is offered.
struct Offered {
    /// Where it is there.
    path: String,
    name: String,
    meta: Meta,
}

pub(super) fn run(receive: &Receive, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let directory = &receive.directory;
    if !directory.is_dir() {
        bail!(
            "{}: there is no such directory here\nmake it first, or name another",
            directory.display()
        );
    }
    if wire::Path::name(&format!("{}x", receive.prefix)).is_err() {
        bail!("--prefix {:?}: no name can begin like that", receive.prefix);
    }
    let is_watched = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !receive.yes && !is_watched {
        bail!("there is nobody here to say whether it is accepted\nsay so by --yes");
    }
    let interrupts = Interrupts::default();
    interrupts.watch(&interrupts.end)?;
    let client = connect_to_offer(&receive.remote, &receive.link, place, &interrupts)?;
    let there = There::new(String::new());
    there.connect(client);
    // A person takes the time that it takes.
    There::keep_alive(&there).context("cannot start a thread")?;
    let offered = look(receive, &there, console)?;
    let mut is_left_out = false;
    let mut accepted = Vec::new();
    for file in offered {
        if receive.yes && receive.prefix.is_empty() && file.name.starts_with('.') {
            is_left_out = true;
            console.error(format_args!(
                "{}: left out, since hidden names can be settings of programs\naccept it without --yes, or \
                 give it a --prefix",
                printable(&file.name)
            ));
        } else if receive.yes || interrupts.ask(|| accepts(&file))? {
            accepted.push(file);
        }
    }
    if accepted.is_empty() {
        there.with(Client::finish)??;
        console.summary(format_args!("nothing was received"));
        console.object(&json!({ "summary": { "files": 0, "bytes": 0 } }));
        return Ok(if is_left_out { Verdict::SomeFailed } else { Verdict::AllDone });
    }
    let conflict = receive.on_conflict.into();
    let choices = Choices { conflict, ..Choices::default() };
    let verdict = there.with(|client| {
        let mut mover = Mover::new(client, &choices, console);
        let queued = accepted.into_iter().try_for_each(|file| {
            let local = directory.join(format!("{}{}", receive.prefix, file.name));
            mover.fetch(&[file.path], &Destination::File(local))
        });
        // A goodbye right behind the requests would be answered before the receipts are there.
        let verdict = mover.settle(queued)?;
        client.finish()?;
        anyhow::Ok(verdict)
    })??;
    Ok(if is_left_out { Verdict::SomeFailed } else { verdict })
}

/// What is offered.
fn look(receive: &Receive, there: &Arc<There>, console: &Console) -> Result<Vec<Offered>> {
    let path = &receive.remote.path;
    let listing = match there.with(|client| client.list(path))?? {
        Ok(listing) => listing,
        Err(failure) if failure.code() == Code::NotDirectory => {
            let meta = there.with(|client| client.stat(path))??;
            let meta = meta.map_err(|failure| failed(&console.name(path), failure))?;
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            return Ok(vec![Offered { path: path.clone(), name, meta }]);
        }
        Err(failure) => return Err(failed(&receive.remote, failure)),
    };
    let files: Vec<_> = listing
        .entries
        .into_iter()
        .filter(|entry| entry.meta.kind == EntryKind::File)
        .map(|entry| Offered { path: join(path, &entry.name), name: entry.name, meta: entry.meta })
        .collect();
    if files.is_empty() {
        bail!("{}: no file is offered there", receive.remote);
    }
    Ok(files)
}

/// Whether a person wants the file.
fn accepts(file: &Offered) -> io::Result<bool> {
    let mut err = io::stderr();
    write!(err, "Accept {}, {}? [y/N] ", printable(&file.name), HumanBytes(file.meta.size))?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
