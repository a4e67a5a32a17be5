//! Downloads: ranges, and what goes wrong at either end.

use crate::Pair;
use kift_core::session::{Failure, Reply};
use kift_core::wire::Code;
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::digest;
use kift_tests::rng::contents;

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
