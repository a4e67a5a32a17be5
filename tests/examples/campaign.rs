//! Transfers under faults, again and again, with the real programs; and a table of what came of it.
//!
//! `KIFT_TRIALS=8 cargo run --release -p kift-tests --example campaign` takes some twenty minutes;
//! `KIFT_TRIALS` says how many trials of each kind (20), `KIFT_SEED` which (1), and `KIFT_CROWD_SECONDS` how
//! long the thousand clients are at it (120). It fails where any figure is not zero that should be, and where a
//! fault that was planted is not found.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use kift_tests::files::{place, write_random};
use kift_tests::lossy::{self, Lossy};
use kift_tests::machine::{Ended, Running, Signal};
use kift_tests::proxy::{Fate, Proxy};
use kift_tests::rng::Rng;
use kift_tests::serving::Serve;
use kift_tests::stage::{Stage, Way};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// Of the table.
const HEAD: &str = "\
| failure                            | trials | lost bytes | false successes | sent again      | stuck | MiB unsaved |
| ---------------------------------- | ------ | ---------- | --------------- | --------------- | ----- | ----------- |";

/// Bytes of each file.
const LEN: u64 = 96 * MIB + 777;

/// How long nothing may be heard of a program.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longer than the server's patience.
const STALL: Duration = Duration::from_millis(1500);

/// Lines that are none of the best.
const LINES: [Line; 6] =
    [Line::Cut, Line::Damages, Line::Stalls, Line::IsSlow, Line::Loses(10), Line::Loses(100)];

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

/// Counts what is wrong with what a command said and left, and gives the bytes that it says it moved.
fn check(stage: &Stage, way: Way, ended: &Ended, row: &mut Row) -> u64 {
    let (is, was) = (fs::read(stage.target(way)).unwrap_or_default(), fs::read(stage.source(way)));
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

/// Waits for the end of `client`; none where it is stuck.
fn end(mut client: Running) -> Option<Ended> {
    let began = Instant::now();
    while !client.is_over() {
        if began.elapsed() > PATIENCE {
            client.signal(Signal::KILL);
            let _ = client.end();
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(client.end())
}

/// One of the ends is killed at some byte, and the same command is given again.
fn killed(way: Way, who: Who, rng: &mut Rng, row: &mut Row, plant: impl Fn(&Stage)) {
    let mut stage = Stage::new("8");
    write_random(&stage.source(way), LEN, rng.bits());
    let n = rng.bits() % LEN;
    let mut client = Running::start(stage.transfer(way, &[]));
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
        let _ = check(&stage, way, &ended, row);
        return;
    }
    let came = stage.came(way);
    if who == Who::Client {
        stage.server.wait_until_idle();
    } else {
        stage.server.restart();
    }
    let kept = if way == Way::Put { Some(stage.kept()) } else { None };
    row.unsaved = row.unsaved.max(kept.map_or(0, |kept| came.saturating_sub(kept)));
    plant(&stage);
    let Some(ended) = end(Running::start(stage.transfer(way, &[]))) else {
        row.stuck += 1;
        return;
    };
    let moved = check(&stage, way, &ended, row);
    // What is kept of a download is not asked for: a checkpoint is what may be missing.
    let least = kept.unwrap_or_else(|| came.saturating_sub(40 * MIB));
    if !stage.target(way).exists() || kept == Some(0) {
        return;
    }
    row.again += moved.saturating_sub(LEN - least.min(LEN));
}

/// What a line does to what passes it.
#[derive(Debug, Clone, Copy)]
enum Line {
    /// It is cut behind any byte, up to five times.
    Cut,
    /// A bit changes, up to five times.
    Damages,
    /// Nothing passes for longer than the server waits.
    Stalls,
    /// It takes its time.
    IsSlow,
    /// It loses so many packets in a thousand.
    Loses(u32),
}

impl Line {
    fn kind(self) -> String {
        match self {
            Self::Cut => "line cut up to five times".to_owned(),
            Self::Damages => "bits changed up to five times".to_owned(),
            Self::Stalls => "line silent, given up".to_owned(),
            Self::IsSlow => "slow line".to_owned(),
            Self::Loses(lost) => format!("packets lost, {lost} of 1000"),
        }
    }

    /// What becomes of record number `at` of a transfer, of which `done` were meddled with.
    fn fate(self, rng: &mut Rng, at: u64, done: u64, bytes: &[u8]) -> Option<Fate> {
        // Behind the greetings: who is not understood then is taken for somebody else.
        let is_due = at > 8 && done < 5 && rng.below(2000) == 0;
        match self {
            Self::Cut => is_due.then(|| {
                let on = bytes[..rng.below(bytes.len() + 1)].to_vec();
                Fate { on, cut: true, ..Fate::default() }
            }),
            Self::Damages => is_due.then(|| {
                let mut on = bytes.to_vec();
                on[rng.below(bytes.len())] ^= 1 << rng.below(8);
                Fate { on, ..Fate::default() }
            }),
            Self::Stalls => {
                if at == 700 {
                    thread::sleep(STALL);
                }
                None
            }
            Self::IsSlow => {
                thread::sleep(Duration::from_nanos(bytes.len() as u64 * 250));
                None
            }
            Self::Loses(_) => None,
        }
    }
}

/// A file goes over a line that is none of the best, by one command that goes on by itself.
fn over(line: Line, way: Way, rng: &mut Rng, row: &mut Row) {
    let settings = place();
    let file = settings.path().join("settings.toml");
    // Seconds of patience.
    fs::write(&file, "stall_timeout = \"1s\"\n").expect("a file");
    let args = ["--config", file.to_str().expect("UTF-8")];
    row.trials += 1;
    let ended = if let Line::Loses(lost) = line {
        let net = Lossy::new();
        let stage = net.stage("64", &[]);
        write_random(&stage.source(way), LEN / 32, rng.bits());
        net.lose(lost);
        let ended = end(net.start(&stage.transfer(way, &["--retry", "20"])));
        ended.map(|ended| check(&stage, way, &ended, row))
    } else {
        let stage = Stage::with("8", Serve { args: &args, ..Serve::default() });
        write_random(&stage.source(way), LEN / 8, rng.bits());
        let state = Mutex::new((Rng::new(rng.bits()), 0, 0));
        let proxy = Proxy::lay(
            stage.server.port(),
            Box::new(move |_, _, bytes| {
                let mut state = state.lock().expect("held by one direction at a time");
                let (rng, at, done) = &mut *state;
                *at += 1;
                let fate = line.fate(rng, *at, *done, bytes);
                *done += u64::from(fate.is_some());
                fate
            }),
        );
        let transfer = stage.transfer_by(way, &proxy.at("file"), &["--retry", "20"]);
        let ended = end(Running::start(transfer));
        let checked = ended.map(|ended| check(&stage, way, &ended, row));
        let _ = proxy.end();
        checked
    };
    row.stuck += u32::from(ended.is_none());
}

/// A GiB goes up, and one end after the other is killed, so many times.
fn alternating(times: u64, row: &mut Row) {
    let (mut stage, len, way) = (Stage::new("8"), 1024 * MIB, Way::Put);
    write_random(&stage.source(way), len, 1);
    let mut before = 0;
    for step in 1..=times {
        row.trials += 1;
        let mut client = Running::start(stage.transfer(way, &[]));
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
            stage.server.wait_until_idle();
        }
        let kept = stage.kept();
        row.unsaved = row.unsaved.max(came.saturating_sub(kept));
        row.again += u64::from(kept < before) * (before - kept.min(before));
        before = kept;
    }
    match end(Running::start(stage.transfer(way, &[]))) {
        None => row.stuck += 1,
        Some(ended) => {
            let moved = check(&stage, way, &ended, row);
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

/// Tests and other programs that count their trials, and that fail where any of it is not zero.
struct Suite {
    kind: &'static str,
    line: &'static [&'static str],
    /// What stands behind the numbers of trials in what it prints.
    counts: &'static str,
}

const SUITES: [Suite; 8] = [
    Suite {
        kind: "host: power cut, any operation",
        line: &["test", "-p", "kift-tests", "--test", "e2e_power", "--", "--nocapture"],
        counts: "power cuts",
    },
    Suite {
        kind: "host: disk that fails or is full",
        line: &["test", "-p", "kift-tests", "--test", "e2e_power", "failing", "--", "--nocapture"],
        counts: "disks that",
    },
    Suite {
        kind: "device: power cut, any operation",
        line: &[
            "test",
            "-p",
            "kift-tests",
            "--test",
            "flash_cut",
            "--test",
            "flash_resume",
            "--",
            "--nocapture",
        ],
        counts: "power cuts",
    },
    Suite {
        kind: "worlds from a seed, all of it",
        line: &["test", "-p", "kift-tests", "--test", "worlds", "--", "--nocapture"],
        counts: "worlds,",
    },
    Suite {
        kind: "model: every state",
        line: &["test", "-p", "kift", "--lib", "store::tests::model::all", "--", "--nocapture"],
        counts: "states",
    },
    Suite {
        kind: "connections die, no descriptors",
        line: &["test", "-p", "kift-tests", "--test", "e2e_exhaustion"],
        counts: "passed",
    },
    Suite {
        kind: "clocks that jump",
        line: &["test", "-p", "kift-tests", "--test", "e2e_clock"],
        counts: "passed",
    },
    Suite {
        kind: "1000 clients, killed now and then",
        line: &["run", "-p", "kift-tests", "--example", "crowd"],
        counts: "files sent",
    },
];

impl Suite {
    /// Runs it, and shows its row. A test that failed shows itself instead.
    fn run(&self) -> bool {
        let (command, rest) = self.line.split_at(1);
        let output = Command::new(env!("CARGO"))
            .args(command)
            .arg("--release")
            .args(rest)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("KIFT_SECONDS", number("KIFT_CROWD_SECONDS", 120).to_string())
            .output()
            .expect("cargo runs");
        let text =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let text = text.concat();
        if !output.status.success() {
            println!("{text}\n{}: FAILED", self.kind);
            return false;
        }
        let before = text.match_indices(self.counts).map(|(at, _)| text[..at].trim_end());
        let number = |before: &str| before.rsplit([' ', '\n']).next()?.parse::<u32>().ok();
        let trials = before.filter_map(number).sum();
        Row { trials, ..Row::default() }.show(self.kind);
        trials > 0
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
        for line in LINES {
            if let (Line::Loses(_), Some(why)) = (line, lossy::why_not()) {
                println!("| {way:?}: {} | not here: {why} |", line.kind());
                continue;
            }
            let mut row = Row::default();
            (0..trials).for_each(|_| over(line, way, &mut rng, &mut row));
            show(&format!("{way:?}: {}", line.kind()).to_lowercase(), &row);
        }
    }
    let mut row = Row::default();
    alternating(20, &mut row);
    show("put of 1 GiB: ends killed in turn", &row);
    let mut planted = Row::default();
    (0..trials.min(5)).for_each(|_| {
        killed(Way::Put, Who::Both, &mut rng, &mut planted, leave_out_a_sync);
    });
    planted.show("planted: a sync left out");
    for suite in SUITES {
        is_clean &= suite.run();
    }
    println!("in {:.0} s", began.elapsed().as_secs_f64());
    let is_found = planted.lost > 0;
    if !is_clean || !is_found {
        println!("{}", if is_found { "NOT CLEAN" } else { "A PLANTED FAULT WAS NOT FOUND" });
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
