//! A thousand clients on one server, which are killed now and then.
//!
//! `cargo run --release -p kift-tests --example crowd` takes ten minutes; `KIFT_SECONDS` says how long (600),
//! `KIFT_CLIENTS` how many (1000). Each client sends a file, or fetches back what it sent; one in four is killed
//! within two seconds, and whoever was killed does the same again. It fails where a file is not what was sent, a
//! client does not end, one fails that was not killed, or the server's memory or descriptors grow.
//!
//! They all come from one address, which the server is told to expect (`max_strangers_per_address`).

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kift_tests::files::{place, random};
use kift_tests::machine::program;
use kift_tests::rng::Rng;
use kift_tests::serving::{Serve, Server};

/// After this a client counts as stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the server is told: all of them may knock at once.
const SETTINGS: &str =
    "max_sessions = 4000\nmax_strangers = 4000\nmax_strangers_per_address = 4000\n";

/// The C library otherwise keeps what was freed, for as many threads as there were.
const FRANK: [&str; 4] =
    ["env", "MALLOC_ARENA_MAX=2", "MALLOC_MMAP_THRESHOLD_=65536", "MALLOC_TRIM_THRESHOLD_=65536"];

/// Between two looks at a client, and at the server.
const GLANCE: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(60);

/// Behind each phase all clients end, so that the server can be looked at while it has nothing to do.
const PHASES: u32 = 4;

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    fetched: AtomicU64,
    bytes: AtomicU64,
    killed: AtomicU64,
    failed: AtomicU64,
    stuck: AtomicU64,
    wrong: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What the system knows of a process: bytes of memory, and open descriptors.
fn used(pid: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let rss =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    let rss = rss.and_then(|text| text.parse().ok()).unwrap_or(0_u64) * 1024;
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    (rss, fds)
}

/// Waits for the end of a client, or kills it at that moment. None where it is stuck.
fn end(mut child: Child, kill: Option<Duration>) -> Option<bool> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Some(status.success());
        }
        let is_struck = kill.is_some_and(|kill| begun.elapsed() >= kill);
        if is_struck || begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return is_struck.then_some(false);
        }
        thread::sleep(kill.map_or(GLANCE, |kill| GLANCE.min(kill)));
    }
}

/// Whether `path` holds what was sent last, and what else if not.
fn look(path: &Path, data: &[u8], before: &[u8]) -> Result<(), String> {
    let there = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if there == data {
        return Ok(());
    }
    let what = if there == before {
        "what was sent before"
    } else {
        "neither that nor what was sent before"
    };
    Err(format!(
        "{}: {} bytes were sent, {} are there, {what}",
        path.display(),
        data.len(),
        there.len()
    ))
}

/// A client, until `over`: what it stores is in the file that has its number.
fn client(
    number: u64,
    seed: u64,
    server: u16,
    here: &Path,
    served: &Path,
    over: Instant,
    counts: &Counts,
) {
    let mut rng = Rng::new(seed);
    let mut before = Vec::new();
    let said = here.join(format!("e{number}"));
    let (name, back) = (format!("c{number}"), format!("b{number}"));
    let at = format!("127.0.0.1:{server}/{name}");
    while Instant::now() < over {
        let len = if rng.chance(10) { rng.below(4 << 20) } else { rng.below(64 << 10) };
        let data = random(len, rng.bits());
        fs::write(here.join(&name), &data).expect("a file");
        let is_back = rng.chance(25);
        let lines: [&[&str]; 2] = [
            &["put", "--plain", "-q", "--retry", "100", &name, &at],
            &["get", "--plain", "-q", "--retry", "100", &at, &back],
        ];
        for (line, counter) in
            lines[..1 + usize::from(is_back)].iter().zip([&counts.sent, &counts.fetched])
        {
            loop {
                let kill = rng.chance(25).then(|| Duration::from_millis(rng.bits() % 2000));
                let child = Command::new(program())
                    .args(*line)
                    .current_dir(here)
                    .env("KIFT_STATE", here.join(format!("s{number}")))
                    .env("KIFT_CONFIG", "")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(File::create(&said).expect("a file"))
                    .spawn()
                    .expect("a client");
                match end(child, kill) {
                    Some(true) => break,
                    Some(false) if kill.is_some() => count(&counts.killed),
                    Some(false) => {
                        count(&counts.failed);
                        let said = fs::read_to_string(&said).unwrap_or_default();
                        println!("client {number} failed: {line:?}: {said}");
                    }
                    None => {
                        count(&counts.stuck);
                        println!("client {number} did not end: {line:?}");
                    }
                }
            }
            count(counter);
            counts.bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
        let is_there = look(&served.join(&name), &data, &before);
        let came_back = if is_back { look(&here.join(&back), &data, &before) } else { Ok(()) };
        if let Err(why) = is_there.and(came_back) {
            count(&counts.wrong);
            println!("client {number}: {why}");
        }
        before = data;
    }
}

/// Lets the clients work until `over`, and waits until the sessions of all are over.
fn phase(round: u32, clients: u64, server: &Server, here: &Path, over: Instant, counts: &Counts) {
    let before = used(server.pid()).1;
    thread::scope(|scope| {
        for number in 0..clients {
            let (served, port) = (server.root(), server.port());
            let seed = number << 8 | u64::from(round);
            let client = move || client(number, seed, port, here, served, over, counts);
            let thread = thread::Builder::new().stack_size(256 << 10);
            thread.spawn_scoped(scope, client).expect("a thread");
        }
        let mut looked = Instant::now();
        while Instant::now() < over {
            thread::sleep(GLANCE);
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let (rss, fds) = used(server.pid());
                println!(
                    "{} sent, the server's memory {:.1} MB, {fds} descriptors",
                    counts.sent.load(Ordering::Relaxed),
                    rss as f64 / 1e6
                );
            }
        }
    });
    // Sessions whose clients were killed are over, too.
    let patience = Instant::now() + PATIENCE;
    while used(server.pid()).1 > before && Instant::now() < patience {
        thread::sleep(GLANCE);
    }
}

fn main() -> ExitCode {
    let (seconds, clients) = (number("KIFT_SECONDS", 600), number("KIFT_CLIENTS", 1000));
    let (here, counts) = (place(), Counts::default());
    let settings = here.path().join("settings.toml");
    fs::write(&settings, SETTINGS).expect("a file");
    let args = ["--config", settings.to_str().expect("UTF-8")];
    let server = Server::start(Serve { args: &args, under: &FRANK, ..Serve::default() });
    let begun = Instant::now();
    let mut after = vec![used(server.pid())];
    println!("{clients} clients for {seconds} s, in {PHASES} phases");
    for round in 1..=PHASES {
        let over = begun + Duration::from_secs(seconds) / PHASES * round;
        phase(round, clients, &server, here.path(), over, &counts);
        after.push(used(server.pid()));
    }
    let Counts { sent, fetched, bytes, killed, failed, stuck, wrong } = &counts;
    let [sent, fetched, bytes, killed, failed, stuck, wrong] =
        [sent, fetched, bytes, killed, failed, stuck, wrong]
            .map(|count| count.load(Ordering::Relaxed));
    println!(
        "{sent} files sent and {fetched} fetched, {} MB; {killed} clients killed; failed without that {failed}, stuck {stuck}, \
         files that are not what was sent {wrong}",
        bytes / 1_000_000
    );
    let idle =
        |(rss, fds): &(u64, usize)| format!("{:.1} MB, {fds} descriptors", *rss as f64 / 1e6);
    let idle: Vec<_> = after.iter().map(idle).collect();
    println!("the server while nobody was there: {}", idle.join("; "));
    println!("partial uploads left: {}", server.partials().len());
    // What the first phase needed is kept for the next ones.
    let (first, last) = (after[1], after[PHASES as usize]);
    let is_flat = last.0 < first.0 + first.0 / 5 + (4 << 20) && last.1 <= after[0].1;
    if failed + stuck + wrong > 0 || !is_flat || sent == 0 {
        println!("NOT CLEAN");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
