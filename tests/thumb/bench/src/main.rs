//! A requester and a responder, which talk through RAM. For plain and for sealed links it says what
//! either end took:
//!
//! ```text
//! LINK PHASE END instructions N stack N
//! ```
//!
//! A `handshake` is from the making of the session until both ends have the other's hello: the device
//! has its own key already. A chunk `put` or `got` is one of the later chunks of a file, without what
//! the files themselves take.

#![no_std]
#![no_main]

mod clock;
#[path = "../../../../firmware-sim/boards/common/src/memory.rs"]
mod memory;
mod pipe;
mod shelf;

use core::panic::PanicInfo;

use cortex_m_rt::entry;
use kift_core::crc32c;
use kift_core::driver::{Blocking, Step};
use kift_core::secure::{Entropy, NoEntropy, Noise, Plain, SecretKey, Security};
use kift_core::session::{Config, Perform, Requester, Responder, Side};
use kift_core::time::Instant;
use kift_core::wire::{Ask, Conflict, Put, Request, TransferId};
use semihosting::println;
use semihosting::process::exit;
use static_cell::{ConstStaticCell, StaticCell};

use clock::Clock;
use pipe::{End, Wire};
use shelf::Shelf;

/// Bytes of the smallest buffer that a session takes.
const BUFFER_LEN: usize = 1052;

/// Chunks on their way to an end: one that is being stored, and those that wait behind it.
const WINDOW: u64 = 4;

/// Chunks of a shorter and a longer file. What lies between them is chunks and nothing else.
const SHORT: u32 = 16;
const LONG: u32 = 80;

const ENDS: [&str; 2] = ["requester", "responder"];

type Buffer = &'static mut [u8];
type Asks<L> = Requester<Buffer, 8, L>;
type Serves<L> = Responder<Buffer, L>;

/// The sessions of the two ends, and their buffers.
struct Places<L: Security> {
    asks: StaticCell<Asks<L>>,
    serves: StaticCell<Serves<L>>,
    buffers: [ConstStaticCell<[u8; BUFFER_LEN]>; 4],
}

impl<L: Security> Places<L> {
    const fn new() -> Self {
        Self {
            asks: StaticCell::new(),
            serves: StaticCell::new(),
            buffers: [const { ConstStaticCell::new([0; BUFFER_LEN]) }; 4],
        }
    }
}

/// What something took.
#[derive(Clone, Copy, Default)]
struct Cost {
    ticks: u64,
    stack: usize,
}

impl Cost {
    /// Does something, which costs.
    fn of<T>(&mut self, something: impl FnOnce() -> T) -> T {
        memory::repaint_stack();
        let begun = clock::ticks();
        let result = something();
        self.ticks += u64::from(clock::since(begun));
        self.stack = self.stack.max(memory::stack_used());
        result
    }
}

/// An end: its session, its stream, its files, and what it took.
struct Party<'a, S> {
    session: &'a mut S,
    driver: Blocking<End<'a>>,
    shelf: Shelf,
    cost: Cost,
}

impl<S: Perform<Shelf>> Party<'_, S> {
    /// Goes on until it waits for the other.
    fn go_on(&mut self) {
        loop {
            let Self { session, driver, shelf, cost } = self;
            match cost.of(|| step(*session, driver, shelf)) {
                Step::Moved => {}
                Step::Waited => return,
                Step::Closed(_) => fail("a session is over"),
            }
        }
    }

    /// What it took since the last time.
    fn take_cost(&mut self) -> Cost {
        core::mem::take(&mut self.cost)
    }
}

// As a device calls it.
#[inline(never)]
fn step<S: Perform<Shelf>>(
    session: &mut S,
    driver: &mut Blocking<End<'_>>,
    shelf: &mut Shelf,
) -> Step {
    driver.step(session, shelf, Instant::default())
}

/// Makes sessions over links that `link` makes, and has them do everything once.
#[inline(never)]
fn measure<L: Security>(
    name: &str,
    clock: &Clock,
    wire: &Wire,
    places: &'static Places<L>,
    link: impl Fn(Side) -> L,
) {
    let [near, far] = wire.ends();
    let mut costs = [Cost::default(); 2];
    let [a, b, c, d] = places.buffers.each_ref().map(|buffer| &mut buffer.take()[..]);
    let asks = costs[0].of(|| asks(&places.asks, a, b, link(Side::Dialler)));
    let serves = costs[1].of(|| serves(&places.serves, c, d, link(Side::Listener)));
    let mut asks = party(asks, near, costs[0]);
    let mut serves = party(serves, far, costs[1]);
    while !(asks.shelf.opened && serves.shelf.opened) {
        asks.go_on();
        serves.go_on();
    }
    tell(name, "handshake", clock, [asks.take_cost(), serves.take_cost()], [Cost::default(); 2], 1);

    for (phase, is_put) in [("put", true), ("got", false)] {
        let mut costs = [[Cost::default(); 2]; 2];
        for (costs, chunks) in costs.iter_mut().zip([SHORT, LONG]) {
            let size = u64::from(chunks) * 1024;
            asks.shelf = Shelf { size, ..Shelf::default() };
            serves.shelf = Shelf { size, ..Shelf::default() };
            let put = Put {
                path: "file",
                transfer: TransferId([chunks as u8; 16]),
                size: Some(size),
                modified: None,
                conflict: Conflict::Replace,
                ask: Ask::Now,
            };
            let request = match is_put {
                true => Request::Put(put),
                false => Request::Get { path: "file", first: 0, count: None },
            };
            if asks.session.request(&request).is_err() {
                fail("a request is refused");
            }
            while asks.shelf.done.is_none() {
                asks.go_on();
                serves.go_on();
            }
            if asks.shelf.done != Some(true) {
                fail("a request has failed");
            }
            *costs = [asks.take_cost(), serves.take_cost()];
        }
        let [short, long] = costs;
        tell(name, phase, clock, long, short, LONG - SHORT);
    }
}

fn party<'a, S>(session: &'a mut S, stream: End<'a>, cost: Cost) -> Party<'a, S> {
    Party { session, driver: Blocking::with_read_ready(stream), shelf: Shelf::default(), cost }
}

// Each on its own, so that what it takes of the stack is given back.
#[inline(never)]
fn asks<L: Security>(
    place: &'static StaticCell<Asks<L>>,
    rx: Buffer,
    tx: Buffer,
    link: L,
) -> &'static mut Asks<L> {
    match Requester::with_security(rx, tx, &Config::small(Side::Dialler, WINDOW), link) {
        Ok(session) => place.init(session),
        Err(_) => fail("the buffers are too small"),
    }
}

#[inline(never)]
fn serves<L: Security>(
    place: &'static StaticCell<Serves<L>>,
    rx: Buffer,
    tx: Buffer,
    link: L,
) -> &'static mut Serves<L> {
    match Responder::with_security(rx, tx, &Config::small(Side::Listener, WINDOW), link) {
        Ok(session) => place.init(session),
        Err(_) => fail("the buffers are too small"),
    }
}

/// Says what each end took for one of `count` that `more` has beyond `less`.
fn tell(name: &str, phase: &str, clock: &Clock, more: [Cost; 2], less: [Cost; 2], count: u32) {
    for ((end, more), less) in ENDS.iter().zip(more).zip(less) {
        let instructions = clock.instructions(more.ticks - less.ticks) / u64::from(count);
        println!("{name} {phase} {end} instructions {instructions} stack {}", more.stack);
    }
}

/// Numbers that are the same each time, and so is the count of instructions.
struct Same(u8);

impl Entropy for Same {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(3);
            *byte = self.0;
        }
        Ok(())
    }
}

#[entry]
fn main() -> ! {
    static WIRE: StaticCell<Wire> = StaticCell::new();
    static PLAIN: Places<Plain> = Places::new();
    static SEALED: Places<Noise> = Places::new();

    let clock = Clock::start();
    let wire = WIRE.init_with(Wire::new);
    measure("plain", &clock, wire, &PLAIN, |_| Plain::new(crc32c));
    let keys = [1, 2].map(|byte| SecretKey::from_bytes(&[byte; 32]));
    measure("sealed", &clock, wire, &SEALED, |side| {
        let (key, seed) = match side {
            Side::Dialler => (&keys[0], 3),
            Side::Listener => (&keys[1], 4),
        };
        match Noise::new(key.clone(), None, &mut Same(seed)) {
            Ok(link) => link,
            Err(NoEntropy) => fail("the numbers are all the same"),
        }
    });
    exit(0)
}

fn fail(why: &str) -> ! {
    println!("failed: {why}");
    exit(1)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    fail("a panic")
}
