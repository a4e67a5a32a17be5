//! Who gets in, how, and what others learn of it.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use kift_core::wire::{Answer, Ask, Code, Password, Request};
use kift_tests::asking::{EVIL, outcome, put, requests};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::files::assert_holds;
use kift_tests::rng::Case;
use kift_tests::sealed::key;
use kift_tests::serving::Server;

const PASSWORD: &str = "correct horse";
const SPACE: Request<'static> = Request::Space;

fn failed(code: Code) -> Answer {
    Answer::Failed(code)
}

#[test]
fn a_guest_may_do_nothing_but_log_in() {
    let estate = Estate::new();
    estate.user("anna", "rw", PASSWORD);
    let server = estate.server();
    fs::write(server.file("good"), "good").unwrap();
    let all = requests("good").into_iter().map(|(_, request)| request).chain([SPACE]);
    for request in all {
        let _case = Case(format!("{request:?}"));
        let mut guest = Dial::sealed(server, &key(1));
        assert_eq!(outcome(&mut guest, &request), Err(Code::LoginRequired));
        assert_eq!(guest.login("anna", PASSWORD), failed(Code::Denied));
        assert_eq!(outcome(&mut guest, &request), Err(Code::LoginRequired));
        assert_eq!(guest.ask(&Request::Goodbye), Answer::Done);
    }
    assert_eq!((server.names(), server.partials().len()), (vec!["good".to_owned()], 0));
    assert_holds(&server.file("good"), b"good");

    // What stands behind a login waits for what becomes of it.
    let mut guest = Dial::sealed(server, &key(1));
    assert_eq!(guest.login("anna", "wrong horse"), failed(Code::LoginFailed));
    assert_eq!(guest.login("anna", PASSWORD), Answer::Done);
    assert!(outcome(&mut guest, &requests("good")[0].1).is_ok());
}

#[test]
fn who_is_in_stays_who_they_are() {
    let estate = Estate::new();
    estate.user("anna", "rw,path=anna", PASSWORD);
    estate.user("bert", "rw,path=bert", PASSWORD);
    estate.admit(&key(2), "bert", "");
    let mut dial = Dial::sealed(estate.server(), &key(1));
    assert_eq!(dial.login("anna", PASSWORD), Answer::Done);
    for user in ["anna", "bert", "nobody"] {
        assert_eq!(dial.login(user, PASSWORD), failed(Code::Denied));
    }
    assert!(outcome(&mut dial, &put("a", Ask::Now)).is_ok());
    assert_eq!(dial.login("bert", PASSWORD), failed(Code::Denied));
    assert_holds(&estate.server().file("anna/a"), EVIL);

    // By a key they are in at once, and may yet say that they are somebody else.
    let mut dial = Dial::sealed(estate.server(), &key(2));
    assert!(outcome(&mut dial, &put("b", Ask::Now)).is_ok());
    assert_eq!(dial.login("anna", PASSWORD), failed(Code::Denied));
    assert_holds(&estate.server().file("bert/b"), EVIL);
    let mut dial = Dial::sealed(estate.server(), &key(2));
    assert_eq!(dial.login("anna", ""), failed(Code::LoginRequired));
    assert_eq!(dial.login("anna", PASSWORD), Answer::Done);
    assert!(outcome(&mut dial, &Request::Stat { path: "a", digest: false }).is_ok());
}

#[test]
fn three_wrong_passwords_close_the_link() {
    let estate = Estate::new();
    estate.user("anna", "rw", PASSWORD);
    let mut dial = Dial::sealed(estate.server(), &key(1));
    for password in ["wrong horse", "wrong again"] {
        assert_eq!(dial.login("anna", password), failed(Code::LoginFailed));
    }
    assert_eq!(dial.login("nobody", PASSWORD), failed(Code::LoginFailed));
    assert_eq!(dial.closed(), Code::LoginFailed);

    // A right one that was sent behind them comes too late.
    let mut dial = Dial::sealed_from(Ipv4Addr::new(127, 0, 0, 2), estate.server(), &key(1));
    for password in ["wrong horse", "wrong again", "still wrong", PASSWORD] {
        let password = Password::new(password).unwrap();
        dial.request(&Request::Login { user: "anna", password });
    }
    dial.request(&SPACE);
    for number in 1..=3 {
        assert_eq!(dial.answer(number), failed(Code::LoginFailed));
    }
    assert_eq!(dial.closed(), Code::LoginFailed);
}

#[test]
fn nobody_logs_in_over_a_plain_link() {
    let server = Server::new();
    let mut dial = Dial::open(&server);
    assert_eq!(dial.login("anna", PASSWORD), failed(Code::Unsupported));
    assert!(matches!(dial.ask(&SPACE), Answer::Space(_)));
}

/// CPU time that a process has taken.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, behind) = stat.rsplit_once(") ").unwrap();
    let ticks = behind.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap());
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_millis(ticks.sum::<u64>() * 1000 / per_second)
}

/// Not even the length of an answer, or the work for it, says whether there is such a user.
#[test]
fn nobody_learns_who_is_a_user() {
    const ROUNDS: usize = 8;
    let estate = Estate::new();
    estate.user("known", "rw", PASSWORD);
    let users = estate.state().join("users");
    let text = fs::read_to_string(&users).unwrap();
    let hash = text.rsplit_once(' ').unwrap().1.trim();
    // Each name may fail twice before it has to wait.
    let groups = [
        ("known", Some("rw"), true, "wrong horse"),
        ("unknown", None, true, PASSWORD),
        ("expired", Some("rw,expires=2020-01-01"), true, PASSWORD),
        ("elsewhere", Some("rw,from=192.0.2.0/24"), true, PASSWORD),
        ("keys-only", Some("rw,auth=key"), true, PASSWORD),
        ("keyless", Some("rw,auth=both"), true, PASSWORD),
        ("no-password", Some("rw"), false, PASSWORD),
    ];
    let mut new = text.clone();
    for (name, options, has_hash, _) in &groups {
        for n in 0..ROUNDS / 2 {
            let hash = if *has_hash { hash } else { "" };
            let line = options.map(|options| format!("{name}{n} {options} {hash}\n"));
            new += &line.unwrap_or_default();
        }
    }
    fs::write(&users, new).unwrap();
    let server = estate.server();

    let mut from = u32::from(Ipv4Addr::new(127, 1, 0, 0));
    let mut log_in = |name: &str, round: usize, password: &str| {
        from += 1;
        let mut dial = Dial::sealed_from(Ipv4Addr::from(from), server, &key(1));
        let begun = Instant::now();
        let answer = dial.login(&format!("{name}{}", round / 2), password);
        assert_eq!(answer, failed(Code::LoginFailed), "{name}");
        begun.elapsed()
    };
    let mut times = groups.map(|_| Vec::new());
    let mut work = groups.map(|_| Duration::ZERO);
    for round in 0..ROUNDS {
        for (at, (name, _, _, password)) in groups.iter().enumerate() {
            let before = cpu(server.pid());
            times[at].push(log_in(name, round, password));
            work[at] += cpu(server.pid()) - before;
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    });
    for (at, (name, ..)) in groups.iter().enumerate() {
        eprintln!("{name:12} median {:?}, CPU in all {:?}", medians[at], work[at]);
    }
    let (least, most) = (work.iter().min().unwrap(), work.iter().max().unwrap());
    assert!(*most < *least * 3, "the same work: {work:?}");
}
