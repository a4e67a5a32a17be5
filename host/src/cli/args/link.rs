//! To which server, and by what kind of link.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use kift_core::secure::{Fingerprint, NotText, PublicKey};

/// How a link is protected, and who is at its ends.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Link {
    /// The server must have this key: what it printed when it started, SHA256:..., or the key itself
    /// [env: KIFT_SERVER_KEY]
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) server_key: Option<ServerKey>,
    /// A file whose first line is the password of the user that the remote names
    /// [env: KIFT_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) password_file: Option<PathBuf>,
    /// A file with a pairing token that the server has too, for a first contact
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server_key", "password_file"])]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Use a plain link: nothing is encrypted and nobody is authenticated. Both ends must say so
    #[arg(long, conflicts_with_all = ["server_key", "password_file", "token_file"])]
    pub(in crate::cli) plain: bool,
    /// Take so many chunks of 1024 bytes before any is acknowledged; with 1, the server stops and waits
    /// after each. To be seen with -vv [default: 32768]
    #[arg(long, value_name = "CHUNKS")]
    pub(in crate::cli) window: Option<NonZeroU32>,
}

/// A server's key, as a user names it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) enum ServerKey {
    Fingerprint(Fingerprint),
    Key(PublicKey),
}

impl FromStr for ServerKey {
    type Err = NotText;

    fn from_str(text: &str) -> Result<Self, NotText> {
        text.parse().map(Self::Fingerprint).or_else(|_| text.parse().map(Self::Key))
    }
}
