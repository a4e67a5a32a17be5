//! Two threads, pipes of 512 bytes, and calls that wait for ever: neither end may wait for the other
//! while that one waits for it, by whichever driver. What an end says it absorbs is exactly what its
//! pipe holds.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kift_core::driver::{Blocking, Step};
use kift_core::session::{Config, Error, RequestError, Requester, Responder, Side};
use kift_core::storage::RequestId;
use kift_core::time::Instant;
use kift_core::wire::{Ask, Conflict};
use kift_tests::app::{App, Job};
use kift_tests::drive::{Awaited, Drive, Dropped};
use kift_tests::memory::Memory;
use kift_tests::pipe::{Blocked, joined};
use kift_tests::raw::digest;
use kift_tests::rng::{Rng, contents};

fn now() -> Instant {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    Instant::from_millis(start.elapsed().as_millis() as u64)
}

fn config(side: Side, room: usize, rng: &mut Rng) -> Config {
    let mut config = Config::small(side, [1, 2, 3, 4, 7, 64][rng.below(6)]);
    config.batch_max = [1, 3, 32][rng.below(3)];
    config.requests_max = 64;
    config.reply_room = room as u32;
    if rng.chance(50) {
        config.timeouts.working = Duration::ZERO;
    }
    config
}

fn buffer(room: usize, rng: &mut Rng) -> Vec<u8> {
    vec![0; [1052, 1300, 4200, 40_000][rng.below(4)].max(room)]
}

fn store(seed: u64) -> Memory {
    let mut store = Memory::default();
    store.directories.insert("d".to_owned());
    for n in 0..30 {
        store.put(&format!("d/{n}"), contents(n * 211, seed));
    }
    store.put("big", contents(60_000, seed));
    store
}

/// A request; `kinds` says which of the sorts may come.
fn job(rng: &mut Rng, kinds: &[usize]) -> Job {
    let n = rng.below(40);
    let path = if rng.chance(10) { "big".to_owned() } else { format!("d/{n}") };
    let len_max = [10, 3000, 12_000][rng.below(3)];
    let data = contents(rng.below(len_max), n as u64);
    match kinds[rng.below(kinds.len())] {
        0 => Job::put(&path, data),
        1 => Job::put(&path, data).or(Conflict::Refuse),
        2 => Job::put(&path, data.clone()).asking(Ask::Digest(digest(&data))),
        3 => Job::get(&path),
        4 => Job::list("d"),
        5 => Job::stat(&path, false),
        6 => Job::stat(&path, true),
        7 => Job::Delete { path },
        8 => Job::Rename { from: path, to: format!("d/{}", rng.below(40)), replace: true },
        9 => Job::put(&path, data.clone()).declaring(Some(data.len() as u64 + 1)),
        10 => Job::Stat { path: "x".repeat(rng.between(1, 200)), digest: false },
        _ => Job::Space,
    }
}

/// What one end has.
struct End {
    stream: Blocked,
    /// Bytes that the pipe to it holds.
    room: usize,
    rng: Rng,
}

/// Sends `jobs` one behind the other, with stops in between, and then the goodbye.
fn ask<D: Drive<Blocked>>(end: End, mut jobs: VecDeque<Job>, stops: u8) -> Result<usize, Error> {
    let End { stream, room, mut rng } = end;
    let config = config(Side::Dialler, room, &mut rng);
    let (rx, tx) = (buffer(room, &mut rng), buffer(0, &mut rng));
    let mut session = Requester::<_, 64>::new(rx, tx, &config).expect("room");
    let mut app = App::default();
    let mut driver = D::over(stream);
    let mut sent: Vec<RequestId> = Vec::new();
    loop {
        while let Some(job) = jobs.front() {
            match session.request(&job.request()) {
                Ok(id) => {
                    app.accepted(id, job);
                    sent.push(id);
                    jobs.pop_front();
                }
                Err(RequestError::Later | RequestError::Over) => break,
                Err(RequestError::Refused(code)) => panic!("{job:?}: {code}"),
            }
        }
        if jobs.is_empty() && session.is_idle() {
            let _ = session.request(&Job::Goodbye.request());
        }
        if rng.chance(stops) && !sent.is_empty() {
            let recent = sent[sent.len() - 1 - rng.below(sent.len().min(6))];
            let _ = session.stop(recent);
        }
        if let Step::Closed(result) = driver.step(&mut session, &mut app, now()) {
            app.assert_closed();
            return result.map(|()| app.results.len());
        }
    }
}

fn serve<D: Drive<Blocked>>(end: End, mut store: Memory) -> Result<(), Error> {
    let End { stream, room, mut rng } = end;
    let config = config(Side::Listener, room, &mut rng);
    let (rx, tx) = (buffer(room, &mut rng), buffer(0, &mut rng));
    let mut session = Responder::new(rx, tx, &config).expect("room");
    let mut driver = D::over(stream);
    loop {
        if let Step::Closed(result) = driver.step(&mut session, &mut store, now()) {
            store.assert_closed();
            return result;
        }
    }
}

/// One session, which fails if it takes suspiciously long.
fn session<A, S>(seed: u64, kinds: &'static [usize], stops: u8)
where
    A: Drive<Blocked>,
    S: Drive<Blocked>,
{
    let mut rng = Rng::new(seed);
    let jobs: VecDeque<Job> = (0..rng.between(5, 60)).map(|_| job(&mut rng, kinds)).collect();
    let expected = jobs.len() + 1;
    // A requester with much room may send many requests: the responder's room is what counts then.
    let (up, down) = (512, [512, 1000, 8192][rng.below(3)]);
    let (here, there) = joined(up, down);
    let (asked, served) = mpsc::channel();
    let also = asked.clone();
    let there = End { stream: there, room: up, rng: Rng::new(rng.bits()) };
    let here = End { stream: here, room: down, rng };
    thread::spawn(move || asked.send(ask::<A>(here, jobs, stops)));
    thread::spawn(move || also.send(serve::<S>(there, store(seed)).map(|()| 0)));
    let mut answers = 0;
    for _ in 0..2 {
        match served.recv_timeout(Duration::from_secs(20)) {
            Ok(Ok(n)) => answers += n,
            other => panic!("seed {seed}, kinds {kinds:?}, stops {stops}: {other:?}"),
        }
    }
    assert_eq!(answers, expected, "seed {seed}");
}

/// The same scenarios, asked by one driver and served by another.
macro_rules! between {
    ($($name:ident: $asks:ty, $serves:ty;)*) => {$(
        mod $name {
            use super::*;

            fn session(seed: u64, kinds: &'static [usize], stops: u8) {
                super::session::<$asks, $serves>(seed, kinds, stops);
            }

            #[test]
            fn every_mixture() {
                for seed in 0..150 {
                    session(seed, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [0, 5, 30][seed as usize % 3]);
                }
            }

            #[test]
            fn downloads_with_stops() {
                for seed in 0..150 {
                    session(seed, &[3], [0, 20, 60][seed as usize % 3]);
                }
            }

            #[test]
            fn downloads_among_short_requests() {
                for seed in 0..100 {
                    session(seed, &[3, 4, 5, 10, 11], [0, 40][seed as usize % 2]);
                }
            }

            #[test]
            fn hashes_among_uploads() {
                for seed in 0..100 {
                    session(seed, &[0, 0, 2, 6], [0, 20][seed as usize % 2]);
                }
            }

            #[test]
            fn refusals_among_uploads() {
                for seed in 0..100 {
                    session(seed, &[0, 1, 9, 5], [0, 20][seed as usize % 2]);
                }
            }
        }
    )*};
}

between! {
    blocking: Blocking<Blocked>, Blocking<Blocked>;
    awaited: Awaited<Blocked>, Awaited<Blocked>;
    dropped: Dropped<Blocked>, Dropped<Blocked>;
    awaited_by_blocking: Blocking<Blocked>, Awaited<Blocked>;
    blocking_by_dropped: Dropped<Blocked>, Blocking<Blocked>;
}
