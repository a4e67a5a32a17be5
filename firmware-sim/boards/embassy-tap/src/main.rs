//! kift on embassy: two tasks that move files at once, each with a session of its own on the
//! asynchronous driver, over embassy-net and a TAP interface.
//!
//! One task serves the files of [`shelf`] to a client. The other, once somebody is served, sends the
//! device's log to a server and fetches an image from it. All links are sealed. To try it, as root, in
//! a network that goes with the shell (`kift` and this program built and in the search path):
//! ```sh
//! unshare -n
//! ip link set lo up
//! ip tuntap add dev tap0 mode tap
//! ip address add 192.168.69.1/24 dev tap0
//! ip link set tap0 up
//! mkdir -p served && head -c 100K /dev/urandom > served/image.bin
//! kift serve --state state --listen 192.168.69.1:5438 served &
//! kift user add device rw --no-password --state state
//! kift authorize device "$(kift-embassy-tap key device.key)" --state state
//! mine=$(kift key show --state state) mine=${mine#x25519 }
//! kift-embassy-tap run device.key tap0 192.168.69.2/24 192.168.69.1:5438 "$mine" "$mine" 1 &
//! kift get --state state --server-key "$(kift-embassy-tap key device.key)" 192.168.69.2/capture.bin
//! wait %2
//! ```
//! (The server and the client have one key here, as they share a state.)

mod board;
mod errand;
mod shelf;

use core::cell::RefCell;
use core::str::FromStr;
use std::error::Error;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::exit;

use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use embassy_net_tuntap::TunTapDevice;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Duration, with_timeout};
use kift_core::driver::{Async, Step};
use kift_core::secure::{Entropy as _, NoEntropy, Noise, PublicKey, SecretKey};
use kift_core::session::{
    Config, Error as SessionError, Reply, RequestError, Requester, Responder, Side,
};
use kift_core::wire::TransferId;
use static_cell::{ConstStaticCell, StaticCell};

use board::{Random, Time, hang_up, identity};
use errand::Errand;
use shelf::{Meeting, Served, Shelf};

const USAGE: &str = "usage: kift-embassy-tap key FILE
       kift-embassy-tap run FILE TAP ADDRESS/PREFIX SERVER:PORT SERVER-KEY CLIENT-KEY SESSIONS

`key` shows the device's key, and makes it where FILE is not there. `run` serves SESSIONS sessions,
runs the errand meanwhile, and ends.";

/// Where the device listens.
const PORT: u16 = 5438;

/// Bytes of each buffer of a socket.
const SOCKET_LEN: usize = 4096;

/// Bytes of each buffer of a session: a frame of one chunk.
const FRAME_LEN: usize = 1052;

/// Chunks that may come before the device has looked at one: a frame, and what the socket takes.
const WINDOW: u64 = 1 + (SOCKET_LEN / FRAME_LEN) as u64;

/// How long a server may take to accept a connection.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// What a task has come to.
enum News {
    /// A session that was served is over.
    Served(Result<(), String>),
    /// The errand is over.
    Errand(Result<(), String>),
}

/// Where the tasks tell it.
type Desk = Channel<NoopRawMutex, News, 2>;

/// What both tasks are given.
#[derive(Clone, Copy)]
struct Device {
    stack: Stack<'static>,
    identity: &'static SecretKey,
    shelf: &'static RefCell<Shelf>,
    meeting: &'static Meeting,
    desk: &'static Desk,
}

impl Device {
    /// Its end of a link.
    fn link(&self) -> Result<Noise, NoEntropy> {
        Noise::new(self.identity.clone(), None, &mut Random)
    }
}

/// What is to be done, as the command line has it.
struct Line {
    tap: String,
    address: Ipv4Cidr,
    server: SocketAddrV4,
    server_key: PublicKey,
    client_key: PublicKey,
    sessions: u32,
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["key", file] => show_key(file),
        ["run", file, ref rest @ ..] => match Line::parse(rest) {
            Ok(line) => run(spawner, file, &line).await,
            Err(error) => {
                eprintln!("{error}\n\n{USAGE}");
                exit(2);
            }
        },
        _ => {
            eprintln!("{USAGE}");
            exit(2);
        }
    };
    if let Err(error) = done {
        eprintln!("error: {error}");
        exit(1);
    }
    exit(0);
}

fn show_key(file: &str) -> Result<(), String> {
    let identity = identity(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
    println!("{}", identity.public());
    Ok(())
}

impl Line {
    fn parse(args: &[&str]) -> Result<Self, Box<dyn Error>> {
        let &[tap, address, server, server_key, client_key, sessions] = args else {
            return Err("`run` takes seven arguments".into());
        };
        Ok(Self {
            tap: tap.to_owned(),
            address: Ipv4Cidr::from_str(address).map_err(|()| "no ADDRESS/PREFIX")?,
            server: server.parse()?,
            server_key: server_key.parse()?,
            client_key: client_key.parse()?,
            sessions: sessions.parse()?,
        })
    }
}

/// Starts the tasks, and waits for what they come to.
async fn run(spawner: Spawner, file: &str, line: &Line) -> Result<(), String> {
    static IDENTITY: StaticCell<SecretKey> = StaticCell::new();
    static SHELF: ConstStaticCell<RefCell<Shelf>> =
        ConstStaticCell::new(RefCell::new(Shelf::new()));
    static MEETING: StaticCell<Meeting> = StaticCell::new();
    static DESK: StaticCell<Desk> = StaticCell::new();
    static SOCKETS: StaticCell<StackResources<2>> = StaticCell::new();

    let identity = identity(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
    let tap = TunTapDevice::new(&line.tap).map_err(|error| format!("{}: {error}", line.tap))?;
    let mut seed = [0; 8];
    Random.fill(&mut seed).map_err(|error| error.to_string())?;
    let address =
        StaticConfigV4 { address: line.address, gateway: None, dns_servers: Default::default() };
    let (stack, network) = embassy_net::new(
        tap,
        embassy_net::Config::ipv4_static(address),
        SOCKETS.init(StackResources::new()),
        u64::from_le_bytes(seed),
    );
    let device = Device {
        stack,
        identity: IDENTITY.init(identity),
        shelf: SHELF.take(),
        meeting: MEETING.init(Meeting::new()),
        desk: DESK.init(Desk::new()),
    };
    device.shelf.borrow_mut().fill();
    for (name, contents) in device.shelf.borrow().files() {
        println!("{name}: {} bytes, BLAKE3 {}", contents.len(), Shelf::root(contents));
    }

    let full = |_| "an executor that has no room";
    spawner.spawn(move_frames(network).map_err(full)?);
    spawner.spawn(serve(device, line.client_key).map_err(full)?);
    spawner.spawn(run_errand(device, line.server, line.server_key).map_err(full)?);

    let (mut served, mut errand) = (0, None);
    while served < line.sessions || errand.is_none() {
        match device.desk.receive().await {
            News::Served(Ok(())) => served += 1,
            News::Served(Err(error)) => eprintln!("a session: {error}"),
            News::Errand(result) => errand = Some(result),
        }
    }
    println!("served meanwhile: {} bytes", device.meeting.served_meanwhile.get());
    errand.unwrap_or(Ok(()))
}

#[embassy_executor::task]
async fn move_frames(mut network: Runner<'static, TunTapDevice>) -> ! {
    network.run().await
}

/// The task that serves, one client after the other.
#[embassy_executor::task]
async fn serve(device: Device, client: PublicKey) {
    static SOCKET: ConstStaticCell<[[u8; SOCKET_LEN]; 2]> = ConstStaticCell::new([[0; _]; 2]);
    static FRAMES: ConstStaticCell<[[u8; FRAME_LEN]; 2]> = ConstStaticCell::new([[0; _]; 2]);

    let ([rx, tx], frames) = (SOCKET.take(), FRAMES.take());
    let mut socket = TcpSocket::new(device.stack, rx, tx);
    for number in 1_u32.. {
        println!("waiting at port {PORT} for client {number}");
        if socket.accept(PORT).await.is_ok() {
            let result = serve_one(device, &mut socket, frames, client).await;
            hang_up(&mut socket).await;
            device.desk.send(News::Served(result.map_err(|error| error.to_string()))).await;
        }
    }
}

/// Serves one client.
async fn serve_one(
    device: Device,
    socket: &mut TcpSocket<'_>,
    [rx, tx]: &mut [[u8; FRAME_LEN]; 2],
    client: PublicKey,
) -> Result<(), Box<dyn Error>> {
    // A small answer is not to wait for the acknowledgement of the one before it.
    socket.set_nagle_enabled(false);
    let config = Config::small(Side::Listener, WINDOW);
    let mut session = Responder::with_security(&mut rx[..], &mut tx[..], &config, device.link()?)?;
    let mut port = Served::new(device.shelf, device.meeting, client);
    let (reader, writer) = socket.split();
    let mut driver = Async::new(reader, writer, Time(Some(&device.meeting.flowing)));
    Ok(driver.run(&mut session, &mut port).await?)
}

/// The task that asks.
#[embassy_executor::task]
async fn run_errand(device: Device, server: SocketAddrV4, key: PublicKey) {
    device.meeting.serving.wait().await;
    let result = ask(device, server, key).await;
    device.meeting.is_over.set(true);
    device.meeting.flow();
    let result = result.map_err(|error| format!("{server}: {error}"));
    device.desk.send(News::Errand(result)).await;
}

/// Sends the log, fetches the image, and leaves.
async fn ask(device: Device, server: SocketAddrV4, key: PublicKey) -> Result<(), Box<dyn Error>> {
    static SOCKET: ConstStaticCell<[[u8; SOCKET_LEN]; 2]> = ConstStaticCell::new([[0; _]; 2]);
    static FRAMES: ConstStaticCell<[[u8; FRAME_LEN]; 2]> = ConstStaticCell::new([[0; _]; 2]);

    let [rx, tx] = FRAMES.take();
    let config = Config::small(Side::Dialler, WINDOW);
    let mut session =
        Requester::<_, 4, _>::with_security(&mut rx[..], &mut tx[..], &config, device.link()?)?;
    let mut transfer = TransferId([0; 16]);
    Random.fill(&mut transfer.0)?;
    let mut port = Errand::new(device.shelf, device.meeting, key, transfer);

    let [rx, tx] = SOCKET.take();
    let mut socket = TcpSocket::new(device.stack, rx, tx);
    let dialled = with_timeout(DIAL_PATIENCE, socket.connect(server)).await;
    dialled.map_err(|_| "no answer")?.map_err(|error| format!("{error:?}"))?;
    socket.set_nagle_enabled(false);
    let (reader, writer) = socket.split();
    let mut driver = Async::new(reader, writer, Time(None));
    let mut asked = 0;
    let ended = loop {
        if let Some(request) = port.request(asked) {
            match session.request(&request) {
                Ok(_) => asked += 1,
                Err(RequestError::Later | RequestError::Over) => {}
                Err(RequestError::Refused(code)) => break Err(SessionError::Closed(code)),
            }
        }
        if let Step::Closed(result) = driver.step(&mut session, &mut port).await {
            break result;
        }
    };
    hang_up(&mut socket).await;
    for (what, result) in [("sent device.log", port.sent), ("fetched image.bin", port.fetched)] {
        match result {
            Some(Ok(Reply::Stored { size, root, .. } | Reply::Got { size, root, .. })) => {
                println!("{what}: {size} bytes, BLAKE3 {root}");
            }
            Some(Ok(other)) => return Err(format!("not {what}: {other:?}").into()),
            Some(Err(failure)) => return Err(format!("not {what}: {failure}").into()),
            // Then the session ended early.
            None => {}
        }
    }
    Ok(ended?)
}
