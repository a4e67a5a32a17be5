//! What a small flash cannot hold: the host is told why, and what is there stays as it is.

use kift_tests::device::{Bench, assert_sound};
use kift_tests::files::random;

#[test]
fn a_flash_that_is_full_and_a_file_that_is_larger_than_it() {
    let test = "a_flash_that_is_full_and_a_file_that_is_larger_than_it";
    let Some(bench) = Bench::new(test) else { return };
    let there = random(60_000, 1);
    bench.write("there", &there);
    bench.write("second", &random(40_000, 2));
    bench.write("huge", &random(131_072, 3));
    let device = bench.run(
        // 22 blocks for files.
        "serve --plain --flash-size 128k",
        r#"
        kift put --plain there "$KIFT_DEVICE/"
        try full kift put --plain second "$KIFT_DEVICE/"
        try huge kift put --plain huge "$KIFT_DEVICE/"
        # Without a size beforehand it is told when it happens.
        try stream kift put --plain - "$KIFT_DEVICE/stream" <second
        try replaced kift put --plain second "$KIFT_DEVICE/there"
        # A file that fits and one that does not, in one session.
        head -c 5000 second >fits
        try both kift put --plain second fits "$KIFT_DEVICE/"
        try df kift df --json --plain "$KIFT_DEVICE"
        "#,
    );
    assert_sound(&device);
    bench.tried("full").fails(&["second", "no space left"]);
    bench.tried("huge").fails(&["huge", "too large"]);
    bench.tried("stream").fails(&["stream", "no space left"]);
    bench.tried("replaced").fails(&["there", "no space left"]);
    bench.tried("both").fails(&["second", "no space left"]);
    let [df] = &bench.tried("df").objects()[..] else { panic!("one object") };
    assert_eq!(df["free"], (22 - 15 - 2) * 4096, "nothing is left of what was refused: {df}");
    assert_eq!(bench.sound_files(), ["fits", "there"]);
    bench.assert_keeps("there", &there);
    bench.assert_keeps("fits", &bench.read("fits"));
}

#[test]
fn a_full_flash_has_room_again_once_something_is_removed() {
    let test = "a_full_flash_has_room_again_once_something_is_removed";
    let Some(bench) = Bench::new(test) else { return };
    // All the 22 blocks.
    let first = random(22 * 4096, 1);
    let second = random(22 * 4096 - 1, 2);
    bench.write("first", &first);
    bench.write("second", &second);
    let device = bench.run(
        "serve --plain --flash-size 128k",
        r#"
        for _ in 1 2 3; do
            kift put --plain first "$KIFT_DEVICE/"
            kift get --plain "$KIFT_DEVICE/first" back
            cmp first back
            kift rm --plain "$KIFT_DEVICE/first"
        done
        kift put --plain second "$KIFT_DEVICE/"
        "#,
    );
    assert_sound(&device);
    assert_eq!(bench.sound_files(), ["second"]);
    bench.assert_keeps("second", &second);
}

#[test]
fn too_many_files() {
    let Some(bench) = Bench::new("too_many_files") else { return };
    for at in 0..66 {
        bench.write(&format!("f{at:02}"), format!("file {at}").as_bytes());
    }
    let device = bench.run(
        "serve --plain --flash-size 512k",
        r#"
        try many kift put --plain f?? "$KIFT_DEVICE/"
        try mkdir kift mkdir --plain "$KIFT_DEVICE/dir"
        # In the place of one that is there, one more is none too many.
        kift put --plain f01 "$KIFT_DEVICE/f00"
        kift rm --plain "$KIFT_DEVICE/f02"
        kift put --plain f65 "$KIFT_DEVICE/"
        try many-again kift put --plain f02 "$KIFT_DEVICE/"
        try ls kift ls --json --plain "$KIFT_DEVICE"
        "#,
    );
    assert_sound(&device);
    let many = bench.tried("many");
    many.fails(&["f64", "f65", "too many"]);
    assert_eq!(many.stderr.matches("too many").count(), 2, "{}", many.stderr);
    bench.tried("mkdir").fails(&["dir", "too many"]);
    bench.tried("many-again").fails(&["f02", "too many"]);
    let here: Vec<String> =
        (0..66).filter(|at| ![2, 64].contains(at)).map(|at| format!("f{at:02}")).collect();
    assert_eq!(bench.sound_files(), here);
    let listed = bench.tried("ls").objects();
    assert_eq!(
        listed.iter().map(|entry| &entry["name"]).collect::<Vec<_>>(),
        Vec::from_iter(&here)
    );
    bench.assert_keeps("f00", b"file 1");
    for at in [1, 3, 63, 65] {
        bench.assert_keeps(&format!("f{at:02}"), format!("file {at}").as_bytes());
    }
}

#[test]
fn names_that_are_too_long() {
    let Some(bench) = Bench::new("names_that_are_too_long") else { return };
    bench.write("file", b"file");
    let (fits, long) = ("x".repeat(64), "x".repeat(65));
    let device = bench.run(
        "serve --plain --flash-size 128k",
        &format!(
            r#"
            kift put --plain file "$KIFT_DEVICE/{fits}"
            try put kift put --plain file "$KIFT_DEVICE/{long}"
            try mv kift mv --plain "$KIFT_DEVICE/{fits}" {long}
            try mkdir kift mkdir --plain "$KIFT_DEVICE/{long}"
            # With its suffix it would be.
            try both kift put --plain --on-conflict keep-both file "$KIFT_DEVICE/{fits}"
            kift get --plain "$KIFT_DEVICE/{fits}" back
            "#
        ),
    );
    assert_sound(&device);
    for name in ["put", "mv", "mkdir", "both"] {
        bench.tried(name).fails(&["name is too long"]);
    }
    assert_eq!(bench.read("back"), b"file");
    assert_eq!(bench.sound_files(), [fits]);
}
