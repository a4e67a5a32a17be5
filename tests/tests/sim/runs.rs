//! Files in runs, over the links of a session.

use crate::Pair;
use kift_core::Tree;
use kift_core::session::{Failure, Reply, RequestError};
use kift_core::wire::{Answer, Ask, Close, Code, Digest, Request, Run, RunLen, Ticket, TransferId};
use kift_tests::app::{Job, Source};
use kift_tests::busy::Busy;
use kift_tests::memory::{Memory, Transfers, value};
use kift_tests::options::Options;
use kift_tests::raw::{Frame, Held, digest};
use kift_tests::rng::{Case, contents};

const LEN: RunLen = RunLen::MIN;

fn store(transfers: &Transfers) -> Memory {
    let mut store = Memory::default();
    store.transfers = Some(transfers.clone());
    store
}

fn source(data: &[u8]) -> Source {
    Source { data: data.to_vec(), fails: None }
}

fn runs(data: &[u8]) -> Vec<Run> {
    (0..).map_while(|number| LEN.run(number, data.len() as u64)).collect()
}

fn part(run: Run, data: &[u8]) -> &[u8] {
    &data[run.offset() as usize..][..run.size as usize]
}

fn begin(data: &[u8]) -> Job {
    let size = Some(data.len() as u64);
    Job::BeginPut { path: "new".to_owned(), size, ask: Ask::Now, runs: LEN }
}

fn put(run: Run, data: &[u8]) -> Job {
    Job::PutRun { run, source: source(data) }
}

fn commit(data: &[u8]) -> Job {
    Job::Commit { size: data.len() as u64, root: digest(data) }
}

/// A session with as many more data links.
fn session(options: Options, links: usize) -> (Pair, Vec<Pair>) {
    let transfers = Transfers::default();
    let mut control = Pair::new(options, store(&transfers));
    let data_links = (0..links).map(|_| {
        let Ok(Reply::Ticket(ticket)) = control.run([Job::Ticket])[0] else { panic!("no ticket") };
        let mut link = Pair::new(options, store(&transfers));
        assert_eq!(link.run([Job::Attach(ticket)]), [Ok(Reply::Done)]);
        link
    });
    let data_links = data_links.collect();
    (control, data_links)
}

fn is_empty(pair: &Pair) -> bool {
    pair.store.transfers.as_ref().is_some_and(Transfers::is_empty)
}

#[test]
fn up_over_links_and_down_again() {
    for (links, options) in [(1, Options::small(1, 4)), (3, Options::large(2).pieces(9000))] {
        for tail in [1, 1024, 70_001, 1 << 20] {
            let data = contents((3 << 20) + tail, 7);
            let (mut control, mut others) = session(options, links);
            assert_eq!(control.run([begin(&data)]), [Ok(Reply::Done)]);
            for (number, run) in runs(&data).into_iter().enumerate().rev() {
                let link = &mut others[number % links];
                let (size, root) = (run.size, value(run, part(run, &data)));
                let stored = Reply::Stored { size, root, suffix: 0 };
                assert_eq!(link.run([put(run, &data)]), [Ok(stored)]);
            }
            let (size, root) = (data.len() as u64, digest(&data));
            let stored = control.run([commit(&data)]);
            assert_eq!(stored, [Ok(Reply::Stored { size, root, suffix: 0 })]);
            assert!(control.store.get("new") == Some(&data));

            let begun = control.run([Job::BeginGet { path: "new".to_owned() }]);
            assert!(matches!(begun[0], Ok(Reply::Stat { meta, .. }) if meta.size == size));
            let mut tree = Tree::new();
            for (number, run) in runs(&data).into_iter().enumerate() {
                let link = &mut others[number % links];
                link.store.put("new", data.clone());
                let get = link.submit(Job::GetRun { run });
                link.drive();
                let root = value(run, part(run, &data));
                let got = Reply::Got { size: run.size, root, suffix: 0 };
                assert_eq!(link.result(get), Some(Ok(got)));
                assert!(link.app.got[&link.id(get)] == part(run, &data));
                tree.push(root);
            }
            assert_eq!(tree.root(), Some(root));
            assert_eq!(control.run([Job::Release]), [Ok(Reply::Done)]);
            assert!(is_empty(&control));
            control.finish();
            others.into_iter().for_each(|mut link| link.finish());
        }
    }
}

#[test]
fn whole_files_and_runs_take_turns_on_a_link() {
    let data = contents((2 << 20) + 5, 1);
    let small = contents(5000, 2);
    let (mut control, _) = session(Options::large(3), 0);
    control.store.put("old", small.clone());
    let all = runs(&data);
    let jobs = [begin(&data), put(all[1], &data), Job::put("small", small.clone())];
    let rest = [put(all[0], &data), Job::get("old"), put(all[2], &data), commit(&data)];
    let results = control.run(jobs.into_iter().chain(rest));
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(control.store.get("new") == Some(&data) && control.store.get("small") == Some(&small));
    let down = [
        Job::BeginGet { path: "new".to_owned() },
        Job::GetRun { run: all[2] },
        Job::get("old"),
        Job::GetRun { run: all[0] },
        Job::stat("new", true),
        Job::Release,
    ];
    let results = control.run(down);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    control.finish();
}

#[test]
fn the_last_of_a_run_that_came_twice_counts() {
    let data = contents(3 << 20, 1);
    let (mut control, _) = session(Options::large(1), 0);
    let all = runs(&data);
    let other = contents(3 << 20, 9);
    let again = [begin(&data), put(all[0], &other), put(all[0], &data)];
    let rest = [put(all[1], &data), put(all[2], &data), commit(&data)];
    let results = control.run(again.into_iter().chain(rest));
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(control.store.get("new") == Some(&data));
    control.finish();
}

#[test]
fn what_is_not_the_file_is_not_committed() {
    let data = contents((2 << 20) + 9, 1);
    let all = runs(&data);
    let size = data.len() as u64;
    let missing = [begin(&data), put(all[0], &data), put(all[2], &data), commit(&data)];
    let wrong_root = Job::Commit { size, root: digest(b"other") };
    let wrong_size = Job::Commit { size: size - 1, root: digest(&data) };
    let whole = || [begin(&data), put(all[0], &data), put(all[1], &data), put(all[2], &data)];
    let cases = [
        (missing.to_vec(), Code::SizeMismatch),
        (whole().into_iter().chain([wrong_root]).collect(), Code::HashMismatch),
        (whole().into_iter().chain([wrong_size]).collect(), Code::SizeMismatch),
        (vec![commit(&data)], Code::NotFound),
        (whole().into_iter().chain([Job::Release, commit(&data)]).collect(), Code::NotFound),
    ];
    for (jobs, code) in cases {
        let (mut control, _) = session(Options::large(1), 0);
        let results = control.run(jobs);
        let (last, before) = results.split_last().expect("jobs");
        assert_eq!(*last, Err(Failure::Peer(code)));
        assert!(before.iter().all(Result::is_ok), "{before:?}");
        assert_eq!(control.store.get("new"), None);
        assert!(is_empty(&control));
        control.finish();
    }
}

#[test]
fn runs_that_are_none_are_refused_and_their_data_discarded() {
    let data = contents((2 << 20) + 9, 1);
    let (mut control, _) = session(Options::small(1, 4), 0);
    assert_eq!(control.run([begin(&data)]), [Ok(Reply::Done)]);
    // Aligned, but not the file's.
    for run in [
        Run { first: 0, size: 5 },
        Run { first: 2048, size: 1 << 20 },
        Run { first: 4096, size: 1 },
        Run { first: 512, size: 1024 },
    ] {
        let results = control.run([put(run, &contents(8 << 20, 1)), Job::Space]);
        assert_eq!(results[0], Err(Failure::Peer(Code::BadRange)), "{run:?}");
        assert!(results[1].is_ok());
    }
    // Not even aligned, or empty: a requester does not ask.
    for run in [Run { first: 1, size: 1025 }, Run { first: 0, size: 0 }] {
        let transfer = TransferId([7; 16]);
        for request in [Request::PutRun { transfer, run }, Request::GetRun { transfer, run }] {
            let refused = control.requester.request(&request);
            assert_eq!(refused, Err(RequestError::Refused(Code::BadRange)));
        }
    }
    let too_short =
        Job::BeginPut { path: "x".into(), size: Some(1 << 20), ask: Ask::Now, runs: LEN };
    let unknown = Job::BeginPut { path: "x".into(), size: None, ask: Ask::Now, runs: LEN };
    for (job, code) in [(too_short, Code::BadRange), (unknown, Code::SizeRequired)] {
        let refused = control.requester.request(&job.request());
        assert_eq!(refused, Err(RequestError::Refused(code)));
    }
    assert_eq!(control.run([Job::Release]), [Ok(Reply::Done)]);
    control.finish();
}

#[test]
fn a_run_behind_the_end_of_a_file_is_not_sent() {
    let data = contents((1 << 20) + 5, 1);
    let (mut control, _) = session(Options::small(1, 4), 0);
    control.store.put("file", data);
    assert!(control.run([Job::BeginGet { path: "file".to_owned() }])[0].is_ok());
    for run in [Run { first: 1024, size: 6 }, Run { first: 2048, size: 1 }] {
        let results = control.run([Job::GetRun { run }, Job::Space]);
        assert_eq!(results[0], Err(Failure::Peer(Code::BadRange)));
        assert!(results[1].is_ok());
    }
    assert_eq!(control.run([Job::Release]), [Ok(Reply::Done)]);
    assert_eq!(control.run([Job::Release]), [Err(Failure::Peer(Code::NotFound))]);
    control.finish();
}

#[test]
fn a_ticket_is_good_once() {
    let (mut control, mut others) = session(Options::small(1, 2), 1);
    let Ok(Reply::Ticket(ticket)) = control.run([Job::Ticket])[0] else { panic!("no ticket") };
    assert_eq!(others[0].run([Job::Attach(ticket)]), [Ok(Reply::Done)]);
    for bad in [ticket, Ticket([0; 16])] {
        assert_eq!(others[0].run([Job::Attach(bad)]), [Err(Failure::Peer(Code::Denied))]);
    }
    control.finish();
    others[0].finish();
}

#[test]
fn a_store_without_runs_stays_in_step() {
    let data = contents((2 << 20) + 9, 1);
    let run = runs(&data)[1];
    for options in [Options::small(1, 2), Options::large(1)] {
        let mut pair = Pair::new(options, Memory::default());
        let jobs = [
            Job::Ticket,
            Job::Attach(Ticket([1; 16])),
            begin(&data),
            put(run, &data),
            commit(&data),
            Job::GetRun { run },
            Job::Release,
        ];
        let results = pair.run(jobs);
        assert_eq!(results, [Err(Failure::Peer(Code::Unsupported)); 7]);
        assert!(pair.run([Job::Space])[0].is_ok());
        pair.finish();
    }
}

#[test]
fn an_upload_in_runs_may_be_unchanged() {
    let data = contents((2 << 20) + 9, 1);
    let asks = |ask| Job::BeginPut {
        path: "new".to_owned(),
        size: Some(data.len() as u64),
        ask,
        runs: LEN,
    };
    for pending in [false, true] {
        let (mut control, _) = session(Options::large(1), 0);
        control.store.put("new", data.clone());
        if pending {
            control.store.busy = Busy::sometimes(1, 30, 3);
        }
        let results =
            control.run([asks(Ask::Digest(digest(&data))), asks(Ask::Digest(digest(b"")))]);
        assert_eq!(results, [Ok(Reply::Unchanged), Ok(Reply::Done)]);
        assert_eq!(control.run([Job::Release]), [Ok(Reply::Done)]);
        control.finish();
    }
}

/// Stopping a run anywhere leaves a link that works, and a transfer that can go on.
#[test]
fn a_run_can_be_stopped_at_any_time_and_put_or_got_again() {
    let data = contents((1 << 20) + 50_000, 1);
    let all = runs(&data);
    let mut cancelled = [0; 2];
    for (kind, cancelled) in cancelled.iter_mut().enumerate() {
        for step in (0..).step_by(41) {
            let _case = Case(format!("kind {kind}, step {step}"));
            let (mut control, _) = session(Options::small(1, 4), 0);
            control.store.put("old", data.clone());
            let (opening, job) = match kind {
                0 => (begin(&data), put(all[1], &data)),
                _ => (Job::BeginGet { path: "old".to_owned() }, Job::GetRun { run: all[1] }),
            };
            assert!(control.run([opening])[0].is_ok());
            let number = control.submit(job.clone());
            let finished = (0..step).any(|_| !control.step());
            control.stop(number);
            control.drive();
            match control.result(number).expect("answered") {
                Ok(_) => {}
                Err(failure) => {
                    assert_eq!(failure.code(), Code::Cancelled);
                    *cancelled += 1;
                    assert!(control.run([job])[0].is_ok());
                }
            }
            assert_eq!(control.run([Job::Release]), [Ok(Reply::Done)]);
            control.finish();
            if finished {
                break;
            }
        }
    }
    assert!(cancelled.iter().all(|&count| count > 0), "{cancelled:?}");
}

#[test]
fn a_run_with_another_value_is_not_stored() {
    let data = contents(2 << 20, 1);
    let run = Run { first: 1024, size: 1 << 20 };
    let transfer = TransferId([7; 16]);
    let begin = begin(&data);
    // The hash of the run as a file is not its value.
    for root in [digest(part(run, &data)), value(run, &data[..1 << 20]), Digest([0; 32])] {
        let mut held = Held::small_responder(store(&Transfers::default()));
        held.tell(&[
            Frame::request(1, &begin.request()),
            Frame::request(2, &Request::PutRun { transfer, run }),
        ]);
        for (index, chunk) in (1024..).zip(part(run, &data).chunks(1024)) {
            held.tell(&[Frame::data(2, index, chunk)]);
        }
        let heard = held.tell(&[
            Frame::close(2, &Close::End { size: run.size, root }),
            Frame::request(3, &Request::Commit { transfer, size: 2 << 20, root: digest(&data) }),
        ]);
        let answers: Vec<Answer> = heard.iter().filter_map(Frame::as_answer).collect();
        let refused = [Code::HashMismatch, Code::SizeMismatch].map(Answer::Failed);
        assert_eq!(answers, refused);
        held.port.assert_closed();
    }
}
