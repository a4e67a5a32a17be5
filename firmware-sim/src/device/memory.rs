//! Everything that the device owns, in one place whose size is known when it is compiled.

use core::fmt;
use core::mem::MaybeUninit;

use kift_core::Checksum;
use kift_core::session::{Config, Side};
use kift_core::time::Instant;
use static_cell::{ConstStaticCell, StaticCell};

use super::ask::Runner;
use super::frame::{FRAME_LEN, Frames};
use super::platform::{Notice, Platform};
use super::seal::Links;
use super::serve::{Server, Stats};
use crate::flash::{self, Flash, MountError, NAME_LEN_MAX};
use crate::net::{self, Stack};

/// The memory of a device, for a `static`: `SESSIONS` sessions at once, and `SOCKETS`, which is one
/// more, connections with buffers of `BUFFER` bytes each way. `SLOTS` is one more again.
///
/// `F` is what carries its frames, `N` its flash, and `L` what protects its links.
pub struct Memory<
    F: net::Frames + 'static,
    N: Flash + 'static,
    L: Links + 'static,
    const SESSIONS: usize,
    const SOCKETS: usize,
    const SLOTS: usize,
    const BUFFER: usize,
> {
    network: ConstStaticCell<net::Memory<'static, SOCKETS, SLOTS, BUFFER>>,
    stack: StaticCell<Stack<'static, F>>,
    store: StaticCell<flash::Store<N, SESSIONS>>,
    frames: ConstStaticCell<[Frames; SESSIONS]>,
    server: StaticCell<Server<'static, F, L, SESSIONS>>,
    runner: StaticCell<Runner<'static, L>>,
}

/// A device that has booted.
pub struct Device<
    F: net::Frames + 'static,
    N: Flash + 'static,
    L: Links + 'static,
    const SESSIONS: usize,
> {
    /// Its network.
    pub stack: &'static Stack<'static, F>,
    /// Its files.
    pub store: &'static mut flash::Store<N, SESSIONS>,
    frames: &'static [Frames; SESSIONS],
    server: &'static mut MaybeUninit<Server<'static, F, L, SESSIONS>>,
    runner: &'static mut MaybeUninit<Runner<'static, L>>,
}

/// Why a device did not boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootError {
    /// The memory is that of a device that has booted already.
    Taken,
    /// The flash.
    Flash(MountError),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("the device has booted already"),
            Self::Flash(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for BootError {}

impl<
    F: net::Frames + 'static,
    N: Flash + 'static,
    L: Links + 'static,
    const SESSIONS: usize,
    const SOCKETS: usize,
    const SLOTS: usize,
    const BUFFER: usize,
> Memory<F, N, L, SESSIONS, SOCKETS, SLOTS, BUFFER>
{
    /// The memory of a device that is to boot.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(SESSIONS >= 1 && SOCKETS == SESSIONS + 1) };
        Self {
            network: ConstStaticCell::new(net::Memory::new()),
            stack: StaticCell::new(),
            store: StaticCell::new(),
            frames: ConstStaticCell::new([const { Frames::new() }; SESSIONS]),
            server: StaticCell::new(),
            runner: StaticCell::new(),
        }
    }

    /// Mounts the store and starts the network. `config.seed` need not be another than at the boot
    /// before: the boots are counted.
    ///
    /// # Errors
    /// [`BootError`]. The flash may be formatted and the boot tried again.
    // What a boot takes of the stack is given back before the tasks begin.
    #[inline(never)]
    pub fn boot(
        &'static self,
        frames: F,
        flash: N,
        config: &net::Config,
        now: Instant,
    ) -> Result<Device<F, N, L, SESSIONS>, BootError> {
        let store = flash::Store::mount(flash).map_err(BootError::Flash)?;
        let seed = config.seed ^ u64::from(store.boots()) << 32;
        let config = net::Config { seed, ..*config };
        let network = self.network.try_take().ok_or(BootError::Taken)?;
        let stack = Stack::new(network, frames, &config, now);
        Ok(Device {
            stack: self.stack.try_init(stack).ok_or(BootError::Taken)?,
            store: self.store.try_init(store).ok_or(BootError::Taken)?,
            frames: self.frames.try_take().ok_or(BootError::Taken)?,
            server: self.server.try_uninit().ok_or(BootError::Taken)?,
            runner: self.runner.try_uninit().ok_or(BootError::Taken)?,
        })
    }
}

impl<
    F: net::Frames,
    N: Flash,
    L: Links,
    const SESSIONS: usize,
    const SOCKETS: usize,
    const SLOTS: usize,
    const BUFFER: usize,
> Default for Memory<F, N, L, SESSIONS, SOCKETS, SLOTS, BUFFER>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<F: net::Frames, N: Flash, L: Links, const SESSIONS: usize> Device<F, N, L, SESSIONS> {
    /// Serves on `port`, over links that `links` protects, until it is to stop.
    ///
    /// # Errors
    /// [`net::Error`], where it cannot listen.
    pub fn serve(
        self,
        port: u16,
        config: Config,
        links: L,
        board: &impl Platform,
    ) -> Result<Stats, net::Error> {
        let server = Server::new(self.stack, self.frames, port, config, links)?;
        let server = self.server.write(server);
        board.tell(Notice::Listening(port));
        Ok(server.run(self.store, board))
    }

    /// Who runs the device's errands, and the files that they are about.
    pub fn into_runner(
        self,
        config: Config,
        links: L,
    ) -> (&'static mut Runner<'static, L>, &'static mut flash::Store<N, SESSIONS>) {
        (self.runner.write(Runner::new(self.frames, config, links)), self.store)
    }
}

/// What a session of a device is given whose connections have buffers of `buffer` bytes.
#[must_use]
pub const fn session_config(side: Side, checksum: Checksum, buffer: usize) -> Config {
    // The chunk that is being stored, and those that wait behind it in the connection's buffer.
    let window = (buffer / FRAME_LEN) as u64 + 1;
    let window = if window < 2 { 2 } else { window };
    Config { name_len_max: NAME_LEN_MAX as u8, checksum, ..Config::small(side, window) }
}
