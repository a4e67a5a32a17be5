//! Logins: who is asked about them, what is refused before, and what is left of a password.

use kift_core::secure::{ChaChaPolyOnly, Noise, RustCrypto};
use kift_core::session::{Config, Error, Failure, Reply, RequestError, Requester, Responder, Side};
use kift_core::storage::RequestId;
use kift_core::wire::{Answer, Code, HEADER_LEN, Kind, PASSWORD_LEN_MAX, Password, Request, Role};
use kift_tests::app::{App, Job};
use kift_tests::busy::Busy;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::pair::{Outcome, Pair};
use kift_tests::raw::{Frame, Held, first_flight, hello};
use kift_tests::rng::Case;
use kift_tests::sealed::{SealedLinks, noise, requester_key, responder_key};

const SECRET: &str = "correct horse battery staple";

fn store() -> Memory {
    let mut store = Memory::default();
    store.users.insert("anna".to_owned(), SECRET.to_owned());
    store.users.insert("device".to_owned(), String::new());
    store
}

fn login(user: &'static str) -> Request<'static> {
    Request::Login { user, password: Password::new(SECRET).expect("legal") }
}

#[test]
fn the_store_decides() {
    for options in [Options::small(1, 1), Options::large(2)] {
        let mut pair = Pair::<SealedLinks>::new(options, store());
        let refused = Err(Failure::Peer(Code::LoginFailed));
        let results = pair.run([
            Job::login("anna", "wrong"),
            Job::login("nobody", SECRET),
            Job::login("device", ""),
            Job::login("anna", SECRET),
        ]);
        assert_eq!(results, [refused, refused, Ok(Reply::Done), Ok(Reply::Done)]);
        let told = [("anna", false), ("nobody", false), ("device", true), ("anna", true)];
        assert_eq!(pair.store.logins, told.map(|(user, good)| (user.to_owned(), good)));
        pair.finish();
    }
}

#[test]
fn a_login_that_takes_long() {
    for mut options in [Options::small(1, 1), Options::large(2)] {
        options.tick = 500;
        let mut pair = Pair::<SealedLinks>::new(options, store());
        pair.store.busy = Busy::sometimes(1, 100, 400);
        let jobs = [Job::login("anna", "wrong"), Job::login("anna", SECRET), Job::Space];
        let numbers = jobs.map(|job| pair.submit(job));
        while pair.app.working.is_empty() {
            assert!(pair.step());
        }
        // Begun, it is not stopped; what waits is.
        assert!(numbers[..2].iter().all(|&job| pair.stop(job)));
        pair.drive();
        let failed = |code| Some(Err(Failure::Peer(code)));
        assert_eq!(pair.result(numbers[0]), failed(Code::LoginFailed));
        assert_eq!(pair.result(numbers[1]), failed(Code::Cancelled));
        assert!(matches!(pair.result(numbers[2]), Some(Ok(Reply::Space(_)))));
        assert_eq!(pair.store.logins, [("anna".to_owned(), false)]);
        pair.finish();
    }
}

#[test]
fn on_a_plain_link_nothing_is_sent() {
    let mut held = Held::small_requester();
    let refused = Err(RequestError::Refused(Code::SealedOnly));
    assert_eq!(held.session.request(&login("anna")), refused);
    assert_eq!(held.session.request(&Job::login("device", "").request()), refused);
    assert_eq!(held.feed(&[]), []);
}

#[test]
fn on_a_plain_link_nobody_is_asked() {
    let mut held = Held::small_responder(store());
    let heard = held.tell(&[
        Frame::request(1, &login("anna")),
        Frame::request(2, &Request::Space),
        Frame::request(3, &Job::login("device", "").request()),
    ]);
    let answers: Vec<_> = heard.iter().filter_map(Frame::as_answer).collect();
    let unsupported = Answer::Failed(Code::Unsupported);
    assert!(
        matches!(answers[..], [first, Answer::Space(_), last] if (first, last) == (unsupported, unsupported))
    );
    assert!(held.port.logins.is_empty());
}

#[test]
fn a_user_that_can_be_none_is_not_asked_for() {
    let mut pair = Pair::<SealedLinks>::new(Options::small(1, 1), store());
    let jobs = ["", "Anna", "a b", &"a".repeat(33)].map(|user| pair.submit(Job::login(user, "")));
    pair.drive();
    for job in jobs {
        assert_eq!(pair.outcome(job), Outcome::Refused(Code::BadName));
    }
    pair.finish();
}

#[test]
fn strings_that_are_no_password_end_it() {
    for len in (0..300).filter(|&len| len != PASSWORD_LEN_MAX) {
        let _case = Case(len);
        let mut held = Held::small_responder(store());
        let mut payload = vec![9, 1, b'a'];
        match u8::try_from(len) {
            Ok(len @ 0..128) => payload.push(len),
            _ => payload.extend([len as u8 | 0x80, (len >> 7) as u8]),
        }
        payload.resize(payload.len() + len, b'x');
        held.tell(&[Frame::new(Kind::Request, 1, payload)]);
        assert_eq!(held.closed, Some(Err(Error::PeerMisbehaved(Code::Malformed))));
    }
}

#[test]
fn a_password_is_not_printed() {
    let text = format!("{:?} {:#?}", login("anna"), login("anna"));
    assert!(text.contains("anna") && text.contains("Password") && !text.contains("horse"));
}

// What is left of a password.

type Asks<'a> = Held<Requester<&'a mut [u8], 8, Noise<ChaChaPolyOnly>>, App>;
type Serves<'a> = Held<Responder<&'a mut [u8], Noise<RustCrypto>>, Memory>;

/// Whether the password is still in a buffer of either end, after what `act` does with the frame of
/// a login that is on its way.
fn is_left(act: impl FnOnce(&mut Asks<'_>, &mut Serves<'_>, &[u8])) -> bool {
    let mut buffers = [[0; 4096]; 4];
    let [a, b, c, d] = &mut buffers;
    let asking = noise(requester_key(), None, 1);
    let session =
        Requester::with_security(&mut a[..], &mut b[..], &Config::small(Side::Dialler, 3), asking);
    let mut asks: Asks<'_> = Held::new(session.expect("room"), App::default());
    let serving = noise(responder_key(), None, 2);
    let config = Config::small(Side::Listener, 3);
    let session = Responder::with_security(&mut c[..], &mut d[..], &config, serving);
    let mut serves: Serves<'_> = Held::new(session.expect("room"), store());
    let second = serves.exchange(&asks.exchange(&[]));
    let third = asks.exchange(&second);
    asks.session.request(&login("anna")).expect("open");
    let flight = [third, asks.exchange(&[])].concat();
    act(&mut asks, &mut serves, &flight);
    drop((asks, serves));
    buffers.iter().any(|buffer| buffer.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()))
}

#[test]
fn a_password_is_wiped() {
    let slow = Busy::sometimes(1, 100, 1_000_000);
    // While the store thinks, it has to be there.
    assert!(is_left(|_, serves, flight| {
        serves.port.busy = slow.clone();
        serves.exchange(flight);
        assert_eq!(serves.closed, None);
    }));
    for users in [store().users, Memory::default().users] {
        assert!(!is_left(|asks, serves, flight| {
            serves.port.users = users;
            asks.exchange(&serves.exchange(flight));
            assert_eq!((serves.port.logins.len(), asks.port.results.len()), (1, 1));
        }));
    }
    // The link ends while the store thinks.
    assert!(!is_left(|_, serves, flight| {
        serves.port.busy = slow.clone();
        serves.exchange(flight);
        serves.session.abort(Code::ShuttingDown);
        serves.exchange(&[]);
        assert!(serves.closed.is_some() && serves.port.logins.is_empty());
    }));
    // It is refused before the store is asked.
    assert!(!is_left(|asks, serves, flight| {
        serves.port.busy = slow.clone();
        serves.exchange(flight);
        asks.session.request(&login("anna")).expect("open");
        asks.session.stop(RequestId(2)).expect("room");
        serves.exchange(&asks.exchange(&[]));
        serves.port.busy = Busy::never();
        serves.exchange(&[]);
        assert_eq!(serves.port.logins.len(), 1);
    }));
    // Sealed, it says nothing.
    assert!(!is_left(|_, serves, flight| {
        serves.exchange(&flight[..flight.len() - HEADER_LEN]);
        assert!(serves.port.logins.is_empty());
    }));
}

#[test]
fn a_password_that_should_not_have_come_is_wiped_too() {
    let bare = [&[9, 1, b'a', SECRET.len() as u8], SECRET.as_bytes()].concat();
    for frame in [Frame::request(1, &login("anna")), Frame::new(Kind::Request, 1, bare)] {
        let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
        let session = Responder::new(&mut rx[..], &mut tx[..], &Config::small(Side::Listener, 3));
        let mut held = Held::new(session.expect("room"), store());
        held.feed(&first_flight(1, 1, 0));
        held.tell(&[Frame::hello(&hello(Role::Requester)), frame]);
        drop(held);
        assert!(!rx.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
    }
}
