//! Transfers under faults, again and again, with the real programs; and a table of what came of it.
//!
//! `cargo run --release -p kift-tests --example campaign` takes some minutes; `KIFT_TRIALS` says how
//! many trials of each kind (20), `KIFT_SEED` which (1). It fails where any figure is not zero that should
//! be, and where a fault that was planted is not found.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kift_tests::files::{names, place, write_random};
use kift_tests::machine::{Ended, Running, Signal, command, wait_until};
use kift_tests::proxy::{Fate, Proxy};
use kift_tests::rng::Rng;
use kift_tests::serving::{Serve, Server};
use serde_json::Value;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Of the table.
const HEAD: &str = "\
| failure                            | trials | lost bytes | false successes | sent again      | stuck | MiB unsaved |
| ---------------------------------- | ------ | ---------- | --------------- | --------------- | ----- | ----------- |";

/// Bytes of each file.
const LEN: u64 = 96 * MIB + 777;

/// How long nothing may be heard of a program.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Put,
    Get,
}

/// Who is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Client,
    Server,
    Both,
}

/// What came of one kind of fault.
#[derive(Debug, Default)]
struct Row {
    trials: u32,
    /// Bytes that are not what they were, or not there.
    lost: u64,
    /// Success was said, and the file was not there as it should be.
    false_successes: u32,
    /// Bytes sent twice although they were durable.
    again: u64,
    stuck: u32,
    /// Bytes that had come and were not durable yet when it struck: at most, of all trials.
    unsaved: u64,
}

impl Row {
    const fn is_clean(&self) -> bool {
        self.lost == 0 && self.false_successes == 0 && self.again == 0 && self.stuck == 0
    }

    fn show(&self, kind: &str) {
        let Self { trials, lost, false_successes, again, stuck, unsaved } = self;
        println!(
            "| {kind:34} | {trials:6} | {lost:10} | {false_successes:15} | {again:15} | {stuck:5} | {:11.1} |",
            *unsaved as f64 / MIB as f64
        );
    }
}

/// A server, and a client that remembers.
struct Stage {
    server: Server,
    here: TempDir,
}

impl Stage {
    fn new() -> Self {
        // Few chunks on their way: so that something can happen meanwhile.
        let args = ["--window", "8"];
        Self { server: Server::start(Serve { args: &args, ..Serve::default() }), here: place() }
    }

    fn local(&self) -> PathBuf {
        self.here.path().join("file")
    }

    fn source(&self, way: Way) -> PathBuf {
        if way == Way::Put { self.local() } else { self.server.file("file") }
    }

    fn target(&self, way: Way) -> PathBuf {
        if way == Way::Put { self.server.file("file") } else { self.local() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.env("KIFT_STATE", self.here.path().join("state")).current_dir(self.here.path());
        command
    }

    fn transfer(&self, way: Way, at: &str, more: &[&str]) -> Running {
        let args: &[&str] = match way {
            Way::Put => &["put", "--plain", "--json", "file", at],
            Way::Get => &["get", "--plain", "--json", "--window", "8", at],
        };
        Running::start(self.command(&[args, more].concat()))
    }

    /// Bytes that came of what is not whole.
    fn came(&self, way: Way) -> u64 {
        if way == Way::Put {
            return self.server.partial_len();
        }
        let parts = names(self.here.path()).into_iter().filter(|name| name.ends_with(".part"));
        let len =
            |name: String| self.here.path().join(name).metadata().map_or(0, |meta| meta.len());
        parts.map(len).sum()
    }

    /// Waits until the server has noticed that its only client is gone.
    fn wait_until_over(&self) {
        wait_until("the server is done with it", || {
            let log = self.server.log();
            let last = log.lines().last().unwrap_or_default();
            last.contains("session ended") || last.contains("connection lost")
        });
    }

    /// Bytes of an upload that the server says it keeps.
    fn kept(&self) -> u64 {
        let line = ["partials", "--plain", "--json", &self.server.at("")];
        let shown = Running::start(self.command(&line)).end().objects();
        shown.iter().filter_map(|partial| partial["durable"].as_u64()).sum()
    }

    /// Counts what is wrong with what a command said and left.
    fn check(&self, way: Way, ended: &Ended, row: &mut Row) -> u64 {
        let (is, was) =
            (fs::read(self.target(way)).unwrap_or_default(), fs::read(self.source(way)));
        let was = was.expect("the source");
        let wrong = is.iter().zip(&was).filter(|(is, was)| is != was).count() as u64;
        let lost = wrong + was.len().abs_diff(is.len()) as u64;
        row.lost += lost;
        row.false_successes += u32::from(ended.status.success() && lost > 0);
        let summary = ended.stdout.split(|byte| *byte == b'\n').rev().find(|line| !line.is_empty());
        let summary: Value =
            summary.and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default();
        summary["summary"]["bytes"].as_u64().unwrap_or(u64::MAX)
    }
}

/// Waits for the end of `client`; none where it is stuck.
fn end(mut client: Running) -> Option<Ended> {
    let began = Instant::now();
    while !client.is_over() {
        if began.elapsed() > PATIENCE {
            client.signal(Signal::KILL);
            let _ = client.end();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(client.end())
}

/// One of the ends is killed at some byte, and the same command is given again.
fn killed(way: Way, who: Who, rng: &mut Rng, row: &mut Row, plant: impl Fn(&Stage)) {
    let mut stage = Stage::new();
    write_random(&stage.source(way), LEN, rng.bits());
    let at = stage.server.at("file");
    let n = rng.bits() % LEN;
    let mut client = stage.transfer(way, &at, &[]);
    let began = Instant::now();
    while !client.is_over() && stage.came(way) < n && began.elapsed() < PATIENCE {}
    if who != Who::Server {
        client.signal(Signal::KILL);
    }
    if who != Who::Client {
        stage.server.kill();
    }
    let Some(ended) = end(client) else {
        row.stuck += 1;
        return;
    };
    row.trials += 1;
    if ended.status.success() {
        // It was quicker.
        let _ = stage.check(way, &ended, row);
        return;
    }
    let came = stage.came(way);
    if who == Who::Client {
        stage.wait_until_over();
    } else {
        stage.server.restart();
    }
    let kept = if way == Way::Put { Some(stage.kept()) } else { None };
    row.unsaved = row.unsaved.max(kept.map_or(0, |kept| came.saturating_sub(kept)));
    plant(&stage);
    let Some(ended) = end(stage.transfer(way, &at, &[])) else {
        row.stuck += 1;
        return;
    };
    let moved = stage.check(way, &ended, row);
    // What is kept of a download is not asked for: a checkpoint is what may be missing.
    let least = kept.unwrap_or_else(|| came.saturating_sub(40 * MIB));
    if !stage.target(way).exists() || kept == Some(0) {
        return;
    }
    row.again += moved.saturating_sub(LEN - least.min(LEN));
}

/// The line is cut behind any record, some times, and the command goes on by itself.
fn cut(way: Way, rng: &mut Rng, row: &mut Row) {
    let stage = Stage::new();
    write_random(&stage.source(way), LEN / 8, rng.bits());
    let state = Mutex::new((Rng::new(rng.bits()), 0));
    let proxy = Proxy::lay(
        stage.server.port(),
        Box::new(move |_, _, bytes| {
            let mut state = state.lock().expect("held briefly");
            let is_cut = state.1 < 5 && state.0.below(2000) == 0;
            state.1 += u32::from(is_cut);
            let len = state.0.below(bytes.len() + 1);
            is_cut.then(|| Fate { on: bytes[..len].to_vec(), back: Vec::new(), cut: true })
        }),
    );
    row.trials += 1;
    match end(stage.transfer(way, &proxy.at("file"), &["--retry", "20"])) {
        None => row.stuck += 1,
        Some(ended) => {
            let _ = stage.check(way, &ended, row);
        }
    }
    let _ = proxy.end();
}

/// A GiB goes up, and one end after the other is killed, so many times.
fn alternating(times: u64, row: &mut Row) {
    let (mut stage, len, way) = (Stage::new(), 1024 * MIB, Way::Put);
    write_random(&stage.source(way), len, 1);
    let at = stage.server.at("file");
    let mut before = 0;
    for step in 1..=times {
        row.trials += 1;
        let mut client = stage.transfer(way, &at, &[]);
        let (goal, began) = (step * len / (times + 1), Instant::now());
        while !client.is_over() && stage.came(way) < goal && began.elapsed() < PATIENCE {}
        let came = stage.came(way);
        if step % 2 == 0 {
            stage.server.kill();
        } else {
            client.signal(Signal::KILL);
        }
        if end(client).is_none() {
            row.stuck += 1;
        }
        if step % 2 == 0 {
            stage.server.restart();
        } else {
            stage.wait_until_over();
        }
        let kept = stage.kept();
        row.unsaved = row.unsaved.max(came.saturating_sub(kept));
        row.again += u64::from(kept < before) * (before - kept.min(before));
        before = kept;
    }
    match end(stage.transfer(way, &at, &[])) {
        None => row.stuck += 1,
        Some(ended) => {
            let moved = stage.check(way, &ended, row);
            row.again += moved.saturating_sub(len - before);
        }
    }
}

/// What a power cut does where a sync was left out: the last MiB that was said to be durable is not there.
fn leave_out_a_sync(stage: &Stage) {
    let kept = stage.kept();
    for part in stage.server.partials().iter().filter(|_| kept >= MIB) {
        let file = fs::File::options().write(true).open(part).expect("a partial");
        file.write_all_at(&vec![0; MIB as usize], kept - MIB).expect("a disk");
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() -> ExitCode {
    let (trials, mut rng) = (number("KIFT_TRIALS", 20), Rng::new(number("KIFT_SEED", 1)));
    let began = Instant::now();
    println!("{HEAD}");
    let mut is_clean = true;
    let mut show = |kind: &str, row: &Row| {
        row.show(kind);
        is_clean &= row.is_clean() && row.trials > 0;
    };
    for way in [Way::Put, Way::Get] {
        for who in [Who::Client, Who::Server, Who::Both] {
            let mut row = Row::default();
            (0..trials).for_each(|_| killed(way, who, &mut rng, &mut row, |_| {}));
            show(&format!("{way:?}: {who:?} killed").to_lowercase(), &row);
        }
        let mut row = Row::default();
        (0..trials).for_each(|_| cut(way, &mut rng, &mut row));
        show(&format!("{way:?}: line cut up to five times").to_lowercase(), &row);
    }
    let mut row = Row::default();
    alternating(20, &mut row);
    show("put of 1 GiB: ends killed in turn", &row);
    let mut planted = Row::default();
    (0..trials.min(5)).for_each(|_| {
        killed(Way::Put, Who::Both, &mut rng, &mut planted, leave_out_a_sync);
    });
    planted.show("planted: a sync left out");
    println!("in {:.0} s", began.elapsed().as_secs_f64());
    let is_found = planted.lost > 0;
    if !is_clean || !is_found {
        println!("{}", if is_found { "NOT CLEAN" } else { "A PLANTED FAULT WAS NOT FOUND" });
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
