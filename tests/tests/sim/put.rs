//! Uploads: what is asked first, sizes that do not hold, conflicts.

use crate::Pair;
use kift_core::session::{Failure, Reply};
use kift_core::wire::{Answer, Ask, Close, Code, Conflict, Digest, Timestamp};
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::{Frame, Held, digest};
use kift_tests::rng::contents;

/// A store with `file`, of 5,000 bytes and modified at 7.
fn store() -> Memory {
    let mut store = Memory::default();
    store.put("file", contents(5000, 1));
    store.files.get_mut("file").unwrap().modified = Some(Timestamp(7));
    store
}

#[test]
fn unchanged_by_time_or_by_hash() {
    let (same, other) = (contents(5000, 1), contents(5000, 2));
    let longer = contents(5001, 1);
    let by_time = |data: &[u8], time| Job::put("file", data).asking(Ask::Time).modified(time);
    let by_hash = |data: &[u8]| Job::put("file", data).asking(Ask::Digest(digest(data)));
    let cases = [
        (by_time(&same, 7), true),
        (by_time(&other, 7), true), // that is what asking for the time means
        (by_time(&same, 8), false),
        (by_time(&longer, 7), false),
        (Job::put("file", same.clone()).asking(Ask::Time), false),
        (Job::put("new", same.clone()).asking(Ask::Time).modified(7), false),
        (by_time(&same, 7).declaring(None), false),
        (by_hash(&same), true),
        (by_hash(&other), false),
        (by_hash(&longer), false),
        (by_hash(&same).declaring(None), false),
        (Job::put("new", same.clone()).asking(Ask::Digest(digest(&same))), false),
        (by_time(&same, 7).or(Conflict::Refuse), true),
        (by_hash(&same).or(Conflict::Refuse), true),
    ];
    for options in [Options::small(1, 1), Options::small(2, 3).pieces(50), Options::large(3)] {
        for (job, unchanged) in &cases {
            let mut pair = Pair::new(options, store());
            let result = pair.run([job.clone(), Job::stat("file", false)]);
            let Job::Put { source, path, .. } = job else { unreachable!() };
            if *unchanged {
                assert_eq!(result[0], Ok(Reply::Unchanged), "{job:?}");
                assert!(pair.store.get("file") == Some(&same));
            } else {
                assert!(matches!(result[0], Ok(Reply::Stored { .. })), "{job:?}: {result:?}");
                assert!(pair.store.get(path) == Some(&source.data));
            }
            assert!(result[1].is_ok());
            pair.finish();
        }
    }
}

#[test]
fn asking_tells_of_refusals_before_data() {
    let mut store = store();
    store.directories.insert("folder".to_owned());
    store.faults.begin.insert("denied".to_owned(), Code::Denied);
    let data = contents(100_000, 1);
    let ask = |path: &str| Job::put(path, data.clone()).asking(Ask::Time);
    let mut pair = Pair::new(Options::small(1, 4), store);
    let jobs = [ask("denied"), ask("folder"), ask("no/where"), ask("file").or(Conflict::Refuse)];
    let codes = [Code::Denied, Code::IsDirectory, Code::NotFound, Code::Exists];
    assert_eq!(pair.run(jobs), codes.map(|code| Err(Failure::Peer(code))));
    assert!(pair.up.sent < 1000, "data was sent all the same");
    pair.finish();
}

#[test]
fn keep_both_finds_a_free_name() {
    let mut pair = Pair::new(Options::small(1, 4), Memory::default());
    let jobs = ["0", "1", "2"].map(|data| Job::put("a.txt", data).or(Conflict::KeepBoth));
    let suffixes = pair.run(jobs).into_iter().map(|result| match result {
        Ok(Reply::Stored { suffix, .. }) => suffix,
        other => panic!("{other:?}"),
    });
    assert_eq!(suffixes.collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(pair.store.get("a_2.txt"), Some(&b"2"[..]));
    assert_eq!(pair.store.get("a.txt"), Some(&b"0"[..]));
    pair.finish();
}

#[test]
fn a_size_that_is_not_known() {
    for options in [Options::small(1, 1), Options::large(2)] {
        for len in [0, 1, 1023, 1024, 1025, 2048, 32 << 10, 100_000] {
            let data = contents(len, 3);
            for ask in [Ask::Now, Ask::Time] {
                let mut pair = Pair::new(options, Memory::default());
                let job = Job::put("file", data.clone()).declaring(None).asking(ask);
                let stored = Reply::Stored { size: len as u64, root: digest(&data), suffix: 0 };
                assert_eq!(pair.run([job]), [Ok(stored)]);
                assert!(pair.store.get("file") == Some(&data));
                pair.finish();
            }
        }
    }
}

#[test]
fn a_source_that_shrinks_stores_nothing() {
    for options in [Options::small(1, 1), Options::large(2)] {
        for (len, declared) in [(0, 1), (1023, 1024), (1024, 1025), (5000, 6000), (5000, 90_000)] {
            let mut pair = Pair::new(options, Memory::default());
            let job = Job::put("file", contents(len, 1)).declaring(Some(declared));
            let results = pair.run([job, Job::put("other", "other")]);
            assert_eq!(results[0], Err(Failure::Local(Code::Changed)), "{len} of {declared}");
            assert!(results[1].is_ok());
            assert_eq!(pair.store.get("file"), None);
            assert_eq!(pair.store.record.aborted, 1);
            pair.finish();
        }
    }
}

#[test]
fn a_source_that_grows_sends_what_it_declared() {
    for options in [Options::small(1, 1), Options::large(2)] {
        for (len, declared) in [(1, 0), (1025, 1024), (5000, 4999), (90_000, 5000)] {
            let mut pair = Pair::new(options, Memory::default());
            let data = contents(len, 1);
            let result = pair.run([Job::put("file", data.clone()).declaring(Some(declared))]);
            assert!(result[0].is_ok());
            assert!(pair.store.get("file") == Some(&data[..declared as usize]));
            pair.finish();
        }
    }
}

#[test]
fn a_source_that_fails_stores_nothing() {
    let mut pair = Pair::new(Options::small(1, 4), Memory::default());
    let fails = |size| Job::put("file", contents(5000, 1)).failing(3000, Code::Io).declaring(size);
    let results = pair.run([fails(Some(5000)), fails(None), Job::put("other", "other")]);
    assert_eq!(results[..2], [Err(Failure::Local(Code::Io)); 2]);
    assert!(results[2].is_ok() && pair.store.files.len() == 1);
    pair.finish();
}

/// Data frames of `data` for request `number`.
fn data_frames(number: u16, data: &[u8]) -> Vec<Frame> {
    let chunks = data.chunks(1024).enumerate();
    chunks.map(|(n, chunk)| Frame::data(number, n as u32, chunk)).collect()
}

#[test]
fn what_is_not_as_promised_is_not_stored() {
    let data = contents(3000, 1);
    let end = |size, root: &[u8]| Close::End { size, root: digest(root) };
    let wrong = Close::End { size: 3000, root: Digest([0; 32]) };
    let flipped = |at: usize| {
        let mut data = data.clone();
        data[at] ^= 1;
        data
    };
    // What is sent, its close, and the answer for a declared size and for none.
    let (size, hash) = (Some(Code::SizeMismatch), Some(Code::HashMismatch));
    let cases = [
        (data.clone(), end(3000, &data), None, None),
        (data.clone(), wrong, hash, hash),
        (flipped(0), end(3000, &data), hash, hash),
        (flipped(2999), end(3000, &data), hash, hash),
        (data[..2999].to_vec(), end(3000, &data), size, size),
        (data[..2999].to_vec(), end(2999, &data[..2999]), size, None),
        (data[..2048].to_vec(), end(3000, &data), size, size),
        (Vec::new(), end(3000, &data), size, size),
        (Vec::new(), end(0, &[]), size, None),
        (contents(3001, 1), end(3001, &contents(3001, 1)), size, None),
        (contents(4097, 1), end(3000, &data), size, size),
        (data.clone(), end(2999, &data), size, size),
        (data.clone(), end(3001, &data), size, size),
    ];
    let mut held = Held::small_responder(Memory::default());
    let mut number = 0;
    for (n, (sent, close, declared, open)) in cases.into_iter().enumerate() {
        for (size, code) in [(Some(3000), declared), (None, open)] {
            number += 1;
            let path = format!("file {number}");
            let job = Job::put(&path, data.clone()).declaring(size);
            let mut frames = vec![Frame::request(number, &job.request())];
            frames.extend(data_frames(number, &sent));
            frames.push(Frame::close(number, &close));
            let heard = held.tell(&frames);
            let answers: Vec<_> = heard.iter().filter_map(Frame::as_answer).collect();
            match code {
                Some(code) => {
                    assert_eq!(answers, [Answer::Failed(code)], "case {n}, {size:?}");
                    assert_eq!(held.port.get(&path), None);
                }
                None => {
                    assert!(matches!(answers[..], [Answer::Stored { .. }]), "case {n}, {size:?}");
                    assert!(held.port.get(&path) == Some(&sent));
                }
            }
            assert_eq!(held.closed, None);
            held.port.assert_closed();
        }
    }
}

#[test]
fn the_largest_size_and_one_byte_more() {
    let mut pair = Pair::new(Options::small(1, 4), Memory::default());
    let largest = kift_core::wire::FILE_SIZE_MAX;
    let job = pair.submit(Job::put("a", "x").declaring(Some(largest + 1)));
    pair.drive();
    assert_eq!(pair.outcome(job), kift_tests::pair::Outcome::Refused(Code::TooLarge));
    let results = pair.run([Job::put("a", "x").declaring(Some(largest))]);
    assert_eq!(results, [Err(Failure::Local(Code::Changed))]);
    pair.finish();
}
