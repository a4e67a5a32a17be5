//! Sealed links between two ends, with the test in between: what is changed, held back, sent twice
//! or made up on the way has no effect.

use kift_core::secure::{ChaChaPolyOnly, Ciphers, Noise, Peer, RustCrypto, Token};
use kift_core::session::{Config, Error, Requester, Responder, Side};
use kift_core::wire::{Code, HEADER_LEN, PREFIX_LEN, Prefix, Record, Request};
use kift_tests::app::{App, Job};
use kift_tests::memory::Memory;
use kift_tests::raw::{Frame, Held, first_flight, hello, records};
use kift_tests::rng::{Case, Rng};
use kift_tests::sealed::{noise, requester_key, responder_key};

type Asks<C> = Held<Requester<Vec<u8>, 8, Noise<C>>, App>;
type Serves<C> = Held<Responder<Vec<u8>, Noise<C>>, Memory>;

const TOKEN: Token = Token([0x33; 32]);

fn asks<C: Ciphers>(side: Side, token: Option<Token>, seed: u64) -> Asks<C> {
    let buffer = || vec![0; 4096];
    let noise = noise(requester_key(), token, seed);
    let config = Config { reply_room: 4096, ..Config::small(side, 3) };
    let session = Requester::with_security(buffer(), buffer(), &config, noise);
    Held::new(session.expect("room"), App::default())
}

fn serves<C: Ciphers>(side: Side, token: Option<Token>, seed: u64) -> Serves<C> {
    let buffer = || vec![0; 4096];
    let noise = noise(responder_key(), token, seed);
    let session = Responder::with_security(buffer(), buffer(), &Config::small(side, 3), noise);
    let mut store = Memory::default();
    for name in ["a", "b", "c"] {
        store.put(name, name);
    }
    Held::new(session.expect("room"), store)
}

/// A requester that dials, and a responder that listens.
fn ends() -> (Asks<ChaChaPolyOnly>, Serves<RustCrypto>) {
    (asks(Side::Dialler, None, 1), serves(Side::Listener, None, 2))
}

/// The three records of their handshake, the third not yet delivered.
fn handshake<A: Ciphers, B: Ciphers>(asks: &mut Asks<A>, serves: &mut Serves<B>) -> [Vec<u8>; 3] {
    let first = asks.exchange(&[]);
    let second = serves.exchange(&first);
    let third = asks.exchange(&second);
    [first, second, third]
}

/// Two ends whose handshake is over.
fn open() -> (Asks<ChaChaPolyOnly>, Serves<RustCrypto>) {
    let (mut asks, mut serves) = ends();
    let [.., third] = handshake(&mut asks, &mut serves);
    assert!(serves.exchange(&third).is_empty());
    assert_eq!((asks.closed, serves.closed), (None, None));
    (asks, serves)
}

/// The frame of a request to delete `path`.
fn delete<C: Ciphers>(asks: &mut Asks<C>, path: &str) -> Vec<u8> {
    asks.session.request(&Request::Delete { path }).expect("open");
    let frames = records(&asks.exchange(&[]));
    assert_eq!(frames.len(), 1);
    frames.concat()
}

/// What an end hears, and then nothing more for ever.
fn hear_last<C: Ciphers>(end: &mut Serves<C>, bytes: &[u8]) -> Error {
    end.exchange(bytes);
    end.hang_up(&[]);
    end.port.assert_closed();
    end.closed.expect("over").expect_err("no goodbye")
}

const REFUSED: Option<Result<(), Error>> = Some(Err(Error::PeerMisbehaved(Code::HandshakeFailed)));
const CORRUPT: Error = Error::PeerMisbehaved(Code::Corrupt);

fn files(serves: &Serves<RustCrypto>) -> Vec<&str> {
    serves.port.files.keys().map(String::as_str).collect()
}

/// Bytes with one bit changed, for each of them.
fn each_bit(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    })
}

// The handshake.

#[test]
fn each_end_learns_the_others_key_and_the_first_request_goes_behind_the_proof() {
    let (mut asks, mut serves) = ends();
    let [first, second, third] = handshake(&mut asks, &mut serves);
    assert_eq!((first.len(), records(&second).len(), records(&third).len()), (44, 1, 1));
    assert_eq!(asks.port.peers, [Peer { key: *responder_key().public(), pairing: false }]);
    assert!(asks.port.hello.is_some() && serves.port.peers.is_empty());
    // Before a byte came back: with the connection, three round trips to the first answer.
    let behind = [third, delete(&mut asks, "a")].concat();
    let answer = serves.exchange(&behind);
    assert_eq!(serves.port.peers, [Peer { key: *requester_key().public(), pairing: false }]);
    assert_eq!(files(&serves), ["b", "c"]);
    asks.exchange(&answer);
    assert_eq!(asks.port.results.len(), 1);
}

#[test]
fn a_responder_may_dial() {
    let mut asks: Asks<RustCrypto> = asks(Side::Listener, None, 1);
    let mut serves: Serves<RustCrypto> = serves(Side::Dialler, None, 2);
    let second = asks.exchange(&serves.exchange(&[]));
    assert_eq!(second[10], 2, "the suite that both prefer");
    assert!(asks.exchange(&serves.exchange(&second)).is_empty());
    assert_eq!(asks.port.peers[0].key, *responder_key().public());
    assert_eq!(serves.port.peers[0].key, *requester_key().public());
    serves.exchange(&delete(&mut asks, "b"));
    assert_eq!(files(&serves), ["a", "c"]);
}

#[test]
fn to_a_wrong_listener_nothing_more_is_said() {
    let (mut asks, mut serves) = ends();
    asks.port.turns_away = Some(Code::Denied);
    let [_, _, third] = handshake(&mut asks, &mut serves);
    assert!(third.is_empty());
    assert_eq!(asks.closed, Some(Err(Error::Closed(Code::Denied))));
    assert_eq!(hear_last(&mut serves, &[]), Error::Disconnected);
    assert!(serves.port.peers.is_empty());
}

#[test]
fn while_a_person_is_asked_nothing_is_said() {
    let (mut asks, mut serves) = ends();
    asks.port.considers = true;
    let [_, _, third] = handshake(&mut asks, &mut serves);
    assert!(third.is_empty());
    // Longer than the handshake may take.
    for _ in 0..100 {
        asks.now += 1000;
        assert!(asks.exchange(&[]).is_empty());
    }
    assert_eq!(asks.closed, None);
    asks.port.considers = false;
    let third = asks.exchange(&[]);
    assert_eq!(records(&third).len(), 1);
    serves.exchange(&third);
    assert_eq!(serves.port.peers.len(), 1);
}

#[test]
fn nothing_has_effect_before_the_dialler_was_admitted() {
    for admitted in [false, true] {
        let (mut asks, mut serves) = ends();
        serves.port.considers = true;
        serves.port.turns_away = (!admitted).then_some(Code::Denied);
        let [.., third] = handshake(&mut asks, &mut serves);
        let behind = [third, delete(&mut asks, "a")].concat();
        assert!(serves.exchange(&behind).is_empty());
        assert_eq!(files(&serves), ["a", "b", "c"]);
        serves.port.considers = false;
        let answer = serves.exchange(&[]);
        assert_eq!(files(&serves).len(), if admitted { 2 } else { 3 });
        asks.exchange(&answer);
        let told = Some(Err(Error::PeerClosed(Code::Denied)));
        assert_eq!(asks.closed, if admitted { None } else { told });
    }
}

#[test]
fn any_changed_bit_of_the_first_flights_is_found() {
    let (mut asks, mut serves) = ends();
    let [first, second, _] = handshake(&mut asks, &mut serves);
    for changed in each_bit(&first) {
        let _case = Case(format!("{changed:x?}"));
        let (mut asks, mut serves) = ends();
        asks.exchange(&[]);
        let reply = serves.exchange(&changed);
        assert!(asks.exchange(&reply).is_empty());
        asks.hang_up(&[]);
        assert!(asks.port.peers.is_empty() && asks.port.hello.is_none());
        hear_last(&mut serves, &[]);
    }
    for changed in each_bit(&second) {
        let _case = Case(format!("{changed:x?}"));
        let (mut asks, _) = ends();
        asks.exchange(&[]);
        assert!(asks.exchange(&changed).is_empty());
        asks.hang_up(&[]);
        assert!(asks.port.peers.is_empty() && asks.port.hello.is_none());
    }
}

#[test]
fn any_changed_bit_of_the_proof_is_found() {
    let (mut asks, mut serves) = ends();
    let [first, _, third] = handshake(&mut asks, &mut serves);
    for changed in each_bit(&third) {
        let _case = Case(format!("{changed:x?}"));
        let (_, mut serves) = ends();
        serves.exchange(&first);
        // There is nobody to tell it to.
        assert!(serves.exchange(&changed).is_empty());
        hear_last(&mut serves, &[]);
        assert!(serves.port.peers.is_empty());
    }
}

#[test]
fn handshake_messages_of_any_length_and_content() {
    let record = |body: &[u8]| {
        let mut record = vec![0; PREFIX_LEN];
        Prefix { len: body.len() as u16, record: Record::Handshake }.emit(&mut record);
        [&record[..], body].concat()
    };
    let mut rng = Rng::new(1);
    let (mut asking, mut serving) = ends();
    let [first, second, third] = handshake(&mut asking, &mut serving);
    for len in 0..1100 {
        let _case = Case(len);
        let random = rng.bytes(len);
        // Random, and as they should be as far as that goes.
        for (n, good) in [&first, &second, &third].into_iter().enumerate() {
            let mut body = good[PREFIX_LEN..].to_vec();
            body.resize(len, 0x5a);
            let clear = if n < 2 { 8.min(len) } else { 0 };
            let mut half = random.clone();
            half[..clear].copy_from_slice(&good[PREFIX_LEN..][..clear]);
            for body in [&random, &body, &half] {
                if record(body) == *good {
                    continue;
                }
                let (mut asks, mut serves) = ends();
                asks.exchange(&[]);
                if n == 1 {
                    asks.exchange(&record(body));
                    asks.hang_up(&[]);
                    assert!(asks.port.peers.is_empty());
                } else {
                    if n == 2 {
                        serves.exchange(&first);
                    }
                    serves.exchange(&record(body));
                    hear_last(&mut serves, &[]);
                    assert!(serves.port.peers.is_empty());
                }
            }
        }
    }
}

#[test]
fn what_a_later_version_puts_behind_message_1_is_ignored() {
    let (mut asks, mut serves) = ends();
    let mut first = asks.exchange(&[]);
    first.extend([0xee; 5]);
    first[0] += 5;
    // This dialler said nothing of it, so it finds the prologue changed.
    let second = serves.exchange(&first);
    assert_eq!((second[11], serves.closed), (0, None));
    asks.exchange(&second);
    assert_eq!(asks.closed, REFUSED);
}

#[test]
fn frames_before_the_handshake_is_over_are_refused() {
    let plain = Frame::hello(&hello(kift_core::wire::Role::Requester)).bytes();
    let mut sealed = vec![0; HEADER_LEN + 17];
    Prefix { len: (sealed.len() - PREFIX_LEN) as u16, record: Record::Sealed }.emit(&mut sealed);
    for frame in [&plain, &sealed] {
        let (mut asks, mut serves) = ends();
        let first = asks.exchange(&[]);
        // Before the offer: refused in the clear. Behind it: there is nobody to tell it to.
        assert_eq!(ends().1.exchange(frame), first_flight(1, 0, Code::OutOfOrder.into()));
        serves.exchange(&first);
        assert!(serves.exchange(frame).is_empty());
        assert_eq!(hear_last(&mut serves, &[]), Error::PeerMisbehaved(Code::OutOfOrder));
        assert!(asks.exchange(frame).is_empty());
        assert_eq!(asks.closed, Some(Err(Error::PeerMisbehaved(Code::OutOfOrder))));
    }
}

#[test]
fn a_second_handshake_is_refused() {
    let (mut asks, mut serves) = ends();
    let [first, _, third] = handshake(&mut asks, &mut serves);
    serves.exchange(&third);
    serves.exchange(&first);
    assert_eq!(hear_last(&mut serves, &[]), Error::PeerMisbehaved(Code::OutOfOrder));
}

// No weaker link.

#[test]
fn a_forged_refusal_ends_it() {
    let codes = Code::ALL.iter().map(|code| first_flight(1, 0, u8::from(*code)));
    let forged = [first_flight(2, 0, 0), first_flight(1, 0, 0), first_flight(1, 3, 0)];
    for reply in codes.chain(forged) {
        let _case = Case(format!("{reply:x?}"));
        let (mut asks, _) = ends();
        asks.exchange(&[]);
        assert!(asks.exchange(&reply).is_empty());
        assert!(matches!(asks.closed, Some(Err(_))) && asks.port.hello.is_none());
    }
}

#[test]
fn sealed_and_plain_ends_do_not_meet() {
    let plain = Frame::hello(&hello(kift_core::wire::Role::Requester)).bytes();
    let (_, mut serves) = ends();
    let refusal = serves.exchange(&[first_flight(1, 1, 0), plain].concat());
    assert_eq!(refusal, first_flight(1, 0, Code::SealedOnly.into()));
    assert_eq!(serves.closed, Some(Err(Error::PeerMisbehaved(Code::SealedOnly))));

    let (mut asks, _) = ends();
    let offer = asks.exchange(&[]);
    let mut listener = Held::new(
        Responder::new(vec![0; 2000], vec![0; 2000], &Config::small(Side::Listener, 1))
            .expect("room"),
        Memory::default(),
    );
    let refusal = listener.exchange(&offer);
    assert_eq!(refusal, first_flight(1, 0, Code::PlainOnly.into()));
    assert!(asks.exchange(&refusal).is_empty());
    assert_eq!(asks.closed, Some(Err(Error::PeerClosed(Code::PlainOnly))));
}

#[test]
fn a_suite_that_was_not_offered_is_not_spoken() {
    // The device offers 1 alone; the host would speak 2 as well.
    for suite in [0, 2, 3, 4, 5, 255] {
        let (mut asks, mut serves) = ends();
        let mut second = serves.exchange(&asks.exchange(&[]));
        assert_eq!(second[10], 1);
        second[10] = suite;
        assert!(asks.exchange(&second).is_empty());
        assert_eq!(asks.closed, Some(Err(Error::PeerClosed(Code::Incompatible))));
    }
    for offer in [0x02, 0x08, 0x10, 0xe0, 0x20] {
        let (_, mut serves) = ends();
        let mut first = first_flight(1, offer, 0);
        first.extend([9; 48]);
        first[0] += 48;
        let reply = serves.exchange(&first);
        let known = offer == 0x02;
        assert_eq!(reply[11], if known { 0 } else { u8::from(Code::Incompatible) }, "{offer:x}");
    }
}

#[test]
fn a_listener_without_the_token_does_not_pair() {
    let mut dialler: Asks<ChaChaPolyOnly> = asks(Side::Dialler, Some(TOKEN), 1);
    let (_, mut serves) = ends();
    let refusal = serves.exchange(&dialler.exchange(&[]));
    assert_eq!(refusal, first_flight(1, 0, Code::Incompatible.into()));
    dialler.exchange(&refusal);
    assert_eq!(dialler.closed, Some(Err(Error::PeerClosed(Code::Incompatible))));
}

#[test]
fn pairing() {
    let listener = || serves::<RustCrypto>(Side::Listener, Some(TOKEN), 2);
    for (token, good) in [(TOKEN, true), (Token([0x34; 32]), false)] {
        let mut asks: Asks<ChaChaPolyOnly> = asks(Side::Dialler, Some(token), 1);
        let mut serves = listener();
        let [.., third] = handshake(&mut asks, &mut serves);
        let behind = [third, delete(&mut asks, "a")].concat();
        let answer = serves.exchange(&behind);
        assert_eq!(serves.port.files.len(), if good { 2 } else { 3 });
        if good {
            assert!(serves.port.peers[0].pairing && asks.port.peers[0].pairing);
            asks.exchange(&answer);
            assert_eq!(asks.port.results.len(), 1);
        } else {
            assert!(answer.is_empty() && serves.port.peers.is_empty());
            assert_eq!(serves.closed, REFUSED);
        }
    }
    // To everybody else it is the listener that it was.
    let (mut asks, mut serves) = (ends().0, listener());
    let [.., third] = handshake(&mut asks, &mut serves);
    serves.exchange(&third);
    assert!(!serves.port.peers[0].pairing);
}

// Frames.

#[test]
fn replayed_frames() {
    let (mut asks, mut serves) = open();
    let frame = delete(&mut asks, "a");
    serves.exchange(&frame);
    serves.port.put("a", "again");
    assert_eq!(hear_last(&mut serves, &frame), CORRUPT);
    assert_eq!(files(&serves), ["a", "b", "c"]);
}

#[test]
fn reordered_and_dropped_frames() {
    for order in [&[1, 0][..], &[1], &[0, 2, 1], &[0, 2]] {
        let (mut asks, mut serves) = open();
        let frames = ["a", "b", "c"].map(|path| delete(&mut asks, path));
        let bytes: Vec<u8> = order.iter().flat_map(|n| frames[*n].clone()).collect();
        assert_eq!(hear_last(&mut serves, &bytes), CORRUPT);
        // What came in order before may have been done.
        assert!(files(&serves).ends_with(&["b", "c"]));
        assert!(order[0] == 0 || files(&serves).len() == 3);
    }
}

#[test]
fn reflected_frames() {
    let (mut asks, _) = open();
    let frame = delete(&mut asks, "a");
    asks.exchange(&frame);
    assert_eq!(asks.closed, Some(Err(CORRUPT)));
}

#[test]
fn truncated_frames_and_streams() {
    let (mut asks, _) = open();
    let frame = delete(&mut asks, "a");
    for len in 0..frame.len() {
        // The stream ends in the middle of the frame.
        let (_, mut serves) = open();
        assert_eq!(hear_last(&mut serves, &frame[..len]), Error::Disconnected);
        // Its length says that it ends there.
        let (_, mut serves) = open();
        if len >= PREFIX_LEN {
            let mut short = frame[..len].to_vec();
            short[0] = (len - PREFIX_LEN) as u8;
            let Error::PeerMisbehaved(code) = hear_last(&mut serves, &short) else { panic!() };
            assert!(matches!(code, Code::Malformed | Code::Corrupt));
        }
        assert_eq!(files(&serves), ["a", "b", "c"]);
    }
}

#[test]
fn any_changed_bit_of_a_frame_is_found() {
    let (mut asks, _) = open();
    let frame = delete(&mut asks, "a");
    for changed in each_bit(&frame) {
        let (_, mut serves) = open();
        hear_last(&mut serves, &changed);
        assert_eq!(files(&serves), ["a", "b", "c"]);
    }
}

#[test]
fn plain_frames_on_a_sealed_link() {
    let (_, mut serves) = open();
    let plain = Frame::request(1, &Request::Delete { path: "a" }).bytes();
    assert_eq!(hear_last(&mut serves, &plain), Error::PeerMisbehaved(Code::OutOfOrder));
    assert_eq!(files(&serves), ["a", "b", "c"]);
}

#[test]
fn a_recorded_session_played_again() {
    let (mut asking, mut serving) = ends();
    let [first, second, third] = handshake(&mut asking, &mut serving);
    let frame = delete(&mut asking, "a");
    let answer = serving.exchange(&[&third[..], &frame].concat());
    assert_eq!(files(&serving), ["b", "c"]);

    // To the same listener, whose randomness is another by now.
    let mut serves: Serves<RustCrypto> = serves(Side::Listener, None, 3);
    serves.exchange(&first);
    assert!(serves.exchange(&[third, frame].concat()).is_empty());
    assert_eq!(serves.closed, REFUSED);
    assert!(serves.port.peers.is_empty() && files(&serves) == ["a", "b", "c"]);

    let mut asks: Asks<ChaChaPolyOnly> = asks(Side::Dialler, None, 4);
    asks.exchange(&[]);
    assert!(asks.exchange(&[second, answer].concat()).is_empty());
    assert_eq!(asks.closed, REFUSED);
    assert!(asks.port.peers.is_empty());
}

#[test]
fn the_end_of_the_stream_is_no_goodbye() {
    let (mut asks, mut serves) = open();
    let job = Job::Goodbye;
    asks.session.request(&job.request()).expect("open");
    let goodbye = asks.exchange(&[]);
    let done = serves.exchange(&goodbye);
    assert_eq!(serves.closed, Some(Ok(())));
    asks.exchange(&done[..done.len() - 1]);
    asks.hang_up(&[]);
    assert_eq!(asks.closed, Some(Err(Error::Disconnected)));
}
