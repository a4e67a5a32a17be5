//! One large file over loopback, up and down, beside a bare socket copy of the same file and beside
//! scp.
//!
//! `cargo bench -p kift` prints the rate of each, its ratio to the bare copy of the same round, and
//! the processor time of both ends; at the end the medians of these, and the ratio of the fastest
//! copies, which says more where the machine is not quiet. The bare copy is what a program without any
//! protocol does: file to socket and socket to file through a buffer of 256 KiB, a process each. scp,
//! where an OpenSSH server is installed, has a server of its own here, and AES-256-GCM, its quickest
//! cipher.
//! Files are in memory (`/dev/shm`) where there is such a place, so that the disk is not what is
//! measured. At the end, how soon listings are answered while such a file moves.
//!
//! `KIFT_BENCH_MIB` sets the size (1024), `KIFT_BENCH_ROUNDS` the number of rounds (5).

mod answers;
mod peers;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use peers::{Bare, Kift, Peer, Scp};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, role, address, file] = args.as_slice()
        && role == "bare-receiver"
    {
        return peers::receive(address, file);
    }
    let mib = setting("KIFT_BENCH_MIB", 1024);
    let rounds = setting("KIFT_BENCH_ROUNDS", 5);
    let place = tempfile::Builder::new().prefix("kift-bench-").tempdir_in(memory())?;
    let file = place.path().join("file");
    fill(&file, mib)?;
    println!("{mib} MiB, {rounds} rounds, files in {}", memory().display());

    let sealed = Kift::start("sealed", &[], place.path(), &file)?;
    let plain = Kift::start("plain", &["--plain"], place.path(), &file)?;
    let scp = Scp::start()?;
    let mut peers: Vec<&dyn Peer> = vec![&sealed, &plain];
    match &scp {
        Some(scp) => peers.push(scp),
        None => println!("scp is left out: there is no /usr/sbin/sshd"),
    }
    let copy = place.path().join("copy");
    // The bare copy first, then what is compared with it.
    let mut series = vec![Series::new("bare".to_owned())];
    for peer in &peers {
        series.push(Series::new(format!("{} put", peer.name())));
        series.push(Series::new(format!("{} get", peer.name())));
    }
    for round in 0..rounds {
        // Each makes one new file, and it goes before the next begins: memory that was used a
        // moment ago is much faster than memory that was not.
        let mut measured = vec![measure(&Bare, &copy, mib, || Bare.put(&file, &copy))?];
        for &peer in &peers {
            let stored = peer.stored().unwrap_or_else(|| copy.clone());
            measured.push(measure(peer, &stored, mib, || peer.put(&file, &copy))?);
            measured.push(measure(peer, &copy, mib, || peer.get(&file, &copy))?);
        }
        let bare = measured[0];
        for (series, measured) in series.iter_mut().zip(measured) {
            println!(
                "round {round}  {:16}  {:7.1} MiB/s  {:5.2} of bare  {:5.2} CPU-s",
                series.name,
                mib as f64 / measured.took.as_secs_f64(),
                measured.ratio(bare),
                measured.cpu,
            );
            series.ratios.push(measured.ratio(bare));
            series.cpu.push(measured.cpu);
            series.fastest = series.fastest.min(measured.took);
        }
    }
    let bare = series[0].fastest;
    println!("in all            median of bare  fastest of bare  median CPU-s");
    for series in &mut series {
        println!(
            "  {:16}  {:12.2}  {:15.2}  {:12.2}",
            series.name,
            median(&mut series.ratios),
            bare.as_secs_f64() / series.fastest.as_secs_f64(),
            median(&mut series.cpu),
        );
    }
    answers::show(&sealed, &file, place.path())
}

/// What one way to copy the file came to, round by round.
struct Series {
    name: String,
    /// Rates, each as a part of the bare copy's in the same round.
    ratios: Vec<f64>,
    cpu: Vec<f64>,
    fastest: Duration,
}

impl Series {
    fn new(name: String) -> Self {
        Self { name, ratios: Vec::new(), cpu: Vec::new(), fastest: Duration::MAX }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
}

fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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

impl Measured {
    /// Its rate as a part of that of `bare`.
    fn ratio(self, bare: Self) -> f64 {
        bare.took.as_secs_f64() / self.took.as_secs_f64()
    }
}

/// Measures `work`, which makes the file `result` of `mib` MiB; the file is then removed.
fn measure(
    peer: &dyn Peer,
    result: &Path,
    mib: u64,
    work: impl FnOnce() -> io::Result<()>,
) -> io::Result<Measured> {
    let cpu = || -> io::Result<f64> {
        // The last two fields are those of children that were waited for.
        let all = [11, 12, 13, 14];
        let server = peer.server().map_or(Ok(0.0), |pid| cpu_seconds(&pid.to_string(), &all))?;
        Ok(server + cpu_seconds("self", &all)?)
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
