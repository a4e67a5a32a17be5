//! One life of the device.

use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use kift_core::secure::PublicKey;
use kift_core::time::Instant;
use kift_core::wire::TransferId;
use kift_firmware_sim::device::ask::{Done, Errand, Trouble};
use kift_firmware_sim::device::seal::{Keys, NoKeys};
use kift_firmware_sim::device::{self, BootError, Notice, Platform};
use kift_firmware_sim::disk::{Disk, Vault as _, wait};
use kift_firmware_sim::net::{self, Address, Stack};
use semihosting::experimental::env;
use semihosting::process::exit;

use crate::machine::{Console, Machine};
use crate::memory;
use crate::mission::{Mission, Mistake, Task};

/// Bytes of each of a connection's buffers.
pub const BUFFER: usize = 4096;

/// Everything that a device with one session owns.
pub type Memory<M> =
    device::Memory<<M as Machine>::Frames, <M as Machine>::Disk, Keys, 1, 2, 3, BUFFER>;

/// That device, once it has booted.
type Device<M> = device::Device<<M as Machine>::Frames, <M as Machine>::Disk, Keys, 1>;

/// The address of the device's Ethernet interface: one that is locally administered.
const MAC: [u8; 6] = *b"\x02kift\x02";

/// The port that a device serves on.
const PORT: u16 = 5438;

/// Bytes of the words that a device may be told.
const WORDS_LEN_MAX: usize = 512;

/// How long the device tries before it says that an errand failed.
const PERSEVERANCE: Duration = Duration::from_secs(60);

/// How long it waits after a failure that may pass.
const BACK_OFF: Duration = Duration::from_millis(500);

/// How long the network has for what was sent last.
const FAREWELL: Duration = Duration::from_millis(200);

/// Why a device did not do what it was to do.
enum Failure<'a, M: Machine> {
    Mission(Mistake<'a>),
    Boot(BootError<M::DiskError>),
    Keys(NoKeys),
    Listen(net::Error),
    Errand(Trouble<net::Error>),
}

impl<M: Machine> fmt::Display for Failure<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mission(mistake) => write!(f, "{mistake}"),
            Self::Boot(error @ BootError::Disk(disk)) if M::is_blank(disk) => {
                write!(f, "{error}: seed=SEED has it formatted")
            }
            Self::Boot(error) => write!(f, "{error}"),
            Self::Keys(error) => write!(f, "{error}"),
            Self::Listen(error) => write!(f, "cannot listen: {error}"),
            Self::Errand(trouble) => write!(f, "{trouble}"),
        }
    }
}

/// Boots the device that lives in `memory`, does what the words say that it was started with, and
/// ends with an exit code.
pub fn run<M: Machine>(machine: &M, memory: &'static Memory<M>) -> ! {
    let mut console = Console(machine);
    let words = env::args::<WORDS_LEN_MAX>();
    let result = match &words {
        // The first is the image's name.
        Ok(words) => live(machine, memory, words.skip(1).filter_map(Result::ok)),
        Err(_) => Err(Failure::Mission(Mistake::NoTask)),
    };
    if let Err(failure) = &result {
        console.line(format_args!("device: {failure}"));
    }
    console.line(format_args!(
        "device: stack {} bytes at most, of {}",
        memory::stack_used(),
        memory::stack_len()
    ));
    exit(result.is_err().into())
}

#[inline(never)]
fn live<'a, M: Machine>(
    machine: &M,
    memory: &'static Memory<M>,
    words: impl Iterator<Item = &'a str>,
) -> Result<(), Failure<'a, M>> {
    let mission = Mission::parse(words).map_err(Failure::Mission)?;
    let mut console = Console(machine);
    let address =
        Address::Static { v4: Some(mission.address), gateway: mission.gateway.map(Into::into) };
    let network = net::Config { mac: MAC, address, seed: 0 };
    let boot = || {
        let frames = machine.frames(MAC);
        memory.boot(frames, || machine.mount(), &network, machine.now())
    };
    let device = match boot() {
        // As by whoever fills the disks of devices before they are sold.
        Err(BootError::Disk(error)) if mission.seed.is_some() && M::is_blank(&error) => {
            machine.format().map_err(|error| Failure::Boot(BootError::Disk(error)))?;
            boot()
        }
        booted => booted,
    };
    let device = device.map_err(Failure::Boot)?;
    let board = Board { machine, stack: device.stack };
    if let Some(seed) = mission.seed
        && let Ok(None) = wait(|| device.disk.seed())
    {
        // What does not succeed is told where the seed is asked for.
        let _ = wait(|| device.disk.set_seed(&seed));
    }
    let boots = device.disk.boots();
    let keys = Keys::open(device.disk, mission.token).map_err(Failure::Keys)?;
    console.line(format_args!(
        "device: boot {boots}, stack {}, key {}",
        memory::stack_used(),
        keys.public()
    ));
    memory::repaint_stack();
    let result = match mission.task {
        Task::Serve => serve(device, keys, &board),
        Task::Ask(server, errand) => ask(device, keys, &board, server, &errand),
    };
    board.rest(FAREWELL);
    let counters = board.stack.counters();
    console.line(format_args!(
        "device: {} frames received, {} sent",
        counters.frames_in, counters.frames_out
    ));
    result
}

// Each on its own, so that neither takes what the other, or the boot, needs of the stack.
#[inline(never)]
fn serve<'a, M: Machine>(
    device: Device<M>,
    keys: Keys,
    board: &Board<'_, M>,
) -> Result<(), Failure<'a, M>> {
    device.serve(PORT, keys, board).map(drop).map_err(Failure::Listen)
}

#[inline(never)]
fn ask<'a, M: Machine>(
    device: Device<M>,
    keys: Keys,
    board: &Board<'_, M>,
    server: SocketAddrV4,
    errand: &Errand<'_>,
) -> Result<(), Failure<'a, M>> {
    let transfer = transfer_id(keys.public(), device.disk.boots());
    let (runner, disk) = device.into_runner(keys);
    let until = board.now().after(PERSEVERANCE);
    let mut console = Console(board.machine);
    loop {
        match runner.run(errand, transfer, board.stack, server.into(), disk, board) {
            Ok(done) => {
                tell_done(&mut console, errand, &done);
                return Ok(());
            }
            Err(trouble) if trouble.is_passing() && board.now() < until && !board.is_stopping() => {
                console.line(format_args!("device: {trouble}; trying again"));
                board.rest(BACK_OFF);
            }
            Err(trouble) => return Err(Failure::Errand(trouble)),
        }
    }
}

/// A name for an upload that no other has, of this device or another.
fn transfer_id(device: &PublicKey, boots: u32) -> TransferId {
    let mut id = [0; 16];
    id.iter_mut().zip(device.0).for_each(|(to, from)| *to = from);
    id.iter_mut().zip(boots.to_le_bytes()).for_each(|(to, byte)| *to ^= byte);
    TransferId(id)
}

fn tell_done<M: Machine>(console: &mut Console<'_, M>, errand: &Errand<'_>, done: &Done) {
    let verb = match errand {
        Errand::Push { .. } => "sent",
        Errand::Fetch { .. } => "fetched",
    };
    let Done { size, root } = done;
    console.line(format_args!("device: {verb} {}: {size} bytes, BLAKE3 {root}", errand.local()));
}

/// The board, as the device's tasks see it.
struct Board<'a, M: Machine> {
    machine: &'a M,
    stack: &'static Stack<'static, M::Frames>,
}

impl<M: Machine> Board<'_, M> {
    /// Goes on with the network alone.
    fn rest(&self, time: Duration) {
        let until = self.now().after(time);
        while self.now() < until {
            self.turn(until);
        }
    }
}

impl<M: Machine> Platform for Board<'_, M> {
    fn now(&self) -> Instant {
        self.machine.now()
    }

    fn turn(&self, until: Instant) {
        let before = self.stack.counters().frames_in;
        let due = self.stack.poll(self.now()).map_or(until, |due| due.min(until));
        // What has come may be what the task waits for.
        if self.stack.counters().frames_in == before && self.now() < due {
            self.machine.doze();
            self.stack.poll(self.now());
        }
    }

    fn is_stopping(&self) -> bool {
        self.machine.is_key_pressed()
    }

    fn tell(&self, notice: Notice) {
        Console(self.machine).line(format_args!("device: {notice}"));
    }
}
