//! Storage that takes its time at either end.

use crate::Pair;
use kift_core::session::Reply;
use kift_core::wire::Ask;
use kift_tests::app::Job;
use kift_tests::busy::Busy;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::digest;
use kift_tests::rng::{Case, contents};

fn jobs(seed: u64) -> Vec<Job> {
    let (small, large) = (contents(900, seed), contents(4000, seed));
    let by_hash = Job::put("large", large.clone()).asking(Ask::Digest(digest(&large)));
    vec![
        Job::put("small", small),
        Job::put("large", large),
        by_hash,
        Job::put("large", contents(4000, 1)).asking(Ask::Digest(digest(&[]))),
        Job::get("large"),
        Job::stat("large", true),
        Job::stat("small", false),
        Job::list(""),
        Job::MakeDirectory { path: "folder".to_owned() },
        Job::Rename { from: "small".to_owned(), to: "folder/x".to_owned(), replace: false },
        Job::get("folder/x"),
        Job::Delete { path: "large".to_owned() },
        Job::Space,
    ]
}

/// The store and the application assert that an operation that is pending is offered again, and no
/// other in between.
#[test]
fn at_random_places() {
    for seed in 0..60 {
        let options = Options::any(seed);
        let _case = Case(format!("{options:?}"));
        let mut pair = Pair::new(options, Memory::default());
        pair.store.busy = Busy::sometimes(seed, 30, 5);
        pair.app.busy = Busy::sometimes(seed ^ 1, 30, 5);
        let results = pair.run(jobs(seed));
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(results[2], Ok(Reply::Unchanged));
        assert!(pair.store.busy.pendings > 0 && pair.app.busy.pendings > 0);
        pair.finish();
    }
}

/// Operations that take up to 40 seconds each, and so minutes for a request.
fn slow(mut options: Options) -> Pair {
    options.tick = 500;
    let mut pair = Pair::new(options, Memory::default());
    pair.store.busy = Busy::sometimes(1, 100, 80);
    pair
}

#[test]
fn work_is_reported_and_no_deadline_passes() {
    for options in [Options::small(1, 2), Options::large(2)] {
        let mut pair = slow(options);
        let numbers: Vec<usize> = jobs(1).into_iter().map(|job| pair.submit(job)).collect();
        while pair.step() {
            // Whatever an end's deadline is, the clock of a slow store must not meet it.
            assert_eq!(pair.closed(), [None, None], "at {}", pair.now);
        }
        assert!(pair.now > 5 * 60_000, "{}", pair.now);
        assert!(numbers.iter().all(|&number| pair.result(number).is_some_and(|r| r.is_ok())));
        // All but those that chance made short.
        let reported = |&&number: &&usize| {
            let id = pair.id(number);
            pair.app.working.iter().any(|(request, ..)| *request == id)
        };
        assert!(numbers.iter().filter(reported).count() >= 10);
        let reports = pair.app.working.len() as u64;
        assert!(
            (pair.now / 3000 / 2..pair.now / 1900).contains(&reports),
            "{reports} in {}",
            pair.now
        );
        pair.finish();
    }
}

#[test]
fn a_source_that_is_slow_is_waited_for() {
    for mut options in [Options::small(1, 2), Options::large(2)] {
        options.tick = 500;
        let mut pair = Pair::new(options, Memory::default());
        pair.app.busy = Busy::sometimes(1, 100, 500);
        let data = contents(4000, 1);
        let results = pair.run([Job::put("a", data.clone()), Job::put("b", data).declaring(None)]);
        assert!(results.iter().all(Result::is_ok), "{results:?} {:?}", pair.closed());
        assert!(pair.now > 2 * 60_000, "{}", pair.now);
        pair.app.busy = Busy::never();
        pair.finish();
    }
}

/// A hash that runs for minutes, one chunk after the other, with nothing pending.
#[test]
fn a_long_hash_is_reported() {
    for options in [Options::small(1, 1), Options::large(2)] {
        let mut store = Memory::default();
        store.put("file", contents(3 << 20, 1));
        let mut pair = Pair::new(options, store);
        let stat = pair.submit(Job::stat("file", true));
        let mut last = 0;
        while pair.step() {
            let read = pair.store.record.read;
            if read > last {
                // 20 KiB a second.
                pair.pass((read - last) / 20);
                last = read;
            }
        }
        assert!(pair.now > 100_000);
        let result = pair.result(stat);
        assert!(
            matches!(result, Some(Ok(Reply::Stat { digest: Some(_), .. }))),
            "{result:?} {:?}",
            pair.closed()
        );
        assert!(pair.app.working.iter().is_sorted_by_key(|(_, done, _)| *done));
        assert!(pair.app.working.iter().all(|(_, _, total)| *total == 3 << 20));
        assert!(pair.app.working.len() > 20, "{}", pair.app.working.len());
        pair.finish();
    }
}

#[test]
fn an_end_of_the_link_while_something_is_pending() {
    for seed in 0..300 {
        let _case = Case(seed);
        let mut options = Options::small(seed, 2);
        options.latency_max = 3;
        let mut pair = Pair::new(options, Memory::default());
        pair.store.busy = Busy::sometimes(seed, 50, 8);
        pair.app.busy = Busy::sometimes(seed ^ 1, 50, 8);
        let numbers: Vec<usize> = jobs(seed).into_iter().map(|job| pair.submit(job)).collect();
        for _ in 0..seed * 5 {
            pair.step();
        }
        match seed % 4 {
            0 => pair.up.cut_at = Some(pair.up.sent),
            1 => pair.down.cut_at = Some(pair.down.sent),
            2 => pair.requester.abort(kift_core::wire::Code::Cancelled),
            _ => pair.responder.abort(kift_core::wire::Code::ShuttingDown),
        }
        pair.drive_to_end();
        pair.store.assert_closed();
        pair.app.assert_closed();
        assert!(pair.closed().iter().all(|closed| closed.is_some_and(|result| result.is_err())));
        for (number, job) in numbers.into_iter().zip(jobs(seed)) {
            if let (Some(Ok(Reply::Got { root, .. })), Job::Get { .. }) = (pair.result(number), job)
            {
                assert_eq!(root, digest(&pair.app.got[&pair.id(number)]));
            }
        }
    }
}
