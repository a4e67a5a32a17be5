//! Looking at and changing what is on a server.

use super::Link;
use crate::remote::Remote;

/// List a directory.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Ls {
    /// The directory
    pub(in crate::cli) remote: Remote,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Show what is known of a file.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Stat {
    /// The file or directory
    pub(in crate::cli) remote: Remote,
    /// Have the server read the whole file for its BLAKE3
    #[arg(long)]
    pub(in crate::cli) blake3: bool,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Remove files and empty directories.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Rm {
    /// What to remove, all on one server
    #[arg(required = true)]
    pub(in crate::cli) remotes: Vec<Remote>,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Rename a file or directory.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Mv {
    /// The file or directory
    pub(in crate::cli) remote: Remote,
    /// Its new path, from the server's root
    pub(in crate::cli) new: String,
    /// Let a file that has the new name give way
    #[arg(long)]
    pub(in crate::cli) replace: bool,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Make a directory.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Mkdir {
    /// The directory
    pub(in crate::cli) remote: Remote,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Show how much room the server has.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Df {
    /// The server
    pub(in crate::cli) remote: Remote,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}
