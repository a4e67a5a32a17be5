//! A host beside a device, in this process: the core over this machine's sockets, on a network that
//! the test's own thread has entered.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use embedded_io::{ErrorType, Read, ReadReady, Write};
use kift::net::{Socket, SocketError, since};
use kift_core::driver::{Blocking, Step};
use kift_core::secure::{Noise, RustCrypto, Security};
use kift_core::session::{Config, Error, RequestError, Requester, Responder, Side, Timeouts};
use kift_firmware_sim::board::netns::Namespace;

use crate::app::{App, Job};
use crate::device::{Bench, program};
use crate::machine::{PATIENCE, Running, Signal, is_root};
use crate::memory::Memory;

/// Where a device that serves is.
pub const DEVICE: &str = "192.168.69.2:5438";

/// Where a host that serves is.
pub const HOST: &str = "192.168.69.1:5438";

/// A host's end of a sealed link.
pub type Link = Noise<RustCrypto>;

/// A network for two devices and a host, which is this thread.
#[derive(Debug)]
pub struct Lab {
    /// The flash images, and other files.
    pub bench: Bench,
}

impl Lab {
    /// Has the thread of `test` enter a network of its own; says why not where it may not.
    ///
    /// # Panics
    /// Where everything must run; or where there is no network all the same.
    #[must_use]
    pub fn new(test: &str) -> Option<Self> {
        if !is_root(test) {
            return None;
        }
        let bench = Bench::new(test)?;
        // It may take a network that is not here.
        program();
        Namespace::enter().expect("a network namespace");
        for net in [69, 70] {
            let tap = format!("tap{net}");
            ip(&["tuntap", "add", "dev", &tap, "mode", "tap"]);
            ip(&["address", "add", &format!("192.168.{net}.1/24"), "dev", &tap]);
            ip(&["link", "set", &tap, "up"]);
        }
        // Of this namespace.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a router");
        Some(Self { bench })
    }

    /// Starts a device: `line` is what it is to do, `image` its flash, and `net` 69 or 70.
    #[must_use]
    pub fn device(&self, line: &str, image: &str, net: u8) -> Running {
        let args = format!(
            "{line} --flash {image} --flash-size 256k --erase-time 0 --program-time 0 \
             --tap tap{net} --ip 192.168.{net}.2/24 --gateway 192.168.{net}.1"
        );
        Running::start(self.bench.command(args.split_whitespace()))
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("iproute2");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asks a device to end, and to say what it did.
pub fn stop(device: &Running) {
    device.signal(Signal::TERM);
}

/// Connects to a device, once it is up.
///
/// # Panics
/// Where it does not come up.
#[must_use]
#[track_caller]
pub fn dial() -> TcpStream {
    let device: SocketAddr = DEVICE.parse().expect("an address");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect_timeout(&device, Duration::from_millis(200)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "no device: {error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What came of a session with a device.
#[derive(Debug)]
pub struct Asked {
    /// How it ended.
    pub ended: Result<(), Error>,
    /// What the application came to know.
    pub app: App,
}

/// Has a device that serves do `jobs`.
///
/// # Panics
/// Where it cannot be reached.
#[track_caller]
pub fn ask(link: impl Security, jobs: &[Job]) -> Asked {
    ask_for(Timeouts::DEFAULT, link, jobs)
}

/// As [`ask`], with other patience.
///
/// # Panics
/// As of `ask`.
#[track_caller]
pub fn ask_for(timeouts: Timeouts, link: impl Security, jobs: &[Job]) -> Asked {
    let mut driver = Blocking::with_read_ready(Socket::new(dial()).expect("a socket"));
    let config = Config { timeouts, ..Config::small(Side::Dialler, 4) };
    let session = Requester::<_, 8, _>::with_security([0; 1052], [0; 1052], &config, link);
    let mut session = session.expect("large enough");
    let (mut app, began) = (App::default(), Instant::now());
    let mut jobs = jobs.iter().peekable();
    loop {
        if let Some(&job) = jobs.peek() {
            match session.request(&job.request()) {
                Ok(id) => app.accepted(id, jobs.next().expect("peeked")),
                Err(RequestError::Refused(code)) => panic!("{job:?}: {code}"),
                Err(RequestError::Later | RequestError::Over) => {}
            }
        }
        if let Step::Closed(ended) = driver.step(&mut session, &mut app, since(began)) {
            return Asked { ended, app };
        }
    }
}

/// What came of a session with a device that asked.
#[derive(Debug)]
pub struct Served {
    /// How it ended; none where the host went away.
    pub ended: Option<Result<(), Error>>,
    /// What the device sent, in bytes.
    pub received: usize,
}

/// Listens where a device is told that a server is.
///
/// # Panics
/// Where that is taken.
#[must_use]
pub fn listen() -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(HOST) {
            Ok(listener) => return listener,
            // A child that another test is just starting has the socket of before for a moment.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                assert!(Instant::now() < deadline, "{error}");
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("no address of ours: {error}"),
        }
    }
}

/// Serves the first device that dials, until it leaves, or until `is_enough`.
///
/// # Panics
/// Where none comes.
#[track_caller]
pub fn serve(
    listener: &TcpListener,
    link: impl Security,
    store: &mut Memory,
    mut is_enough: impl FnMut(&Memory) -> bool,
) -> Served {
    let (stream, _) = listener.accept().expect("a device");
    let socket = Counted { socket: Socket::new(stream).expect("a socket"), received: 0 };
    let mut driver = Blocking::with_read_ready(socket);
    let config = Config::small(Side::Listener, 4);
    let session = Responder::with_security([0; 1052], [0; 1052], &config, link);
    let (mut session, began) = (session.expect("large enough"), Instant::now());
    let mut ended = None;
    while ended.is_none() && !is_enough(store) {
        if let Step::Closed(result) = driver.step(&mut session, store, since(began)) {
            ended = Some(result);
        }
    }
    Served { ended, received: driver.stream().received }
}

/// A socket that counts what comes.
struct Counted {
    socket: Socket,
    received: usize,
}

impl ErrorType for Counted {
    type Error = SocketError;
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, SocketError> {
        let len = self.socket.read(buf)?;
        self.received += len;
        Ok(len)
    }
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> Result<usize, SocketError> {
        self.socket.write(buf)
    }

    fn flush(&mut self) -> Result<(), SocketError> {
        self.socket.flush()
    }
}

impl ReadReady for Counted {
    fn read_ready(&mut self) -> Result<bool, SocketError> {
        self.socket.read_ready()
    }
}

/// Nobody has dialled, nor does.
///
/// # Panics
/// Where somebody has.
#[track_caller]
pub fn assert_nobody_dialled(listener: &TcpListener) {
    listener.set_nonblocking(true).expect("a socket");
    let refused = listener.accept().expect_err("somebody dialled");
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
}
