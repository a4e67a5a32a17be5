//! The interactive modes.

use super::Link;
use crate::remote::Remote;

/// One session, and one command after the other.
///
/// Commands are typed at a prompt, or read from standard input where that is no terminal.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Shell {
    /// The server, and the directory to begin in
    pub(in crate::cli) remote: Remote,
    /// Do these commands, with ; between them, and end
    #[arg(short, long, value_name = "COMMANDS")]
    pub(in crate::cli) command: Option<String>,
    /// Go on with a script although a command failed
    #[arg(short, long)]
    pub(in crate::cli) keep_going: bool,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}
