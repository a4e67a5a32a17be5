//! Clients that are killed or interrupted: nothing half is ever left under a final name.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ChildStdin;
use std::thread;
use std::time::Duration;

use kift_core::wire::{Ask, Conflict, Put, Request, TransferId};
use kift_tests::dial::Dial;
use kift_tests::files::{assert_holds, names, place, random};
use kift_tests::machine::{Running, Signal, command, kift, wait_until};
use kift_tests::raw::Frame;
use kift_tests::rng::{Case, Rng};
use kift_tests::serving::Server;

/// Bytes that the tests upload before they strike.
const MOST: usize = 3 << 20;

/// An upload that goes on until its input ends.
fn uploading(server: &Server, path: &str) -> (Running, ChildStdin) {
    let mut client = Running::start(command(["put", "--plain", "-", &server.at(path)]));
    let stdin = client.take_stdin();
    (client, stdin)
}

/// Feeds `stdin` until nobody reads it any more.
fn feed(mut stdin: ChildStdin) {
    thread::spawn(move || {
        let bytes = random(1 << 16, 1);
        while stdin.write_all(&bytes).is_ok() {}
    });
}

fn put_works(server: &Server, here: &Path) {
    let local = here.join("whole");
    fs::write(&local, "whole").unwrap();
    kift(["put", "--plain", local.to_str().unwrap(), &server.at("")]).ok();
    assert_holds(&server.file("whole"), b"whole");
    fs::remove_file(server.file("whole")).unwrap();
}

/// Whether every thread of the server has stopped.
fn is_stopped(server: &Server) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// Its successor may have stored the file meanwhile, and another after it: late, it would take that one's
/// place.
#[test]
fn what_comes_late_of_one_who_is_gone_is_not_stored() {
    for ask in [Ask::Now, Ask::Ready] {
        let server = Server::new();
        let (old, new) = (random(5000, 1), random(5000, 2));
        let mut gone = Dial::open(&server);
        let number = gone.request(&Request::Put(Put {
            path: "f",
            transfer: TransferId([1; 16]),
            size: Some(5000),
            modified: None,
            conflict: Conflict::Replace,
            ask,
        }));
        wait_until("it has begun", || server.partials().len() == 1);
        server.signal(Signal::STOP);
        wait_until("it stands still", || is_stopped(&server));
        gone.tell(&Frame::data(number, 0, &old));
        gone.tell(&Frame::end(number, &old));
        gone.hang_up();
        fs::write(server.file("f"), &new).unwrap();
        server.signal(Signal::CONT);
        wait_until("it is over", || server.partials().is_empty());
        server.wait_until_idle();
        assert_holds(&server.file("f"), &new);
        assert_eq!(server.names(), ["f"]);
    }
}

#[test]
fn killed_at_any_byte_of_an_upload() {
    let (server, here) = (Server::new(), place());
    let bytes = random(MOST, 2);
    for seed in 0..24 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        // The first bytes and the last are worth more looks than the middle.
        let n = [rng.below(3000), rng.below(MOST), MOST - rng.below(3000)][seed as usize % 3];
        let (client, mut stdin) = uploading(&server, "file");
        stdin.write_all(&bytes[..n]).unwrap();
        if rng.chance(50) {
            wait_until("the server has nearly all of it", || {
                server.partial_len() + 40_000 >= n as u64
            });
        }
        client.signal(Signal::KILL);
        assert!(client.end().was_killed());
        server.wait_until_idle();
        assert_eq!(server.names(), [""; 0]);
    }
    put_works(&server, here.path());
}

/// The end of an upload is in reach here too: the last bytes, the commit, the answer.
#[test]
fn killed_at_any_moment_of_an_upload() {
    let (server, here) = (Server::new(), place());
    let local = here.path().join("file");
    let bytes = random(8 * MOST, 3);
    fs::write(&local, &bytes).unwrap();
    let mut rng = Rng::new(3);
    let (mut stored, mut dropped) = (0, 0);
    for _ in 0..40 {
        let put = ["put", "--plain", local.to_str().unwrap(), &server.at("")];
        let client = Running::start(command(put));
        thread::sleep(Duration::from_micros(rng.below(150_000) as u64));
        client.signal(Signal::KILL);
        let ended = client.end();
        server.wait_until_idle();
        if server.file("file").exists() {
            assert_holds(&server.file("file"), &bytes);
            fs::remove_file(server.file("file")).unwrap();
            stored += 1;
        } else {
            assert!(ended.was_killed(), "what succeeded is there");
            dropped += 1;
        }
        assert_eq!(server.names(), [""; 0]);
    }
    eprintln!("{stored} stored, {dropped} dropped");
}

#[test]
fn killed_with_the_server_and_started_again() {
    let (mut server, here) = (Server::new(), place());
    let bytes = random(MOST, 4);
    let mut left = 0;
    for seed in 0..20 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        // Less than what is kept where the client is gone first.
        let n = rng.below(2 << 20);
        let (client, mut stdin) = uploading(&server, "file");
        stdin.write_all(&bytes[..n]).unwrap();
        wait_until("the upload has begun", || !server.partials().is_empty());
        if rng.chance(50) {
            client.signal(Signal::KILL);
            server.kill();
        } else {
            server.kill();
            client.signal(Signal::KILL);
        }
        assert!(client.end().was_killed());
        left += server.partials().len();
        assert_eq!(server.names(), [""; 0]);
        server.restart();
        assert!(server.partials().is_empty(), "the next start clears {:?}", server.partials());
        assert_eq!(server.names(), [""; 0]);
    }
    assert!(left >= 5, "a partial was left in {left} of 20 cases: there was something to clear");
    put_works(&server, here.path());
}

#[test]
fn interrupted_at_any_byte_of_an_upload() {
    let (server, here) = (Server::new(), place());
    for seed in 0..20 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let n = rng.below(2 * MOST) as u64;
        let (client, stdin) = uploading(&server, "file");
        feed(stdin);
        wait_until("it is under way", || server.partial_len() >= n.max(1));
        client.signal([Signal::INT, Signal::TERM][seed as usize % 2]);
        client.end().exits(130, &["interrupted"]);
        server.wait_until_idle();
        kift(["partials", "--plain", "--discard-all", &server.at("")]).ok();
        assert!(server.partials().is_empty());
        assert_eq!(server.names(), [""; 0]);
    }
    put_works(&server, here.path());
}

#[test]
fn interrupted_while_its_input_says_nothing() {
    let server = Server::new();
    for n in [0, 1, 1500] {
        let (client, mut stdin) = uploading(&server, "file");
        stdin.write_all(&random(n, 5)).unwrap();
        wait_until("the upload has begun", || !server.partials().is_empty());
        client.signal(Signal::INT);
        client.end().exits(130, &["interrupted"]);
        drop(stdin);
        wait_until("the server drops it", || server.partials().is_empty());
    }
    assert_eq!(server.names(), [""; 0]);
}

/// Bytes in hidden partial downloads.
fn partial_len(dir: &Path) -> u64 {
    let len = |name: &String| dir.join(name).metadata().map_or(0, |meta| meta.len());
    names(dir).iter().filter(|name| name.starts_with(".kift-")).map(len).sum()
}

#[test]
fn interrupted_or_killed_while_it_fetches() {
    let (server, here) = (Server::new(), place());
    let big = fs::File::create(server.file("big")).unwrap();
    big.set_len(4 << 30).unwrap();
    for seed in 0..20 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let n = rng.below(30 << 20) as u64;
        let there = here.path().join(seed.to_string());
        fs::create_dir(&there).unwrap();
        let get = ["get", "--plain", &server.at("big"), there.to_str().unwrap()];
        let client = Running::start(command(get));
        wait_until("it is under way", || partial_len(&there) >= n.max(1));
        if seed % 2 == 0 {
            client.signal(Signal::INT);
            client.end().exits(130, &["interrupted"]);
            assert!(!there.join("big").exists());
            // What can be gone on with, or nothing.
            let kept = partial_len(&there);
            assert!(kept == 0 || kept >= 2 << 20, "{kept}");
        } else {
            client.signal(Signal::KILL);
            assert!(client.end().was_killed());
            assert!(!there.join("big").exists());
        }
        fs::remove_dir_all(&there).unwrap();
    }
    kift(["ls", "--plain", &server.at("")]).ok();
}
