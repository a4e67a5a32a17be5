//! What a responder says that it is doing, and its end.

use crate::Pair;
use kift_core::session::{Failure, Reply};
use kift_core::wire::Code;
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::digest;

#[test]
fn a_status_of_any_length_comes_whole() {
    for options in [Options::small(1, 1), Options::large(2).pieces(100)] {
        for lines in [0, 1, 200] {
            let status = "{\"sessions\":2}\n".repeat(lines);
            let mut store = Memory::default();
            store.status = Some(status.clone());
            let mut pair = Pair::new(options, store);
            let asked = pair.submit(Job::Status);
            let behind = pair.submit(Job::Space);
            pair.drive();
            let (size, root) = (status.len() as u64, digest(status.as_bytes()));
            assert_eq!(pair.result(asked), Some(Ok(Reply::Got { size, root, suffix: 0 })));
            assert!(matches!(pair.result(behind), Some(Ok(Reply::Space(_)))));
            assert_eq!(pair.app.got[&pair.id(asked)], status.as_bytes());
            pair.finish();
        }
    }
}

#[test]
fn whoever_says_nothing_of_itself_stays_in_step() {
    let mut pair = Pair::new(Options::small(1, 2), Memory::default());
    let results = pair.run([Job::Status, Job::Shutdown, Job::Space]);
    assert_eq!(results[..2], [Err(Failure::Peer(Code::Unsupported)); 2]);
    assert!(matches!(results[2], Ok(Reply::Space(_))));
    pair.finish();
}

#[test]
fn a_status_can_be_stopped() {
    let mut store = Memory::default();
    store.status = Some("line\n".repeat(100_000));
    let mut pair = Pair::new(Options::small(1, 2), store);
    let asked = pair.submit(Job::Status);
    while pair.app.sending.is_empty() {
        assert!(pair.step(), "no answer");
    }
    assert!(pair.stop(asked));
    pair.drive();
    assert_eq!(pair.result(asked), Some(Err(Failure::Peer(Code::Cancelled))));
    pair.finish();
}

#[test]
fn an_end_is_promised_once_it_was_asked_for() {
    let mut store = Memory::default();
    store.ending = Some(false);
    let mut pair = Pair::new(Options::small(1, 2), store);
    assert_eq!(pair.run([Job::Shutdown]), [Ok(Reply::Done)]);
    assert_eq!(pair.store.ending, Some(true));
    // When, is for the application: the session still works.
    assert!(matches!(pair.run([Job::Space])[..], [Ok(Reply::Space(_))]));
    pair.finish();
}
