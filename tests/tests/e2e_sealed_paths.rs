//! What holds a server in its place: the sandbox, and a home that others pull at.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kift_core::wire::{Answer, Ask, Code, Kind, Request};
use kift_tests::asking::{EVIL, outcome, put};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::files::{names, place};
use kift_tests::machine::{kift, skip, wait_until};
use kift_tests::sealed::key;
use kift_tests::serving::Server;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How long, where `KIFT_TEST_RACE_SECONDS` does not say.
const SECONDS: u64 = 5;

/// Waits until a server is in its sandbox, which it enters when its port is known already.
fn wait_until_boxed(server: &Server) {
    wait_until("the server is in its sandbox", || is_boxed(server));
}

/// Whether a server has given up the ways to gain rights, as Landlock demands it.
fn is_boxed(server: &Server) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("NoNewPrivs:"));
    line.unwrap().trim() == "1"
}

#[test]
fn a_server_is_in_its_sandbox_unless_told_otherwise() {
    let estate = Estate::new();
    let test = "a_server_is_in_its_sandbox_unless_told_otherwise";
    // Who answers has started.
    estate.admin(&["ls", &estate.at("")]);
    if estate.server().log().contains("has no Landlock") && !skip(test, "needs Landlock") {
        return;
    }
    wait_until_boxed(estate.server());
    wait_until_boxed(Estate::with(&["--sandbox", "require"]).server());
    wait_until_boxed(&Server::new());
    let open = Estate::with(&["--sandbox", "off"]);
    open.admin(&["ls", &open.at("")]);
    assert!(!is_boxed(open.server()));
    let open = Server::with(&["--sandbox", "off"]);
    kift(["ls", "--plain", &open.at("")]).ok();
    assert!(!is_boxed(&open));
}

/// What a file holds, if it is let out.
fn fetch(dial: &mut Dial, path: &str) -> Result<Vec<u8>, Code> {
    let number = dial.request(&Request::Get { path, first: 0, count: None });
    let mut bytes = Vec::new();
    loop {
        let frame = dial.frame().unwrap();
        match (frame.kind, frame.as_answer()) {
            (_, Some(Answer::Failed(code))) => return Err(code),
            (Kind::Data, _) => bytes.extend_from_slice(&frame.payload),
            (Kind::Close, _) => return Ok(bytes),
            _ => assert_eq!(frame.request, number),
        }
    }
}

/// A directory in a home and a link to the outside change places all the time.
#[test]
fn a_link_that_takes_a_directorys_place_leads_nowhere() {
    let seconds = std::env::var("KIFT_TEST_RACE_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |seconds| seconds.parse().unwrap());
    // Without the sandbox, which would hold it back too.
    let (estate, outside) = (Estate::with(&["--sandbox", "off"]), place());
    let server = estate.server();
    estate.user("anna", "rw,path=home", "");
    for n in [1, 2, 3] {
        estate.admit(&key(n), "anna", "");
    }
    let at = |name: &str| server.file("home").join(name);
    fs::create_dir_all(at("d")).unwrap();
    fs::write(at("d/x"), "inside").unwrap();
    fs::write(outside.path().join("x"), "outside").unwrap();
    fs::write(outside.path().join("gone?"), "outside").unwrap();
    symlink(outside.path(), at("link")).unwrap();

    let is_over = AtomicBool::new(false);
    let (got, refused) = thread::scope(|scope| {
        let is_over = &is_over;
        let goes_on = move || !is_over.load(Ordering::Relaxed);
        let swap = scope.spawn(|| {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(seconds) {
                renameat_with(CWD, at("d"), CWD, at("link"), RenameFlags::EXCHANGE).unwrap();
                // Now and then it stays a while.
                if begun.elapsed().subsec_nanos().is_multiple_of(7) {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let reads = scope.spawn(move || {
            let mut dial = Dial::sealed(server, &key(1));
            let (mut got, mut refused) = (0, 0);
            while goes_on() {
                match fetch(&mut dial, "d/x") {
                    Ok(bytes) => {
                        assert_eq!(bytes, b"inside");
                        got += 1;
                    }
                    Err(code) => {
                        assert!(matches!(code, Code::NotRegular | Code::NotFound), "{code}");
                        refused += 1;
                    }
                }
            }
            (got, refused)
        });
        let writes = scope.spawn(move || {
            let mut dial = Dial::sealed(server, &key(2));
            while goes_on() {
                let _ = outcome(&mut dial, &put("d/new", Ask::Now));
                let _ = outcome(&mut dial, &Request::MakeDirectory { path: "d/made" });
                let to = Request::Rename { from: "d/new", to: "d/made/new", replace: true };
                let _ = outcome(&mut dial, &to);
            }
        });
        let deletes = scope.spawn(move || {
            let mut dial = Dial::sealed(server, &key(3));
            while goes_on() {
                let _ = outcome(&mut dial, &Request::Delete { path: "d/gone?" });
                let _ = outcome(&mut dial, &Request::Delete { path: "d/made/new" });
                let to = Request::Rename { from: "d/gone?", to: "caught", replace: true };
                let _ = outcome(&mut dial, &to);
            }
        });
        for thread in [swap, writes, deletes] {
            thread.join().unwrap();
        }
        reads.join().unwrap()
    });
    eprintln!("{got} times the file, {refused} times refused");
    assert!(got > 0 && refused > 0, "there was a race");
    assert_eq!(names(outside.path()), ["gone?", "x"]);
    for name in ["gone?", "x"] {
        assert_eq!(fs::read(outside.path().join(name)).unwrap(), b"outside");
    }
    assert!(!at("caught").exists());
    let inside = [at("d/new"), at("link/new"), at("d/made/new"), at("link/made/new")];
    assert!(inside.iter().all(|path| fs::read(path).is_ok_and(|b| b == EVIL) || !path.exists()));
    assert!(!server.log().contains("panicked"));
}
