//! Transfers of a device that go on behind what is in its flash, after its power was cut.

use std::fs;

use kift_tests::device::{Bench, assert_sound};
use kift_tests::files::{assert_same, random};
use kift_tests::machine::{Running, Signal};
use rustix::process::{Pid, kill_process};

/// Blocks of what is moved.
const BLOCKS: u64 = 200;

/// The power goes when about half of them are written: each takes an erase and sixteen programs or more.
const CUT: &str = "--flash-size 1M --cut-after 1800";

/// Erases that it may take beyond one a block: of the table, of the block that was cut, and of those that
/// had come since the last checkpoint. Who begins anew takes a hundred more.
const ERASES_MORE: u64 = 30;

fn bench(test: &str) -> Option<(Bench, Vec<u8>)> {
    let bench = Bench::new(test)?;
    let data = random(BLOCKS as usize * 4096 - 100, 1);
    fs::create_dir(bench.path("served")).unwrap();
    bench.write("served/big", &data);
    assert_sound(&bench.run("serve --plain --flash-size 1M", ":"));
    Some((bench, data))
}

fn assert_little_was_repeated(bench: &Bench, before: u64) {
    let erases = bench.erases() - before;
    assert!((BLOCKS..BLOCKS + ERASES_MORE).contains(&erases), "{erases} erases");
}

#[test]
fn an_upload_to_it_goes_on() {
    let Some((bench, data)) = bench("an_upload_to_it_goes_on") else { return };
    let before = bench.erases();
    let put = r#"try put kift put --plain --verbose --retry 100 served/big "$KIFT_DEVICE/""#;
    let device = bench.run(&format!("serve --plain {CUT}"), put);
    assert_sound(&device);
    assert!(device.stderr.contains("; booting again"), "{}", device.stderr);
    let put = bench.tried("put");
    assert!(put.stderr.contains("\"big\" goes on behind the "), "{put:?}");
    put.ok();
    bench.assert_keeps("big", &data);
    assert_eq!(bench.sound_files(), ["big"]);
    assert_little_was_repeated(&bench, before);
}

/// A server of a directory, until it is asked to end.
const SERVER: &str = "exec kift serve --plain --listen 192.168.69.1:5438 served";

#[test]
fn what_it_fetches_goes_on() {
    let Some((bench, data)) = bench("what_it_fetches_goes_on") else { return };
    let before = bench.erases();
    let device = bench.run(&format!("fetch --plain 192.168.69.1/big {CUT}"), SERVER);
    assert_sound(&device);
    assert!(device.stderr.contains("; booting again"), "{}", device.stderr);
    bench.assert_keeps("big", &data);
    assert_little_was_repeated(&bench, before);
    // And once more, which is another errand.
    let newer = random(40 * 4096, 2);
    bench.write("served/big", &newer);
    assert_sound(&bench.run("fetch --plain 192.168.69.1/big --flash-size 1M", SERVER));
    bench.assert_keeps("big", &newer);
}

#[test]
fn what_was_changed_there_is_fetched_anew() {
    let Some((bench, _)) = bench("what_was_changed_there_is_fetched_anew") else { return };
    let before = bench.erases();
    let slow = "fetch --plain 192.168.69.1/big --flash-size 1M --erase-time 10ms";
    let device = Running::start(bench.device(slow, &format!("echo $$ >server.pid; {SERVER}")));
    bench.wait_for_erases(before, BLOCKS / 2);
    device.signal(Signal::KILL);
    // The server outlives it.
    let server = String::from_utf8(bench.read("server.pid")).unwrap();
    let server = server.trim().parse().ok().and_then(Pid::from_raw).expect("a process");
    kill_process(server, Signal::KILL).unwrap();
    assert!(device.end().was_killed());
    let newer = random(BLOCKS as usize * 4096 - 100, 2);
    bench.write("served/big", &newer);
    let device = bench.run("fetch --plain 192.168.69.1/big --flash-size 1M", SERVER);
    assert_sound(&device);
    assert!(device.stderr.contains("trying again"), "{}", device.stderr);
    bench.assert_keeps("big", &newer);
}

#[test]
fn what_it_sends_again_is_stored_again() {
    let Some((bench, data)) = bench("what_it_sends_again_is_stored_again") else { return };
    assert_sound(&bench.run("fetch --plain 192.168.69.1/big --flash-size 1M", SERVER));
    for _ in 0..2 {
        let _ = fs::remove_file(bench.path("served/back"));
        assert_sound(&bench.run("push --plain big 192.168.69.1/back --flash-size 1M", SERVER));
        assert_eq!(bench.read("served/back"), data);
    }
    assert_same(&bench.path("served/big"), &bench.path("served/back"));
}
