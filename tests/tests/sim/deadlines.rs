//! Silence is not waited for: each deadline, by a clock that the test moves.

use std::slice;

use crate::Pair;
use kift_core::session::{Action, Config, Error, Perform, Requester, Responder, Session, Side};
use kift_core::time::Instant;
use kift_core::wire::{Answer, Code, Role, Signal};
use kift_tests::app::{App, Job};
use kift_tests::busy::Busy;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::{Frame, Held, first_flight, hello};
use kift_tests::rng::contents;

const HANDSHAKE: u64 = 10_000;
const STALL: u64 = 60_000;
const IDLE: u64 = 300_000;

/// Asserts that a session whose peer is silent gives up after `ms` and not before.
fn gives_up_after<S: Perform<P>, P>(held: &mut Held<S, P>, ms: u64) -> Vec<Frame> {
    let from = held.now;
    held.now = from + ms - 1;
    assert_eq!(held.feed(&[]), []);
    assert_eq!(held.closed, None);
    held.now = from + ms;
    let heard = held.feed(&[]);
    assert_eq!(held.closed, Some(Err(Error::TimedOut)));
    heard
}

/// Gives `held` one byte of `bytes` a second, and says for how many seconds it took them.
fn drip<S: Perform<P>, P>(held: &mut Held<S, P>, bytes: &[u8]) -> u64 {
    for (seconds, byte) in bytes.iter().enumerate() {
        if held.closed.is_some() {
            assert_eq!(held.closed, Some(Err(Error::TimedOut)));
            return seconds as u64;
        }
        held.now += 1000;
        held.feed(&[*byte]);
    }
    panic!("as long as it liked");
}

/// Puts `bytes` where `session` finds them at its next poll.
fn put_in(session: &mut impl Session, bytes: &[u8]) {
    session.recv_slice()[..bytes.len()].copy_from_slice(bytes);
    session.recv_advance(bytes.len());
}

/// Takes what `session` sends, one byte a second, until the session is over. Gives how that was,
/// and the milliseconds until then.
fn sip<S: Perform<P>, P>(session: &mut S, port: &mut P, from: u64) -> (Result<(), Error>, u64) {
    let mut now = from;
    loop {
        match session.poll(Instant::from_millis(now)) {
            Action::Send(_) => {
                now += 1000;
                session.sent(1);
            }
            Action::Perform => assert!(session.perform(port).is_ready()),
            Action::Wait(until) => now = until.expect("a deadline").as_millis(),
            Action::Closed(result) => return (result, now - from),
        }
    }
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

/// A responder that has sent the three chunks of a file that its peer gave credit for.
fn without_credit() -> Held<Responder<Vec<u8>>, Memory> {
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
    held
}

#[test]
fn a_download_whose_credit_is_never_raised() {
    let mut held = without_credit();
    gives_up_after(&mut held, STALL);
    held.port.assert_closed();
}

// A peer that does something now and then, and never enough.

#[test]
fn a_byte_now_and_then_of_an_upload() {
    let mut held = Held::small_responder(Memory::default());
    let job = Job::put("a", contents(3000, 1));
    held.tell(&[Frame::request(1, &job.request()), Frame::data(1, 0, &contents(1024, 1))]);
    let next = Frame::data(1, 1, &contents(1024, 2)).bytes();
    assert_eq!(drip(&mut held, &next), STALL / 1000);
    held.port.assert_closed();
    assert_eq!(held.port.record.aborted, 1);
}

#[test]
fn a_byte_now_and_then_of_a_download() {
    let mut held = Held::small_requester();
    held.session.request(&Job::get("a").request()).expect("sent");
    held.feed(&[]);
    let sending = Answer::Sending { size: 3000, file_size: 3000, modified: None };
    held.tell(&[Frame::answer(1, &sending), Frame::data(1, 0, &contents(1024, 1))]);
    let next = Frame::data(1, 1, &contents(1024, 2)).bytes();
    assert_eq!(drip(&mut held, &next), STALL / 1000);
    held.port.assert_closed();
}

#[test]
fn a_byte_now_and_then_of_an_answer() {
    let mut held = Held::small_requester();
    held.session.request(&Job::stat("a", false).request()).expect("sent");
    held.feed(&[]);
    let slow = Frame::signal(1, Signal::Progress { received: 1, durable: 1 }).bytes().repeat(9);
    assert_eq!(drip(&mut held, &slow), STALL / 1000);
}

#[test]
fn a_byte_now_and_then_while_nothing_is_asked() {
    let mut held = Held::small_responder(Memory::default());
    let request = Frame::request(1, &Job::list(&"x/".repeat(240)[1..]).request()).bytes();
    assert_eq!(drip(&mut held, &request), IDLE / 1000);
}

#[test]
fn a_byte_now_and_then_is_taken() {
    let mut held = Held::small_responder(Memory::default());
    held.port.put("a", contents(100_000, 1));
    let request = Frame::request(1, &Job::get("a").request()).bytes();
    put_in(&mut held.session, &request);
    let (result, ms) = sip(&mut held.session, &mut held.port, held.now);
    // Then it may take the last bytes as slowly, and no longer either.
    assert_eq!((result, ms), (Err(Error::TimedOut), 2 * STALL));
    held.port.assert_closed();
}

#[test]
fn a_byte_now_and_then_of_the_last_ones() {
    let mut held = Held::small_responder(Memory::default());
    held.port.put("a", contents(100_000, 1));
    let request = Frame::request(1, &Job::get("a").request()).bytes();
    put_in(&mut held.session, &request);
    while held.session.poll(Instant::from_millis(held.now)) == Action::Perform {
        assert!(held.session.perform(&mut held.port).is_ready());
    }
    held.session.abort(Code::ShuttingDown);
    let (result, ms) = sip(&mut held.session, &mut held.port, held.now);
    assert_eq!((result, ms), (Err(Error::Closed(Code::ShuttingDown)), STALL));
}

/// Data wait to be written while a grant does not go out: it is the peer's turn all the same.
#[test]
fn nothing_is_taken_while_there_is_work() {
    let mut held = Held::small_requester();
    held.session.request(&Job::get("a").request()).expect("sent");
    held.feed(&[]);
    let sending = Answer::Sending { size: 90_000, file_size: 90_000, modified: None };
    held.tell(&[Frame::answer(1, &sending)]);
    for index in 0..4 {
        let data = Frame::data(1, index, &contents(1024, 1)).bytes();
        put_in(&mut held.session, &data);
        while held.session.poll(Instant::from_millis(held.now)) == Action::Perform {
            assert!(held.session.perform(&mut held.port).is_ready());
        }
    }
    let data = Frame::data(1, 4, &contents(1024, 1)).bytes();
    put_in(&mut held.session, &data);
    let gives_up = (held.now..).step_by(1000).find(|now| {
        match held.session.poll(Instant::from_millis(*now)) {
            Action::Send(_) => held.session.sent(0),
            Action::Perform => assert!(held.session.perform(&mut held.port).is_ready()),
            Action::Wait(_) => panic!("it has something to send"),
            Action::Closed(result) => {
                assert_eq!(result, Err(Error::TimedOut));
                return true;
            }
        }
        false
    });
    let ms = gives_up.expect("soon or late") - held.now;
    assert!((STALL..STALL + 10_000).contains(&ms), "{ms}");
}

#[test]
fn credit_and_progress_are_no_signs_of_life() {
    for signal in [Signal::Credit(3), Signal::Progress { received: 3, durable: 3 }] {
        let mut held = without_credit();
        let from = held.now;
        while held.closed.is_none() {
            held.now += 10_000;
            held.tell(&[Frame::signal(u16::from(signal != Signal::Credit(3)), signal)]);
        }
        assert_eq!((held.closed, held.now - from), (Some(Err(Error::TimedOut)), STALL));
        held.port.assert_closed();
    }
}

#[test]
fn requests_that_wait_are_no_signs_of_life() {
    let mut held = without_credit();
    let from = held.now;
    for number in 2.. {
        held.now += 10_000;
        held.tell(&[Frame::request(number, &Job::Space.request())]);
        if held.closed.is_some() {
            break;
        }
    }
    assert_eq!((held.closed, held.now - from), (Some(Err(Error::TimedOut)), STALL));
}

#[test]
fn a_source_that_is_waited_for() {
    // Of an upload it is a sign of life that work goes on, and of nothing else.
    let mut held = Held::small_responder(Memory::default());
    held.tell(&[Frame::request(1, &Job::put("a", contents(3000, 1)).request())]);
    let working = Frame::signal(1, Signal::Working { done: 0, total: 0 });
    for _ in 0..10 {
        held.now += STALL - 1;
        held.tell(slice::from_ref(&working));
    }
    gives_up_after(&mut held, STALL);
    let mut held = without_credit();
    held.now += STALL / 2;
    held.tell(&[working]);
    gives_up_after(&mut held, STALL / 2);
}

// Slow is not too slow.

#[test]
fn the_least_rate_is_enough() {
    let data = contents(10_000, 1);
    let mut held = Held::small_responder(Memory::default());
    let put = Job::put("a", data.clone());
    let mut bytes = Frame::request(1, &put.request()).bytes();
    for (index, chunk) in data.chunks(1024).enumerate() {
        bytes.extend(Frame::data(1, index as u32, chunk).bytes());
    }
    bytes.extend(Frame::end(1, &data).bytes());
    for piece in bytes.chunks(18) {
        held.now += 1000;
        held.feed(piece);
        assert_eq!(held.closed, None);
    }
    assert_eq!(held.port.get("a"), Some(&data[..]));

    // The other way, by bytes that are taken.
    let mut held = Held::small_responder(held.port);
    held.tell(&[Frame::request(1, &Job::stat("a", false).request())]);
    let request = Frame::request(2, &Job::get("a").request()).bytes();
    put_in(&mut held.session, &request);
    let mut sent = 0;
    loop {
        match held.session.poll(Instant::from_millis(held.now)) {
            Action::Send(bytes) => {
                let n = bytes.len().min(18);
                sent += n;
                held.now += 1000;
                held.session.sent(n);
            }
            Action::Perform => assert!(held.session.perform(&mut held.port).is_ready()),
            Action::Wait(_) => break,
            Action::Closed(result) => panic!("{result:?} after {sent} bytes"),
        }
    }
    assert!(sent > data.len());
}

#[test]
fn each_answer_is_a_sign_of_life() {
    let mut held = Held::small_requester();
    for _ in 0..5 {
        held.session.request(&Job::stat("a", false).request()).expect("sent");
    }
    held.feed(&[]);
    for number in 1..=4 {
        held.now += STALL - 1;
        held.tell(&[Frame::answer(number, &Answer::Failed(Code::NotFound))]);
    }
    assert_eq!(held.port.results.len(), 4);
    gives_up_after(&mut held, STALL);
}

#[test]
fn each_request_is_a_sign_of_life() {
    let mut store = Memory::default();
    store.put("a", contents(100_000, 1));
    let mut held = Held::small_responder(store);
    for number in 1..10 {
        held.now += IDLE - 1;
        // One that is done in many steps.
        let heard = held.tell(&[Frame::request(number, &Job::stat("a", true).request())]);
        assert!(matches!(heard[..], [ref answer] if answer.as_answer().is_some()));
    }
    gives_up_after(&mut held, IDLE);
}

#[test]
fn a_clock_that_began_long_ago() {
    let mut held = fresh_responder(Side::Listener);
    held.now = 1 << 40;
    held.feed(&first_flight(1, 1, 0));
    held.now += HANDSHAKE - 1;
    held.tell(&[Frame::hello(&hello(Role::Requester))]);
    gives_up_after(&mut held, IDLE);
}

#[test]
fn time_that_storage_takes_is_not_the_peers() {
    let mut held = Held::small_responder(Memory::default());
    let job = Job::put("a", contents(3000, 1));
    held.tell(&[Frame::request(1, &job.request())]);
    held.now += STALL / 2;
    held.port.busy = Busy::sometimes(1, 100, 1_000_000);
    held.tell(&[Frame::data(1, 0, &contents(1024, 1))]);
    for _ in 0..100 {
        held.now += STALL / 2;
        held.feed(&[]);
    }
    assert_eq!(held.closed, None);
    held.port.busy = Busy::never();
    held.feed(&[]);
    gives_up_after(&mut held, STALL);
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

/// The same of a store whose calls do not return before they are done.
#[test]
fn time_that_a_call_takes_is_not_the_peers() {
    let mut held = Held::small_requester();
    held.session.request(&Job::get("a").request()).expect("sent");
    held.feed(&[]);
    let sending = Answer::Sending { size: 3000, file_size: 3000, modified: None };
    held.tell(&[Frame::answer(1, &sending)]);
    put_in(&mut held.session, &Frame::data(1, 0, &contents(1024, 1)).bytes());
    assert_eq!(held.session.poll(Instant::from_millis(held.now)), Action::Perform);
    assert!(held.session.perform(&mut held.port).is_ready());
    held.now += 10 * STALL;
    held.feed(&[]);
    gives_up_after(&mut held, STALL);
}

#[test]
fn an_abort_is_told_when_a_commit_took_long() {
    let mut held = Held::small_responder(Memory::default());
    let data = contents(1000, 1);
    held.tell(&[
        Frame::request(1, &Job::put("a", data.clone()).request()),
        Frame::data(1, 0, &data),
    ]);
    held.port.busy = Busy::sometimes(1, 100, 1_000_000);
    held.tell(&[Frame::end(1, &data)]);
    held.session.abort(Code::ShuttingDown);
    for _ in 0..10 {
        assert_eq!(held.feed(&[]), []);
        held.now += STALL;
    }
    held.port.busy = Busy::never();
    // Behind reports that the commit goes on.
    let told = Frame::signal(0, Signal::Abort(Code::ShuttingDown));
    assert_eq!(held.feed(&[]).last(), Some(&told));
    assert_eq!(held.port.get("a"), Some(&data[..]));
}
