//! Serving.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

use super::Link;
use crate::remote::Remote;

/// Serve a directory.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Serve {
    /// The directory to serve
    #[arg(default_value = ".")]
    pub(in crate::cli) dir: PathBuf,
    /// Where to listen, or :PORT for every address; port 0 takes a free one. Unless told otherwise, port
    /// 5438 of every address of this machine, or with --plain of 127.0.0.1 alone
    #[arg(long, value_name = "[ADDR]:PORT")]
    pub(in crate::cli) listen: Option<Listen>,
    /// Write the port to this file once the server listens; it goes when the server does
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) port_file: Option<PathBuf>,
    /// Serve plain links: nothing is encrypted, and whoever reaches the port may do everything. For
    /// closed networks; both ends must say so
    #[arg(long)]
    pub(in crate::cli) plain: bool,
    /// Let whoever reaches the port of a plain server see who is there, and stop it
    #[arg(long, requires = "plain")]
    pub(in crate::cli) plain_admin: bool,
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
    /// Tell a monitoring system (Prometheus) what was done, at http://ADDR:PORT/metrics, without
    /// encryption or login: best on 127.0.0.1
    #[arg(long, value_name = "ADDR:PORT")]
    pub(in crate::cli) metrics: Option<SocketAddr>,
    /// How the log is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(in crate::cli) log_format: LogFormat,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// An object a line
    Json,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Listen {
    /// At this port of every address.
    Everywhere(u16),
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.strip_prefix(':').and_then(|port| port.parse().ok());
        port.map(Self::Everywhere).or_else(|| text.parse().ok().map(Self::At)).ok_or(
            "an address of this machine and a port are needed, such as 192.0.2.1:5438 or [::1]:0, or \
             :PORT for every address",
        )
    }
}

/// Show what a server is doing.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Status {
    /// The server
    pub(in crate::cli) remote: Remote,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Stop a server.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Stop {
    /// The server
    pub(in crate::cli) remote: Remote,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
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
