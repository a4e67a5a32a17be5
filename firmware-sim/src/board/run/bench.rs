//! What stands around the device while it works: its peer, a clock, somebody who watches.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::string::ToString as _;
use std::sync::atomic::Ordering;
use std::thread::{Builder, scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::life::{Account, Seen, Task, World};
use super::machine::{LIVES, Machine};
use super::meter::Meter;
use super::peer::Peer;

/// The address of the machine's end of the wire, in a namespace of our own.
const HOST: &str = "192.168.69.1";

/// How often the board looks after the peer.
const TICK: Duration = Duration::from_millis(10);

pub(super) struct Bench<'a> {
    world: &'a World,
    command: &'a [OsString],
    peer: Option<Peer>,
    ends: Option<Instant>,
}

impl<'a> Bench<'a> {
    /// With a `command` beside the device, and not longer than `run_time`.
    pub(super) fn new(
        world: &'a World,
        command: &'a [OsString],
        run_time: Option<Duration>,
    ) -> Self {
        let ends = run_time.map(|time| world.origin + time);
        Self { world, command, peer: None, ends }
    }

    /// Runs the device until it has done what it was to do, through a power cut if there is one.
    pub(super) fn run(&mut self, machine: &Machine) -> Result<Account> {
        // A device that asks finds its server; a device that serves is waited for.
        if let Task::Errand(_) = self.world.task {
            self.start_peer(&[("KIFT_HOST", HOST.as_ref())])?;
        }
        for number in 0..LIVES {
            let account = self.live(number, machine)?;
            if !self.world.chip.is_off() {
                return Ok(account);
            }
            let operations = self.world.chip.nor().operations();
            self.world.screen.line(format_args!(
                "board: power cut in operation {operations} of the flash; booting again"
            ));
            self.world.chip.power_on();
        }
        Err(anyhow!("the power was cut too often"))
    }

    fn live(&mut self, number: usize, machine: &Machine) -> Result<Account> {
        let world = self.world;
        scope(|threads| {
            let device = Builder::new()
                .name("device".to_string())
                .spawn_scoped(threads, || (machine.live)(number, world))
                .context("cannot start the device's thread")?;
            let mut meter = Meter::new(world.screen);
            while !device.is_finished() {
                sleep(TICK);
                let seen = world.seen();
                meter.show(&seen.counters);
                if let Err(error) = self.look_after_peer(&seen) {
                    world.stop.store(true, Ordering::Relaxed);
                    let _ = device.join();
                    return Err(error);
                }
            }
            device.join().map_err(|_| anyhow!("the device crashed"))?
        })
    }

    fn look_after_peer(&mut self, seen: &Seen) -> Result<()> {
        if let (None, &Task::Serve(port), Some(ip)) = (&self.peer, &self.world.task, seen.address) {
            let device = SocketAddr::new(ip, port).to_string();
            self.start_peer(&[("KIFT_DEVICE", device.as_ref()), ("KIFT_HOST", HOST.as_ref())])?;
        }
        let is_over = self.ends.is_some_and(|ends| Instant::now() >= ends);
        match self.peer.as_mut().and_then(Peer::ended) {
            Some(status) if matches!(self.world.task, Task::Errand(_)) => {
                bail!("the command beside the device ended before the errand was done: {status}")
            }
            None if !is_over => {}
            _ => self.world.stop.store(true, Ordering::Relaxed),
        }
        Ok(())
    }

    fn start_peer(&mut self, environment: &[(&str, &OsStr)]) -> Result<()> {
        self.peer = Peer::start(self.command, environment.iter().copied())?;
        Ok(())
    }

    /// Ends the command beside the device, and says how it ended where that was before.
    pub(super) fn leave(mut self) -> Option<ExitStatus> {
        let peer = self.peer.as_mut()?;
        let status = peer.ended();
        peer.stop();
        status
    }
}
