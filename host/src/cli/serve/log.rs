//! Where a server writes what it does, and how much of it.

use std::io;

use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::cli::args::Output;
use crate::cli::console::in_colour;
use crate::config::server::Settings;
use crate::config::{Level, LogFormat};

/// The log, whose level can be changed.
pub(in crate::cli) struct Log(Box<dyn Fn(EnvFilter) -> bool + Send>);

impl Log {
    /// Logs to standard error from now on.
    pub(in crate::cli) fn start(output: &Output, settings: &Settings) -> Self {
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter(output, settings))
            .with_writer(io::stderr)
            .with_ansi(in_colour(&io::stderr()))
            .with_target(false);
        match settings.log_format.unwrap_or_default() {
            LogFormat::Text => {
                let log = log.with_filter_reloading();
                let handle = log.reload_handle();
                log.init();
                Self(Box::new(move |filter| handle.reload(filter).is_ok()))
            }
            LogFormat::Json => {
                let log = log.json().flatten_event(true).with_filter_reloading();
                let handle = log.reload_handle();
                log.init();
                Self(Box::new(move |filter| handle.reload(filter).is_ok()))
            }
        }
    }

    /// Logs as much as other settings say.
    pub(super) fn change(&self, output: &Output, settings: &Settings) {
        if !(self.0)(filter(output, settings)) {
            warn!("cannot change how much is logged");
        }
    }
}

/// The environment's, or else the command line's, or else the file's.
fn filter(output: &Output, settings: &Settings) -> EnvFilter {
    let level = match (output.quiet, output.verbose) {
        (true, _) => Level::Warn,
        (false, 0) => settings.log_level.unwrap_or_default(),
        (false, 1) => Level::Debug,
        (false, _) => Level::Trace,
    };
    EnvFilter::try_from_env("KIFT_LOG").unwrap_or_else(|_| EnvFilter::new(level.name()))
}
