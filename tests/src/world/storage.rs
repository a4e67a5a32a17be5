//! The stores of servers, and what becomes of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use embedded_storage::nor_flash::{ErrorType, MultiwriteNorFlash, NorFlash, ReadNorFlash};
use kift::store::{Options as Serving, Root, Session};
use kift_core::secure::Security;
use kift_core::session::Responder;
use kift_firmware_sim::board::nor::{BLOCK_LEN, Nor, Times};
use kift_firmware_sim::disk::{PeerRole, Vault as _};
use kift_firmware_sim::flash::{self, Flash};

use super::SEATS;
use crate::disk::{Disk, Faults, Luck, Mount};
use crate::end::{Around, End};
use crate::flash::{complete, tree};
use crate::machine::wait_until;
use crate::options::Options;
use crate::rng::Rng;
use crate::sealed::requester_key;

/// Files by their names.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Where a server keeps its files.
pub trait Storage {
    /// What it is called.
    const NAME: &'static str;
    /// Bytes of the longest file.
    const LEN_MAX: usize;
    /// Steps between two faults, as a rule.
    const STEPS_A_FAULT: usize;

    /// How sessions with it are set up.
    fn options(seed: u64) -> Options;
    /// A session begins at this seat.
    fn open(&mut self, seat: usize);
    /// It is over.
    fn close(&mut self, seat: usize);
    /// Lets it move.
    fn turn<L: Security>(
        &mut self,
        seat: usize,
        end: &mut End,
        around: Around<'_>,
        responder: &mut Responder<Vec<u8>, L>,
    ) -> bool;
    /// The process that has it ends and begins anew, in the middle of anything.
    fn kill(&mut self);
    /// The power is to go: at once, where this says so, or in one of the next operations.
    fn cut_power(&mut self, rng: &mut Rng) -> bool;
    /// Whether the power has gone.
    fn is_off(&self) -> bool;
    /// It is back. What had not been synced may be there or not, as `rng` has it.
    fn power_on(&mut self, rng: &mut Rng);
    /// The files that are there.
    fn files(&mut self) -> Tree;
    /// Those that would be there if the power went now and nobody had luck.
    fn files_if_cut(&mut self) -> Tree;
}

/// The storage of a device: its store on flash.
pub struct Chip {
    nor: Shared,
    store: Option<Device>,
    /// Operations of the flash behind which the power is gone.
    cut_at: Option<u64>,
}

type Device = flash::Store<Shared, SEATS>;

/// Blocks of the flash.
const BLOCKS: usize = 100;

impl Chip {
    /// A flash that was formatted.
    ///
    /// # Panics
    /// Where it cannot be.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let times = Times::polls((seed % 3) as u32);
        let nor = Shared(Rc::new(RefCell::new(Nor::blank((BLOCKS * BLOCK_LEN) as u32, times))));
        Device::format(nor.clone()).expect("a format");
        let mut chip = Self { nor, store: None, cut_at: None };
        chip.mount();
        let store = chip.store.as_mut().expect("mounted");
        complete(|| store.keep_peer(requester_key().public(), PeerRole::Both))
            .expect("room for a peer");
        chip
    }

    fn mount(&mut self) {
        // Nobody has it, so nothing is written any more.
        self.store = None;
        self.nor.0.borrow_mut().power_on();
        self.cut_at = None;
        self.store = Some(Device::mount(self.nor.clone()).expect("it mounts after any cut"));
    }
}

impl Storage for Chip {
    const NAME: &'static str = "chip";
    const LEN_MAX: usize = 48 << 10;
    const STEPS_A_FAULT: usize = 700;

    fn options(seed: u64) -> Options {
        let mut options = Options::any(seed);
        options.piece_max = options.piece_max.max(100);
        options.capacity = options.capacity.map(|capacity| capacity.max(100));
        options
    }

    fn open(&mut self, _: usize) {}

    fn close(&mut self, _: usize) {}

    fn turn<L: Security>(
        &mut self,
        seat: usize,
        end: &mut End,
        around: Around<'_>,
        responder: &mut Responder<Vec<u8>, L>,
    ) -> bool {
        let store = self.store.as_mut().expect("the power is on");
        end.turn(around, responder, &mut store.handle(seat))
    }

    fn kill(&mut self) {
        self.mount();
    }

    fn cut_power(&mut self, rng: &mut Rng) -> bool {
        let mut nor = self.nor.0.borrow_mut();
        let soon = rng.between(1, 40) as u64;
        self.cut_at = Some(nor.operations() + soon);
        nor.cut_after(soon, rng.bits());
        false
    }

    fn is_off(&self) -> bool {
        self.cut_at.is_some_and(|at| self.nor.0.borrow().operations() >= at)
    }

    fn power_on(&mut self, _: &mut Rng) {
        self.mount();
    }

    fn files(&mut self) -> Tree {
        let mut copy = Nor::from_image(self.nor.0.borrow().image(), Times::NONE);
        let mut store = flash::Store::<_, 1>::mount(&mut copy).expect("it mounts");
        let files = tree(&mut store.handle(0)).expect("a tree").into_iter();
        files.filter_map(|(path, data)| Some((path, data?))).collect()
    }

    fn files_if_cut(&mut self) -> Tree {
        self.files()
    }
}

/// A flash that its store and the world have.
#[derive(Clone)]
struct Shared(Rc<RefCell<Nor>>);

impl ErrorType for Shared {
    type Error = <Nor as ErrorType>::Error;
}

impl ReadNorFlash for Shared {
    const READ_SIZE: usize = Nor::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.borrow_mut().read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.borrow().capacity()
    }
}

impl NorFlash for Shared {
    const WRITE_SIZE: usize = Nor::WRITE_SIZE;
    const ERASE_SIZE: usize = Nor::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.borrow_mut().erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.borrow_mut().write(offset, bytes)
    }
}

impl MultiwriteNorFlash for Shared {}

impl Flash for Shared {
    fn begin_erase(&mut self, offset: u32) -> Result<(), Self::Error> {
        self.0.borrow_mut().begin_erase(offset)
    }

    fn is_busy(&mut self) -> Result<bool, Self::Error> {
        self.0.borrow_mut().is_busy()
    }
}

/// The storage of a host: the store of `kift serve`, on a disk that loses what was not synced.
pub struct Host {
    disk: Disk,
    mount: Mount,
    root: Option<Arc<Root>>,
    sessions: [Option<Session>; SEATS],
    /// What the disk pretends.
    planted: Faults,
}

/// The directory that is served.
const SERVED: &str = "served";

impl Host {
    /// An empty directory, on a disk with these faults.
    ///
    /// # Panics
    /// Where there can be no such disk.
    #[must_use]
    pub fn new(planted: Faults) -> Self {
        let disk = Disk::default();
        let mount = Mount::new(&disk).expect("a mount");
        std::fs::create_dir(mount.path().join(SERVED)).expect("a directory");
        disk.lose_power(Luck::Good);
        let mut host = Self { disk, mount, root: None, sessions: [const { None }; SEATS], planted };
        host.serve();
        host
    }

    /// Everything ends without a word, and can change nothing any more.
    fn fall(&mut self) {
        self.disk.set_faults(Faults { works_for: Some(0), ..Faults::default() });
        self.sessions = [const { None }; SEATS];
        // A checkpoint may still be under way: it is to fail, too.
        wait_until("nobody is at work", || self.root.as_ref().map_or(1, Arc::strong_count) == 1);
        self.root = None;
        self.disk.set_faults(self.planted);
    }

    fn serve(&mut self) {
        let root = Root::open(&self.mount.path().join(SERVED), Serving::default());
        self.root = Some(root.expect("a directory to serve"));
    }

    fn files_of(&self, luck: Luck) -> Tree {
        let wreck = self.disk.cut(self.disk.operations(), luck);
        let files = wreck.files(|path| path.ends_with(".kift")).into_iter();
        let name = |path: String| Some(path.strip_prefix(SERVED)?.strip_prefix('/')?.to_owned());
        files.filter_map(|(path, data)| Some((name(path)?, data.to_vec()))).collect()
    }
}

impl Storage for Host {
    const NAME: &'static str = "host";
    const LEN_MAX: usize = 7 << 19;
    const STEPS_A_FAULT: usize = 500;

    fn options(seed: u64) -> Options {
        let mut options = Options::large(seed);
        let any = Options::any(seed);
        options.latency_max = any.latency_max;
        options.read_ready = any.read_ready;
        options.piece_max = [5000, 40_000, usize::MAX][seed as usize % 3];
        options
    }

    fn open(&mut self, seat: usize) {
        let root = self.root.clone().expect("the power is on");
        self.sessions[seat] = Some(Session::new(root, format!("seat {seat}")));
    }

    fn close(&mut self, seat: usize) {
        self.sessions[seat] = None;
    }

    fn turn<L: Security>(
        &mut self,
        seat: usize,
        end: &mut End,
        around: Around<'_>,
        responder: &mut Responder<Vec<u8>, L>,
    ) -> bool {
        end.turn(around, responder, self.sessions[seat].as_mut().expect("a session"))
    }

    fn kill(&mut self) {
        self.fall();
        self.serve();
    }

    fn cut_power(&mut self, rng: &mut Rng) -> bool {
        let soon = rng.below(12) as u64;
        self.disk.set_faults(Faults { works_for: Some(soon), ..self.planted });
        soon == 0
    }

    fn is_off(&self) -> bool {
        self.disk.is_off()
    }

    fn power_on(&mut self, rng: &mut Rng) {
        self.fall();
        let luck = if rng.chance(30) { Luck::Bad } else { Luck::Any(rng.bits()) };
        self.disk.lose_power(luck);
        self.serve();
    }

    fn files(&mut self) -> Tree {
        self.files_of(Luck::Good)
    }

    fn files_if_cut(&mut self) -> Tree {
        self.files_of(Luck::Bad)
    }
}
