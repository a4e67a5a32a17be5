//! How sessions end, and what is known then.

use crate::{Pair, SEALED};
use kift_core::secure::Peer;
use kift_core::session::{Error, Reply, RequestError};
use kift_core::wire::{Answer, Code, Signal};
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::pair::Outcome;
use kift_tests::raw::{Frame, Held, digest};
use kift_tests::rng::{Case, contents};

#[test]
fn goodbye_after_everything() {
    for seed in 0..40 {
        let _case = Case(seed);
        let mut pair = Pair::new(Options::any(seed), Memory::default());
        let data = contents(3000, seed);
        pair.submit(Job::put("a", data.clone()));
        let get = pair.submit(Job::get("a"));
        let goodbye = pair.submit(Job::Goodbye);
        let late = pair.submit(Job::Space);
        pair.drive_to_end();
        assert!(pair.app.got[&pair.id(get)] == data);
        assert_eq!(pair.result(goodbye), Some(Ok(Reply::Done)));
        assert_eq!(pair.outcome(late), Outcome::Lost);
        assert_eq!(pair.closed(), [Some(Ok(())), Some(Ok(()))]);
    }
}

/// Whether an end was told `code`, or could not be, by one that had not been asked about its peer:
/// in a handshake nothing can be said.
fn was_told(end: Error, code: Code, by: &[Peer]) -> bool {
    end == Error::PeerClosed(code) || (SEALED && by.is_empty() && end == Error::Disconnected)
}

#[test]
fn shutting_down_finishes_what_is_under_way() {
    for seed in 0..100 {
        let _case = Case(seed);
        let mut options = Options::any(seed);
        options.latency_max = 1;
        let mut pair = Pair::new(options, Memory::default());
        let jobs: Vec<_> =
            (0..10).map(|n| pair.submit(Job::put(&format!("{n}"), contents(3000, n)))).collect();
        for _ in 0..seed * 7 {
            pair.step();
        }
        pair.responder.shut_down();
        pair.pass(0);
        pair.drive_to_end();
        let [asked, served] = pair.closed();
        assert_eq!(served, Some(Err(Error::Closed(Code::ShuttingDown))));
        assert!(was_told(asked.unwrap().unwrap_err(), Code::ShuttingDown, &pair.store.peers));
        pair.store.assert_closed();
        // What was stored was also answered, and the answer was not overtaken by the abort.
        for (n, job) in jobs.into_iter().enumerate() {
            let told = pair.result(job).is_some();
            assert_eq!(told, pair.store.get(&n.to_string()).is_some(), "put {n}");
        }
    }
}

#[test]
fn shutting_down_an_idle_session() {
    let mut pair = Pair::new(Options::small(1, 1), Memory::default());
    pair.run([Job::Space]);
    pair.responder.shut_down();
    pair.pass(0);
    pair.drive_to_end();
    assert_eq!(pair.closed()[0], Some(Err(Error::PeerClosed(Code::ShuttingDown))));
}

#[test]
fn aborts_at_any_time() {
    for seed in 0..100 {
        let _case = Case(seed);
        let mut pair = Pair::new(Options::small(seed, 1 + seed % 4), Memory::default());
        let jobs: Vec<_> = (0..6)
            .map(|n| {
                pair.submit(if n % 2 == 0 {
                    Job::put("a", contents(5000, n))
                } else {
                    Job::get("a")
                })
            })
            .collect();
        for _ in 0..seed * 4 {
            pair.step();
        }
        if seed % 2 == 0 {
            pair.requester.abort(Code::Cancelled);
        } else {
            pair.responder.abort(Code::Internal);
        }
        pair.pass(0);
        pair.drive_to_end();
        let [asked, served] = pair.closed().map(|closed| closed.unwrap().unwrap_err());
        if seed % 2 == 0 {
            assert_eq!(asked, Error::Closed(Code::Cancelled));
            assert!(was_told(served, Code::Cancelled, &pair.app.peers));
        } else {
            assert!(was_told(asked, Code::Internal, &pair.store.peers));
            assert_eq!(served, Error::Closed(Code::Internal));
        }
        pair.store.assert_closed();
        pair.app.assert_closed();
        assert_eq!(pair.requester.request(&Job::Space.request()), Err(RequestError::Over));
        for job in jobs {
            if let Some(Ok(Reply::Got { root, .. })) = pair.result(job) {
                assert_eq!(root, digest(&pair.app.got[&pair.id(job)]));
            }
        }
    }
}

#[test]
fn answers_before_an_abort_count() {
    let mut held = Held::small_requester();
    let data = contents(1500, 1);
    held.session.request(&Job::stat("a", false).request()).expect("sent");
    held.session.request(&Job::get("b").request()).expect("sent");
    held.session.request(&Job::get("c").request()).expect("sent");
    held.tell(&[
        Frame::answer(1, &Answer::Failed(Code::NotFound)),
        Frame::answer(2, &Answer::Sending { size: 1500, file_size: 1500, modified: None }),
        Frame::data(2, 0, &data[..1024]),
        Frame::data(2, 1, &data[1024..]),
        Frame::end(2, &data),
        Frame::answer(3, &Answer::Sending { size: 1500, file_size: 1500, modified: None }),
        Frame::data(3, 0, &data[..1024]),
        Frame::signal(0, Signal::Abort(Code::ShuttingDown)),
    ]);
    assert_eq!(held.closed, Some(Err(Error::PeerClosed(Code::ShuttingDown))));
    assert_eq!(held.port.results.len(), 2);
    assert_eq!(held.port.got.len(), 1);
    // What came of the third may be gone on with.
    assert_eq!(held.port.left.len(), 1);
    assert!(held.port.aborted.is_empty());
    held.port.assert_closed();
}

#[test]
fn goodbye_with_the_end_of_the_stream_right_behind_it() {
    let mut held = Held::small_responder(Memory::default());
    let data = contents(2000, 1);
    let heard = held.hang_up(&[
        Frame::request(1, &Job::put("a", data.clone()).request()),
        Frame::data(1, 0, &data[..1024]),
        Frame::data(1, 1, &data[1024..]),
        Frame::end(1, &data),
        Frame::request(2, &Job::Goodbye.request()),
    ]);
    assert_eq!(held.closed, Some(Ok(())));
    assert!(held.port.get("a") == Some(&data));
    assert_eq!(heard.iter().filter_map(Frame::as_answer).count(), 2);

    let mut held = Held::small_requester();
    held.session.request(&Job::Goodbye.request()).expect("sent");
    held.hang_up(&[Frame::answer(1, &Answer::Done)]);
    assert_eq!(held.closed, Some(Ok(())));
}

#[test]
fn a_verified_download_is_kept_although_the_link_ends() {
    let data = contents(1000, 1);
    for ends in [true, false] {
        let mut held = Held::small_requester();
        held.session.request(&Job::get("a").request()).expect("sent");
        held.port.busy = kift_tests::busy::Busy::sometimes(1, 100, 5);
        // The last chunk is being written, and then committed, while the link goes down.
        held.tell(&[
            Frame::answer(1, &Answer::Sending { size: 1000, file_size: 1000, modified: None }),
            Frame::data(1, 0, &data),
            Frame::end(1, &data),
        ]);
        while held.port.partial.values().all(|partial| partial.len() < 1000) {
            held.feed(&[]);
        }
        assert!(held.port.got.is_empty() && held.port.busy.has_pending(), "too late");
        if ends {
            held.session.abort(Code::Cancelled);
        }
        held.hang_up(&[]);
        assert!(held.closed.is_some_and(|result| result.is_err()));
        assert!(held.port.got.values().eq([&data]));
        let done = held.port.results.values().next().copied();
        assert!(matches!(done, Some(Ok(Reply::Got { size: 1000, .. }))), "{done:?}");
        held.port.assert_closed();
    }
}

#[test]
fn an_end_without_goodbye_is_an_error() {
    let mut held = Held::small_responder(Memory::default());
    held.hang_up(&[]);
    assert_eq!(held.closed, Some(Err(Error::Disconnected)));
    let mut held = Held::small_requester();
    held.hang_up(&[]);
    assert_eq!(held.closed, Some(Err(Error::Disconnected)));
}

#[test]
fn what_came_before_the_end_of_the_stream_is_done() {
    let mut held = Held::small_responder(Memory::default());
    let data = contents(1000, 1);
    let put = |number| Frame::request(number, &Job::put("a", data.clone()).request());
    held.hang_up(&[put(1), Frame::data(1, 0, &data), Frame::end(1, &data), put(2)]);
    assert_eq!(held.closed, Some(Err(Error::Disconnected)));
    assert!(held.port.get("a") == Some(&data));
    held.port.assert_closed();
}
