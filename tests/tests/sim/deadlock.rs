//! Writes that block until all is taken, over wires that hold exactly what each end says it
//! absorbs. As `blocking`, without threads: every seed can be repeated.

use std::time::Duration;

use crate::Pair;
use kift_core::wire::{Ask, Conflict};
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::digest;
use kift_tests::rng::{Case, Rng, contents};

fn job(rng: &mut Rng, kinds: &[usize]) -> Job {
    let path = format!("{}", rng.below(20));
    let data = contents(rng.below(5000), rng.bits());
    match kinds[rng.below(kinds.len())] {
        0 => Job::put(&path, data),
        1 => Job::put(&path, data).or(Conflict::Refuse),
        2 => Job::put(&path, data.clone()).asking(Ask::Digest(digest(&data))),
        3 => Job::get(&path),
        4 => Job::list(""),
        5 => Job::stat(&"x".repeat(rng.between(1, 200)), false),
        6 => Job::stat(&path, true),
        _ => Job::stat(&path, false),
    }
}

fn never_stuck(seeds: std::ops::Range<u64>, kinds: &[usize]) {
    for seed in seeds {
        let mut options = Options::any(seed);
        options.blocking = true;
        options.latency_max = 0;
        options.piece_max = usize::MAX;
        options.requester.requests_max = 1024;
        options.responder.requests_max = 1024;
        options.requester_buffer = 9000;
        options.requester.timeouts.working = Duration::ZERO;
        options.responder.timeouts.working = Duration::ZERO;
        let _case = Case(format!("{options:?}, {kinds:?}"));
        let mut rng = Rng::new(seed);
        options.requester.reply_room = [512, 1052, 9000][rng.below(3)];
        options.responder.reply_room = [512, 700, 1052][rng.below(3)];
        let mut store = Memory::default();
        for n in 0..12 {
            store.put(&format!("{n}"), contents([n * 500, 7000][rng.below(2)], seed));
        }
        let mut pair = Pair::new(options, store);
        pair.up.capacity = Some(options.responder.reply_room as usize);
        pair.down.capacity = Some(options.requester.reply_room as usize);
        let jobs: Vec<_> = (0..40).map(|_| pair.submit(job(&mut rng, kinds))).collect();
        let stops = [0, 1, 10][rng.below(3)];
        let mut recent = 0;
        while pair.step() {
            while recent + 1 < jobs.len()
                && pair.outcome(jobs[recent + 1]) != kift_tests::pair::Outcome::Queued
            {
                recent += 1;
            }
            if rng.chance(stops) {
                pair.stop(jobs[recent.saturating_sub(rng.below(6))]);
            }
        }
        pair.drive();
        assert!(jobs.iter().all(|&job| pair.result(job).is_some()));
        pair.finish();
    }
}

#[test]
fn any_mixture() {
    never_stuck(0..250, &[0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn downloads_and_what_waits_behind_them() {
    never_stuck(1000..1150, &[3]);
    never_stuck(1200..1350, &[3, 4, 5, 7]);
}

#[test]
fn uploads_and_what_answers_them() {
    never_stuck(2000..2200, &[0, 1, 2, 6, 7]);
}
