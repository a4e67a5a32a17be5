//! Hosts that go away and devices whose power is cut in the middle of a transfer: the next transfer
//! works at once, and nothing half-written is visible.

use std::fs;
use std::process::Command;

use kift_tests::device::{Bench, assert_sound};
use kift_tests::files::random;
use kift_tests::machine::{Running, Signal, wait_until};
use rustix::process::{Pid, kill_process};

/// Sends `big` and leaves word of the process that does.
const SEND_BIG: &str = r#"
    kift put --plain big "$KIFT_DEVICE/" & echo "$!" >pid.new
    mv pid.new pid
    wait "$!" || true
"#;

/// A device whose flash takes its time, as it does by default, so that an upload can be caught in the
/// middle.
const SLOW: &str = "serve --plain --flash-size 1M";

/// Blocks of `big`.
const BLOCKS: u64 = 50;

struct Files {
    big: Vec<u8>,
    old: Vec<u8>,
}

/// A flash with a file `old` and, where it `is_there`, a `big` that is to be replaced.
fn prepare(bench: &Bench, is_there: bool) -> Files {
    let files = Files { big: random(BLOCKS as usize * 4096, 1), old: random(10_000, 2) };
    bench.write("big", &files.big);
    bench.write("old", &files.old);
    let copy_of_big = if is_there { r#"kift put --plain old "$KIFT_DEVICE/big""# } else { "" };
    let script = format!(r#"kift put --plain old "$KIFT_DEVICE/"; {copy_of_big}"#);
    assert_sound(&bench.run(SLOW, &script));
    files
}

/// Kills the client that sends `big`.
fn kill_client(bench: &Bench) {
    wait_until("the client runs", || bench.path("pid").exists());
    let pid = fs::read_to_string(bench.path("pid")).unwrap().trim().parse().unwrap();
    // It may have ended by itself.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    fs::remove_file(bench.path("pid")).unwrap();
}

#[test]
fn the_host_goes_away() {
    if Bench::new("the_host_goes_away").is_none() {
        return;
    }
    for (is_there, blocks) in [(false, 1), (true, 20), (false, BLOCKS / 2)] {
        let bench = Bench::without_network();
        let files = prepare(&bench, is_there);
        let before = bench.erases();
        let script = format!(
            r#"{SEND_BIG}
            try next kift put --plain old "$KIFT_DEVICE/next"
            try ls kift ls --plain "$KIFT_DEVICE"
            kift get --plain "$KIFT_DEVICE/old" old.back
            "#
        );
        let device = Running::start(bench.device(SLOW, &script));
        bench.wait_for_erases(before, blocks);
        kill_client(&bench);
        let device = device.end();
        assert_sound(&device);
        bench.tried("next").ok();
        assert_eq!(bench.tried("ls").ok().contains(" big\n"), is_there, "half of it is visible");
        assert!(bench.read("old.back") == files.old);
        let names: &[&str] = if is_there { &["big", "next", "old"] } else { &["next", "old"] };
        assert_eq!(bench.sound_files(), names);
        if is_there {
            bench.assert_keeps("big", &files.old);
        }
    }
}

/// What the next transfer is after a device was reset.
const AFTERWARDS: &str = r#"
    try ls kift ls --plain "$KIFT_DEVICE"
    kift put --plain big "$KIFT_DEVICE/"
    kift get --plain "$KIFT_DEVICE/big" big.back
    kift get --plain "$KIFT_DEVICE/old" old.back
"#;

fn assert_afterwards(bench: &Bench, files: &Files) {
    assert!(bench.tried("ls").ok().contains(" old\n"));
    assert!(bench.read("big.back") == files.big && bench.read("old.back") == files.old);
    assert_eq!(bench.sound_files(), ["big", "old"]);
    bench.assert_keeps("big", &files.big);
    bench.assert_keeps("old", &files.old);
}

#[test]
fn the_device_is_killed_and_started_again() {
    let test = "the_device_is_killed_and_started_again";
    if Bench::new(test).is_none() {
        return;
    }
    for (is_there, blocks) in [(false, 1), (true, 20), (false, BLOCKS / 2), (true, BLOCKS - 5)] {
        let bench = Bench::without_network();
        let files = prepare(&bench, is_there);
        let before = bench.erases();
        let device = Running::start(bench.device(SLOW, SEND_BIG));
        bench.wait_for_erases(before, blocks);
        device.signal(Signal::KILL);
        kill_client(&bench);
        assert!(device.end().was_killed());

        let names: &[&str] = if is_there { &["big", "old"] } else { &["old"] };
        assert_eq!(bench.sound_files(), names);
        if is_there {
            bench.assert_keeps("big", &files.old);
        }
        assert_sound(&bench.run("serve --plain", AFTERWARDS));
        assert_eq!(bench.tried("ls").ok().contains(" big\n"), is_there);
        assert_afterwards(&bench, &files);
    }
}

/// The host is still there, and so is its half of the connection, of which it may take long to learn
/// that it is dead. Whoever comes next need not wait for that.
#[test]
fn the_power_of_the_device_is_cut_and_comes_back() {
    if Bench::new("the_power_of_the_device_is_cut_and_comes_back").is_none() {
        return;
    }
    for operation in [1, 2, 100, 400] {
        let bench = Bench::without_network();
        let is_there = operation % 2 == 0;
        let files = prepare(&bench, is_there);
        let script = format!(
            r#"
            kift put --plain big "$KIFT_DEVICE/" & first=$!
            for _ in $(seq 1000); do
                [ "$(grep -c listening told)" != 2 ] || break
                sleep 0.01
            done
            {AFTERWARDS}
            kill "$first" || true
            "#
        );
        // What the device says is for the script, too.
        let device = bench.device(&format!("serve --plain --cut-after {operation}"), &script);
        let mut telling = Command::new("sh");
        telling.args(["-c", r#"exec "$@" 2>told"#, "sh"]);
        telling.arg(device.get_program()).args(device.get_args());
        bench.set_up(&mut telling);
        let mut device = Running::start(telling).end();
        device.stderr = String::from_utf8(bench.read("told")).unwrap();
        assert_sound(&device);
        assert!(device.stderr.contains("; booting again"), "{}", device.stderr);
        assert_eq!(bench.tried("ls").ok().contains(" big\n"), is_there);
        assert_afterwards(&bench, &files);
    }
}
