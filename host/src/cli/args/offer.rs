//! Offering and receiving.

use std::path::PathBuf;
use std::str::FromStr;

use kift_core::secure::{Fingerprint, PublicKey};
use kift_core::wire::is_user_name;

use super::{Link, OnConflict};
use crate::config::Listen;
use crate::remote::Remote;

/// Offer files to whoever has the token that is shown.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Offer {
    /// What to offer
    #[arg(required = true, value_name = "FILE")]
    pub(in crate::cli) files: Vec<PathBuf>,
    /// Offer them to a single receiver, and end when they were received whole
    #[arg(long)]
    pub(in crate::cli) once: bool,
    /// Offer them to whoever has this key, its fingerprint, or a key of this user (`kift authorize`),
    /// instead of by a token. May be given several times
    #[arg(long, value_name = "KEY|USER", conflicts_with_all = ["plain", "token_file"])]
    pub(in crate::cli) to: Vec<Whom>,
    /// Where to listen, or :PORT for every address. Unless told otherwise, a free port of every address
    /// of this machine, or with --plain of 127.0.0.1 alone
    #[arg(long, value_name = "[ADDR]:PORT")]
    pub(in crate::cli) listen: Option<Listen>,
    /// Write the port to this file; it goes when the offer does
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) port_file: Option<PathBuf>,
    /// Write the token to this file instead of showing it; it goes when the offer does
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Offer them to whoever comes, over plain links: nothing is encrypted. Both ends must say so
    #[arg(long)]
    pub(in crate::cli) plain: bool,
}

/// Whom something is for.
#[derive(Debug, Clone)]
pub(in crate::cli) enum Whom {
    Key(Fingerprint),
    User(String),
}

impl FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = text.parse::<PublicKey>().map(|key| key.fingerprint());
        match key.or_else(|_| text.parse()) {
            Ok(key) => Ok(Self::Key(key)),
            Err(_) if is_user_name(text) => Ok(Self::User(text.to_owned())),
            Err(_) => Err("it is neither a key, nor a fingerprint, nor a user's name".to_owned()),
        }
    }
}

/// Receive what is offered.
///
/// Files get the names that they have there. None that is here already is touched.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Receive {
    /// Who offers it
    pub(in crate::cli) remote: Remote,
    /// The directory to store it in
    #[arg(default_value = ".")]
    pub(in crate::cli) directory: PathBuf,
    /// Accept all of it unasked
    #[arg(short, long)]
    pub(in crate::cli) yes: bool,
    /// What to do where a name is taken
    #[arg(long, value_enum, default_value = "keep-both")]
    pub(in crate::cli) on_conflict: OnConflict,
    /// Put this before each name, such as downloaded_
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(in crate::cli) prefix: String,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}
