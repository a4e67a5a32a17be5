//! Completions and manual pages, both made of what the command line is.

use std::fs;
use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::Verdict;
use super::args::{self, Args};

/// Prints completions for a shell.
pub(super) fn completions(args: &args::Completions) -> Result<Verdict> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "kift", &mut text);
    print(&text)
}

/// Prints a page of the manual, or writes all of them.
pub(super) fn man(args: &args::Man) -> Result<Verdict> {
    // Names like `kift-put` are made while it is built.
    let mut kift = Args::command().disable_help_subcommand(true);
    kift.build();
    if let Some(directory) = &args.dir {
        fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(kift, directory))
            .with_context(|| format!("cannot write to {}", directory.display()))?;
        return Ok(Verdict::AllDone);
    }
    let page = Man::new(find(kift, &args.command)?);
    let mut text = Vec::new();
    page.render(&mut text).context("cannot make the page")?;
    print(&text)
}

fn print(text: &[u8]) -> Result<Verdict> {
    match io::stdout().write_all(text) {
        // A reader that went away has what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(Verdict::AllDone),
    }
}

/// The command that is named so.
fn find(mut command: Command, names: &[String]) -> Result<Command> {
    for name in names {
        let Some(found) = command.find_subcommand(name) else {
            bail!("there is no command {name:?}\n`kift --help` shows those that there are");
        };
        command = found.clone();
    }
    Ok(command)
}
