//! Servers that crash or are stopped in the middle of a transfer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ChildStdin;
use std::thread;

use kift_tests::files::{assert_holds, assert_same, names, place, random, write_random};
use kift_tests::machine::{Running, Signal, command, kift, wait_until};
use kift_tests::rng::{Case, Rng};
use kift_tests::serving::Server;

/// An upload of standard input, with the first `bytes` on their way.
fn uploading(server: &Server, path: &str, bytes: &[u8]) -> (Running, ChildStdin) {
    let mut client = Running::start(command(["put", "--plain", "-", &server.at(path)]));
    let mut stdin = client.take_stdin();
    stdin.write_all(bytes).unwrap();
    wait_until("the upload has begun", || !server.partials().is_empty());
    (client, stdin)
}

#[test]
fn crashed_at_any_byte_of_an_upload() {
    let mut server = Server::new();
    for seed in 0..12 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let n = rng.below(20 << 20) as u64;
        let (client, mut stdin) = uploading(&server, "file", b"x");
        // What goes on, or what waits for more to send.
        let goes_on = seed % 3 != 0;
        if goes_on {
            thread::spawn(move || while stdin.write_all(&random(1 << 16, 1)).is_ok() {});
            wait_until("it is under way", || server.partial_len() >= n);
        }
        server.kill();
        client.end().fails(&["0 files were stored", "1 were under way", "the connection was lost"]);
        assert_eq!(server.names(), [""; 0]);
        server.restart();
        // Of what has no checkpoint nobody knows: the start has cleared it. There is one after a while.
        kift(["partials", "--plain", "--discard-all", &server.at("")]).ok();
        assert!(server.partials().is_empty());
    }
}

/// Bytes in hidden partial downloads.
fn partial_len(dir: &Path) -> u64 {
    let len = |name: &String| dir.join(name).metadata().map_or(0, |meta| meta.len());
    names(dir).iter().filter(|name| name.starts_with(".kift-")).map(len).sum()
}

#[test]
fn crashed_at_any_byte_of_a_download() {
    let (mut server, here) = (Server::new(), place());
    fs::File::create(server.file("big")).unwrap().set_len(4 << 30).unwrap();
    fs::write(here.path().join("big"), "old").unwrap();
    for seed in 0..12 {
        let _case = Case(seed);
        let n = Rng::new(seed).below(30 << 20) as u64;
        let get = ["get", "--plain", &server.at("big"), here.path().to_str().unwrap()];
        let client = Running::start(command(get));
        wait_until("it is under way", || partial_len(here.path()) >= n.max(1));
        server.kill();
        client.end().fails(&["0 files were fetched", "the connection was lost"]);
        let seen: Vec<String> =
            names(here.path()).into_iter().filter(|name| !name.starts_with('.')).collect();
        assert_eq!(seen, ["big"]);
        // What can be gone on with, or nothing.
        let kept = partial_len(here.path());
        assert!(kept == 0 || kept >= 2 << 20, "{kept}");
        for hidden in names(here.path()).iter().filter(|name| name.starts_with('.')) {
            fs::remove_file(here.path().join(hidden)).unwrap();
        }
        assert_holds(&here.path().join("big"), b"old");
        server.restart();
    }
}

#[test]
fn crashed_at_any_file_of_many() {
    let (mut server, here) = (Server::new(), place());
    let source = here.path().join("source");
    fs::create_dir(&source).unwrap();
    for at in 0..2000 {
        write_random(&source.join(at.to_string()), 3000 + at, at);
    }
    for seed in 0..6 {
        let _case = Case(seed);
        let n = Rng::new(seed).between(1, 800);
        let stored = |server: &Server| names(&server.file("source")).len();
        let put = ["put", "--plain", "--json", "-r", source.to_str().unwrap(), &server.at("")];
        let client = Running::start(command(put));
        wait_until("some are stored", || server.file("source").is_dir() && stored(&server) >= n);
        server.kill();
        let ended = client.end();
        ended.fails(&["files were stored", "were under way", "the connection was lost"]);
        // What is there is whole, and what was told is there.
        for name in names(&server.file("source")) {
            assert_same(&server.file("source").join(&name), &source.join(&name));
        }
        let told = String::from_utf8(ended.stdout).unwrap();
        let files: Vec<&str> = told.lines().filter(|line| line.contains("\"path\"")).collect();
        for line in &files {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(server.file(object["path"].as_str().unwrap()).exists(), "{line}");
        }
        assert!(ended.stderr.contains(&format!("{} files were stored", files.len())));
        fs::remove_dir_all(server.file("source")).unwrap();
        server.restart();
    }
}

/// Waits until `server` has begun to stop: it listens no more.
fn wait_for_stopping(server: &Server) {
    wait_until("the server stops", || server.log().contains("stopping"));
    kift(["ls", "--plain", &server.at("")]).fails(&["cannot connect", "refused"]);
}

#[test]
fn stopped_it_lets_transfers_finish() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut server, here) = (Server::with(&["--grace", "600"]), place());
        let bytes = random(2 << 20, 2);
        write_random(&server.file("big"), 64 << 20, 3);
        let (put, mut stdin) = uploading(&server, "file", &bytes[..1 << 20]);
        // A download that nobody takes is under way as well.
        let get = command(["get", "--plain", &server.at("big"), "-"]);
        let ((get, mut stdout), mut fetched) = (Running::piping(get), vec![0; 1000]);
        stdout.read_exact(&mut fetched).unwrap();

        server.signal(signal);
        wait_for_stopping(&server);
        stdin.write_all(&bytes[1 << 20..]).unwrap();
        drop(stdin);
        put.end().ok();
        assert_holds(&server.file("file"), &bytes);
        stdout.read_to_end(&mut fetched).unwrap();
        get.end().ok();
        fs::write(here.path().join("fetched"), fetched).unwrap();
        assert_same(&here.path().join("fetched"), &server.file("big"));
        assert!(server.wait().success());
        assert!(server.partials().is_empty());
    }
}

#[test]
fn stopped_twice_it_ends_at_once() {
    let mut server = Server::with(&["--grace", "600"]);
    let (client, _stdin) = uploading(&server, "file", &random(1 << 20, 4));
    server.signal(Signal::TERM);
    wait_for_stopping(&server);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    client.end().fails(&["the peer is shutting down"]);
    assert_eq!(server.names(), [""; 0]);
    assert!(server.partials().is_empty(), "it clears up behind itself");
}

#[test]
fn stopped_it_ends_transfers_after_the_grace_time() {
    let mut server = Server::with(&["--grace", "1"]);
    let (client, _stdin) = uploading(&server, "file", &random(1 << 20, 5));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    client.end().fails(&["the peer is shutting down"]);
    assert!(server.log().contains("the grace time is over"));
    assert_eq!(server.names(), [""; 0]);
    assert!(server.partials().is_empty());
}

/// What a stopping server does not take any more is told, file by file or in sum.
#[test]
fn stopped_in_a_tree_it_finishes_the_file_it_is_at() {
    let (mut server, here) = (Server::new(), place());
    let source = here.path().join("source");
    fs::create_dir(&source).unwrap();
    for at in 0..4000 {
        write_random(&source.join(at.to_string()), 10_000, at);
    }
    let put = ["put", "--plain", "-r", source.to_str().unwrap(), &server.at("")];
    let client = Running::start(command(put));
    wait_until("some are stored", || {
        server.file("source").is_dir() && names(&server.file("source")).len() > 100
    });
    server.signal(Signal::TERM);
    client.end().fails(&["files were stored", "the peer is shutting down"]);
    assert!(server.wait().success());
    for name in names(&server.file("source")) {
        assert_same(&server.file("source").join(&name), &source.join(&name));
    }
    assert!(server.partials().is_empty());
}
