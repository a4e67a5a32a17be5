//! One file to the device and back over a TAP interface, beside the same bytes through bare smoltcp.
//!
//! `cargo bench -p kift-firmware-sim` makes a network namespace for itself, which takes root, and
//! prints for connections with buffers of 1, 2, 4 and 8 KiB:
//!
//! - what smoltcp moves by itself, with the device's own stack and nothing above it;
//! - what kift moves over the same stack in the same round, to the file being stored and verified,
//!   on a flash that takes no time, over a plain link and over a sealed one; and its ratio to the
//!   former. The model of the flash is in memory, and its own work is counted;
//! - what kift moves where the flash takes its time (50 ms to erase 4 KiB, 0.7 ms to program 256
//!   bytes), beside what such a flash can take. Reading it takes no time in the model.
//!
//! The device is a thread, its peer the thread that measures. Rates are medians over the rounds.
//!
//! `KIFT_BENCH_MIB` sets the size (4), `KIFT_BENCH_ROUNDS` the number of rounds (5).

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use embedded_nal::{TcpClientStack as _, TcpFullStack as _};
use kift::client::{Client, Expect, Link, Sink, Upload, new_transfer_id};
use kift::net::since;
use kift::secure::SystemRandom;
use kift_core::secure::{PublicKey, SecretKey};
use kift_core::time::Instant;
use kift_core::wire::{Ask, Conflict, Timestamp};
use kift_firmware_sim::board::factory;
use kift_firmware_sim::board::netns::Namespace;
use kift_firmware_sim::board::nor::{BLOCK_LEN, Nor, PAGE_LEN, Times};
use kift_firmware_sim::board::tap::{Tap, wait};
use kift_firmware_sim::device::seal::{AnyLinks, Keys};
use kift_firmware_sim::device::{Memory, Notice, Platform};
use kift_firmware_sim::disk::{PeerRole, Vault as _};
use kift_firmware_sim::flash::Store;
use kift_firmware_sim::net::{self, Address, Connection, ConnectionError, Frames, Stack};

const PORT: u16 = 5438;
const DEVICE: &str = "192.168.69.2";

/// Bytes that the peer of bare smoltcp moves by one system call, at most.
const BARE_BUFFER: usize = 64 * 1024;

/// Calls on a connection before the network has its turn, as the device does it.
const CALLS_MAX: u32 = 16;

/// Bytes of the file that is stored where the flash takes its time.
const SLOW_LEN: usize = 128 * 1024;

/// How often that file is fetched.
const SLOW_GETS: usize = 16;

/// Room in the flash beside the files.
const FLASH_SPARE: usize = 256 * 1024;

const MIB: f64 = (1 << 20) as f64;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let tap = Namespace::enter()?.tap("tap0")?;
    let place = Place { wire: Wire::new(tap)?, origin: Clock::now(), boots: AtomicU64::new(0) };
    let file = random((setting("KIFT_BENCH_MIB", 4) as usize) << 20);
    let rounds = setting("KIFT_BENCH_ROUNDS", 5);
    let times = Times::default();
    let block = times.erase + times.program * (BLOCK_LEN / PAGE_LEN) as u32;
    println!(
        "MiB/s over a TAP interface: {} MiB, median of {rounds} rounds; with flash time {} KiB, one \
         round, and the flash by itself takes {:.3}",
        file.len() >> 20,
        SLOW_LEN >> 10,
        rate(BLOCK_LEN, block),
    );
    println!("buffers              smoltcp      kift  of smoltcp  with flash time");
    measure::<1024>(&place, &file, rounds)?;
    measure::<2048>(&place, &file, rounds)?;
    measure::<4096>(&place, &file, rounds)?;
    measure::<8192>(&place, &file, rounds)
}

/// Prints the rows of one size of buffers.
fn measure<const BUFFER: usize>(place: &Place, file: &[u8], rounds: u64) -> Result<()> {
    let mut rows: [[Row; 2]; 2] = Default::default();
    for _ in 0..rounds {
        let bare = place.bare::<BUFFER>(file)?;
        for (rows, seal) in rows.iter_mut().zip(Seal::BOTH) {
            let kift = place.kift::<BUFFER>(file, 1, Times::NONE, seal)?;
            for ((row, bare), kift) in rows.iter_mut().zip(bare).zip(kift) {
                row.bare.push(bare);
                row.kift.push(kift);
                row.ratio.push(kift / bare);
            }
        }
    }
    for (rows, seal) in rows.iter_mut().zip(Seal::BOTH) {
        let slow = place.kift::<BUFFER>(&file[..SLOW_LEN], SLOW_GETS, Times::default(), seal)?;
        for ((row, way), slow) in rows.iter_mut().zip(["put", "get"]).zip(slow) {
            println!(
                "{} KiB  {way} {:6}  {:8.1}  {:8.1}  {:10.2}  {slow:15.3}",
                BUFFER >> 10,
                seal.name(),
                median(&mut row.bare),
                median(&mut row.kift),
                median(&mut row.ratio),
            );
        }
    }
    Ok(())
}

/// How the links are protected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seal {
    Plain,
    Sealed,
}

impl Seal {
    const BOTH: [Self; 2] = [Self::Plain, Self::Sealed];

    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sealed => "sealed",
        }
    }
}

#[derive(Default)]
struct Row {
    bare: Vec<f64>,
    kift: Vec<f64>,
    ratio: Vec<f64>,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rate(len: usize, took: Duration) -> f64 {
    len as f64 / MIB / took.as_secs_f64()
}

/// Bytes that do not repeat.
fn random(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = vec![0; len];
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Where all devices are, one after the other.
struct Place {
    wire: Wire,
    origin: Clock,
    boots: AtomicU64,
}

impl Place {
    /// The rates of bare smoltcp, to the device and from it.
    fn bare<const BUFFER: usize>(&self, file: &[u8]) -> Result<[f64; 2]> {
        let stop = AtomicBool::new(false);
        thread::scope(|threads| {
            let device = threads.spawn(|| self.bare_device::<BUFFER>(file.len(), &stop));
            let rates = bare_peer(file);
            stop.store(true, Ordering::Relaxed);
            device.join().map_err(|_| anyhow!("the bare device crashed"))??;
            rates
        })
    }

    /// Reads `len` bytes from the first that connects, and writes as many.
    fn bare_device<const BUFFER: usize>(&self, len: usize, stop: &AtomicBool) -> Result<()> {
        let memory = Box::leak(Box::new(net::Memory::<2, 3, BUFFER>::new()));
        let stack = Stack::new(memory, self.wire.clone(), &self.network(), since(self.origin));
        let board = Board { stack: &stack, place: self, stop };
        let mut nal = &stack;
        let mut listener = nal.socket().map_err(|error| anyhow!("{error}"))?;
        nal.bind(&mut listener, PORT).map_err(|error| anyhow!("{error}"))?;
        nal.listen(&mut listener).map_err(|error| anyhow!("{error}"))?;
        let mut connection = loop {
            match nal.accept(&mut listener) {
                Ok((socket, _)) => break Connection::new(&stack, socket),
                Err(_) if board.is_stopping() => bail!("nobody came"),
                Err(_) => board.turn_after(false),
            }
        };
        let mut buffer = [0; BUFFER];
        board.repeat(len, |_| embedded_io::Read::read(&mut connection, &mut buffer))?;
        board.repeat(len, |left| {
            embedded_io::Write::write(&mut connection, &buffer[..left.min(BUFFER)])
        })?;
        while !board.is_stopping() {
            board.turn_after(false);
        }
        Ok(())
    }

    /// The rates of kift, to the device and from it `gets` times.
    fn kift<const BUFFER: usize>(
        &self,
        file: &[u8],
        gets: usize,
        times: Times,
        seal: Seal,
    ) -> Result<[f64; 2]> {
        let stop = AtomicBool::new(false);
        let capacity = file.len() + FLASH_SPARE;
        let key = SecretKey::generate(&mut SystemRandom)?;
        let host = (seal == Seal::Sealed).then_some(key.public());
        let (tell, told) = mpsc::channel();
        thread::scope(|threads| {
            let device =
                threads.spawn(|| self.kift_device::<BUFFER>(capacity, times, host, &stop, tell));
            let link = match host {
                Some(_) => told.recv().map(|device| Link::Sealed {
                    key: key.clone(),
                    server: Expect::Keys(vec![device]),
                }),
                None => Ok(Link::Plain),
            };
            let rates = link.map_err(Into::into).and_then(|link| kift_peer(file, gets, link));
            stop.store(true, Ordering::Relaxed);
            device.join().map_err(|_| anyhow!("the device crashed"))??;
            rates
        })
    }

    fn kift_device<const BUFFER: usize>(
        &self,
        capacity: usize,
        times: Times,
        host: Option<&PublicKey>,
        stop: &AtomicBool,
        tell: mpsc::Sender<PublicKey>,
    ) -> Result<()> {
        let mut nor = Nor::blank(capacity as u32, times);
        factory::format(&mut nor, true)?;
        let memory =
            Box::leak(Box::new(Memory::<Wire, Store<Nor, 1>, AnyLinks, 1, 2, 3, BUFFER>::new()));
        let device = memory.boot(
            self.wire.clone(),
            || Store::mount(nor),
            &self.network(),
            since(self.origin),
        )?;
        let board = Board { stack: device.stack, place: self, stop };
        let mut links = AnyLinks::Plain(crc32c::crc32c);
        if let Some(host) = host {
            let kept = loop {
                if let Poll::Ready(kept) = device.disk.keep_peer(host, PeerRole::Client) {
                    break kept;
                }
            };
            kept.map_err(|code| anyhow!("{code}"))?;
            let keys = Keys::open(device.disk, None)?;
            tell.send(*keys.public())?;
            links = AnyLinks::Sealed(keys);
        }
        device.serve(PORT, links, &board).map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    fn network(&self) -> net::Config {
        let v4 = format!("{DEVICE}/24").parse().ok();
        net::Config {
            mac: *b"\x02kift\x01",
            address: Address::Static { v4, v6: None, gateway: None },
            seed: self.boots.fetch_add(1, Ordering::Relaxed),
        }
    }
}

fn bare_peer(file: &[u8]) -> Result<[f64; 2]> {
    let mut stream = TcpStream::connect((DEVICE, PORT)).context("no bare device")?;
    stream.set_nodelay(true)?;
    let begun = Clock::now();
    for piece in file.chunks(BARE_BUFFER) {
        stream.write_all(piece)?;
    }
    // What comes first says that all has arrived.
    let mut buffer = vec![0; BARE_BUFFER];
    stream.read_exact(&mut buffer[..1])?;
    let put = begun.elapsed();
    let begun = Clock::now();
    let mut left = file.len() - 1;
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => bail!("the bare device left"),
            len => left -= len,
        }
    }
    Ok([rate(file.len(), put), rate(file.len(), begun.elapsed())])
}

fn kift_peer(file: &[u8], gets: usize, link: Link) -> Result<[f64; 2]> {
    let mut client = Client::connect(&format!("{DEVICE}:{PORT}").parse()?, link)?;
    let begun = Clock::now();
    client.put(Upload {
        path: "file",
        transfer: new_transfer_id(),
        size: Some(file.len() as u64),
        modified: None,
        conflict: Conflict::Refuse,
        ask: Ask::Now,
        source: Box::new(io::Cursor::new(file.to_vec())),
    })??;
    finish(&mut client)?;
    let put = begun.elapsed();
    let counted = Arc::new(AtomicU64::new(0));
    let begun = Clock::now();
    for _ in 0..gets {
        client.get("file", Box::new(Counter(Arc::clone(&counted))))??;
        finish(&mut client)?;
    }
    let got = begun.elapsed();
    client.finish()?;
    ensure!(counted.load(Ordering::Relaxed) as usize == gets * file.len(), "bytes are missing");
    Ok([rate(file.len(), put), rate(gets * file.len(), got)])
}

fn finish(client: &mut Client) -> Result<()> {
    match client.next_done()?.map(|done| done.result) {
        Some(Ok(_)) => Ok(()),
        Some(Err(failure)) => bail!("the transfer failed: {failure}"),
        None => bail!("nothing was under way"),
    }
}

/// Counts what it takes. That it is the file's is for the session to verify.
struct Counter(Arc<AtomicU64>);

impl Sink for Counter {
    fn begin(&mut self, _size: u64, _modified: Option<Timestamp>) {}

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn commit(&mut self) -> io::Result<u32> {
        Ok(0)
    }
}

/// The wire, which one device has after the other.
#[derive(Clone)]
struct Wire {
    tap: Arc<Mutex<Tap>>,
    frames_come: Arc<OwnedFd>,
}

impl Wire {
    fn new(tap: Tap) -> io::Result<Self> {
        let frames_come = Arc::new(tap.as_fd().try_clone_to_owned()?);
        Ok(Self { tap: Arc::new(Mutex::new(tap)), frames_come })
    }
}

impl Frames for Wire {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner).receive(buf)
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner).send(frame)
    }
}

/// What is around a device.
struct Board<'a> {
    stack: &'a Stack<'static, Wire>,
    place: &'a Place,
    stop: &'a AtomicBool,
}

impl Board<'_> {
    /// Gives the network a turn, and sleeps after it if nothing `moved` before.
    fn turn_after(&self, moved: bool) {
        let patience = if moved { Duration::ZERO } else { Duration::from_millis(100) };
        self.turn(self.now().after(patience));
    }

    /// Calls `work` with the number of bytes that are left until it has moved `len`.
    fn repeat(
        &self,
        len: usize,
        mut work: impl FnMut(usize) -> Result<usize, ConnectionError>,
    ) -> Result<()> {
        let mut left = len;
        while left > 0 {
            let mut moved = false;
            for _ in 0..CALLS_MAX {
                match work(left) {
                    Ok(0) => break,
                    Ok(len) => {
                        left -= len;
                        moved = true;
                    }
                    Err(ConnectionError::TimedOut) => break,
                    Err(error) => bail!("the bare connection broke: {error}"),
                }
            }
            ensure!(!self.is_stopping(), "the peer of the bare device left");
            self.turn_after(moved);
        }
        Ok(())
    }
}

impl Platform for Board<'_> {
    fn now(&self) -> Instant {
        since(self.place.origin)
    }

    fn turn(&self, until: Instant) {
        let before = self.stack.counters().frames_in;
        let due = self.stack.poll(self.now());
        let until = due.map_or(until, |due| due.min(until));
        let patience = until.as_millis().saturating_sub(self.now().as_millis());
        // What has come may be what the device waits for.
        if patience > 0 && self.stack.counters().frames_in == before {
            wait(&*self.place.wire.frames_come, Some(Duration::from_millis(patience)));
            self.stack.poll(self.now());
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tell(&self, _notice: Notice) {}
}
