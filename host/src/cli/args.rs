//! The command line, as the user writes it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use kift_core::wire::Conflict;

use crate::remote::Remote;

/// Move files between machines, whole or not at all.
///
/// A REMOTE is host[:port][/path] or kift://host[:port][/path]; the default port is 5438. IPv6
/// addresses are written in brackets. A path that ends in a slash is a directory.
#[derive(Debug, Parser)]
#[command(name = "kift", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) output: Output,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What the user wants to see.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// Show neither progress nor summary, only errors
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Show more: each file; of a server with -vv, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Print results as JSON, an object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve a directory
    Serve(Serve),
    /// Send files
    Put(Put),
    /// Fetch files
    Get(Get),
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
    /// Show it all on this machine: serve, send a file, list, fetch it back, compare
    Demo(Demo),
}

/// How a link is protected.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Link {
    /// Use a plain link: nothing is encrypted and nobody is authenticated. Both ends must say so
    #[arg(long)]
    pub(super) plain: bool,
}

impl Link {
    /// A plain link is used only by those who say so.
    pub(super) fn check(self) -> Result<()> {
        if !self.plain {
            bail!(
                "this version has no sealed links yet. With --plain, given at both ends, files \
                 travel unencrypted and anyone who reaches the port may read and change what is \
                 served; damage on the way is still detected. Use it on a network you trust"
            );
        }
        Ok(())
    }
}

/// Serve a directory.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// The directory to serve
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// Where to listen; port 0 takes a free one. 0.0.0.0 or [::] is every address of this machine
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5438")]
    pub(super) listen: SocketAddr,
    /// Write the port to this file once the server listens
    #[arg(long, value_name = "FILE")]
    pub(super) port_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) link: Link,
    /// Serve files and take none
    #[arg(long)]
    pub(super) read_only: bool,
    /// Serve files that have more than one hard link
    #[arg(long)]
    pub(super) allow_hardlinks: bool,
    /// Sessions at once; further clients are told to come later
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub(super) max_sessions: usize,
    /// Seconds that running transfers get when the server is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(super) grace: u64,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1 on is needed".to_owned()),
        Ok(n) => Ok(n),
    }
}

/// What to do where a name is taken.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum OnConflict {
    /// The new file takes the old one's place, whole and at once
    #[default]
    Replace,
    /// The new file is stored as name_1.ext
    KeepBoth,
    /// The new file is refused
    Refuse,
}

impl From<OnConflict> for Conflict {
    fn from(choice: OnConflict) -> Self {
        match choice {
            OnConflict::Replace => Self::Replace,
            OnConflict::KeepBoth => Self::KeepBoth,
            OnConflict::Refuse => Self::Refuse,
        }
    }
}

/// Send files.
#[derive(Debug, clap::Args)]
pub(super) struct Put {
    // One list, since the parser takes no `-name` behind `--` in a list that another operand follows.
    /// Files to send, where - is standard input; then where to: a directory, or the new name of a
    /// single file
    #[arg(required = true, value_name = "FILE... REMOTE")]
    pub(super) operands: Vec<PathBuf>,
    /// Send directories with all that is in them
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// What to do where a name is taken
    #[arg(long, value_enum, default_value_t)]
    pub(super) on_conflict: OnConflict,
    /// The name that a single file gets
    #[arg(long)]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) link: Link,
}

/// Fetch files.
#[derive(Debug, clap::Args)]
pub(super) struct Get {
    /// What to fetch, REMOTE/PATH, all from one server; then where to, if not here. A last argument
    /// that does not name the same server is the place to fetch to; - is standard output
    #[arg(required = true, value_name = "REMOTE/PATH... [DEST]")]
    pub(super) operands: Vec<String>,
    /// Fetch directories with all that is in them
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// What to do where a name is taken here
    #[arg(long, value_enum, default_value_t)]
    pub(super) on_conflict: OnConflict,
    #[command(flatten)]
    pub(super) link: Link,
}

/// List a directory.
#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    /// The directory
    pub(super) remote: Remote,
    #[command(flatten)]
    pub(super) link: Link,
}

/// Show what is known of a file.
#[derive(Debug, clap::Args)]
pub(super) struct Stat {
    /// The file or directory
    pub(super) remote: Remote,
    /// Have the server read the whole file for its BLAKE3
    #[arg(long)]
    pub(super) blake3: bool,
    #[command(flatten)]
    pub(super) link: Link,
}

/// Remove files and empty directories.
#[derive(Debug, clap::Args)]
pub(super) struct Rm {
    /// What to remove, all on one server
    #[arg(required = true)]
    pub(super) remotes: Vec<Remote>,
    #[command(flatten)]
    pub(super) link: Link,
}

/// Rename a file or directory.
#[derive(Debug, clap::Args)]
pub(super) struct Mv {
    /// The file or directory
    pub(super) remote: Remote,
    /// Its new path, from the server's root
    pub(super) new: String,
    /// Let a file that has the new name give way
    #[arg(long)]
    pub(super) replace: bool,
    #[command(flatten)]
    pub(super) link: Link,
}

/// Make a directory.
#[derive(Debug, clap::Args)]
pub(super) struct Mkdir {
    /// The directory
    pub(super) remote: Remote,
    #[command(flatten)]
    pub(super) link: Link,
}

/// Show how much room the server has.
#[derive(Debug, clap::Args)]
pub(super) struct Df {
    /// The server
    pub(super) remote: Remote,
    #[command(flatten)]
    pub(super) link: Link,
}

/// Show it all on this machine.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// The file to send; the kift program itself unless given
    pub(super) file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
