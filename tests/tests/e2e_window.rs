//! Stop-and-wait on purpose: each chunk of 1024 bytes waits until the one before was acknowledged.

use std::fs;

use kift_tests::files::{assert_holds, place, random};
use kift_tests::machine::kift;
use kift_tests::serving::Server;

const CHUNKS: usize = 10;

#[test]
fn each_chunk_of_an_upload_is_acknowledged_before_the_next_is_sent() {
    let server = Server::with(&["--window", "1"]);
    let here = place();
    let (local, data) = (here.path().join("file"), random(CHUNKS * 1024 - 1, 1));
    fs::write(&local, &data).unwrap();
    let put = kift(["put", "--plain", "-vv", local.to_str().unwrap(), &server.at("")]);
    put.exits(0, &[]);
    let steps: Vec<&str> = put.stderr.lines().filter(|line| line.contains("chunk")).collect();
    // A chunk may be read to be sent before the one before it is acknowledged, and no further one.
    let mut acknowledged = 0;
    for (number, line) in (0..CHUNKS).map(|n| (n, format!("chunk {n}: "))) {
        let at = steps.iter().position(|step| step.starts_with(&line)).expect(&line);
        let before = steps[..at].iter().filter(|step| step.ends_with("acknowledged")).count();
        assert!(before + 1 >= number, "{steps:?}");
        acknowledged = acknowledged.max(before);
    }
    assert!(acknowledged + 2 >= CHUNKS, "{steps:?}");
    assert!(steps.contains(&"chunk 9: 1023 bytes sent"), "{steps:?}");
    assert_holds(&server.file("file"), &data);
}

#[test]
fn each_chunk_of_a_download_comes_alone() {
    let server = Server::new();
    let here = place();
    let data = random(CHUNKS * 1024, 1);
    fs::write(server.file("file"), &data).unwrap();
    let local = here.path().join("file");
    let line = ["get", "--plain", "-vv", "--window", "1", &server.at("file")];
    let get = kift(line.into_iter().chain([local.to_str().unwrap()]));
    get.exits(0, &[]);
    let steps: Vec<&str> = get.stderr.lines().filter(|line| line.contains("chunk")).collect();
    let expected: Vec<String> =
        (0..CHUNKS).map(|n| format!("chunk {n}: 1024 bytes came")).collect();
    assert_eq!(steps, expected);
    assert_holds(&local, &data);
    // By default they come many at a time, and are not told.
    let get = kift([
        "get",
        "--plain",
        "-v",
        "--on-conflict",
        "replace",
        line[5],
        local.to_str().unwrap(),
    ]);
    assert!(!get.stderr.contains("chunk"), "{get:?}");
}

#[test]
fn a_window_has_at_least_one_chunk() {
    kift(["get", "--plain", "--window", "0", "127.0.0.1:1/x"]).exits(2, &["--window"]);
    kift(["serve", "--plain", "--window", "0"]).exits(2, &["--window"]);
}
