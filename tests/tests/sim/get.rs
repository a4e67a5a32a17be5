//! Downloads: ranges, and what goes wrong at either end.

use crate::Pair;
use kift_core::session::{Failure, Reply, RequestError};
use kift_core::wire::{Code, Request};
use kift_tests::app::Job;
use kift_tests::busy::Busy;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::digest;
use kift_tests::rng::{Rng, contents};

fn range(first: u32, count: Option<u32>) -> Job {
    Job::Get { path: "file".to_owned(), first, count }
}

fn pair_with(data: &[u8], options: Options) -> Pair {
    let mut store = Memory::default();
    store.put("file", data);
    Pair::new(options, store)
}

#[test]
fn ranges() {
    let data = contents(10 * 1024 + 5, 1);
    let cases = [
        (0, None, 0..data.len()),
        (0, Some(1), 0..1024),
        (3, Some(4), 3 * 1024..7 * 1024),
        (9, Some(1), 9 * 1024..10 * 1024),
        (9, Some(2), 9 * 1024..data.len()),
        (10, None, 10 * 1024..data.len()),
        (10, Some(u32::MAX), 10 * 1024..data.len()),
        (2, Some(0), 2 * 1024..2 * 1024),
        (0, Some(0), 0..0),
    ];
    for options in [Options::small(1, 2), Options::large(2).pieces(100)] {
        let mut pair = pair_with(&data, options);
        for (first, count, bytes) in cases.clone() {
            let expected = &data[bytes];
            let size = expected.len() as u64;
            let get = pair.submit(range(first, count));
            pair.drive();
            let got = Reply::Got { size, root: digest(expected), suffix: 0 };
            assert_eq!(pair.result(get), Some(Ok(got)), "{first} {count:?}");
            let id = pair.id(get);
            assert!(pair.app.got[&id] == expected);
            assert_eq!(pair.app.sending[&id], (size, data.len() as u64));
        }
        for (first, count) in [(11, None), (11, Some(0)), (u32::MAX, Some(1))] {
            let result = pair.run([range(first, count)]);
            assert_eq!(result, [Err(Failure::Peer(Code::BadRange))]);
        }
        pair.finish();
    }
}

#[test]
fn a_range_may_begin_at_the_end() {
    let mut pair = pair_with(&contents(2048, 1), Options::small(1, 2));
    let result = pair.run([range(2, None)]);
    assert_eq!(result, [Ok(Reply::Got { size: 0, root: digest(&[]), suffix: 0 })]);
    pair.finish();
}

#[test]
fn nothing_and_directories_are_refused() {
    let mut pair = pair_with(&[], Options::small(1, 2));
    pair.store.directories.insert("folder".to_owned());
    let result = pair.run([Job::get("nothing"), Job::get("folder"), Job::get("file")]);
    assert_eq!(result[0], Err(Failure::Peer(Code::NotFound)));
    assert_eq!(result[1], Err(Failure::Peer(Code::IsDirectory)));
    assert!(result[2].is_ok());
    pair.finish();
}

#[test]
fn a_file_that_shrinks_or_fails_while_it_is_sent() {
    for options in [Options::small(1, 2), Options::large(2)] {
        for (at, code) in [(0, Code::Changed), (5000, Code::Changed), (5000, Code::Io)] {
            let mut pair = pair_with(&contents(100_000, 1), options);
            if code == Code::Io {
                pair.store.faults.read.insert("file".to_owned(), (at, code));
            } else {
                pair.store.faults.shrink.insert("file".to_owned(), at);
            }
            pair.store.put("other", "other");
            let results = pair.run([Job::get("file"), Job::get("other")]);
            assert_eq!(results[0], Err(Failure::Peer(code)));
            assert!(results[1].is_ok());
            assert_eq!(pair.app.aborted.len(), 1);
            pair.finish();
        }
    }
}

#[test]
fn what_fails_here_is_stopped_there() {
    for options in [Options::small(1, 2), Options::large(2).pieces(5000)] {
        let data = contents(2 << 20, 1);
        let mut pair = pair_with(&data, options);
        pair.app.fail_write = Some((1, Code::NoSpace));
        let results = pair.run([Job::get("file"), Job::get("file")]);
        assert_eq!(results[0], Err(Failure::Local(Code::NoSpace)));
        assert!(results[1].is_ok());
        assert!(pair.store.record.read < data.len() as u64 * 3 / 2, "sent in spite of the stop");
        assert_eq!(pair.app.aborted.len(), 1);
        pair.finish();
    }
}

#[test]
fn a_commit_that_fails_here_is_a_failure() {
    let mut pair = pair_with(&contents(3000, 1), Options::small(1, 2));
    pair.app.fail_commit = Some(Code::Exists);
    assert_eq!(pair.run([Job::get("file")]), [Err(Failure::Local(Code::Exists))]);
    assert!(pair.app.aborted.is_empty());
    pair.finish();
}

#[test]
fn the_sender_gets_a_receipt() {
    let mut pair = pair_with(&contents(3000, 1), Options::small(1, 8));
    pair.run([Job::get("file")]);
    pair.finish();
    assert_eq!(pair.store.progress.last().map(|p| (p.1, p.2)), Some((3, 3)));
}

/// Names and contents of files of which a buffer holds several, and some of which it does not.
fn many() -> Vec<(String, Vec<u8>)> {
    let len = |n: usize| [0, 1, 100, 1024, 1500, 5000, 30_000][n % 7];
    (0..300).map(|n| (format!("f{n}"), contents(len(n), n as u64))).collect()
}

fn pair_with_many(options: Options) -> Pair {
    let mut pair = Pair::new(options, Memory::default());
    many().iter().for_each(|(name, data)| pair.store.put(name, data.clone()));
    pair
}

#[test]
fn small_ones_in_a_row_are_made_durable_together() {
    for (options, busy) in [
        (Options::large(1), Busy::never()),
        (Options::large(2).pieces(700), Busy::sometimes(2, 20, 3)),
        (Options::small(3, 4), Busy::never()),
    ] {
        let is_large = options.requester_buffer > 4096;
        let mut pair = pair_with_many(options);
        pair.app.busy = busy;
        pair.app.fail_write = Some((200, Code::NoSpace));
        pair.store.faults.read.insert("f20".to_owned(), (2000, Code::Io));
        let failures = [Err(Failure::Local(Code::NoSpace)), Err(Failure::Peer(Code::Io))];
        let mut failed = 0;
        let jobs = many().into_iter().enumerate().flat_map(|(n, (name, data))| {
            let other = match n % 10 {
                3 => Some((Job::get("none"), None)),
                7 => Some((Job::stat("f5", false), None)),
                _ => None,
            };
            std::iter::once((Job::get(&name), Some(data))).chain(other)
        });
        let jobs: Vec<_> = jobs.collect();
        let results = pair.run(jobs.iter().map(|(job, _)| job.clone()));
        for (at, (result, (_, data))) in results.iter().zip(&jobs).enumerate() {
            let (id, Some(data)) = (pair.id(at), data) else { continue };
            if failures.contains(result) {
                failed += 1;
                continue;
            }
            assert!(matches!(result, Ok(Reply::Got { .. })) && pair.app.got[&id] == *data);
            // A receipt that does not fit is left out.
            let chunks = data.len().div_ceil(1024) as u32;
            let told = pair.store.progress.contains(&(id, chunks, chunks));
            assert!(told || !is_large, "{at}: no receipt");
        }
        assert_eq!(failed, 2);
        assert!(pair.app.set_aside > if is_large { 100 } else { 0 }, "{}", pair.app.set_aside);
        pair.finish();
    }
}

/// The receipts that are put off are sent behind it, and nothing says that there is room for them.
#[test]
fn another_stream_waits_for_receipts() {
    let mut pair = pair_with_many(Options::large(1));
    (0..3).for_each(|n| _ = pair.submit(Job::get(&format!("f{n}"))));
    while pair.app.set_aside < 3 {
        pair.step();
    }
    let get = Request::Get { path: "f4", first: 0, count: None };
    assert_eq!(pair.requester.request(&get), Err(RequestError::Later));
    assert!(pair.app.results.is_empty(), "none is settled yet");
    pair.drive();
    assert!(pair.requester.request(&get).is_ok());
    pair.finish();
}

/// What came whole is made durable although the link is gone, and nobody is told of more.
#[test]
fn so_they_are_where_the_link_is_cut() {
    let mut set_aside = 0;
    for seed in 0..50 {
        let mut pair = pair_with_many(Options::large(seed));
        pair.app.busy = Busy::sometimes(seed, 20, 3);
        pair.down.cut_at = Some(Rng::new(seed).below(1_500_000) as u64);
        let numbers: Vec<_> = many().iter().map(|(name, _)| pair.submit(Job::get(name))).collect();
        pair.drive_to_end();
        pair.app.assert_closed();
        for (number, (_, data)) in numbers.into_iter().zip(many()) {
            match pair.result(number) {
                Some(Ok(_)) => assert!(pair.app.got[&pair.id(number)] == data),
                other => assert_eq!(other, None),
            }
        }
        assert_eq!(pair.app.got.len(), pair.app.results.len());
        set_aside += pair.app.set_aside;
    }
    assert!(set_aside > 300, "{set_aside}");
}
