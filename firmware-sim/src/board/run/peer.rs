//! The command that runs beside the device.

use std::ffi::{OsStr, OsString};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How long it may take to end when it was asked to.
const PATIENCE: Duration = Duration::from_secs(12);

/// A command, running or ended; it does not outlive this.
#[derive(Debug)]
pub(super) struct Peer {
    child: Child,
    status: Option<ExitStatus>,
}

impl Peer {
    /// Starts `command`, where there is one, with these variables in its environment.
    pub(super) fn start<'a>(
        command: &[OsString],
        environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
    ) -> Result<Option<Self>> {
        let Some((program, arguments)) = command.split_first() else { return Ok(None) };
        let child = Command::new(program)
            .args(arguments)
            .envs(environment)
            .spawn()
            .with_context(|| std::format!("cannot start {}", program.display()))?;
        Ok(Some(Self { child, status: None }))
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // An error means that there is nothing to wait for.
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Asks it to end, waits, and ends it if it does not.
    pub(super) fn stop(&mut self) {
        if self.ended().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        let asked = Instant::now();
        while self.ended().is_none() && asked.elapsed() < PATIENCE {
            sleep(Duration::from_millis(10));
        }
        if self.ended().is_none() {
            // It may have ended meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}
