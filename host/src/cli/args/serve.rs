//! Serving.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::Link;
use crate::config::server::Settings;
use crate::config::{Listen, LogFormat, Sandbox, Span};
use crate::remote::Remote;

/// Serve a directory.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Serve {
    /// The directory to serve [default: .]
    dir: Option<PathBuf>,
    /// Read settings from this TOML file, too; SIGHUP has them read again
    #[arg(long, value_name = "FILE", env = "KIFT_SERVE_CONFIG")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Print such a file, with every setting and its default
    #[arg(long)]
    pub(in crate::cli) print_config: bool,
    /// Where to listen, or :PORT for every address; port 0 takes a free one. Unless told otherwise, port
    /// 5438 of every address of this machine, or with --plain of 127.0.0.1 alone
    #[arg(long, value_name = "[ADDR]:PORT", env = "KIFT_SERVE_LISTEN")]
    listen: Option<Listen>,
    /// Write the port to this file once the server listens; it goes when the server does
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Serve plain links: nothing is encrypted, and whoever reaches the port may do everything. For
    /// closed networks; both ends must say so
    #[arg(long)]
    plain: bool,
    /// Let whoever reaches the port of a plain server see who is there, and stop it
    #[arg(long)]
    plain_admin: bool,
    /// What to do where the kernel cannot keep the server to its directories [default: auto]
    #[arg(long, value_enum, value_name = "WHEN")]
    sandbox: Option<Sandbox>,
    /// Serve files and take none
    #[arg(long)]
    read_only: bool,
    /// Serve files that have more than one hard link
    #[arg(long)]
    allow_hardlinks: bool,
    /// Sessions at once; further clients are told to come later [default: 64]
    #[arg(long, value_name = "N", value_parser = positive, env = "KIFT_SERVE_MAX_SESSIONS")]
    max_sessions: Option<NonZeroUsize>,
    /// Seconds that running transfers get when the server is stopped [default: 10]
    #[arg(long, value_name = "SECONDS", env = "KIFT_SERVE_GRACE")]
    grace: Option<u64>,
    /// Take so many chunks of 1024 bytes before any is acknowledged; with 1, senders stop and wait
    /// after each [default: 32768]
    #[arg(long, value_name = "CHUNKS")]
    window: Option<NonZeroU32>,
    /// Tell a monitoring system (Prometheus) what was done, at http://ADDR:PORT/metrics, without
    /// encryption or login: best on 127.0.0.1
    #[arg(long, value_name = "ADDR:PORT", env = "KIFT_SERVE_METRICS")]
    metrics: Option<SocketAddr>,
    /// How the log is written [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "KIFT_SERVE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

impl Serve {
    /// What the command line and the environment set.
    pub(in crate::cli) fn settings(&self) -> Settings {
        let given = |switch: bool| switch.then_some(true);
        Settings {
            dir: self.dir.clone(),
            listen: self.listen,
            port_file: self.port_file.clone(),
            plain: given(self.plain),
            plain_admin: given(self.plain_admin),
            sandbox: self.sandbox,
            read_only: given(self.read_only),
            allow_hardlinks: given(self.allow_hardlinks),
            log_format: self.log_format,
            metrics: self.metrics,
            max_sessions: self.max_sessions,
            window: self.window,
            grace: self.grace.map(|seconds| Span(Duration::from_secs(seconds))),
            ..Settings::default()
        }
    }
}

fn positive(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "a number from 1 on is needed".to_owned())
}

/// Show what a server is doing.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Status {
    /// The server
    pub(in crate::cli) remote: Remote,
    #[command(flatten)]
    pub(in crate::cli) link: Link,
}

/// Show uploads that were interrupted.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Partials {
    /// The server
    pub(in crate::cli) remote: Remote,
    /// Have the server forget the one with this id, as it is shown
    #[arg(long, value_name = "ID", conflicts_with = "discard_all")]
    pub(in crate::cli) discard: Option<String>,
    /// Have the server forget all of them
    #[arg(long)]
    pub(in crate::cli) discard_all: bool,
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
