//! A run of the simulator: the board, the device on a thread of its own, and the peer beside it.

mod bench;
mod chip;
mod errands;
mod here;
mod life;
mod machine;
mod meter;
mod peer;
mod plug;
mod summary;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::string::String;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::vec::Vec;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::link::{Link, Wire};
use super::netns::Namespace;
use super::nor::{Nor, Times};
use super::pcap::Pcap;
use super::report::Screen;
use super::tap::Tap;
use crate::net;
use bench::Bench;
use chip::Chip;
use life::World;
pub(super) use life::{Kind, Rounds, Seal, Task};
use machine::Machine;
pub(super) use machine::choose;
use plug::Plug;

/// The name of the TAP interface in a namespace of our own.
const TAP: &str = "tap0";

/// The address of the device's Ethernet interface: one that is locally administered.
const MAC: [u8; 6] = *b"\x02kift\x01";

/// What is to be run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) task: Task,
    pub(super) seal: Seal,
    /// The log that the device writes at its boot: its name and its size.
    pub(super) log: Option<(String, u64)>,
    pub(super) machine: &'static Machine,
    pub(super) flash: Flash,
    /// The TAP interface to use; none for one in a namespace of our own.
    pub(super) tap: Option<String>,
    pub(super) address: net::Address,
    pub(super) wire: Wire,
    pub(super) pcap: Option<PathBuf>,
    pub(super) run_time: Option<Duration>,
    pub(super) peer: Vec<OsString>,
}

/// The flash image of a device.
#[derive(Debug)]
pub(super) struct Flash {
    pub(super) image: PathBuf,
    /// Bytes of an image that is made.
    pub(super) size: u32,
    pub(super) times: Times,
    /// The operation after boot in which the power is cut, and how it tears.
    pub(super) cut: Option<(u64, u64)>,
}

/// Runs the device, and the command beside it, until either has done what it was to do.
pub(super) fn run(plan: Plan) -> Result<ExitCode> {
    let stop = stop_on_signals().context("cannot watch for signals")?;
    let tap = match &plan.tap {
        None => Namespace::enter()?.tap(TAP)?,
        Some(name) => Tap::open(name)?,
    };
    let frames_come = tap.as_fd().try_clone_to_owned()?;
    let chip = Chip::new(
        open_image(&plan.flash.image, plan.flash.size, plan.flash.times)?,
        plan.flash.cut,
    );
    let link = Link::new(tap, plan.wire);
    let cable =
        Pcap::new(link, plan.pcap.as_deref()).context("cannot write the frames to a file")?;
    let world = World {
        task: plan.task,
        network: net::Config { mac: MAC, address: plan.address, seed: plan.wire.seed },
        seal: plan.seal,
        log: plan.log,
        seed: plan.wire.seed,
        plug: Plug::new(cable, chip.clone()),
        chip,
        frames_come,
        screen: Screen::new(),
        origin: Instant::now(),
        stop,
        seen: Mutex::default(),
    };
    let mut bench = Bench::new(&world, &plan.peer, plan.run_time);
    let result = bench.run(plan.machine);
    let status = bench.leave();
    if let Ok(account) = &result {
        summary::print(&world, plan.machine, account);
    }
    if let Some(cable) = world.plug.cable().take() {
        cable.finish().context("the file of frames is not whole")?;
    }
    let account = result?;
    if account.allocations > 0 {
        bail!("the device allocated after its boot");
    }
    match (account.failure, status) {
        (Some(failure), _) => bail!("{failure}"),
        (None, Some(status)) if !status.success() => Ok(exit_code(status)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The first signal ends the run as it should end, a second one at once.
fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// The image at `path`; where there is none, a blank one of `size` bytes.
pub(super) fn open_image(path: &Path, size: u32, times: Times) -> Result<Nor> {
    match fs::metadata(path) {
        Ok(there) if there.len() > 0 => Nor::open(path, times),
        _ => Nor::open_or_create(path, size, times),
    }
}

/// A shell's exit code for how a command ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
