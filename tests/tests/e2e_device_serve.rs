//! A device that serves, and `kift` beside it.

use std::fs;

use kift_tests::device::{Bench, IMAGE, assert_sound, count};
use kift_tests::files::{assert_same, random};

const MIB: usize = 1 << 20;

/// What a device writes at its boot.
const LOG: &str = "device.log";

fn is_log(bytes: &[u8]) -> bool {
    let lines = bytes.chunks(64).zip(0_usize..);
    lines.into_iter().all(|(line, number)| line.starts_with(format!("{number:010} ").as_bytes()))
}

#[test]
fn one_command_shows_a_host_and_a_device_exchanging_files() {
    let Some(bench) = Bench::new("one_command_shows_a_host_and_a_device_exchanging_files") else {
        return;
    };
    let image = random(MIB, 1);
    bench.write("image", &image);
    let device = bench.run(
        "serve --plain --log 1M",
        r#"
        try ls kift ls --plain "$KIFT_DEVICE"
        kift put --plain image "$KIFT_DEVICE/"
        try more kift ls --plain "$KIFT_DEVICE"
        kift get --plain "$KIFT_DEVICE/device.log"
        kift get --plain "$KIFT_DEVICE/image" back
        try blake3 kift stat --json --plain --blake3 "$KIFT_DEVICE/image"
        "#,
    );
    assert_sound(&device);
    assert!(count(&device, "bytes, all static") <= 64 * 1024);
    assert!(bench.tried("ls").ok().contains(LOG));
    let more = bench.tried("more").ok();
    assert!(more.contains(LOG) && more.contains("image"), "{more}");
    assert!(bench.read("back") == image, "what came back differs");
    let log = bench.read(LOG);
    assert!(log.len() == MIB && is_log(&log));
    let [told] = &bench.tried("blake3").objects()[..] else { panic!("one object") };
    assert_eq!(told["blake3"], blake3::hash(&image).to_hex().as_str());
    // It is in flash, too.
    assert_eq!(bench.sound_files(), [LOG, "image"]);
    bench.assert_keeps("image", &image);
    bench.assert_keeps(LOG, &log);
}

#[test]
fn files_are_managed_as_on_any_server() {
    let Some(bench) = Bench::new("files_are_managed_as_on_any_server") else { return };
    let bytes = random(10_000, 2);
    bench.write("a", &bytes);
    bench.write("b", b"b");
    let device = bench.run(
        "serve --plain --flash-size 256k",
        r#"
        kift put --plain a b "$KIFT_DEVICE/"
        try stat kift stat --json --plain "$KIFT_DEVICE/a"
        kift mkdir --plain "$KIFT_DEVICE/dir"
        kift mv --plain "$KIFT_DEVICE/a" dir/a
        try df kift df --json --plain "$KIFT_DEVICE"
        try taken kift put --plain --on-conflict refuse b "$KIFT_DEVICE/dir/a"
        kift put --plain --on-conflict keep-both b "$KIFT_DEVICE/dir/a"
        try full kift rm --plain "$KIFT_DEVICE/dir"
        try ls kift ls --json --plain "$KIFT_DEVICE/dir"
        kift mv --plain --replace "$KIFT_DEVICE/dir/a_1" b
        kift rm --plain "$KIFT_DEVICE/dir/a" "$KIFT_DEVICE/dir"
        try gone kift get --plain "$KIFT_DEVICE/dir/a"
        try left kift ls --json --plain "$KIFT_DEVICE"
        "#,
    );
    assert_sound(&device);
    let modified = bench.path("a").metadata().unwrap().modified().unwrap();
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let [stat] = &bench.tried("stat").objects()[..] else { panic!("one object") };
    assert_eq!((&stat["size"], &stat["modified_ns"]), (&10_000.into(), &modified.into()));
    let [df] = &bench.tried("df").objects()[..] else { panic!("one object") };
    // Of 64 blocks ten are the store's own, and the files take 3 and 1.
    assert_eq!((&df["total"], &df["free"]), (&(54 * 4096).into(), &(50 * 4096).into()), "{df}");
    bench.tried("taken").fails(&["dir/a", "already exists"]);
    bench.tried("full").fails(&["dir", "not empty"]);
    bench.tried("gone").fails(&["dir/a", "no such file"]);
    let names = |tried: &str| -> Vec<String> {
        let objects = bench.tried(tried).objects();
        objects.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("ls"), ["a", "a_1"]);
    assert_eq!(names("left"), ["b"]);
    assert_eq!(bench.sound_files(), ["b"]);
    bench.assert_keeps("b", b"b");
}

#[test]
fn a_tree_goes_there_and_back() {
    let Some(bench) = Bench::new("a_tree_goes_there_and_back") else { return };
    fs::create_dir_all(bench.path("tree/empty")).unwrap();
    fs::create_dir_all(bench.path("tree/sub/deep")).unwrap();
    let files: Vec<String> =
        (0..20).map(|at| format!("tree/{}{at}", ["", "sub/", "sub/deep/"][at % 3])).collect();
    for (at, file) in files.iter().enumerate() {
        bench.write(file, &random(at * 997, at as u64));
    }
    let device = bench.run(
        "serve --plain --flash-size 512k",
        r#"
        kift put --plain -r tree "$KIFT_DEVICE/"
        kift get --plain -r "$KIFT_DEVICE/tree" back
        "#,
    );
    assert_sound(&device);
    for file in &files {
        assert_same(&bench.path(file), &bench.path(&file.replacen("tree", "back", 1)));
    }
    assert!(bench.path("back/empty").is_dir());
    assert_eq!(bench.sound_files().len(), 20 + 4);
}

/// The device of the next tests: one whose flash takes its time, so that what is under way stays so.
const TWO: &str = "serve --plain --sessions 2 --ram 64k --flash-size 1M --erase-time 5ms";

#[test]
fn two_sessions_at_once() {
    let Some(bench) = Bench::new("two_sessions_at_once") else { return };
    let files: Vec<Vec<u8>> = (0..3).map(|seed| random(200_000, seed)).collect();
    for (name, bytes) in ["a", "b", "there"].iter().zip(&files) {
        bench.write(name, bytes);
    }
    let script = r#"
        kift put --plain there "$KIFT_DEVICE/"
        # Each has its session until its input ends.
        mkfifo one two
        try a kift put --plain - "$KIFT_DEVICE/a" <one & first=$!
        try b kift put --plain - "$KIFT_DEVICE/b" <two & second=$!
        exec 3>one 4>two
        connections 2
        try third kift ls --plain "$KIFT_DEVICE"
        # Where a client gives up, it says why.
        cat a >&3 & writer=$!
        cat b >&4 || true
        exec 3>&- 4>&-
        wait "$writer" || true
        wait "$first" "$second"
        # The same the other way, both ways at once.
        try get kift get --plain "$KIFT_DEVICE/a" a.back & first=$!
        try put kift put --plain there "$KIFT_DEVICE/again" & second=$!
        wait "$first" "$second"
        kift get --plain "$KIFT_DEVICE/b" b.back
    "#;
    let device = bench.run(TWO, script);
    assert_sound(&device);
    for name in ["a", "b", "get", "put"] {
        drop(bench.tried(name).ok());
    }
    bench.tried("third").fails(&["too many sessions"]);
    assert_eq!(count(&device, " refused\n"), 1);
    assert_same(&bench.path("a"), &bench.path("a.back"));
    assert_same(&bench.path("b"), &bench.path("b.back"));
    assert_eq!(bench.sound_files(), ["a", "again", "b", "there"]);
    for (name, bytes) in [("a", 0), ("b", 1), ("there", 2), ("again", 2)] {
        bench.assert_keeps(name, &files[bytes]);
    }
}

#[test]
fn with_one_session_a_second_is_told_to_come_later() {
    let Some(bench) = Bench::new("with_one_session_a_second_is_told_to_come_later") else {
        return;
    };
    let device = bench.run(
        "serve --plain --flash-size 256k",
        r#"
        mkfifo one
        try first kift put --plain - "$KIFT_DEVICE/a" <one &
        exec 3>one
        connections 1
        try second kift ls --plain "$KIFT_DEVICE"
        printf first >&3
        exec 3>&-
        wait
        # And once there is room, it is let in.
        kift ls --plain "$KIFT_DEVICE"
        "#,
    );
    assert_sound(&device);
    bench.tried("first").ok();
    bench.tried("second").fails(&["too many sessions"]);
    bench.assert_keeps("a", b"first");
}

#[test]
fn a_peer_that_fails_is_told_by_the_exit_code() {
    let Some(bench) = Bench::new("a_peer_that_fails_is_told_by_the_exit_code") else { return };
    for (script, code) in [("true", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        assert_eq!(bench.run("serve --plain --flash-size 64k", script).status.code(), Some(code));
    }
    assert!(bench.path(IMAGE).exists());
}
