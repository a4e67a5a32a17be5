//! One life of the device, from its boot to its end or a power cut.

use core::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::string::String;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Clock};

use anyhow::{Context as _, Result, anyhow};
use kift_core::secure::Token;
use kift_core::session::Failure::Local;
use kift_core::wire::Code;

use super::chip::Chip;
use super::errands::run_errands;
use super::here::{Board, since};
use super::plug::Plug;
use crate::board::factory;
use crate::board::heap;
use crate::board::report::Screen;
use crate::device::ask::Trouble;
use crate::device::seal::{AnyLinks, Keys, Links as _, NoKeys};
use crate::device::serve::Stats;
use crate::device::{BootError, Device, Memory, Platform as _, log};
use crate::flash::{MountError, Store};
use crate::net::{self, Counters, Peaks};

/// How long the network has for what was sent last.
const FAREWELL: Duration = Duration::from_millis(200);

/// What the device is to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Serve on this port.
    Serve(u16),
    /// Do an errand.
    Errand(Rounds),
}

/// How a device's links are protected.
#[derive(Debug)]
pub(crate) enum Seal {
    Plain,
    /// By its keys; with the token, if there is one, somebody new becomes known.
    Sealed(Option<Token>),
}

/// An errand, and how often.
#[derive(Debug)]
pub(crate) struct Rounds {
    pub(crate) kind: Kind,
    /// The file in flash.
    pub(crate) local: String,
    pub(crate) address: SocketAddr,
    /// The file on the server.
    pub(crate) remote: String,
    pub(crate) every: Duration,
    pub(crate) times: u64,
}

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Push,
    Fetch,
}

/// What a life has around it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) task: Task,
    pub(super) network: net::Config,
    /// How its links are protected.
    pub(super) seal: Seal,
    /// The log that the device writes at its boot: its name and its size.
    pub(super) log: Option<(String, u64)>,
    pub(super) seed: u64,
    pub(super) chip: Chip,
    pub(super) plug: Plug,
    pub(super) frames_come: OwnedFd,
    pub(super) screen: Screen,
    pub(super) origin: Clock,
    pub(super) stop: Arc<AtomicBool>,
    /// What the board sees of the device.
    pub(super) seen: Mutex<Seen>,
}

impl World {
    pub(super) fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the board sees of the device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) counters: Counters,
    /// Where it can be reached, once it listens.
    pub(super) address: Option<IpAddr>,
}

/// What a life came to.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) peaks: Peaks,
    pub(super) served: Option<Stats>,
    pub(super) allocations: u64,
    /// Why it did not do what it was to do.
    pub(super) failure: Option<Failure>,
}

/// Why a device did not do what it was to do.
#[derive(Debug)]
pub(super) enum Failure {
    Log(Code),
    Keys(NoKeys),
    Listen(net::Error),
    Errand(Trouble<net::Error>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(code) => write!(f, "the device cannot write its log: {code}"),
            Self::Keys(error @ NoKeys::NoSeed) => {
                write!(f, "{error}: `flash format` gives it one, and --plain does without")
            }
            Self::Keys(error) => write!(f, "{error}"),
            Self::Errand(trouble @ Trouble::Stranger(_)) => write!(
                f,
                "{trouble}. Nothing was sent to it. If that is the right server, `flash trust` has \
                 the device know its key, and --pair TOKEN does so without comparing"
            ),
            Self::Listen(error) => write!(f, "the device cannot listen: {error}"),
            Self::Errand(trouble @ Trouble::Request(Local(Code::NotFound))) => {
                write!(
                    f,
                    "{trouble}: --log SIZE has it written, `flash add` copies one into an image"
                )
            }
            Self::Errand(trouble) => write!(f, "{trouble}"),
        }
    }
}

pub(super) fn live<
    const SESSIONS: usize,
    const SOCKETS: usize,
    const SLOTS: usize,
    const BUFFER: usize,
>(
    memory: &'static Memory<
        Plug,
        Store<Chip, SESSIONS>,
        AnyLinks,
        SESSIONS,
        SOCKETS,
        SLOTS,
        BUFFER,
    >,
    world: &World,
) -> Result<Account> {
    let now = || since(world.origin);
    let mount = || Store::mount(world.chip.clone());
    let boot = || memory.boot(world.plug.clone(), mount, &world.network, now());
    let booted = match boot() {
        Err(BootError::Disk(MountError::Blank)) => {
            factory::format(&mut world.chip.nor(), true).context("cannot format the flash")?;
            boot()
        }
        booted => booted,
    };
    let device = booted.map_err(|error| {
        anyhow!(
            "the device does not boot: {error}; `flash format` makes an empty store of an image"
        )
    })?;
    let board = Board::new(world, device.stack);
    heap::watch();
    let result = work(device, &board);
    let allocations = heap::unwatch();
    let peaks = (0..SOCKETS).filter_map(|socket| board.stack().peaks(socket)).fold(
        Peaks::default(),
        |most, peaks| Peaks { rx: most.rx.max(peaks.rx), tx: most.tx.max(peaks.tx) },
    );
    let (served, failure) = match result {
        Ok(served) => (served, None),
        Err(failure) => (None, Some(failure)),
    };
    Ok(Account { peaks, served, allocations, failure })
}

/// What the device does once it has booted. From here on it may not allocate.
fn work<const SESSIONS: usize>(
    device: Device<Plug, Store<Chip, SESSIONS>, AnyLinks, SESSIONS>,
    board: &Board<'_>,
) -> Result<Option<Stats>, Failure> {
    let world = board.world();
    if let Some((name, size)) = &world.log {
        log::keep(&mut device.disk.handle(0), name, *size, board).map_err(Failure::Log)?;
    }
    let links = match &world.seal {
        Seal::Plain => AnyLinks::Plain(crc32c::crc32c),
        Seal::Sealed(token) => {
            let keys = Keys::open(device.disk, token.clone()).map_err(Failure::Keys)?;
            let public = keys.public();
            world.screen.line(format_args!("device: key {public}, {}", public.fingerprint()));
            if token.is_some() && !keys.is_pairing() {
                world
                    .screen
                    .line(format_args!("device: the token was used, and is not taken again"));
            }
            AnyLinks::Sealed(keys)
        }
    };
    world.chip.arm();
    let result = match &world.task {
        Task::Serve(port) => device.serve(*port, links, board).map(Some).map_err(Failure::Listen),
        Task::Errand(rounds) => run_errands(device, rounds, board, links).map(|()| None),
    };
    let until = board.now().after(FAREWELL);
    while board.now() < until {
        board.turn(until);
    }
    result
}
