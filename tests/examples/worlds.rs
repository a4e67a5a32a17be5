//! Runs worlds: see `kift_tests::world`.
//!
//! `cargo run --release -p kift-tests --example worlds -- chip` goes on until one fails, or for as many
//! seconds as `KIFT_SECONDS` says; `chip 17` runs the one of that seed, and `chip 17 100` a hundred from
//! there on. So does `host`, which needs root for its disk.

use std::env;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kift_tests::disk::Faults;
use kift_tests::sealed::{PlainLinks, SealedLinks};
use kift_tests::world::{Chip, Counts, Host, World};

/// Between two reports.
const REPORTED: Duration = Duration::from_secs(10);

fn run(storage: &str, seed: u64) -> Counts {
    match (storage, seed % 4) {
        ("chip", 0) => World::<_, SealedLinks>::run(Chip::new(seed), seed),
        ("chip", _) => World::<_, PlainLinks>::run(Chip::new(seed), seed),
        ("host", _) => World::<_, PlainLinks>::run(Host::new(Faults::default()), seed),
        _ => panic!("{storage}: chip or host"),
    }
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let storage = args.first().map_or("chip", String::as_str);
    let number = |at: usize| args.get(at).map(|arg| arg.parse().expect("a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros() as u64);
    let first = number(1).unwrap_or(now);
    let count = number(2).or(number(1).map(|_| 1)).unwrap_or(u64::MAX);
    let seconds = env::var("KIFT_SECONDS").ok().map(|text| text.parse().expect("seconds"));
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut counts = Counts::default();
    for seed in (first..).take(count.try_into().unwrap_or(usize::MAX)) {
        counts.add(run(storage, seed));
        if told.elapsed() > REPORTED {
            told = Instant::now();
            println!("{counts}");
        }
        if seconds.is_some_and(|seconds| begun.elapsed() > Duration::from_secs(seconds)) {
            break;
        }
    }
    println!("from {first} on, in {} s: {counts}", begun.elapsed().as_secs());
}
