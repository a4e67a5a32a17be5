//! Servers that run out of things: they say so, go on with what they have, and give all of it back.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use kift_core::wire::{Request, Role};
use kift_tests::files::{assert_same, place, random};
use kift_tests::machine::{Running, command, kift, wait_until};
use kift_tests::raw::{Frame, first_flight, hello};
use kift_tests::rng::Rng;
use kift_tests::serving::{Serve, Server};

/// Open descriptors of the server, and its memory in KiB.
fn used(server: &Server) -> (usize, u64) {
    let place = format!("/proc/{}", server.pid());
    let fds = fs::read_dir(format!("{place}/fd")).map_or(0, Iterator::count);
    let status = fs::read_to_string(format!("{place}/status")).expect("it runs");
    let rss =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    (fds, rss.and_then(|text| text.parse().ok()).expect("a number"))
}

/// The most descriptors that are open where everybody is gone, once the server has let somebody in: by
/// then it has all that it keeps, and none of what it starts with, such as the file for its port.
fn few(server: &Server) -> usize {
    kift(["ls", "--plain", &server.at("")]).ok();
    used(server).0
}

/// A connection that says the first `len` bytes of what a client says, and dies.
fn open_and_die(server: &Server, len: usize, is_rude: bool) {
    let mut flight = first_flight(1, 1, 0);
    flight.extend(Frame::hello(&hello(Role::Requester)).bytes());
    flight.extend(Frame::request(1, &Request::List { path: "", after: "" }).bytes());
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", server.port())) else { return };
    let _ = stream.write_all(&flight[..len.min(flight.len())]);
    if !is_rude {
        // Whoever leaves something unread resets the connection.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
        let _ = stream.read(&mut [0; 512]);
    }
}

#[test]
fn three_thousand_connections_open_and_die() {
    // What an allocator keeps depends on how many threads ran at once, if each has an arena of its own.
    let under = ["env", "MALLOC_ARENA_MAX=2"];
    let server = Server::start(Serve { under: &under, ..Serve::default() });
    let mut rng = Rng::new(1);
    let mut after_some = None;
    let few = few(&server);
    for number in 0..3000 {
        open_and_die(&server, rng.below(120), rng.chance(50));
        if number == 1000 {
            wait_until("they are over", || used(&server).0 <= few);
            after_some = Some(used(&server).1);
        }
    }
    wait_until("they are over", || used(&server).0 <= few);
    let (early, late) = (after_some.expect("half way"), used(&server).1);
    assert!(late < early + 8192, "{early} KiB became {late} KiB");
    kift(["ls", "--plain", &server.at("")]).ok();
}

#[test]
fn without_descriptors_it_waits_until_some_are_free() {
    let under = ["sh", "-c", "ulimit -n 40; exec \"$@\"", "sh"];
    let server = Server::start(Serve { under: &under, ..Serve::default() });
    let here = place();
    let local = here.path().join("file");
    fs::write(&local, random(300_000, 1)).unwrap();
    let few = few(&server);
    // More than it can have. None of them may end it.
    let silent: Vec<_> =
        (0..60).map(|_| TcpStream::connect(("127.0.0.1", server.port()))).collect();
    wait_until("it has no more", || server.log().contains("cannot accept a connection"));
    let put = ["put", "--plain", "--retry", "100", local.to_str().unwrap(), &server.at("file")];
    let waiting = Running::start(command(put));
    drop(silent);
    waiting.end().ok();
    assert_same(&local, &server.file("file"));
    wait_until("all are free", || used(&server).0 <= few);
}
