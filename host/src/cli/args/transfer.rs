//! Sending and fetching.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use kift_core::wire::Conflict;

use super::Link;
use crate::cli::transfer::{Filter, Skip};
use crate::client::LINKS_MAX;
use crate::remote::Remote;

/// What to do where a name is taken.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(in crate::cli) enum OnConflict {
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

/// What of a directory is moved.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Filters {
    /// Of what is in directories, move only files that fit: a pattern of names, such as *.log, or with
    /// a slash in it of paths from the top. May be given several times
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out what fits, though it is included; with a slash at its end, directories alone
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
}

impl Filters {
    pub(in crate::cli) fn filter(&self) -> Result<Filter> {
        Filter::new(&self.include, &self.exclude)
    }
}

/// What is moved, and what need not be.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Selection {
    #[command(flatten)]
    filters: Filters,
    /// Do not move a file that is there with the same size and time of last modification
    #[arg(long)]
    skip_unchanged: bool,
    /// Do not move a file that is there with the same size and BLAKE3: both ends read theirs
    #[arg(long)]
    checksum: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(in crate::cli) dry_run: bool,
}

impl Selection {
    pub(in crate::cli) fn filter(&self) -> Result<Filter> {
        self.filters.filter()
    }

    pub(in crate::cli) fn skip(&self) -> Skip {
        match (self.checksum, self.skip_unchanged) {
            (true, _) => Skip::Checksum,
            (false, true) => Skip::Time,
            (false, false) => Skip::Never,
        }
    }
}

/// Send files.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Put {
    // One list, since the parser takes no `-name` behind `--` in a list that another operand follows.
    /// Files to send, where - is standard input; then where to: a directory, or the new name of a
    /// single file
    #[arg(required = true, value_name = "FILE... REMOTE")]
    pub(in crate::cli) operands: Vec<PathBuf>,
    /// Send directories with all that is in them
    #[arg(short, long)]
    pub(in crate::cli) recursive: bool,
    /// What to do where a name is taken
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) on_conflict: OnConflict,
    /// The name that a single file gets
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) selection: Selection,
    /// Have so many data links beside the first, over all of which large files go
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(LINKS_MAX)))]
    pub(in crate::cli) links: Option<u8>,
    #[command(flatten)]
    pub(in crate::cli) retry: Retry,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// What to do where the link is lost, or cannot be had yet.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(in crate::cli) struct Retry {
    /// Where the link is lost, or cannot be had yet, try again up to so many times in a row, each time
    /// after a longer while. Files go on where they were
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(in crate::cli) retry: u32,
}

/// Fetch files.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Get {
    /// What to fetch, REMOTE/PATH, all from one server; then where to, if not here. A last argument
    /// that does not name the same server is the place to fetch to; - is standard output
    #[arg(required = true, value_name = "REMOTE/PATH... [DEST]")]
    pub(in crate::cli) operands: Vec<String>,
    /// Fetch directories with all that is in them
    #[arg(short, long)]
    pub(in crate::cli) recursive: bool,
    /// What to do where a name is taken here
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) on_conflict: OnConflict,
    #[command(flatten)]
    pub(in crate::cli) selection: Selection,
    /// Have so many data links beside the first, over all of which large files go
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(LINKS_MAX)))]
    pub(in crate::cli) links: Option<u8>,
    #[command(flatten)]
    pub(in crate::cli) retry: Retry,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Make a directory like another one.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Sync {
    /// The directory with the files: here, or on a server
    pub(in crate::cli) source: String,
    /// The directory that is to have them too, on a server where the other one is here. It is made if
    /// need be
    pub(in crate::cli) destination: String,
    /// Remove what only the destination has. Nothing is removed where anything failed
    #[arg(long)]
    pub(in crate::cli) delete: bool,
    #[command(flatten)]
    pub(in crate::cli) filters: Filters,
    /// Compare files of the same size by BLAKE3, and not by time: both ends read theirs
    #[arg(long)]
    pub(in crate::cli) checksum: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(in crate::cli) dry_run: bool,
    /// Have so many data links beside the first, over all of which large files go
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(LINKS_MAX)))]
    pub(in crate::cli) links: Option<u8>,
    #[command(flatten)]
    pub(in crate::cli) retry: Retry,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Show files.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Cat {
    /// What to show, all on one server
    #[arg(required = true, value_name = "REMOTE/PATH")]
    pub(in crate::cli) remotes: Vec<Remote>,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}
