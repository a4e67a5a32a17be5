//! Who may come, and by what they are known.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use kift_core::secure::PublicKey;

use crate::access::Options;
use crate::remote::Remote;

/// This machine's key, and those of servers.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Key {
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
pub(in crate::cli) enum User {
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
    /// Change what a user may do; sessions that may do something else end within seconds
    Set {
        /// The name
        name: String,
        /// All that they may do from now on, as for `kift user add`
        #[arg(value_name = "RIGHTS")]
        options: Options,
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
pub(in crate::cli) struct PasswordSource {
    /// Read the password from this file instead of asking for it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) password_file: Option<PathBuf>,
}

/// Let whoever has a key in.
#[derive(Debug, clap::Args)]
#[command(override_usage = "kift authorize USER KEY [RIGHTS]\n       kift authorize --remove KEY")]
pub(in crate::cli) struct Authorize {
    /// Whom the key lets in; the key as `kift key show` shows it; what of the user's rights it gives,
    /// if not all: as for `kift user add`
    #[arg(required_unless_present = "remove", num_args = 2..=4, value_name = "USER KEY [RIGHTS]")]
    pub(in crate::cli) operands: Vec<String>,
    /// Let nobody in by this key any more
    #[arg(long, value_name = "KEY", conflicts_with = "operands")]
    pub(in crate::cli) remove: Option<PublicKey>,
}

/// Let in whoever first shows a token.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Pair {
    /// Who they will be
    #[arg(required_unless_present = "cancel")]
    pub(in crate::cli) user: Option<String>,
    /// What of the user's rights they get, if not all: as for `kift user add`
    #[arg(value_name = "RIGHTS")]
    pub(in crate::cli) options: Option<Options>,
    /// How long the token works, such as 10m or 1h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = lasting)]
    pub(in crate::cli) lasts: Duration,
    /// Let the token that is open work no more
    #[arg(long, conflicts_with_all = ["user", "options"])]
    pub(in crate::cli) cancel: bool,
}

/// Longer than a token should lie about.
const LASTS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

fn lasting(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(lasts) if lasts >= Duration::from_secs(1) && lasts <= LASTS_MAX => Ok(lasts),
        _ => Err("a time from 1s up to 24h is needed, such as 10m".to_owned()),
    }
}
