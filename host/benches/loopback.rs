//! One large file over loopback, up and down, beside a bare socket copy of the same file.
//!
//! `cargo bench -p kift` prints the rate of each, its ratio to the bare copy of the same round, and
//! the processor time of both ends. The bare copy is what a program without any protocol does:
//! file to socket and socket to file through a buffer of 256 KiB, a process each. Files are in
//! memory (`/dev/shm`) where there is such a place, so that the disk is not what is measured.
//!
//! `KIFT_BENCH_MIB` sets the size (1024), `KIFT_BENCH_ROUNDS` the number of rounds (5).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KIFT: &str = env!("CARGO_BIN_EXE_kift");
const BARE_BUFFER: usize = 256 * 1024;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, role, address, file] = args.as_slice()
        && role == "bare-receiver"
    {
        return receive(address, file);
    }
    let mib = setting("KIFT_BENCH_MIB", 1024);
    let rounds = setting("KIFT_BENCH_ROUNDS", 5);
    let place = tempfile::Builder::new().prefix("kift-bench-").tempdir_in(memory())?;
    let served = place.path().join("served");
    fs::create_dir(&served)?;
    let file = served.join("file");
    fill(&file, mib)?;
    println!("{mib} MiB, {rounds} rounds, files in {}", memory().display());

    let server = Server::start(&served, &place.path().join("port"))?;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let copy = place.path().join("copy");
        let stored = served.join("stored");
        let to = format!("{}/stored", server.address);
        let from = format!("{}/file", server.address);
        // Each makes one new file, and it goes before the next begins: memory that was used a
        // moment ago is much faster than memory that was not.
        let bare = measure(None, &copy, mib, || bare(&file, &copy))?;
        let put = measure(Some(&server), &stored, mib, || {
            kift(&["put", "--plain", &file.to_string_lossy(), &to])
        })?;
        let get = measure(Some(&server), &copy, mib, || {
            kift(&["get", "--plain", &from, &copy.to_string_lossy()])
        })?;
        for (what, of) in [("bare", bare), ("put", put), ("get", get)] {
            println!(
                "round {round}  {what:4}  {:7.1} MiB/s  {:5.2} of bare  {:5.2} CPU-s",
                mib as f64 / of.took.as_secs_f64(),
                bare.took.as_secs_f64() / of.took.as_secs_f64(),
                of.cpu,
            );
        }
        up.push(bare.took.as_secs_f64() / put.took.as_secs_f64());
        down.push(bare.took.as_secs_f64() / get.took.as_secs_f64());
    }
    println!(
        "median ratio to the bare copy: put {:.2}, get {:.2}",
        median(&mut up),
        median(&mut down)
    );
    Ok(())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
}

fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() }
}

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// Bytes that do not compress and do not repeat.
fn fill(path: &Path, mib: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Measured {
    took: Duration,
    /// Processor seconds of all processes that took part.
    cpu: f64,
}

/// Measures `work`, which makes the file `result` of `mib` MiB; the file is then removed.
fn measure(
    server: Option<&Server>,
    result: &Path,
    mib: u64,
    work: impl FnOnce() -> io::Result<()>,
) -> io::Result<Measured> {
    let cpu = || -> io::Result<f64> {
        // The last two fields are those of children that were waited for.
        let of_server = server
            .map_or(Ok(0.0), |server| cpu_seconds(&server.child.id().to_string(), &[11, 12]))?;
        Ok(of_server + cpu_seconds("self", &[11, 12, 13, 14])?)
    };
    let before = cpu()?;
    let started = Instant::now();
    work()?;
    let took = started.elapsed();
    let cpu = cpu()? - before;
    assert_eq!(fs::metadata(result)?.len(), mib << 20, "the copy is not whole");
    fs::remove_file(result)?;
    Ok(Measured { took, cpu })
}

/// The sum of fields of `/proc/PID/stat`, counted behind the command's name, in seconds.
fn cpu_seconds(pid: &str, fields: &[usize]) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
    let values: Vec<&str> = behind.split(' ').collect();
    let ticks: f64 = fields.iter().filter_map(|&at| values.get(at)?.parse::<f64>().ok()).sum();
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// The bare copy: this process sends, another receives.
fn bare(from: &Path, to: &Path) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let mut receiver =
        Command::new(std::env::current_exe()?).args(["bare-receiver", &address]).arg(to).spawn()?;
    let (mut stream, _) = listener.accept()?;
    copy(&mut File::open(from)?, &mut stream)?;
    drop(stream);
    assert!(receiver.wait()?.success(), "the bare receiver failed");
    Ok(())
}

fn receive(address: &str, file: &str) -> io::Result<()> {
    copy(&mut TcpStream::connect(address)?, &mut File::create(file)?)
}

/// Not `io::copy`, which would have the kernel move the bytes.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BARE_BUFFER];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

fn kift(args: &[&str]) -> io::Result<()> {
    let status = Command::new(KIFT).args(args).stdin(Stdio::null()).status()?;
    assert!(status.success(), "kift {args:?} failed");
    Ok(())
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(served: &Path, port_file: &Path) -> io::Result<Self> {
        let child = Command::new(KIFT)
            .args(["serve", "--plain", "--quiet", "--listen", "127.0.0.1:0", "--port-file"])
            .arg(port_file)
            .arg(served)
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Self { child, address: String::new() };
        for _ in 0..1000 {
            if let Ok(port) = fs::read_to_string(port_file) {
                server.address = format!("127.0.0.1:{}", port.trim());
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the server did not start"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
