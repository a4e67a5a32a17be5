//! Sending and fetching.

use std::path::PathBuf;

use clap::ValueEnum;
use kift_core::wire::Conflict;

use super::Link;

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
    pub(in crate::cli) link: Link,
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
    pub(in crate::cli) link: Link,
}
