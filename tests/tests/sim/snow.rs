//! Another implementation of Noise, `snow`, speaks the protocol with this one: by all suites, as
//! dialler and as listener, and across a change of keys.

use kift_core::secure::{RustCrypto, SecretKey, Token};
use kift_core::session::{Config, Requester, Responder, Side};
use kift_core::wire::{Answer, Code, Hello, Kind, PREFIX_LEN, Password, Request, Role, Signal};
use kift_tests::app::App;
use kift_tests::memory::Memory;
use kift_tests::raw::{Frame, Held, first_flight, hello, records};
use kift_tests::sealed::{noise, requester_key, responder_key};
use kift_tests::snow::{self, encoded, handshake_record, opened, sealed, written};

const TOKEN: [u8; 32] = [0x33; 32];

/// What a suite is called, and whether it takes a token.
const SUITES: [(u8, &str); 3] = [
    (1, "Noise_XX_25519_ChaChaPoly_SHA256"),
    (2, "Noise_XX_25519_AESGCM_SHA256"),
    (4, "Noise_XXpsk3_25519_ChaChaPoly_SHA256"),
];

fn token(suite: u8) -> Option<Token> {
    (suite == 4).then_some(Token(TOKEN))
}

fn begin(name: &str, key: &SecretKey, clear: &[u8], suite: u8) -> ::snow::Builder<'static> {
    let builder = snow::begin(name, key, clear, suite);
    if suite == 4 { builder.psk(3, &TOKEN).expect("once") } else { builder }
}

/// `snow` dials and asks; gives it with the responder that listens.
fn snow_dials(
    suite: u8,
    name: &str,
) -> (::snow::TransportState, Held<Responder<Vec<u8>, impl kift_core::secure::Security>, Memory>) {
    let listener = noise::<RustCrypto>(responder_key(), token(suite), 1);
    let config = Config::small(Side::Listener, 3);
    let session = Responder::with_security(vec![0; 4096], vec![0; 4096], &config, listener);
    let mut store = Memory::default();
    store.put("a", "a");
    let mut serves = Held::new(session.expect("room"), store);

    let len = if suite == 4 { 48 } else { 32 };
    let mut clear = first_flight(1, 1 << suite, 0);
    clear[0] += len;
    let mut noise =
        begin(name, &requester_key(), &clear, suite).build_initiator().expect("all that it needs");
    let first = written(|out| noise.write_message(&[], out));
    assert_eq!(first.len(), usize::from(len));
    let second = serves.exchange(&[&clear[..], &first].concat());
    assert_eq!(second[4..12], [b'K', b'I', b'F', b'T', 1, 0, suite, 0]);
    let theirs = written(|out| noise.read_message(&second[12..], out));
    assert_eq!(theirs[0], 0, "its minor version");
    assert_eq!(Hello::decode(&theirs[1..]).expect("a hello").role, Role::Responder);
    assert_eq!(noise.get_remote_static(), Some(&responder_key().public().0[..]));
    let third = written(|out| noise.write_message(&encoded(&hello(Role::Requester)), out));
    assert!(serves.exchange(&handshake_record(&third)).is_empty());
    assert_eq!(serves.port.peers.len(), 1);
    assert_eq!(serves.port.peers[0].key, *requester_key().public());
    (noise.into_transport_mode().expect("over"), serves)
}

#[test]
fn snow_asks() {
    for (suite, name) in SUITES {
        let (mut transport, mut serves) = snow_dials(suite, name);
        for (number, path) in [(1, "a"), (2, "b")] {
            let request = Frame::request(number, &Request::Delete { path });
            let answer = serves.exchange(&sealed(&mut transport, &request));
            let Frame { kind, request, payload, .. } = opened(&mut transport, &answer);
            assert_eq!((kind, request), (Kind::Answer, number));
            let missing = Answer::Failed(Code::NotFound);
            let expected = if path == "a" { Answer::Done } else { missing };
            assert_eq!(Answer::decode(&payload), Ok(expected), "{name}");
        }
        assert!(serves.port.files.is_empty());
    }
}

#[test]
fn snow_logs_in() {
    let (mut transport, mut serves) = snow_dials(1, SUITES[0].1);
    serves.port.users.insert("anna".to_owned(), "secret".to_owned());
    let password = Password::new("secret").expect("legal");
    // Names that this crate's requester would not send.
    for (number, user) in [(1, "Anna"), (2, ""), (3, "a/b"), (4, "anna")] {
        let request = Frame::request(number, &Request::Login { user, password });
        let answer = serves.exchange(&sealed(&mut transport, &request));
        let Frame { payload, .. } = opened(&mut transport, &answer);
        let expected = if number == 4 { Answer::Done } else { Answer::Failed(Code::BadName) };
        assert_eq!(Answer::decode(&payload), Ok(expected), "{user}");
    }
    assert_eq!(serves.port.logins, [("anna".to_owned(), true)]);
}

#[test]
fn snow_serves() {
    for (suite, name) in SUITES {
        let dialler = noise::<RustCrypto>(requester_key(), token(suite), 1);
        let config = Config::small(Side::Dialler, 3);
        let session =
            Requester::<_, 8, _>::with_security(vec![0; 4096], vec![0; 4096], &config, dialler);
        let mut asks = Held::new(session.expect("room"), App::default());
        let first = asks.exchange(&[]);
        assert_eq!(first[10], if suite == 4 { 0x10 } else { 0x06 });
        let mut noise = begin(name, &responder_key(), &first[..12], suite)
            .build_responder()
            .expect("all that it needs");
        assert!(written(|out| noise.read_message(&first[12..], out)).is_empty());
        let payload = [&[0], &encoded(&hello(Role::Responder))[..]].concat();
        let second = written(|out| noise.write_message(&payload, out));
        let reply = [b"KIFT\x01\x00", &[suite, 0][..], &second].concat();
        let third = asks.exchange(&handshake_record(&reply));
        assert_eq!(asks.port.peers[0].key, *responder_key().public());
        let theirs = written(|out| noise.read_message(&third[PREFIX_LEN..], out));
        assert_eq!(Hello::decode(&theirs).expect("a hello").role, Role::Requester);
        assert_eq!(noise.get_remote_static(), Some(&requester_key().public().0[..]));
        let mut transport = noise.into_transport_mode().expect("over");

        asks.session.request(&Request::Delete { path: "a" }).expect("open");
        let Frame { kind, request, payload, .. } = opened(&mut transport, &asks.exchange(&[]));
        assert_eq!((kind, request), (Kind::Request, 1));
        assert_eq!(Request::decode(&payload), Ok(Request::Delete { path: "a" }));
        asks.exchange(&sealed(&mut transport, &Frame::answer(1, &Answer::Done)));
        assert_eq!(asks.port.results.len(), 1, "{name}");
    }
}

/// 2^20 frames, then new keys: `snow` counts by hand.
#[test]
fn snow_changes_keys_in_step() {
    let (mut transport, mut serves) = snow_dials(1, SUITES[0].1);
    let idle = Frame::signal(0, Signal::Working { done: 0, total: 0 });
    let mut left = 1_u32 << 20;
    while left > 0 {
        let some = left.min(64);
        let bytes: Vec<u8> = (0..some).flat_map(|_| sealed(&mut transport, &idle)).collect();
        assert!(serves.exchange(&bytes).is_empty());
        left -= some;
    }
    transport.rekey_outgoing();
    let request = Frame::request(1, &Request::Delete { path: "a" });
    let answer = serves.exchange(&sealed(&mut transport, &request));
    assert_eq!(records(&answer).len(), 1, "{:?}", serves.closed);
    // The other direction has hardly begun.
    assert_eq!(opened(&mut transport, &answer).kind, Kind::Answer);
    assert!(serves.port.files.is_empty());
}
