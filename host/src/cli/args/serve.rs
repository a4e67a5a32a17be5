//! Serving.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;

/// Serve a directory.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Serve {
    /// The directory to serve
    #[arg(default_value = ".")]
    pub(in crate::cli) dir: PathBuf,
    /// Where to listen; port 0 takes a free one. Unless told otherwise, port 5438 of every address of
    /// this machine, or with --plain of 127.0.0.1 alone
    #[arg(long, value_name = "ADDR:PORT")]
    pub(in crate::cli) listen: Option<SocketAddr>,
    /// Write the port to this file once the server listens
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) port_file: Option<PathBuf>,
    /// Serve plain links: nothing is encrypted, and whoever reaches the port may do everything. For
    /// closed networks; both ends must say so
    #[arg(long)]
    pub(in crate::cli) plain: bool,
    /// What to do where the kernel cannot keep the server to its directories
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(in crate::cli) sandbox: Sandbox,
    /// Serve files and take none
    #[arg(long)]
    pub(in crate::cli) read_only: bool,
    /// Serve files that have more than one hard link
    #[arg(long)]
    pub(in crate::cli) allow_hardlinks: bool,
    /// Sessions at once; further clients are told to come later
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub(in crate::cli) max_sessions: usize,
    /// Seconds that running transfers get when the server is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(in crate::cli) grace: u64,
}

/// Whether a server is kept to its directories by the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Sandbox {
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
