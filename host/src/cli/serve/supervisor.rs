//! Whoever supervises the server, such as systemd: hands it a socket, and is told how it is.
//!
//! Where there is nobody, the environment names no socket, and nothing here does anything.

use std::cell::Cell;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::debug;

/// The sockets that were handed over.
pub(super) fn listeners() -> Result<Vec<TcpListener>> {
    let mut handed = ListenFd::from_env();
    let taken: Result<Vec<_>, _> =
        (0..handed.len()).map(|at| handed.take_tcp_listener(at)).collect();
    let taken = taken.context("cannot use the sockets that were handed over (LISTEN_FDS)")?;
    Ok(taken.into_iter().flatten().collect())
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "cannot tell the supervisor");
    }
}

/// The server takes connections.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The server reads its settings again; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Tells the supervisor that the server lives, as often as it wants to know.
pub(super) struct Pulse {
    every: Option<Duration>,
    told: Cell<Instant>,
    stopping: Cell<bool>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        // Twice as often as needed, as the supervisor's manual has it.
        let every = sd_notify::watchdog_enabled().map(|patience| patience / 2);
        Self { every, told: Cell::new(Instant::now()), stopping: Cell::new(false) }
    }

    pub(super) fn beat(&self, is_stopping: bool) {
        if is_stopping && !self.stopping.replace(true) {
            tell(&[NotifyState::Stopping]);
        }
        if self.every.is_some_and(|every| self.told.get().elapsed() >= every) {
            self.told.set(Instant::now());
            tell(&[NotifyState::Watchdog]);
        }
    }
}
