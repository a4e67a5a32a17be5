//! Stopping a request at every possible moment leaves a link that works.

use crate::Pair;
use kift_core::session::{Failure, Reply};
use kift_core::wire::{Answer, Ask, Code};
use kift_tests::app::Job;
use kift_tests::busy::Busy;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::{Frame, Held, digest};
use kift_tests::rng::{Case, contents};

fn store(pending: bool) -> Memory {
    let mut store = Memory::default();
    store.directories.insert("folder".to_owned());
    store.put("file", contents(8000, 1));
    for n in 0..20 {
        store.put(&format!("folder/{n}{}", "x".repeat(200)), "");
    }
    if pending {
        store.busy = Busy::sometimes(1, 60, 3);
    }
    store
}

/// Runs `jobs`, stops number `target` after every number of steps in turn, and checks what is left.
/// Gives how often the stop came in time.
fn stop_everywhere(options: Options, pending: bool, jobs: &[Job], target: usize) -> usize {
    let mut cancelled = 0;
    let mut finished = false;
    for step in 0.. {
        let _case = Case(format!("{options:?}, pending {pending}, {jobs:?}, step {step}"));
        let mut pair = Pair::new(options, store(pending));
        let numbers: Vec<usize> = jobs.iter().map(|job| pair.submit(job.clone())).collect();
        for _ in 0..step {
            finished |= !pair.step();
        }
        pair.stop(numbers[target]);
        pair.drive();
        for (n, job) in jobs.iter().enumerate() {
            let result = pair.result(numbers[n]).expect("answered");
            let code = result.err().map(Failure::code);
            assert!(code.is_none() || (n == target && code == Some(Code::Cancelled)), "{result:?}");
            let is_stored = |path, data: &[u8]| pair.store.get(path) == Some(data);
            match (job, result) {
                (Job::Put { path, source, .. }, Ok(Reply::Stored { .. })) => {
                    assert!(is_stored(path, &source.data));
                }
                (Job::Put { path, .. }, Ok(Reply::Unchanged)) => assert_eq!(path, "file"),
                (Job::Put { path, .. }, Err(_)) => {
                    assert!(path == "file" || pair.store.get(path).is_none());
                }
                (Job::Get { .. }, Ok(Reply::Got { .. })) => {
                    assert!(pair.app.got[&pair.id(numbers[n])] == pair.store.get("file").unwrap());
                }
                (Job::Get { .. }, _) => assert!(!pair.app.got.contains_key(&pair.id(numbers[n]))),
                _ => {}
            }
            cancelled += usize::from(code.is_some());
        }
        let data = contents(6000, 9);
        let after = [Job::put("after", data.clone()), Job::get("after"), Job::stat("after", true)];
        assert!(pair.run(after).iter().all(Result::is_ok));
        assert!(pair.store.get("after") == Some(&data));
        pair.finish();
        if finished {
            return cancelled;
        }
    }
    unreachable!()
}

fn each_way(jobs: &[Job], target: usize) {
    let mut all = [Options::small(1, 1), Options::small(2, 3), Options::large(3)];
    all[1].latency_max = 10;
    all[1].read_ready = true;
    all[2].latency_max = 10;
    all[2].piece_max = 4000;
    for pending in [false, true] {
        let cancelled = all.map(|options| stop_everywhere(options, pending, jobs, target));
        assert!(cancelled.iter().any(|times| *times > 0), "never in time: {jobs:?}");
    }
}

#[test]
fn a_put() {
    each_way(&[Job::put("new", contents(6000, 2))], 0);
}

#[test]
fn a_put_that_asks() {
    let data = contents(6000, 2);
    each_way(&[Job::put("new", data.clone()).asking(Ask::Time)], 0);
    let same = contents(8000, 1);
    each_way(&[Job::put("file", same.clone()).asking(Ask::Digest(digest(&same)))], 0);
    let other = contents(8000, 2);
    each_way(&[Job::put("file", other.clone()).asking(Ask::Digest(digest(&other)))], 0);
}

#[test]
fn a_put_that_asks_with_others_behind_it() {
    let ask = Job::put("new", contents(5000, 2)).asking(Ask::Time);
    let third = Job::put("third", contents(5000, 3));
    let jobs = [ask, Job::put("second", "second"), third, Job::get("file")];
    each_way(&jobs, 0);
}

#[test]
fn a_get() {
    each_way(&[Job::get("file")], 0);
    each_way(&[Job::get("file"), Job::get("file")], 0);
}

#[test]
fn a_list() {
    each_way(&[Job::list("folder"), Job::Space], 0);
}

#[test]
fn a_hash() {
    each_way(&[Job::stat("file", true), Job::stat("file", false)], 0);
}

#[test]
fn what_waits_in_the_queue() {
    let jobs = [
        Job::get("file"),
        Job::stat("file", true),
        Job::get("file"),
        Job::list("folder"),
        Job::Space,
    ];
    for target in 1..5 {
        stop_everywhere(Options::small(1, 2), false, &jobs, target);
    }
    let jobs = [
        Job::stat("file", false),
        Job::put("one", contents(3000, 1)),
        Job::put("two", contents(3000, 2)),
        Job::stat("file", true),
    ];
    for target in 0..4 {
        if target != 0 {
            stop_everywhere(Options::large(target as u64), true, &jobs, target);
        }
    }
}

#[test]
fn a_stop_ends_work_early() {
    let mut store = Memory::default();
    store.put("huge", contents(4 << 20, 1));
    for job in [Job::get("huge"), Job::stat("huge", true)] {
        let mut options = Options::large(1);
        options.read_ready = true;
        let mut pair = Pair::new(options, Memory::default());
        pair.store.put("huge", store.get("huge").unwrap());
        let number = pair.submit(job);
        while pair.store.record.read < 200_000 {
            pair.step();
        }
        pair.stop(number);
        pair.drive();
        assert_eq!(pair.result(number), Some(Err(Failure::Peer(Code::Cancelled))));
        assert!(pair.store.record.read < 3 << 20, "{}", pair.store.record.read);
        pair.finish();
    }
}

#[test]
fn stops_of_what_is_over_or_unknown_are_ignored() {
    let mut store = Memory::default();
    store.put("a", "a");
    let mut held = Held::small_responder(store);
    let stop = |number| Frame::signal(number, kift_core::wire::Signal::Stop);
    let stat = |number| Frame::request(number, &Job::stat("a", false).request());
    assert_eq!(held.tell(&[stop(1), stop(0), stop(9), stop(u16::MAX)]), []);
    let heard = held.tell(&[stat(1), stop(1), stat(2), stop(1), stop(2)]);
    assert_eq!(heard.len(), 2);
    assert_eq!(held.closed, None);
}

#[test]
fn a_put_that_was_stopped_sends_nothing_when_it_is_ready() {
    let mut held = Held::small_requester();
    let job = Job::put("a", contents(5000, 1)).asking(Ask::Time);
    let id = held.session.request(&job.request()).expect("sent");
    held.port.accepted(id, &job);
    held.session.stop(id).expect("sent");
    held.session.stop(id).expect("sent already");
    assert_eq!(held.feed(&[]).len(), 2);
    // The responder may be hashing, and report on it: nothing may be sent that could block.
    let next = held.session.request(&Job::put("b", "b").request());
    assert_eq!(next, Err(kift_core::session::RequestError::Later));
    let ready = Answer::Ready { from: 0, root: digest(&[]) };
    assert_eq!(held.tell(&[Frame::answer(1, &ready)]), []);
    assert_eq!(held.tell(&[Frame::answer(1, &Answer::Failed(Code::Cancelled))]), []);
    assert_eq!(held.port.results[&id], Err(Failure::Peer(Code::Cancelled)));
    assert!(held.session.request(&Job::put("b", "b").request()).is_ok());
    assert_eq!(held.closed, None);
}

#[test]
fn stopping_goodbye_changes_nothing() {
    let mut pair = Pair::new(Options::small(1, 1), Memory::default());
    pair.submit(Job::stat("", false));
    let goodbye = pair.submit(Job::Goodbye);
    while pair.outcome(goodbye) == kift_tests::pair::Outcome::Queued {
        pair.step();
    }
    pair.stop(goodbye);
    pair.drive_to_end();
    assert_eq!(pair.closed(), [Some(Ok(())), Some(Ok(()))]);
}
