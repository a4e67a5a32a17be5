//! Everything that the device owns, in one place whose size is known when it is compiled.

use core::fmt;
use core::mem::MaybeUninit;

use kift_core::session::{Config, Side};
use kift_core::time::Instant;
use static_cell::{ConstStaticCell, StaticCell};

use super::ask::Runner;
use super::frame::{FRAME_LEN, Frames};
use super::platform::{Notice, Platform};
use super::seal::Links;
use super::serve::{Server, Stats};
use crate::disk::Disk;
use crate::net::{self, Stack};

/// The memory of a device, for a `static`: `SESSIONS` sessions at once, and `SOCKETS`, which is one
/// more, connections with buffers of `BUFFER` bytes each way. `SLOTS` is one more again.
///
/// `F` is what carries its frames, `D` its disk, and `L` what protects its links.
pub struct Memory<
    F: net::Frames + 'static,
    D: Disk + 'static,
    L: Links + 'static,
    const SESSIONS: usize,
    const SOCKETS: usize,
    const SLOTS: usize,
    const BUFFER: usize,
> {
    network: ConstStaticCell<net::Memory<'static, SOCKETS, SLOTS, BUFFER>>,
    stack: StaticCell<Stack<'static, F>>,
    disk: StaticCell<D>,
    frames: ConstStaticCell<[Frames; SESSIONS]>,
    server: StaticCell<Server<'static, F, L, SESSIONS>>,
    runner: StaticCell<Runner<'static, L>>,
}

/// A device that has booted.
pub struct Device<
    F: net::Frames + 'static,
    D: Disk + 'static,
    L: Links + 'static,
    const SESSIONS: usize,
> {
    /// Its network.
    pub stack: &'static Stack<'static, F>,
    /// Its files.
    pub disk: &'static mut D,
    frames: &'static [Frames; SESSIONS],
    server: &'static mut MaybeUninit<Server<'static, F, L, SESSIONS>>,
    runner: &'static mut MaybeUninit<Runner<'static, L>>,
    /// Bytes of each of a connection's buffers.
    buffer: usize,
}

/// Why a device did not boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootError<E> {
    /// The memory is that of a device that has booted already.
    Taken,
    /// The disk cannot be mounted.
    Disk(E),
}

impl<E: fmt::Display> fmt::Display for BootError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("the device has booted already"),
            Self::Disk(error) => write!(f, "{error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for BootError<E> {}

impl<
    F: net::Frames + 'static,
    D: Disk + 'static,
    L: Links + 'static,
    const SESSIONS: usize,
    const SOCKETS: usize,
    const SLOTS: usize,
    const BUFFER: usize,
> Memory<F, D, L, SESSIONS, SOCKETS, SLOTS, BUFFER>
{
    /// The memory of a device that is to boot.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(SESSIONS >= 1 && SOCKETS == SESSIONS + 1 && D::HANDLES >= SESSIONS) };
        Self {
            network: ConstStaticCell::new(net::Memory::new()),
            stack: StaticCell::new(),
            disk: StaticCell::new(),
            frames: ConstStaticCell::new([const { Frames::new() }; SESSIONS]),
            server: StaticCell::new(),
            runner: StaticCell::new(),
        }
    }

    /// Mounts the disk and starts the network. `config.seed` need not be another than at the boot
    /// before: the boots are counted.
    ///
    /// # Errors
    /// [`BootError`]. The disk may be formatted and the boot tried again.
    #[inline(never)]
    pub fn boot<E>(
        &'static self,
        frames: F,
        mount: impl FnOnce() -> Result<D, E>,
        config: &net::Config,
        now: Instant,
    ) -> Result<Device<F, D, L, SESSIONS>, BootError<E>> {
        let disk = self.begin_disk(mount)?;
        let seed = config.seed ^ u64::from(disk.boots()) << 32;
        let stack = self
            .begin_stack(frames, &net::Config { seed, ..*config }, now)
            .ok_or(BootError::Taken)?;
        Ok(Device {
            stack,
            disk,
            frames: self.frames.try_take().ok_or(BootError::Taken)?,
            server: self.server.try_uninit().ok_or(BootError::Taken)?,
            runner: self.runner.try_uninit().ok_or(BootError::Taken)?,
            buffer: BUFFER,
        })
    }

    // What this takes of the stack, and what the next takes, is given back at once.
    #[inline(never)]
    fn begin_disk<E>(
        &'static self,
        mount: impl FnOnce() -> Result<D, E>,
    ) -> Result<&'static mut D, BootError<E>> {
        match mount() {
            Ok(disk) => self.disk.try_init(disk).ok_or(BootError::Taken),
            Err(error) => Err(BootError::Disk(error)),
        }
    }

    #[inline(never)]
    fn begin_stack(
        &'static self,
        frames: F,
        config: &net::Config,
        now: Instant,
    ) -> Option<&'static mut Stack<'static, F>> {
        self.stack.try_init(Stack::new(self.network.try_take()?, frames, config, now))
    }
}

impl<
    F: net::Frames,
    D: Disk,
    L: Links,
    const SESSIONS: usize,
    const SOCKETS: usize,
    const SLOTS: usize,
    const BUFFER: usize,
> Default for Memory<F, D, L, SESSIONS, SOCKETS, SLOTS, BUFFER>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<F: net::Frames, D: Disk, L: Links, const SESSIONS: usize> Device<F, D, L, SESSIONS> {
    /// Serves on `port`, over links that `links` protects, until it is to stop.
    ///
    /// # Errors
    /// [`net::Error`], where it cannot listen.
    pub fn serve(self, port: u16, links: L, board: &impl Platform) -> Result<Stats, net::Error> {
        let (server, disk) = self.into_server(port, links)?;
        board.tell(Notice::Listening(port));
        Ok(server.run(disk, board))
    }

    // What this and the next take of the stack is given back before the tasks begin.
    #[inline(never)]
    fn into_server(
        self,
        port: u16,
        links: L,
    ) -> Result<(&'static mut Server<'static, F, L, SESSIONS>, &'static mut D), net::Error> {
        let config = self.session_config(Side::Listener);
        let server = Server::new(self.stack, self.frames, port, config, links)?;
        Ok((self.server.write(server), self.disk))
    }

    /// Who runs the device's errands, over links as [`serve`](Self::serve) has them, and the files
    /// that they are about.
    #[inline(never)]
    pub fn into_runner(self, links: L) -> (&'static mut Runner<'static, L>, &'static mut D) {
        let config = self.session_config(Side::Dialler);
        (self.runner.write(Runner::new(self.frames, config, links)), self.disk)
    }

    const fn session_config(&self, side: Side) -> Config {
        // The chunk that is being stored, and those that wait behind it in the connection's buffer.
        let window = (self.buffer / FRAME_LEN) as u64 + 1;
        let window = if window < 2 { 2 } else { window };
        Config { name_len_max: D::NAME_LEN_MAX, ..Config::small(side, window) }
    }
}
