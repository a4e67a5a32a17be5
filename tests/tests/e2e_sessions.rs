//! Many clients at once, and clients that behave badly: none is in another's way.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kift_core::wire::{Answer, Ask, CHUNK, Conflict, Put, Request, TransferId};
use kift_tests::dial::Dial;
use kift_tests::files::{assert_same, place, random, write_random};
use kift_tests::machine::{Running, command, kift, wait_until};
use kift_tests::raw::{Frame, first_flight};
use kift_tests::rng::Rng;
use kift_tests::serving::Server;

const TOO_MANY: [&str; 2] = ["too many sessions", "--max-sessions"];

#[test]
fn sixty_four_clients_at_once() {
    let (server, here) = (Server::new(), place());
    let mut rng = Rng::new(1);
    let file = |at: usize| format!("{at}.bin");
    for at in 0..64 {
        let source = if at % 2 == 0 { here.path().join(file(at)) } else { server.file(&file(at)) };
        write_random(&source, rng.between(0, 3 << 20) as u64, at as u64);
    }
    let start = |at: usize| {
        let (local, remote) = (here.path().join(file(at)), server.at(&file(at)));
        let local = local.to_str().unwrap();
        Running::start(command(match at % 2 {
            0 => ["put", "--plain", "--retry", "20", local, &remote],
            _ => ["get", "--plain", "--retry", "20", &remote, local],
        }))
    };
    // Of those whom nobody knows yet, one address has 20. Who is one more comes again.
    let all: Vec<Running> = (0..64).map(start).collect();
    all.into_iter().for_each(|client| drop(client.end().ok()));
    (0..64).for_each(|at| assert_same(&here.path().join(file(at)), &server.file(&file(at))));
    assert_eq!(server.log().matches(" connected").count(), 64);
    assert!(server.partials().is_empty());
}

#[test]
fn there_are_as_many_sessions_as_allowed() {
    let server = Server::with(&["--max-sessions", "2"]);
    let ls = || kift(["ls", "--plain", &server.at("")]);
    let mut held = vec![Dial::open(&server), Dial::open(&server)];
    for _ in 0..3 {
        ls().fails(&TOO_MANY);
    }
    assert!(server.log().contains("refused: too many sessions"));
    // Those that are in are not disturbed, and the next gets the place of one that goes.
    assert!(matches!(held[0].ask(&Request::Space), Answer::Space(_)));
    held.pop();
    wait_until("there is a place", || ls().status.success());
    assert!(matches!(held[0].ask(&Request::Goodbye), Answer::Done));
    wait_until("there is one for who stays", || {
        held.extend(Dial::try_open(&server));
        held.len() == 2
    });
    wait_until("there is a place", || ls().status.success());
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let server = Server::with(&["--max-sessions", "8"]);
    for turn in 0..200 {
        let mut dial = Dial::silent(&server);
        if turn % 2 == 0 {
            // What it was told last may have been that there are too many.
            let _ = dial.stream.write_all(&first_flight(1, 1, 0)[..turn % 12]);
        }
    }
    wait_until("there is a place", || kift(["ls", "--plain", &server.at("")]).status.success());
}

#[test]
fn who_says_nothing_or_too_little_is_cut_off() {
    let server = Server::new();
    let mut silent = Dial::silent(&server);
    let mut half = Dial::silent(&server);
    half.send(&first_flight(1, 1, 0)[..7]);
    let mut no_hello = Dial::silent(&server);
    no_hello.send(&first_flight(1, 1, 0));
    // A byte now and then does not buy time.
    let mut slow = Dial::silent(&server);
    let mut writer = slow.stream.try_clone().unwrap();
    thread::spawn(move || {
        let flight = first_flight(1, 1, 0);
        let mut bytes = flight[..11].iter();
        // Until the server has hung up.
        while let Some(byte) = bytes.next()
            && writer.write_all(&[*byte]).is_ok()
        {
            thread::sleep(Duration::from_secs(1));
        }
    });
    for _ in 0..20 {
        kift(["ls", "--plain", &server.at("")]).ok();
    }
    assert_eq!(server.log().matches("in time").count(), 0);
    // Each hears that it is over: its connection is closed.
    for dial in [&mut silent, &mut half, &mut no_hello, &mut slow] {
        dial.rest();
    }
    wait_until("all are told in the log", || server.log().matches("in time").count() == 4);
}

#[test]
fn garbage_ends_only_the_session_of_who_sends_it() {
    let server = Server::new();
    let mut good = Dial::open(&server);
    let random = random(100_000, 7);
    let frame = Frame::new(kift_core::wire::Kind::Data, 1, vec![0; 40]).bytes();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        // What begins a TLS session.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &random,
        &[0; 5000],
        &[0xff; 5000],
        // A frame before its time.
        &frame,
    ] {
        let mut dial = Dial::silent(&server);
        // The server may hang up before it has it all.
        let _ = dial.stream.write_all(garbage);
        assert!(dial.rest().len() < 100, "a short refusal");
        kift(["ls", "--plain", &server.at("")]).ok();
        assert!(matches!(good.ask(&Request::Space), Answer::Space(_)));
    }
    let mut late = Dial::open(&server);
    late.send(&random);
    late.rest();
    assert!(matches!(good.ask(&Request::Space), Answer::Space(_)));
    assert!(!server.log().contains("panicked"));
}

#[test]
fn who_reads_slowly_holds_up_nobody() {
    let (server, here) = (Server::new(), place());
    // More than all buffers on the way.
    write_random(&server.file("big"), 32 << 20, 8);
    let mut slow = Dial::open(&server);
    slow.request(&Request::Get { path: "big", first: 0, count: None });
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut read, mut byte) = (0_u64, [0]);
            while !over.load(Ordering::Relaxed) {
                slow.stream.read_exact(&mut byte).unwrap();
                read += 1;
                thread::sleep(Duration::from_millis(1));
            }
            read
        });
        for at in 0..4 {
            let fetched = here.path().join(at.to_string());
            kift(["get", "--plain", &server.at("big"), fetched.to_str().unwrap()]).ok();
            assert_same(&fetched, &server.file("big"));
            kift(["put", "--plain", fetched.to_str().unwrap(), &server.at("")]).ok();
            assert_same(&fetched, &server.file(&at.to_string()));
        }
        over.store(true, Ordering::Relaxed);
        let read = reader.join().unwrap();
        assert!(0 < read && read < 32 << 20);
    });
    assert!(!server.log().contains("path=\"big\" bytes=33554432 size"), "it is still under way");
}

#[test]
fn who_sends_a_byte_at_a_time_is_served_all_the_same() {
    let server = Server::new();
    let mut dial = Dial::open(&server);
    let bytes = random(3 * CHUNK + 1, 9);
    let put = Put {
        path: "slow",
        transfer: TransferId([1; 16]),
        size: None,
        modified: None,
        conflict: Conflict::Refuse,
        ask: Ask::Now,
    };
    dial.last = 1;
    let mut stream = Frame::request(1, &Request::Put(put)).bytes();
    for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
        stream.extend(Frame::data(1, index as u32, chunk).bytes());
    }
    stream.extend(Frame::end(1, &bytes).bytes());
    stream.iter().for_each(|byte| dial.send(&[*byte]));
    assert!(matches!(dial.answer(1), Answer::Stored { size: 3073, suffix: 0, .. }));
    kift_tests::files::assert_holds(&server.file("slow"), &bytes);
}
