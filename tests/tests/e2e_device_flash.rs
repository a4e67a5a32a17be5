//! `kift-firmware-sim flash`, and what keeps a device from starting.

use std::fs;

use kift_tests::device::{Bench, IMAGE};
use kift_tests::files::random;
use kift_tests::machine::{Ended, Running};

fn run(bench: &Bench, line: &str) -> Ended {
    Running::start(bench.command(line.split_whitespace())).end()
}

/// A formatted flash of 128 KiB with two files.
fn bench() -> Bench {
    let bench = Bench::without_network();
    bench.write("a", &random(10_000, 1));
    bench.write("b", b"");
    bench.flash(&["format", "--flash-size", "128k", IMAGE]).ok();
    bench.flash(&["add", IMAGE, "a"]).ok();
    bench.flash(&["add", IMAGE, "b", "empty"]).ok();
    bench
}

#[test]
fn what_is_added_is_listed_and_comes_out_again() {
    let bench = bench();
    let list = bench.flash(&["ls", IMAGE]).ok();
    let a = list.lines().find(|line| line.ends_with(" a")).unwrap();
    let columns: Vec<&str> = a.split_whitespace().collect();
    let root = blake3::hash(&bench.read("a")).to_hex();
    assert_eq!(columns, ["10000", "3", "-", root.as_str(), "a"]);
    // The files take three blocks of the 22, and the empty one none.
    assert!(list.contains("76 of 88 KiB free"), "{list}");
    assert_eq!(bench.sound_files(), ["a", "empty"]);
    bench.assert_keeps("a", &bench.read("a"));
    bench.assert_keeps("empty", b"");
    // In the place of what is there; and a new store has nothing.
    bench.write("a", b"other");
    bench.flash(&["add", IMAGE, "a"]).ok();
    bench.assert_keeps("a", b"other");
    bench.flash(&["format", IMAGE]).ok();
    assert_eq!(bench.sound_files(), [""; 0]);
    assert_eq!(bench.read(IMAGE).len(), 128 * 1024, "its size is its own");
}

#[test]
fn looking_changes_nothing() {
    let bench = bench();
    let before = bench.read(IMAGE);
    bench.flash(&["ls", IMAGE]).ok();
    bench.flash(&["verify", IMAGE]).ok();
    bench.assert_keeps("a", &bench.read("a"));
    bench.flash(&["cut", IMAGE, "b", "a"]).ok();
    assert!(bench.read(IMAGE) == before);
}

#[test]
fn damage_is_found() {
    let bench = bench();
    let mut cells = bench.read(IMAGE);
    let content = bench.read("a");
    let at = cells.windows(64).position(|window| window == &content[..64]).unwrap();
    cells[at] &= cells[at].wrapping_sub(1);
    assert!(cells != bench.read(IMAGE), "a byte that is not 0");
    bench.write(IMAGE, &cells);
    bench.flash(&["verify", IMAGE]).fails(&["damaged: a"]);
}

#[test]
fn every_cut_leaves_the_old_file_or_the_new() {
    let bench = bench();
    bench.write("new", &random(6000, 2));
    // 2 erases, 24 pages, a record: each is cut once.
    let all = bench.flash(&["cut", IMAGE, "new", "a"]).ok();
    assert!(all.contains("times the old one"), "{all}");
    let operations: u64 = all.split_whitespace().next().unwrap().parse().unwrap();
    assert!(operations >= 26, "{all}");
    bench.assert_keeps("a", &bench.read("a"));

    let one =
        |nth: u64| bench.flash(&["cut", IMAGE, "new", "a", "--operation", &nth.to_string()]).ok();
    assert!(one(5).contains("a is the old one"));
    assert_eq!(bench.sound_files(), ["a", "empty"]);
    bench.assert_keeps("a", &bench.read("a"));
    assert!(one(operations + 10).contains("it is stored"));
    bench.assert_keeps("a", &bench.read("new"));
}

#[test]
fn what_is_wrong_with_an_image_is_said() {
    let bench = bench();
    bench.flash(&["ls", "none"]).fails(&["none", "No such file"]);
    assert!(!bench.path("none").exists(), "looking makes nothing");
    bench.write("odd", &random(5000, 3));
    bench.flash(&["ls", "odd"]).fails(&["odd", "5000 bytes", "4096"]);
    // Of the right size, and something else.
    bench.write("foreign", &random(128 * 1024, 4));
    for command in [&["ls", "foreign"][..], &["verify", "foreign"], &["add", "foreign", "a"]] {
        bench.flash(command).fails(&["foreign", "something else"]);
    }
    assert!(bench.read("foreign") == random(128 * 1024, 4));
    bench.write("blank", &[0xff; 128 * 1024]);
    bench.flash(&["ls", "blank"]).fails(&["blank", "flash format"]);
    bench.write("small", &[0xff; 8192]);
    bench.flash(&["format", "small"]).fails(&["small", "too small"]);
    bench.flash(&["format", "--flash-size", "5000", "new"]).fails(&["5000", "4096"]);
    bench.flash(&["cat", IMAGE, "none"]).fails(&["none", "no such file"]);
    bench.flash(&["add", IMAGE, "none"]).fails(&["none", "No such file"]);
    bench.write("big", &random(128 * 1024, 5));
    bench.flash(&["add", IMAGE, "big"]).fails(&["big", "too large"]);
    assert_eq!(bench.sound_files(), ["a", "empty"]);
}

#[test]
fn a_command_line_that_cannot_be_meant() {
    let bench = bench();
    run(&bench, "serve --plain --flash nor.img").exits(2, &["--netns"]);
    run(&bench, "serve --plain --netns").exits(2, &["--flash"]);
    run(&bench, "serve --plain --netns --tap tap0 --flash nor.img")
        .exits(2, &["cannot be used with"]);
    run(&bench, "fetch --plain host/file --netns --flash nor.img")
        .exits(2, &["host/file", "an address"]);
    let line = "push --plain a 192.168.69.1/ --netns --flash nor.img --times 2";
    run(&bench, line).exits(2, &["--every"]);
}

#[test]
fn a_device_that_cannot_be_built() {
    let bench = bench();
    let serve =
        |options: &str| run(&bench, &format!("serve --plain --netns --flash nor.img {options}"));
    // With its figures, and what would fit.
    serve("--buffers 8k --sessions 2").fails(&[
        "--buffers 8k --sessions 2 takes ",
        "bytes of RAM, and --ram gives 65536",
        "--buffers 4k --sessions 2",
    ]);
    serve("--ram 21k").fails(&["--buffers 4k --sessions 1 takes ", "21504", "--buffers 1k"]);
    serve("--ram 1k").fails(&["no device is that small"]);
    serve("--buffers 3k").fails(&["1k, 2k, 4k or 8k"]);
    serve("--sessions 3").fails(&["--sessions 1 or 2"]);
    serve("--ip 192.168.69.2").fails(&["192.168.69.2", "prefix length"]);
    run(&bench, "serve --plain --flash nor.img --tap none9").fails(&["none9", "ip tuntap"]);
    assert_eq!(bench.sound_files(), ["a", "empty"], "the image is as it was");
}

#[test]
fn an_image_that_a_device_cannot_boot_from() {
    let Some(bench) = Bench::new("an_image_that_a_device_cannot_boot_from") else { return };
    bench.write(IMAGE, &random(128 * 1024, 1));
    bench.run("serve --plain", "touch came-up").fails(&["something else"]);
    assert!(bench.read(IMAGE) == random(128 * 1024, 1), "it is not touched");
    bench.write(IMAGE, &random(5000, 1));
    bench.run("serve --plain", "touch came-up").fails(&[IMAGE, "5000 bytes"]);
    assert!(!bench.path("came-up").exists());
}

#[test]
fn an_image_has_one_user() {
    let Some(bench) = Bench::new("an_image_has_one_user") else { return };
    let device = bench.run(
        "serve --plain --flash-size 128k --log 5000",
        r#"
        try ls kift-firmware-sim flash ls nor.img
        try format kift-firmware-sim flash format nor.img
        try add kift-firmware-sim flash add nor.img ls.err
        try serve kift-firmware-sim serve --plain --netns --flash nor.img
        kift get --plain "$KIFT_DEVICE/device.log"
        "#,
    );
    assert!(device.status.success(), "{}", device.stderr);
    for name in ["ls", "format", "add", "serve"] {
        bench.tried(name).fails(&["nor.img", "in use"]);
    }
    assert_eq!(fs::metadata(bench.path("device.log")).unwrap().len(), 5000);
}
