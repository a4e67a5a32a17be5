//! Silence is not waited for: each deadline, by a clock that the test moves.

use crate::Pair;
use kift_core::session::{Config, Error, Requester, Responder, Side};
use kift_core::wire::{Code, Role, Signal};
use kift_tests::app::{App, Job};
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::{Frame, Held, first_flight, hello};
use kift_tests::rng::contents;

const HANDSHAKE: u64 = 10_000;
const STALL: u64 = 60_000;
const IDLE: u64 = 300_000;

/// Asserts that a session whose peer is silent gives up after `ms` and not before.
fn gives_up_after<S: kift_core::session::Perform<P>, P>(
    held: &mut Held<S, P>,
    ms: u64,
) -> Vec<Frame> {
    let from = held.now;
    held.now = from + ms - 1;
    assert_eq!(held.feed(&[]), []);
    assert_eq!(held.closed, None);
    held.now = from + ms;
    let heard = held.feed(&[]);
    assert_eq!(held.closed, Some(Err(Error::TimedOut)));
    heard
}

fn fresh_requester(side: Side) -> Held<Requester<Vec<u8>, 64>, App> {
    let config = Config::small(side, 8);
    let session = Requester::new(vec![0; 4096], vec![0; 4096], &config).expect("room");
    let mut held = Held::new(session, App::default());
    held.now = 5000;
    held
}

fn fresh_responder(side: Side) -> Held<Responder<Vec<u8>>, Memory> {
    let session = Responder::new(vec![0; 4096], vec![0; 4096], &Config::small(side, 8));
    let mut held = Held::new(session.expect("room"), Memory::default());
    held.now = 5000;
    held
}

#[test]
fn no_first_flight() {
    for side in [Side::Dialler, Side::Listener] {
        let mut held = fresh_requester(side);
        held.feed(&[]);
        gives_up_after(&mut held, HANDSHAKE);
        let mut held = fresh_responder(side);
        held.feed(&[]);
        gives_up_after(&mut held, HANDSHAKE);
    }
}

#[test]
fn no_hello() {
    let mut held = fresh_requester(Side::Dialler);
    held.feed(&[]);
    held.feed(&first_flight(1, 0, 0));
    let heard = gives_up_after(&mut held, HANDSHAKE);
    assert_eq!(heard, [Frame::signal(0, Signal::Abort(Code::TimedOut))]);
    let mut held = fresh_responder(Side::Listener);
    held.feed(&first_flight(1, 1, 0));
    // One byte at a time does not help.
    for byte in &Frame::hello(&hello(Role::Requester)).bytes()[..9] {
        held.now += 1000;
        held.feed(&[*byte]);
    }
    gives_up_after(&mut held, HANDSHAKE - 9000);
}

#[test]
fn no_answer() {
    let mut held = Held::small_requester();
    held.session.request(&Job::stat("a", false).request()).expect("sent");
    held.feed(&[]);
    let heard = gives_up_after(&mut held, STALL);
    assert_eq!(heard, [Frame::signal(0, Signal::Abort(Code::TimedOut))]);
}

#[test]
fn work_that_is_reported_is_waited_for() {
    let mut held = Held::small_requester();
    held.session.request(&Job::stat("a", true).request()).expect("sent");
    held.feed(&[]);
    for done in 1..10 {
        held.now += STALL - 1;
        held.tell(&[Frame::signal(1, Signal::Working { done, total: 99 })]);
    }
    assert_eq!(held.port.working.len(), 9);
    gives_up_after(&mut held, STALL);
}

#[test]
fn an_upload_that_stalls() {
    let mut held = Held::small_responder(Memory::default());
    let job = Job::put("a", contents(3000, 1));
    held.tell(&[Frame::request(1, &job.request()), Frame::data(1, 0, &contents(1024, 1))]);
    gives_up_after(&mut held, STALL);
    held.port.assert_closed();
    assert_eq!(held.port.record.aborted, 1);
}

#[test]
fn a_download_whose_credit_is_never_raised() {
    let mut store = Memory::default();
    store.put("a", contents(100_000, 1));
    let session = Responder::new(vec![0; 4096], vec![0; 4096], &Config::small(Side::Listener, 8));
    let mut held = Held::new(session.expect("room"), store);
    held.feed(&first_flight(1, 1, 0));
    let mut poor = hello(Role::Requester);
    poor.credit = 3;
    held.tell(&[Frame::hello(&poor)]);
    let heard = held.tell(&[Frame::request(1, &Job::get("a").request())]);
    assert_eq!(heard.len(), 1 + 3);
    gives_up_after(&mut held, STALL);
    held.port.assert_closed();
}

#[test]
fn an_idle_requester() {
    let mut held = Held::small_responder(Memory::default());
    gives_up_after(&mut held, IDLE);
    // The requester itself may be idle for as long as it likes.
    let mut held = Held::small_requester();
    held.now += 10 * IDLE;
    held.feed(&[]);
    assert_eq!(held.closed, None);
}

#[test]
fn a_request_after_a_long_pause_has_all_its_time() {
    let mut pair = Pair::new(Options::small(1, 4), Memory::default());
    for round in 0..4 {
        let results = pair.run([Job::put("a", contents(3000, round)), Job::get("a")]);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        pair.pass(IDLE - 1000);
    }
    pair.finish();
    let mut held = Held::small_requester();
    held.now += 20 * STALL;
    held.feed(&[]);
    held.now += STALL;
    held.session.request(&Job::stat("a", false).request()).expect("sent");
    held.feed(&[]);
    gives_up_after(&mut held, STALL);
}

#[test]
fn an_abort_after_a_long_pause_is_told() {
    let mut held = Held::small_responder(Memory::default());
    held.now += IDLE / 2;
    held.session.abort(Code::ShuttingDown);
    let heard = held.feed(&[]);
    assert_eq!(heard, [Frame::signal(0, Signal::Abort(Code::ShuttingDown))]);
    assert_eq!(held.closed, Some(Err(Error::Closed(Code::ShuttingDown))));
}

#[test]
fn a_link_that_swallows_everything() {
    let mut options = Options::small(1, 4);
    options.latency_max = 5;
    for after in [0, 5, 12, 60, 100, 3000] {
        for up in [true, false] {
            let mut pair = Pair::new(options, Memory::default());
            pair.submit(Job::put("a", contents(10_000, 1)));
            pair.submit(Job::get("a"));
            while pair.up.sent < after {
                pair.step();
            }
            // Bytes still go in, but nothing comes out and nobody learns of it.
            let wire = if up { &mut pair.up } else { &mut pair.down };
            wire.capacity = Some(0);
            pair.drive_to_end();
            assert!(
                pair.closed().iter().all(|closed| closed.is_some_and(|result| result.is_err()))
            );
            assert!(pair.now <= 1000 + IDLE + 10_000, "{}", pair.now);
            pair.store.assert_closed();
            pair.app.assert_closed();
        }
    }
}
