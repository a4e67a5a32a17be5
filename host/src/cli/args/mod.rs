//! The command line, as the user writes it: what all commands share here, the rest by what it is
//! about.

mod files;
mod link;
mod offer;
mod people;
mod serve;
mod shell;
mod transfer;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(in crate::cli) use files::{Df, Ls, Mkdir, Mv, Rm, Stat};
pub(in crate::cli) use link::{Link, ServerKey};
pub(in crate::cli) use offer::{Offer, Receive, Whom};
pub(in crate::cli) use people::{Authorize, Key, Pair, PasswordSource, User};
pub(in crate::cli) use serve::{Partials, Serve, Status, Stop};
pub(in crate::cli) use shell::Shell;
pub(in crate::cli) use transfer::{Cat, Get, OnConflict, Put, Retry, Selection, Sync};

/// Move files between machines, whole or not at all.
///
/// A REMOTE is host[:port][/path] or kift://[user@]host[:port][/path]; the default port is 5438. IPv6
/// addresses are written in brackets. A path that ends in a slash is a directory. Servers can have names
/// of your own (`kift config`): lab:/path. Where no user is named, KIFT_USER may name one.
///
/// Without a command, and on a terminal, a menu asks what is to be done.
#[derive(Debug, Parser)]
#[command(name = "kift", version, max_term_width = 100)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    pub(in crate::cli) output: Output,
    /// Where this machine keeps its key and whom it knows; kift in the user's state directory unless
    /// given
    #[arg(long, global = true, env = "KIFT_STATE", hide_env_values = true, value_name = "DIR")]
    pub(in crate::cli) state: Option<PathBuf>,
    #[command(subcommand)]
    pub(in crate::cli) command: Option<Command>,
}

/// What the user wants to see.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Output {
    /// Show neither progress nor summary, only errors
    #[arg(short, long, global = true)]
    pub(in crate::cli) quiet: bool,
    /// Show more: each file, and with -vv each step of it; of a server, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(in crate::cli) verbose: u8,
    /// Print results as JSON, an object a line
    #[arg(long, global = true)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Serve a directory
    Serve(Serve),
    /// Send files
    Put(Put),
    /// Fetch files
    Get(Get),
    /// Make a directory like another one, one of them on a server
    Sync(Sync),
    /// Offer files, and wait until they were received
    Offer(Offer),
    /// Look at what is offered, and receive it
    Receive(Receive),
    /// Show files on standard output, byte by byte as they are
    Cat(Cat),
    /// One session, and one command after the other
    Shell(Shell),
    /// List a directory
    Ls(Ls),
    /// Show size, time and, if asked, BLAKE3 of a file
    Stat(Stat),
    /// Remove files and empty directories
    Rm(Rm),
    /// Rename a file or directory
    Mv(Mv),
    /// Make a directory
    Mkdir(Mkdir),
    /// Show how much room the server has
    Df(Df),
    /// Show your uploads that were interrupted and can go on, or forget them
    Partials(Partials),
    /// Show who is on a server, and what it is doing
    Status(Status),
    /// Stop a server once what runs has ended, or its grace time is over
    Stop(Stop),
    /// This machine's key, by which others know it, and those by which it knows servers
    #[command(subcommand)]
    Key(Key),
    /// Who may log in to this machine's server
    #[command(subcommand)]
    User(User),
    /// Let whoever has a key in as a user
    Authorize(Authorize),
    /// Let in whoever first shows a token that works once
    Pair(Pair),
    /// Show the servers that have names of your own
    Config(Config),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual, or write its pages
    Man(Man),
    /// Show it all on this machine: serve, send a file, list, fetch it back, compare
    Demo(Demo),
}

/// Show the servers that have names of your own.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Config {
    /// Print a file to begin with
    #[arg(long)]
    pub(in crate::cli) example: bool,
}

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Completions {
    /// Which
    pub(in crate::cli) shell: clap_complete::Shell,
}

/// Print the manual, or write its pages.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Man {
    /// Write a page for each command into this directory
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) dir: Option<PathBuf>,
    /// Of this command
    #[arg(conflicts_with = "dir")]
    pub(in crate::cli) command: Vec<String>,
}

/// Show it all on this machine.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Demo {
    /// The file to send; the kift program itself unless given
    pub(in crate::cli) file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
