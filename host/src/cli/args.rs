//! The command line, as the user writes it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use kift_core::secure::{Fingerprint, NotText, PublicKey};
use kift_core::wire::Conflict;

use crate::access::Options;
use crate::remote::Remote;

/// Move files between machines, whole or not at all.
///
/// A REMOTE is host[:port][/path] or kift://[user@]host[:port][/path]; the default port is 5438. IPv6
/// addresses are written in brackets. A path that ends in a slash is a directory.
#[derive(Debug, Parser)]
#[command(name = "kift", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) output: Output,
    /// Where this machine keeps its key and whom it knows; kift in the user's state directory unless
    /// given
    #[arg(long, global = true, env = "KIFT_STATE", hide_env_values = true, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
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
    /// Show it all on this machine: serve, send a file, list, fetch it back, compare
    Demo(Demo),
}

/// How a link is protected, and who is at its ends.
#[derive(Debug, clap::Args)]
pub(super) struct Link {
    /// The server must have this key: what it printed when it started, SHA256:..., or the key itself
    #[arg(long, value_name = "KEY")]
    pub(super) server_key: Option<ServerKey>,
    /// A file whose first line is the password of the user that the remote names
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// A file with a pairing token that the server has too, for a first contact
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server_key", "password_file"])]
    pub(super) token_file: Option<PathBuf>,
    /// Use a plain link: nothing is encrypted and nobody is authenticated. Both ends must say so
    #[arg(long, conflicts_with_all = ["server_key", "password_file", "token_file"])]
    pub(super) plain: bool,
}

/// A server's key, as a user names it.
#[derive(Debug, Clone, Copy)]
pub(super) enum ServerKey {
    Fingerprint(Fingerprint),
    Key(PublicKey),
}

impl FromStr for ServerKey {
    type Err = NotText;

    fn from_str(text: &str) -> Result<Self, NotText> {
        text.parse().map(Self::Fingerprint).or_else(|_| text.parse().map(Self::Key))
    }
}

/// Serve a directory.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// The directory to serve
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// Where to listen; port 0 takes a free one. Unless told otherwise, port 5438 of every address of
    /// this machine, or with --plain of 127.0.0.1 alone
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: Option<SocketAddr>,
    /// Write the port to this file once the server listens
    #[arg(long, value_name = "FILE")]
    pub(super) port_file: Option<PathBuf>,
    /// Serve plain links: nothing is encrypted, and whoever reaches the port may do everything. For
    /// closed networks; both ends must say so
    #[arg(long)]
    pub(super) plain: bool,
    /// What to do where the kernel cannot keep the server to its directories
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(super) sandbox: Sandbox,
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

/// Whether a server is kept to its directories by the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Sandbox {
    /// As far as the kernel can
    #[default]
    Auto,
    /// Or not serve at all
    Require,
    /// Not
    Off,
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

/// This machine's key, and those of servers.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make a key
    Gen {
        /// Make one even if there is one: whoever knows the old one must be told
        #[arg(long)]
        replace: bool,
    },
    /// Show the public half, as `kift authorize` takes it
    Show,
    /// Show the short name of a key
    Fingerprint {
        /// The public key; this machine's unless given
        key: Option<PublicKey>,
    },
    /// Forget the keys of a server, which has a new one: the next contact is a first one
    Forget {
        /// The server, as it was named when it was met
        #[arg(value_name = "HOST[:PORT]")]
        server: Remote,
    },
}

/// Who may log in.
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add a user
    Add {
        /// The name
        name: String,
        /// What they may do, such as ro, or rw,path=DIR,quota=10G,from=10.0.0.0/8,expires=2030-01-31
        #[arg(value_name = "RIGHTS", default_value = "rw")]
        options: Options,
        #[command(flatten)]
        password: PasswordSource,
        /// Give them no password: their keys alone let them in
        #[arg(long, conflicts_with = "password_file")]
        no_password: bool,
    },
    /// Change a user's password
    Passwd {
        /// The name
        name: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Remove a user, and their keys; sessions of theirs end within seconds
    Rm {
        /// The name
        name: String,
    },
    /// Show all users
    Ls,
}

/// Where a password is taken from.
#[derive(Debug, clap::Args)]
pub(super) struct PasswordSource {
    /// Read the password from this file instead of asking for it
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

/// Let whoever has a key in.
#[derive(Debug, clap::Args)]
#[command(override_usage = "kift authorize USER KEY [RIGHTS]\n       kift authorize --remove KEY")]
pub(super) struct Authorize {
    /// Whom the key lets in; the key as `kift key show` shows it; what of the user's rights it gives,
    /// if not all: as for `kift user add`
    #[arg(required_unless_present = "remove", num_args = 2..=4, value_name = "USER KEY [RIGHTS]")]
    pub(super) operands: Vec<String>,
    /// Let nobody in by this key any more
    #[arg(long, value_name = "KEY", conflicts_with = "operands")]
    pub(super) remove: Option<PublicKey>,
}

/// Let in whoever first shows a token.
#[derive(Debug, clap::Args)]
pub(super) struct Pair {
    /// Who they will be
    #[arg(required_unless_present = "cancel")]
    pub(super) user: Option<String>,
    /// What of the user's rights they get, if not all: as for `kift user add`
    #[arg(value_name = "RIGHTS")]
    pub(super) options: Option<Options>,
    /// How long the token works, such as 10m or 1h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = lasting)]
    pub(super) lasts: Duration,
    /// Let the token that is open work no more
    #[arg(long, conflicts_with_all = ["user", "options"])]
    pub(super) cancel: bool,
}

/// Longer than a token should lie about.
const LASTS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

fn lasting(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(lasts) if lasts >= Duration::from_secs(1) && lasts <= LASTS_MAX => Ok(lasts),
        _ => Err("a time from 1s up to 24h is needed, such as 10m".to_owned()),
    }
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
