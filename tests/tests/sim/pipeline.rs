//! Many requests at once: each answer belongs to its request, and what is refused disturbs nothing.

use crate::Pair;
use kift_core::session::{Failure, Reply};
use kift_core::wire::{Code, Conflict};
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::pair::Outcome;
use kift_tests::raw::{Frame, Held, digest, hello};
use kift_tests::rng::{Case, Rng, contents};

/// 1,000 puts of which every tenth fails in one of several ways.
fn a_thousand_puts(options: Options) {
    let _case = Case(format!("{options:?}"));
    let mut rng = Rng::new(options.seed);
    let mut store = Memory::default();
    let mut jobs = Vec::new();
    for n in 0..1000 {
        let path = format!("f{n}");
        let data = rng.bytes([0, 1, 100, 1024, 1500, 5000][n % 6]);
        let size = data.len() as u64;
        let stored = Ok(Reply::Stored { size, root: digest(&data), suffix: 0 });
        let job = Job::put(&path, data);
        let (job, expected) = if n % 10 != 3 {
            (job, stored)
        } else {
            let (job, failure) = match n / 10 % 7 {
                0 => {
                    store.put(&path, "there before");
                    (job.or(Conflict::Refuse), Failure::Peer(Code::Exists))
                }
                1 => {
                    store.faults.begin.insert(path.clone(), Code::Denied);
                    (job, Failure::Peer(Code::Denied))
                }
                2 => (job.declaring(Some(size + 3000)), Failure::Local(Code::Changed)),
                3 => {
                    let job = Job::put("no/such/folder", contents(4000, 1));
                    (job, Failure::Peer(Code::NotFound))
                }
                4 => {
                    store.faults.write.insert(path.clone(), (0, Code::NoSpace));
                    (Job::put(&path, contents(9000, 2)), Failure::Peer(Code::NoSpace))
                }
                5 => {
                    store.faults.commit.insert(path.clone(), Code::Io);
                    (job, Failure::Peer(Code::Io))
                }
                _ => {
                    let job = job.declaring(Some(size + 1)).failing(0, Code::Denied);
                    (job, Failure::Local(Code::Denied))
                }
            };
            (job, Err(failure))
        };
        jobs.push((path, job, expected));
    }
    let mut pair = Pair::new(options, store);
    let results = pair.run(jobs.iter().map(|(_, job, _)| job.clone()));
    for ((path, job, expected), result) in jobs.iter().zip(results) {
        assert_eq!(result, *expected, "{path}");
        let Job::Put { source, .. } = job else { unreachable!() };
        match (result, pair.store.get(path)) {
            (Ok(_), stored) => assert!(stored == Some(&source.data), "{path} differs"),
            (Err(Failure::Peer(Code::Exists)), stored) => {
                assert_eq!(stored, Some(&b"there before"[..]));
            }
            (Err(_), stored) => assert_eq!(stored, None, "{path}"),
        }
    }
    // A device's buffer never holds what comes behind.
    let has_room = options.responder_buffer > 4096;
    assert!(!has_room || pair.store.record.set_aside > 100, "{:?}", pair.store.record);
    // Credit was given back for what was discarded: a large file still goes through.
    let large = contents(300 << 10, 1);
    assert!(pair.run([Job::put("large", large.clone())])[0].is_ok());
    assert!(pair.store.get("large") == Some(&large));
    pair.finish();
}

#[test]
fn a_thousand_puts_between_hosts() {
    a_thousand_puts(Options::large(1));
    a_thousand_puts(Options::large(2).pieces(700));
}

#[test]
fn a_thousand_puts_to_a_small_device() {
    a_thousand_puts(Options::small(3, 1));
    a_thousand_puts(Options::small(4, 3));
    let mut options = Options::large(5);
    options.responder_buffer = 1052;
    options.responder.window = 4;
    options.responder.reply_room = 512;
    options.latency_max = 5;
    a_thousand_puts(options);
}

#[test]
fn bad_names_are_refused_here() {
    let mut pair = Pair::new(Options::small(1, 4), Memory::default());
    let long = "x".repeat(256);
    let names = [
        ("", Code::BadName),
        ("..", Code::BadName),
        ("/etc/passwd", Code::BadName),
        ("a//b", Code::BadName),
        (long.as_str(), Code::NameTooLong),
    ];
    for (name, code) in names {
        let job = pair.submit(Job::put(name, "x"));
        pair.drive();
        assert_eq!(pair.outcome(job), Outcome::Refused(code));
    }
    assert!(pair.run([Job::put("a", "x")])[0].is_ok());
    pair.finish();
}

#[test]
fn bad_names_are_refused_there() {
    let mut held = Held::small_responder(Memory::default());
    let long = "x".repeat(256);
    for (n, name) in ["", "..", "/etc/passwd", "a//b", "a\0", &long].into_iter().enumerate() {
        let number = n as u16 + 1;
        let job = Job::put(name, vec![1; 2000]);
        let heard = held.tell(&[
            Frame::request(number, &job.request()),
            Frame::data(number, 0, &[1; 1024]),
            Frame::data(number, 1, &[1; 976]),
            Frame::end(number, &[1; 2000]),
        ]);
        let answers: Vec<_> = heard.iter().filter_map(Frame::as_answer).collect();
        let code = if name == long { Code::NameTooLong } else { Code::BadName };
        assert_eq!(answers, [kift_core::wire::Answer::Failed(code)], "{name:?}");
    }
    assert!(held.port.files.is_empty() && held.closed.is_none());
}

#[test]
fn names_longer_than_the_peer_takes_are_refused_here() {
    let mut held = Held::small_requester();
    let mut theirs = hello(kift_core::wire::Role::Responder);
    theirs.name_len_max = 8;
    theirs.path_len_max = 12;
    let config = kift_core::session::Config::small(kift_core::session::Side::Dialler, 8);
    held.session =
        kift_core::session::Requester::new(vec![0; 4096], vec![0; 4096], &config).expect("room");
    held.port.hello = None;
    held.feed(&kift_tests::raw::first_flight(1, 0, 0));
    held.tell(&[Frame::hello(&theirs)]);
    let mut ask = |path: &str| held.session.request(&Job::get(path).request()).map(|_| ());
    let too_long = Err(kift_core::session::RequestError::Refused(Code::NameTooLong));
    assert_eq!(ask("nine-byte"), too_long);
    assert_eq!(ask("three/of/them"), too_long);
    assert_eq!(ask("two/of-them"), Ok(()));
}

/// Requests wait behind a long download while its credit is granted: grants must not fill the
/// buffer behind them.
#[test]
fn requests_behind_a_long_download() {
    for seed in 0..20 {
        let mut options =
            Options::small(seed, 1 + seed % 4).pieces([usize::MAX, 40][seed as usize % 2]);
        options.latency_max = seed % 3;
        let _case = Case(format!("{options:?}"));
        let mut store = Memory::default();
        let long = contents(200 << 10, seed);
        store.put("long", long.clone());
        store.put("short", "short");
        let mut pair = Pair::new(options, store);
        let get = pair.submit(Job::get("long"));
        let others: Vec<_> = (0..6)
            .map(|n| match n % 3 {
                0 => pair.submit(Job::stat("short", false)),
                1 => pair.submit(Job::get("short")),
                _ => pair.submit(Job::list("")),
            })
            .collect();
        pair.drive();
        assert!(pair.app.got[&pair.id(get)] == long);
        assert!(others.iter().all(|&job| pair.result(job).is_some_and(|result| result.is_ok())));
        pair.finish();
    }
}

#[test]
fn more_requests_than_a_number_has_bits() {
    let mut store = Memory::default();
    store.put("a", "12345");
    let mut pair = Pair::new(Options::large(1), store);
    let job = |n: usize| match n % 5 {
        0 => Job::put("b", vec![n as u8; 3]),
        1 => Job::get("b"),
        2 => Job::stat("b", false),
        _ => Job::stat("nothing", false),
    };
    for round in 0..33 {
        let results = pair.run((0..2000).map(job));
        for (n, result) in results.into_iter().enumerate() {
            let data = [(n / 5 * 5) as u8; 3];
            match result {
                Ok(Reply::Got { root, .. } | Reply::Stored { root, .. }) => {
                    assert_eq!(root, digest(&data), "{round} {n}");
                }
                Ok(Reply::Stat { meta, .. }) => assert_eq!(meta.size, 3),
                other => assert_eq!(other, Err(Failure::Peer(Code::NotFound)), "{round} {n}"),
            }
        }
        pair.app.results.clear();
        pair.app.got.clear();
    }
    assert!(pair.app.hello.is_some());
    pair.finish();
}

/// Random requests in random order, with random stops, over random links.
#[test]
fn any_mixture() {
    for seed in 0..50 {
        let options = Options::any(seed);
        let _case = Case(format!("{options:?}"));
        let mut rng = Rng::new(seed ^ 0x3a3a);
        let mut store = Memory::default();
        store.directories.insert("d".to_owned());
        for n in 0..10 {
            store.put(&format!("d/{n}"), contents(n * 300, seed));
        }
        let mut pair = Pair::new(options, store);
        let mut jobs = Vec::new();
        for n in 0..40 {
            let path = format!("d/{}", rng.below(12));
            jobs.push(pair.submit(match rng.below(9) {
                0 => Job::put(&path, contents(rng.below(2500), n)),
                1 => Job::put(&path, contents(rng.below(2500), n)).or(Conflict::Refuse),
                2 => Job::put(&path, contents(1, n)).asking(kift_core::wire::Ask::Time),
                3 => Job::get(&path),
                4 => Job::list("d"),
                5 => Job::stat(&path, true),
                6 => Job::Delete { path },
                7 => Job::Rename { from: path, to: format!("d/{n}"), replace: rng.chance(50) },
                _ => Job::Space,
            }));
        }
        while pair.step() {
            if rng.chance(2) {
                let job = jobs[rng.below(jobs.len())];
                pair.stop(job);
            }
        }
        pair.drive();
        for job in jobs {
            let result = pair.result(job).expect("answered");
            if let Ok(Reply::Got { root, .. }) = result {
                assert_eq!(root, digest(&pair.app.got[&pair.id(job)]));
            }
        }
        pair.finish();
    }
}
