//! Links that lose, damage and delay what goes over them: every file arrives exact.

use std::thread;

use kift_tests::device::{Bench, assert_sound, count};
use kift_tests::files::random;

const BUFFERS: [&str; 4] = ["1k", "2k", "4k", "8k"];

/// A round trip for a file of `len` bytes, with each size of buffers. What the wire did is counted
/// as `harm`: it must have happened to at least one of the devices.
fn there_and_back(test: &str, wire: &str, len: usize, harm: Option<&str>) {
    if Bench::new(test).is_none() {
        return;
    }
    let one = |buffers: &str, seed: usize| {
        let bench = Bench::without_network();
        let file = random(len, seed as u64);
        bench.write("file", &file);
        // Half of them over IPv6, where the device is the same and its address another.
        let ip = if seed.is_multiple_of(2) { "192.168.69.2/24" } else { "fd00:6b69::2/64" };
        let device = bench.run(
            &format!(
                "serve --plain --flash-size 512k --buffers {buffers} --seed {seed} --ip {ip} {wire}"
            ),
            // Who asks for an Ethernet address three times in vain says that there is no route.
            r#"
            for _ in 1 2 3 4 5; do
                ! kift ls --plain "$KIFT_DEVICE" || break
            done
            # A segment may be lost so often that the link is given up.
            kift put --plain --retry 20 file "$KIFT_DEVICE/"
            kift get --plain --retry 20 "$KIFT_DEVICE/file" back
            "#,
        );
        assert_sound(&device);
        assert!(bench.read("back") == file, "{wire}, buffers of {buffers}: what came back differs");
        bench.assert_keeps("file", &file);
        harm.map_or(1, |harm| count(&device, harm))
    };
    let harmed: u64 = thread::scope(|threads| {
        let one = &one;
        let all: Vec<_> =
            BUFFERS.iter().zip(0..).map(|(b, seed)| threads.spawn(move || one(b, seed))).collect();
        all.into_iter().map(|device| device.join().expect("a sound device")).sum()
    });
    assert!(harmed > 0, "the wire did nothing");
}

#[test]
fn one_frame_in_a_hundred_is_lost() {
    let test = "one_frame_in_a_hundred_is_lost";
    there_and_back(test, "--loss 1%", 100_000, Some("frames lost"));
}

#[test]
fn one_frame_in_twenty_is_lost() {
    there_and_back("one_frame_in_twenty_is_lost", "--loss 5%", 40_000, Some("frames lost"));
}

#[test]
fn one_frame_in_a_hundred_is_damaged() {
    let test = "one_frame_in_a_hundred_is_damaged";
    there_and_back(test, "--corrupt 1%", 100_000, Some("damaged"));
}

#[test]
fn frames_take_twenty_milliseconds_each_way() {
    there_and_back("frames_take_twenty_milliseconds_each_way", "--latency 20ms", 64_000, None);
}

#[test]
fn a_slow_link() {
    there_and_back("a_slow_link", "--bandwidth 1M --latency 5ms", 50_000, None);
}

#[test]
fn everything_at_once() {
    let wire = "--loss 1% --corrupt 1% --latency 20ms --bandwidth 10M --program-time 100us";
    there_and_back("everything_at_once", wire, 64_000, Some("damaged"));
}
