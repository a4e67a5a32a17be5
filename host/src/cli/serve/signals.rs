//! What signals do to a server: they stop it, or have it read its settings again.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;

use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use tracing::{info, warn};

use super::log::Log;
use super::supervisor;
use crate::cli::args::Output;
use crate::config::server::Settings;
use crate::server::{Live, Stop};

/// What is needed to read the settings again.
pub(in crate::cli) struct Reload {
    pub(super) file: PathBuf,
    /// What the command line and the environment set.
    pub(super) flags: Settings,
    /// What is in force.
    pub(super) settings: Settings,
    pub(super) limits: Live,
    pub(super) log: Log,
    pub(super) output: Output,
}

impl Reload {
    fn again(&mut self) {
        let settings = match Settings::read(&self.file) {
            Ok(settings) => self.flags.clone().or(settings),
            Err(error) => {
                let error = format!("{error:#}");
                return warn!(error, "the settings stay as they were");
            }
        };
        self.limits.set(settings.limits());
        self.log.change(&self.output, &settings);
        info!(file = ?self.file, "read the settings again");
        let waiting = settings.waiting(&self.settings);
        if !waiting.is_empty() {
            warn!(settings = waiting.join(", "), "these change when the server is started again");
        }
    }
}

/// The first signal stops the server gracefully, a second one at once; except that SIGHUP has it read
/// its settings again, where there are any. Where there are none, it was a terminal that went away.
pub(in crate::cli) fn watch(
    mut signals: Signals,
    stop: Stop,
    mut reload: Option<Reload>,
) -> io::Result<()> {
    thread::Builder::new().name("kift signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP
                && let Some(reload) = &mut reload
            {
                supervisor::reloading();
                reload.again();
                supervisor::ready();
            } else if stop.gracefully().swap(true, Ordering::Relaxed) {
                stop.at_once().store(true, Ordering::Relaxed);
            }
        }
    })?;
    Ok(())
}
