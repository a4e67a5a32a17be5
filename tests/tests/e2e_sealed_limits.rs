//! What strangers, slow ones and floods can take from a server: no more than is set aside for them.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kift_core::wire::{
    Answer, Ask, Code, Conflict, FILE_SIZE_MAX, Password, Put, Request, Signal, TransferId,
};
use kift_tests::asking::{EVIL, outcome, put};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, random, write_random};
use kift_tests::machine::{Running, command, wait_until};
use kift_tests::raw::Frame;
use kift_tests::rng::Case;
use kift_tests::sealed::key;
use kift_tests::serving::Server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const PASSWORD: &str = "correct horse";
const M: u64 = 1 << 20;

/// A number that the system tells of a server.
fn status(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn address(net: u8, host: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, net, (host >> 8) as u8, host as u8 + 1)
}

/// An estate whose user `anna` has a password and the key 1, and `bert` the client `bert`.
fn estate() -> Estate {
    let estate = Estate::new();
    estate.user("anna", "rw", PASSWORD);
    estate.admit(&key(1), "anna", "");
    estate.user("bert", "rw,path=bert", "");
    estate.authorize("bert", "bert", "rw");
    estate
}

fn put_works(estate: &Estate) {
    let file = estate.place().join("file");
    write_random(&file, M, 1);
    estate.kift("bert", &["put", file.to_str().unwrap(), &estate.at("")]).ok();
    assert_holds(&estate.server().file("bert/file"), &random(M as usize, 1));
}

/// Hashing a password takes 19 MiB, and no more than two are hashed at once.
#[test]
fn a_hundred_logins_at_once() {
    const LOGINS: usize = 100;
    let estate = estate();
    let server = estate.server();
    let state = estate.state_of("bert");
    let to = estate.at("large");
    let mut client = Running::start(command(["put", "-", &to, "--state", state.to_str().unwrap()]));
    let mut stdin = client.take_stdin();
    let data = random(16 * M as usize, 2);
    stdin.write_all(&data[..M as usize]).unwrap();
    wait_until("the transfer runs", || server.partial_len() > 0);
    let before = status(server, "VmHWM");

    let answers: Vec<Answer> = thread::scope(|scope| {
        let log_in = |n: usize| {
            // There are seats for 64 at once; who finds none comes again.
            let (user, password) = if n.is_multiple_of(2) {
                ("anna".to_owned(), PASSWORD)
            } else {
                (format!("nobody{n}"), "wrong horse")
            };
            loop {
                if let Some(mut dial) = Dial::knock(address(2, n), server, &key(9)) {
                    return dial.login(&user, password);
                }
                thread::sleep(Duration::from_millis(20));
            }
        };
        let logins: Vec<_> = (0..LOGINS).map(|n| scope.spawn(move || log_in(n))).collect();
        stdin.write_all(&data[M as usize..]).unwrap();
        drop(stdin);
        client.end().ok();
        logins.into_iter().map(|login| login.join().unwrap()).collect()
    });
    for (n, answer) in answers.into_iter().enumerate() {
        let wrong = Answer::Failed(Code::LoginFailed);
        assert_eq!(answer, if n.is_multiple_of(2) { Answer::Done } else { wrong });
    }
    assert_holds(&server.file("bert/large"), &data);
    let most = status(server, "VmHWM");
    eprintln!("{before} KiB before, {most} KiB at most");
    // Two hashes, and for each of 64 strangers less than a buffer of 256 KiB and its stack.
    assert!(most < before + (2 * 19 + 24) * 1024, "{before} KiB before, {most} KiB at most");
}

#[test]
fn who_hangs_up_leaves_no_work_behind() {
    let estate = estate();
    let server = estate.server();
    let password = Password::new("wrong horse").unwrap();
    let mut most = 0;
    for n in 0..400 {
        if let Some(mut dial) = Dial::knock(address(3, 0), server, &key(9)) {
            let user = format!("nobody{n}");
            dial.request(&Request::Login { user: &user, password });
        }
        most = most.max(status(server, "Threads"));
    }
    eprintln!("{most} threads at most");
    // Of one address: 20 strangers, as many passwords being looked at, and 16 refusals.
    assert!(most < 20 + 20 + 16 + 8, "{most} threads");
    put_works(&estate);
}

#[test]
fn a_thousand_that_say_nothing_keep_nobody_else_out() {
    const MANY: usize = 1000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let estate = estate();
    let server = estate.server();
    let here = address(4, 0);
    let mut silent: Vec<Dial> = (0..MANY).map(|_| Dial::silent_from(here, server)).collect();
    wait_until("they have all the seats that there are for them", || {
        // The first may have been silent for too long by now.
        silent.push(Dial::silent_from(here, server));
        Dial::knock(here, server, &key(1)).is_none()
    });
    let mut other = Dial::sealed_from(address(4, 1), server, &key(9));
    assert_eq!(other.login("anna", PASSWORD), Answer::Done);
    assert!(outcome(&mut other, &put("a", Ask::Now)).is_ok());
    put_works(&estate);
    assert!(status(server, "Threads") < 64, "{} threads", status(server, "Threads"));
    drop(silent);
    wait_until("their seats are free", || Dial::knock(here, server, &key(1)).is_some());
}

#[test]
fn strangers_are_few_in_all() {
    let estate = estate();
    let server = estate.server();
    // Those who are known do not count.
    let mut known: Vec<Dial> =
        (0..30).map(|n| Dial::sealed_from(address(5, n), server, &key(1))).collect();
    for dial in &mut known {
        assert!(outcome(dial, &Request::Space).is_ok());
    }
    let guests: Vec<Dial> =
        (0..64).map(|n| Dial::sealed_from(address(6, n), server, &key(9))).collect();
    assert!(Dial::knock(address(6, 64), server, &key(9)).is_none());
    for dial in &mut known {
        assert!(outcome(dial, &Request::Space).is_ok());
    }
    drop(guests);
    wait_until("there is room again", || Dial::knock(address(6, 64), server, &key(9)).is_some());
}

/// Sends `bytes` one a second, and gives how many it took until the server hung up.
fn dribble(dial: &mut Dial, bytes: &[u8]) -> usize {
    dial.stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for (sent, byte) in bytes.iter().enumerate() {
        if dial.stream.write_all(&[*byte]).is_err() {
            return sent;
        }
        // It says why, then it ends.
        let mut heard = [0; 64];
        match std::io::Read::read(&mut dial.stream, &mut heard) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return sent,
        }
    }
    bytes.len()
}

/// Whoever is slow is not waited for longer than anybody else: 10 s in the handshake, 30 until the
/// login.
#[test]
fn slow_ones_are_not_waited_for() {
    let estate = estate();
    let server = estate.server();
    thread::scope(|scope| {
        let cuts = [
            // A first flight that never ends, one of a kind that nobody knows, and nothing at all.
            scope.spawn(|| {
                let offer = kift_tests::raw::first_flight(1, 1 << 1, 0);
                let long = [&[200, 0][..], &offer[2..], &[7; 200]].concat();
                dribble(&mut Dial::silent_from(address(7, 0), server), &long)
            }),
            scope.spawn(|| {
                // Message 3, after a welcome.
                let (mut dial, _) = Dial::greeted(address(7, 1), server, &key(1)).unwrap();
                dribble(&mut dial, &[&[100, 0, 1, 0][..], &[7; 100]].concat())
            }),
        ];
        let silent = scope.spawn(|| Dial::silent_from(address(7, 2), server).rest());
        let guest = scope.spawn(|| {
            let mut guest = Dial::sealed_from(address(7, 3), server, &key(9));
            // Busy all the time, and no nearer to a login.
            for asked in 0..60 {
                guest.request(&Request::Space);
                let frame = guest.frame().unwrap();
                if let Some(Signal::Abort(code)) = frame.as_signal() {
                    return (Some(code), asked);
                }
                assert_eq!(frame.as_answer(), Some(Answer::Failed(Code::LoginRequired)));
                thread::sleep(Duration::from_secs(1));
            }
            (None, 60)
        });
        for cut in cuts {
            let bytes = cut.join().unwrap();
            assert!((5..=20).contains(&bytes), "cut after {bytes} s");
        }
        assert!(!silent.join().unwrap().is_empty(), "it is told why");
        let (code, asked) = guest.join().unwrap();
        assert_eq!(code, Some(Code::TimedOut));
        assert!((15..=45).contains(&asked), "cut after {asked} s");
    });
    put_works(&estate);
}

/// Ends of transfers of others change nothing for those who stay.
#[test]
fn what_is_revoked_ends_transfers() {
    let estate = estate();
    let server = estate.server();
    let revoked = ["key", "gone", "narrowed", "changed", "stays"];
    for (n, name) in revoked.into_iter().enumerate() {
        let password = if name == "changed" { PASSWORD } else { "" };
        estate.user(name, &format!("rw,path={name}"), password);
        if password.is_empty() {
            estate.admit(&key(n as u8 + 20), name, "");
            estate.authorize(name, name, "rw");
        } else {
            estate.introduce(name);
        }
        fs::create_dir_all(server.file(name)).unwrap();
        fs::File::create(server.file(name).join("hole")).unwrap().set_len(512 * M).unwrap();
    }
    let password = estate.secret("password", PASSWORD);
    let uploads = revoked.map(|name| {
        let (state, plain) = (estate.state_of(name), estate.at("new"));
        let (to, more) = if name == "changed" {
            (estate.at_as(name, "new"), vec!["--password-file", password.to_str().unwrap()])
        } else {
            (plain, Vec::new())
        };
        let args = ["put", "-", &to, "--state", state.to_str().unwrap()];
        let mut client = Running::start(command(args.into_iter().chain(more)));
        let mut stdin = client.take_stdin();
        stdin.write_all(&random(M as usize, 1)).unwrap();
        (name, client, stdin)
    });
    wait_until("all of them run", || {
        server.partials().iter().filter(|path| path.metadata().unwrap().len() > 0).count() == 5
    });
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let is_over = &is_over;
        let downloads = revoked.map(|name| {
            let n = revoked.iter().position(|other| *other == name).unwrap();
            let mut dial = Dial::sealed(server, &key(n as u8 + 20));
            if name == "changed" {
                assert_eq!(dial.login(name, PASSWORD), Answer::Done);
            }
            let number = dial.request(&Request::Get { path: "hole", first: 0, count: None });
            assert!(matches!(dial.answer(number), Answer::Sending { .. }));
            let download = scope.spawn(move || {
                let mut bytes = 0;
                // Slowly, so that it lasts.
                while !is_over.load(Ordering::Relaxed) {
                    let frame = dial.frame().expect("the reason");
                    if let Some(Signal::Abort(code)) = frame.as_signal() {
                        return (bytes, Some(code));
                    }
                    bytes += frame.payload.len() as u64;
                    thread::sleep(Duration::from_millis(2));
                }
                (bytes, None)
            });
            (name, download)
        });
        let key = key(20).public().to_string();
        estate.admin(&["authorize", "--remove", &key]);
        let shown = estate.kift("key", &["key", "show"]).ok();
        let shown = shown.trim().strip_prefix("x25519 ").unwrap();
        estate.admin(&["authorize", "--remove", shown]);
        estate.admin(&["user", "rm", "gone"]);
        let other = estate.secret("other", "other horse");
        estate.admin(&["user", "passwd", "changed", "--password-file", other.to_str().unwrap()]);
        // As an editor writes: another file takes its name.
        let users = estate.state().join("users");
        let (next, text) = (users.with_extension("new"), fs::read_to_string(&users).unwrap());
        fs::copy(&users, &next).unwrap();
        fs::write(&next, text.replace("narrowed rw", "narrowed read,write")).unwrap();
        fs::rename(&next, &users).unwrap();

        for (name, download) in downloads {
            if name == "stays" {
                is_over.store(true, Ordering::Relaxed);
            }
            let (bytes, code) = download.join().unwrap();
            eprintln!("{name}: {bytes} bytes, {code:?}");
            assert_eq!(code, (name != "stays").then_some(Code::Denied), "{name}");
            assert!(bytes < 512 * M, "{name}");
        }
        for (name, client, mut stdin) in uploads {
            if name == "stays" {
                stdin.write_all(b"the end").unwrap();
                drop(stdin);
                client.end().ok();
                let whole = [&random(M as usize, 1)[..], b"the end"].concat();
                assert_holds(&server.file("stays/new"), &whole);
            } else {
                // Its input goes on; it ends all the same.
                client.end().fails(&["permission denied"]);
                assert!(!server.file(name).join("new").exists());
            }
        }
    });
    assert!(server.partials().is_empty());
}

fn lie(path: &str, size: Option<u64>) -> Request<'_> {
    let (transfer, conflict) = (TransferId([1; 16]), Conflict::Replace);
    Request::Put(Put { path, transfer, size, modified: None, conflict, ask: Ask::Now })
}

#[test]
fn sizes_that_are_lies() {
    let estate = estate();
    let server = estate.server();
    let open = || Dial::sealed(server, &key(1));
    for (size, data, end, code) in [
        (Some(3), &b"evil"[..], &b"evil"[..], Code::SizeMismatch),
        (Some(5), b"evil", b"evil", Code::SizeMismatch),
        (Some(0), b"evil", b"evil", Code::SizeMismatch),
        (Some(4), b"evi", b"evi", Code::SizeMismatch),
        (Some(4), b"evil", b"evi", Code::SizeMismatch),
        (Some(4), b"evil", b"good", Code::HashMismatch),
        (None, b"evil", b"evil!", Code::SizeMismatch),
        (Some(FILE_SIZE_MAX), b"evil", b"evil", Code::NoSpace),
        (Some(FILE_SIZE_MAX + 1), b"evil", b"evil", Code::TooLarge),
        (Some(u64::MAX), b"evil", b"evil", Code::TooLarge),
    ] {
        let _case = Case(format!("{size:?}, {data:?}, {end:?}"));
        let mut dial = open();
        let number = dial.request(&lie("new", size));
        dial.tell(&Frame::data(number, 0, data));
        dial.tell(&Frame::end(number, end));
        assert_eq!(dial.answer(number), Answer::Failed(code));
        assert!(outcome(&mut dial, &Request::Space).is_ok(), "the link is as before");
    }
    // Chunks that are not where they must be break off the link.
    for index in [1, 2, 1 << 22, u32::MAX - 1, u32::MAX] {
        let mut dial = open();
        let number = dial.request(&lie("new", None));
        dial.tell(&Frame::data(number, index, EVIL));
        assert_eq!(dial.closed(), Code::OutOfOrder, "{index}");
    }
    fs::write(server.file("file"), random(3000, 1)).unwrap();
    let mut dial = open();
    for (first, count, expected) in [
        (3, None, Err(Code::BadRange)),
        (u32::MAX, None, Err(Code::BadRange)),
        (u32::MAX, Some(u32::MAX), Err(Code::BadRange)),
        (2, Some(u32::MAX), Ok(3000 - 2048)),
        (0, Some(u32::MAX), Ok(3000)),
    ] {
        let answer = outcome(&mut dial, &Request::Get { path: "file", first, count });
        let len = answer.map(|answer| match answer {
            Answer::Sending { size, .. } => size,
            other => panic!("{other:?}"),
        });
        assert_eq!(len, expected, "from {first}, {count:?}");
    }
    assert_eq!(server.names(), ["file"]);
    wait_until("nothing is left of it", || server.partials().is_empty());
    assert!(!server.log().contains("panicked"));
}
