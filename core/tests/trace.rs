//! What is said to whoever debugs a device: a good session and bad ones, line by line.

#[path = "readme/other.rs"]
#[expect(dead_code, reason = "the test of the README takes the rest")]
mod other;

use std::cell::{Cell, RefCell};
use std::sync::Once;
use std::task::Poll;

use kift_core::secure::{Noise, Plain, SecretKey, Security, crc32c};
use kift_core::session::{Action, Config, Error, Perform, Requester, Responder, Side};
use kift_core::time::Instant;
use kift_core::wire::{Ask, Code, Conflict, Password, Put, Request, TransferId};
use log::{LevelFilter, Log, Metadata, Record};
use other::{Other, Seed, keys};

thread_local! {
    /// Who is at work.
    static WHO: Cell<&'static str> = const { Cell::new("") };
    /// What was said in this test.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        assert!(record.target().starts_with("kift_core::"), "{}", record.target());
        let line = format!("{} {}: {}", WHO.get(), record.level(), record.args());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

/// Has everything that is said kept.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

/// What `who` said.
fn said(who: &str) -> Vec<String> {
    LINES.with_borrow(|lines| {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix(who))
            .map(|line| line[1..].into())
            .collect()
    })
}

/// Moves a session on until it waits, and what it sends to `to`.
fn turn<S: Perform<Other>>(
    who: &'static str,
    session: &mut S,
    port: &mut Other,
    now: Instant,
    to: &mut Vec<u8>,
) -> Option<Result<(), Error>> {
    WHO.set(who);
    loop {
        let sent = match session.poll(now) {
            Action::Send(bytes) => {
                to.extend_from_slice(bytes);
                bytes.len()
            }
            Action::Perform => {
                assert_eq!(session.perform(port), Poll::Ready(()));
                continue;
            }
            Action::Wait(_) => return None,
            Action::Closed(result) => return Some(result),
        };
        session.sent(sent);
    }
}

/// Gives a session what was sent to it, as much as it takes.
fn hear(who: &'static str, session: &mut impl Perform<Other>, from: &mut Vec<u8>) {
    WHO.set(who);
    let room = session.recv_slice();
    let len = room.len().min(from.len());
    room[..len].copy_from_slice(&from[..len]);
    from.drain(..len);
    session.recv_advance(len);
}

type Asks<S> = Requester<[u8; 1052], 4, S>;
type Serves<S> = Responder<[u8; 1052], S>;

fn ends<S: Security>(asks: S, serves: S) -> (Asks<S>, Serves<S>) {
    let config = |side| Config::small(side, 2);
    let (rx, tx) = ([0; 1052], [0; 1052]);
    (
        Requester::with_security(rx, tx, &config(Side::Dialler), asks).unwrap(),
        Responder::with_security(rx, tx, &config(Side::Listener), serves).unwrap(),
    )
}

fn sealed(own: &SecretKey, seed: u8) -> Noise {
    Noise::new(own.clone(), None, &mut Seed(seed)).unwrap()
}

/// Runs both ends until they are over, while the one asks `requests`.
fn run<S: Security>(
    (mut asks, mut serves): (Asks<S>, Serves<S>),
    (mut asker, mut server): (Other, Other),
    requests: &[Request<'_>],
) {
    let now = Instant::default();
    let (mut there, mut here) = (Vec::new(), Vec::new());
    let mut asked = 0;
    for _ in 0..100 {
        WHO.set("asks");
        asked += requests.get(asked).map_or(0, |request| asks.request(request).is_ok().into());
        let one = turn("asks", &mut asks, &mut asker, now, &mut there);
        hear("serves", &mut serves, &mut there);
        let two = turn("serves", &mut serves, &mut server, now, &mut here);
        hear("asks", &mut asks, &mut here);
        if one.is_some() && two.is_some() {
            return;
        }
    }
    panic!("it does not end");
}

#[test]
fn a_good_session_says_what_it_does_and_no_secret() {
    listen();
    let [asks, serves, _] = keys();
    let password = Password::new("tulip-mania").unwrap();
    let get = Request::Get { path: "hidden.bin", first: 0, count: None };
    let put = Put {
        path: "hidden.bin",
        transfer: TransferId([9; 16]),
        size: Some(0),
        modified: None,
        conflict: Conflict::Replace,
        ask: Ask::Now,
    };
    run(
        ends(sealed(&asks, 1), sealed(&serves, 2)),
        (Other::new(*serves.public()), Other::new(*asks.public())),
        &[Request::Login { user: "anna", password }, get, Request::Put(put), Request::Goodbye],
    );
    let lines = |peer: &SecretKey| {
        [
            format!("INFO: the link is open, sealed, with {}", peer.public()),
            "DEBUG: request #1: login".into(),
            "WARN: request #1 failed: not supported by the peer".into(),
            "DEBUG: request #2: get".into(),
            "WARN: request #2 failed: permission denied".into(),
            "DEBUG: request #3: put".into(),
            "DEBUG: request #3 is done".into(),
            "DEBUG: request #4: goodbye".into(),
            "DEBUG: request #4 is done".into(),
            "INFO: the session ended by its goodbye".into(),
        ]
    };
    assert_eq!(said("serves"), lines(&asks));
    // It need not wait for an answer before it asks again.
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(said("asks")), sorted(lines(&serves).into()));
    let all = said("serves").concat() + &said("asks").concat();
    assert!(!["tulip", "anna", "hidden"].iter().any(|secret| all.contains(secret)), "{all}");
}

#[test]
fn a_refused_peer_is_said_with_its_key() {
    listen();
    let [asks, serves, expected] = keys();
    run(
        ends(sealed(&asks, 1), sealed(&serves, 2)),
        (Other::new(*serves.public()), Other::new(*expected.public())),
        &[],
    );
    let open = format!("INFO: the link is open, sealed, with {}", serves.public());
    assert_eq!(
        said("asks"),
        [&open, "WARN: the session ended: the peer closed the link: permission denied"]
    );
    let refused = format!("WARN: the peer {} is refused: permission denied", asks.public());
    assert_eq!(
        said("serves"),
        [&refused, "WARN: the session ended early: the link was closed: permission denied"]
    );
}

#[test]
fn a_frame_that_is_rejected_is_said_with_its_reason() {
    listen();
    let (mut asks, mut serves) = ends(Plain::new(crc32c), Plain::new(crc32c));
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let mut other = Other::new(*keys()[0].public());
    let now = Instant::default();
    assert_eq!(turn("asks", &mut asks, &mut other, now, &mut there), None);
    let last = there.len() - 1;
    there[last] ^= 1;
    hear("serves", &mut serves, &mut there);
    let corrupt = Error::PeerMisbehaved(Code::Corrupt);
    assert_eq!(turn("serves", &mut serves, &mut other, now, &mut here), Some(Err(corrupt)));
    let line = format!("WARN: the session ended early: {corrupt}");
    assert!(line.contains("corrupt frame"));
    assert_eq!((said("serves"), said("asks")), (vec![line], vec![]));
}

#[test]
fn a_timeout_is_said_with_what_did_not_come() {
    listen();
    let [asks, serves, _] = keys();
    let (mut asks, _) = ends(sealed(&asks, 1), sealed(&serves, 2));
    let mut there = Vec::new();
    let mut other = Other::new(*serves.public());
    assert_eq!(turn("asks", &mut asks, &mut other, Instant::default(), &mut there), None);
    let late = Instant::from_millis(3_600_000);
    let ended = turn("asks", &mut asks, &mut other, late, &mut there);
    assert_eq!(ended, Some(Err(Error::TimedOut)));
    assert_eq!(
        said("asks"),
        [
            "WARN: nothing moved for too long: the peer's first flight",
            "WARN: the session ended early: the peer did not answer in time",
        ]
    );
}
