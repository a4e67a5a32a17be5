//! Handshakes that no honest end begins: keys of low order, whose secrets everybody knows, and
//! messages of every length and any content. They are refused at once, and the server serves on.

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kift_core::secure::{PublicKey, SecretKey};
use kift_core::wire::{Code, Hello, PREFIX_LEN, Prefix, Record, Request, Role};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::impostor::{Impostor, Voice};
use kift_tests::machine::wait_until;
use kift_tests::raw::{Frame, first_flight, hello, records};
use kift_tests::rng::{Case, Rng};
use kift_tests::sealed::{requester_key, responder_key};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

/// Where a listener's first record has the reason for which it refuses.
const REASON_AT: usize = 11;

/// Bytes of the clear part of a first record, and of the whole.
const CLEAR_LEN: usize = 12;
const FIRST_LEN: usize = CLEAR_LEN + 32;

/// Points with which every secret agrees on zero, by all their encodings (RFC 7748, section 6.1;
/// <https://cr.yp.to/ecdh.html#validate>).
fn low_order() -> Vec<[u8; 32]> {
    let number = |low: u8, fill: u8, high: u8| {
        let mut bytes = [fill; 32];
        (bytes[0], bytes[31]) = (low, high);
        bytes
    };
    let of_order_8 = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    let other_of_order_8 = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ];
    // 0, 1, and p - 1, p, p + 1 for p = 2^255 - 19.
    let mut points = vec![
        number(0, 0, 0),
        number(1, 0, 0),
        number(0xec, 0xff, 0x7f),
        number(0xed, 0xff, 0x7f),
        number(0xee, 0xff, 0x7f),
        of_order_8,
        other_of_order_8,
    ];
    // The highest bit does not count.
    for n in 0..points.len() {
        let mut point = points[n];
        point[31] |= 0x80;
        points.push(point);
    }
    points
}

/// The keys that an end shows in place of its own.
#[derive(Debug, Clone, Copy, Default)]
struct Shows {
    ephemeral: Option<[u8; 32]>,
    identity: Option<[u8; 32]>,
}

/// X25519, but for what is shown, with which it agrees on zero, as the other end does.
struct Forger {
    inner: Box<dyn Dh>,
    shows: Shows,
    shown: Option<[u8; 32]>,
}

impl Dh for Forger {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn pub_len(&self) -> usize {
        self.inner.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.inner.priv_len()
    }

    fn set(&mut self, secret: &[u8]) {
        self.inner.set(secret);
        // Only an identity is given; ephemeral keys are made.
        self.shown = self.shows.identity;
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), snow::Error> {
        self.shown = self.shows.ephemeral;
        self.inner.generate(random)
    }

    fn pubkey(&self) -> &[u8] {
        self.shown.as_ref().map_or(self.inner.pubkey(), |shown| shown)
    }

    fn privkey(&self) -> &[u8] {
        self.inner.privkey()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        if self.shown.is_some() {
            out[..32].fill(0);
            return Ok(());
        }
        self.inner.dh(public, out)
    }
}

impl CryptoResolver for Shows {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let inner = DefaultResolver.resolve_dh(choice)?;
        Some(Box::new(Forger { inner, shows: *self, shown: None }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// One end of a handshake by suite 1, which shows what it likes.
fn end(shows: Shows, key: &SecretKey, clear: &[u8], dials: bool) -> snow::HandshakeState {
    let name = "Noise_XX_25519_ChaChaPoly_SHA256".parse().expect("a name");
    let prologue = [clear, &[1]].concat();
    let builder = snow::Builder::with_resolver(name, Box::new(shows));
    let builder = builder.local_private_key(key.as_bytes()).expect("once");
    let builder = builder.prologue(&prologue).expect("once");
    let built = if dials { builder.build_initiator() } else { builder.build_responder() };
    built.expect("all that it needs")
}

fn said(noise: &mut snow::HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 1000];
    let len = noise.write_message(payload, &mut out).expect("its turn");
    out.truncate(len);
    out
}

fn record(kind: Record, body: &[u8]) -> Vec<u8> {
    let mut record = vec![0; PREFIX_LEN];
    Prefix { len: body.len() as u16, record: kind }.emit(&mut record);
    [&record, body].concat()
}

fn encoded(hello: &Hello) -> Vec<u8> {
    let mut buf = [0; 64];
    let len = hello.encode(&mut buf).expect("room");
    buf[..len].to_vec()
}

/// The clear part of an offer of suite 1.
fn offer() -> Vec<u8> {
    let mut clear = first_flight(1, 0x02, 0);
    clear[0] += 32;
    clear
}

/// Dials, shows these keys, and asks for `path` to be deleted. Says whether the server answered the
/// first message.
fn delete_as(estate: &Estate, shows: Shows, path: &str) -> bool {
    let clear = offer();
    let mut noise = end(shows, &requester_key(), &clear, true);
    let mut dial = Dial::silent(estate.server());
    dial.send(&[&clear[..], &said(&mut noise, &[])].concat());
    let second = dial.record().expect("an answer");
    if second[REASON_AT] != 0 {
        assert_eq!(second, first_flight(1, 0, Code::HandshakeFailed.into()));
        assert!(dial.rest().is_empty());
        return false;
    }
    noise.read_message(&second[CLEAR_LEN..], &mut [0; 1000]).expect("its own handshake");
    let third = said(&mut noise, &encoded(&hello(Role::Requester)));
    dial.send(&record(Record::Handshake, &third));
    let mut transport = noise.into_transport_mode().expect("over");
    let frame = Frame::request(1, &Request::Delete { path }).bytes();
    let mut sealed = vec![0; 1000];
    let len =
        transport.write_message(&frame[PREFIX_LEN..frame.len() - 4], &mut sealed).expect("ready");
    // It may have closed by now.
    let _ = dial.stream.write_all(&record(Record::Sealed, &sealed[..len]));
    let _ = dial.stream.shutdown(Shutdown::Write);
    dial.rest();
    true
}

#[test]
fn the_server_refuses_keys_of_low_order() {
    let estate = Estate::new();
    estate.admin(&["user", "add", "anna", "rw", "--no-password"]);
    let honest = requester_key().public().to_string();
    estate.admin(&["authorize", "anna", &honest]);
    // Whoever can be known by such a key is everybody. Nobody may be, whatever is written here.
    for key in low_order() {
        estate.admin(&["authorize", "anna", &PublicKey(key).to_string()]);
    }
    let file = estate.server().file("file");
    for key in low_order() {
        let _case = Case(format!("{key:x?}"));
        fs::write(&file, "x").unwrap();
        let shows = Shows { ephemeral: Some(key), ..Shows::default() };
        assert!(!delete_as(&estate, shows, "file"), "refused before the server shows who it is");
        delete_as(&estate, Shows { identity: Some(key), ..Shows::default() }, "file");
        assert!(file.exists(), "nobody was let in");
    }
    assert!(!estate.server().log().contains("logged in"));
    assert!(delete_as(&estate, Shows::default(), "file"));
    assert!(!file.exists(), "an honest key is let in");
}

#[test]
fn the_client_refuses_keys_of_low_order() {
    let estate = Estate::new();
    estate.kift("laptop", &["key", "gen"]).ok();
    let heard_by = |shows: Shows| {
        let impostor = Impostor::start(move || -> Voice {
            let mut noise = None;
            Box::new(move |heard| {
                if noise.is_some() {
                    // Nothing that it could open.
                    return record(Record::Sealed, &[0; 40]);
                }
                let noise = noise.insert(end(shows, &responder_key(), &heard[..CLEAR_LEN], false));
                noise.read_message(&heard[CLEAR_LEN..], &mut [0; 1000]).expect("message 1");
                let payload = [&[0], &encoded(&hello(Role::Responder))[..]].concat();
                let second = said(noise, &payload);
                let body = [&first_flight(1, 1, 0)[PREFIX_LEN..], &second].concat();
                record(Record::Handshake, &body)
            })
        });
        let pin = PublicKey(shows.identity.unwrap_or(responder_key().public().0)).to_string();
        let ended = estate.kift("laptop", &["ls", &impostor.at(""), "--server-key", &pin]);
        (ended, impostor.end())
    };
    for key in low_order() {
        let _case = Case(format!("{key:x?}"));
        for shows in [
            Shows { ephemeral: Some(key), ..Shows::default() },
            Shows { identity: Some(key), ..Shows::default() },
        ] {
            let (ended, heard) = heard_by(shows);
            ended.fails(&["kift: "]);
            assert_eq!((heard.len(), heard[0].len()), (1, FIRST_LEN), "a first flight");
        }
    }
    let (ended, heard) = heard_by(Shows::default());
    ended.fails(&["corrupt"]);
    assert!(heard[0].len() > FIRST_LEN, "to an honest key all is said");
}

/// What the server says to `dial` until it closes the connection, which it does by itself.
fn closed(mut dial: Dial) -> Vec<Vec<u8>> {
    let replies = records(&dial.rest());
    for reply in &replies {
        let is_full = reply[REASON_AT] == u8::from(Code::TooManySessions);
        assert!(reply[2] == Record::Handshake as u8 && !is_full, "{reply:x?}");
    }
    replies
}

/// Threads of the server: one waits for connections, one for signals, and each session has one.
fn threads(estate: &Estate) -> usize {
    fs::read_dir(format!("/proc/{}/task", estate.server().pid())).unwrap().count()
}

/// A connection that the server has a seat for: those before may be over for us and not yet for it.
fn seated(estate: &Estate) -> Dial {
    // Four may ask at once, and one address has 20.
    wait_until("most sessions end", || threads(estate) <= 2 + 12);
    Dial::silent(estate.server())
}

/// Runs `one` for each number below `count`, some at a time: fewer than one address may open.
fn each(count: usize, one: impl Fn(usize, &mut Rng) + Sync) {
    let next = AtomicUsize::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let n = next.fetch_add(1, Ordering::Relaxed)
                    && n < count
                {
                    let _case = Case(n);
                    one(n, &mut Rng::new(n as u64));
                }
            });
        }
    });
}

/// The server is as it was before.
fn assert_serves(estate: &Estate) {
    let log = estate.server().log();
    assert!(!log.contains("panicked") && !log.contains("logged in"), "{log}");
    wait_until("all sessions end", || threads(estate) <= 2);
    estate.kift("", &["ls", &estate.at("")]).ok();
}

#[test]
fn handshake_messages_of_every_length() {
    let estate = Estate::new();
    each(1101, |len, rng| {
        let random = rng.bytes(len);
        // Nothing but noise.
        let mut dial = seated(&estate);
        dial.send(&record(Record::Handshake, &random));
        let replies = closed(dial);
        assert_eq!(replies, [first_flight(1, 0, Code::Malformed.into())]);

        // As it should begin, as far as that goes.
        let mut dial = seated(&estate);
        let mut body = offer()[PREFIX_LEN..].to_vec();
        body.extend_from_slice(&random);
        body.truncate(len);
        dial.send(&record(Record::Handshake, &body));
        if body.len() < FIRST_LEN - PREFIX_LEN {
            let replies = closed(dial);
            assert_eq!(replies, [first_flight(1, 0, Code::Malformed.into())]);
        } else {
            // What a later version puts behind it is no concern of this one.
            let second = dial.record().expect("the key of a random point is as good as any");
            assert_eq!(second[REASON_AT], 0);
            dial.stream.shutdown(Shutdown::Write).unwrap();
            assert!(closed(dial).is_empty());
        }

        // In the place of the third.
        let mut dial = seated(&estate);
        dial.send(&[offer(), rng.bytes(32)].concat());
        assert_eq!(dial.record().expect("an answer")[REASON_AT], 0);
        dial.send(&record(Record::Handshake, &random));
        assert!(closed(dial).is_empty());
    });
    assert_serves(&estate);
}

#[test]
fn random_bytes_in_place_of_a_handshake() {
    let estate = Estate::new();
    each(3000, |n, rng| {
        let len = rng.below(1500);
        let mut bytes = rng.bytes(len);
        // A third is noise, a third has the form of records, a third that of an offer.
        if n % 3 == 1 {
            bytes = record(Record::Handshake, &bytes);
            bytes[2] = 1 + rng.below(3) as u8;
        } else if n % 3 == 2 {
            let mut offer = first_flight(rng.below(3) as u8, rng.bits() as u8, 0);
            offer[..2].copy_from_slice(&(rng.bits() as u16).to_le_bytes());
            bytes = [offer, bytes].concat();
        }
        let mut dial = seated(&estate);
        if rng.chance(50) {
            dial.send(&[offer(), rng.bytes(32)].concat());
            assert_eq!(dial.record().expect("an answer")[REASON_AT], 0);
        }
        // It may close before it has taken all.
        let _ = dial.stream.write_all(&bytes);
        let _ = dial.stream.shutdown(Shutdown::Write);
        closed(dial);
    });
    assert_serves(&estate);
}

#[test]
fn a_listener_that_says_anything() {
    let estate = Estate::new();
    estate.kift("laptop", &["key", "gen"]).ok();
    let pin = estate.fingerprint();
    each(200, |n, rng| {
        let body = match n % 2 {
            // Up to and beyond the length of an honest reply.
            0 => [&first_flight(1, 1 + (n % 4) as u8 / 2, 0)[PREFIX_LEN..], &rng.bytes(n)].concat(),
            _ => rng.bytes(n * 5),
        };
        let reply = record(Record::Handshake, &body);
        let impostor = Impostor::start(move || -> Voice {
            let reply = reply.clone();
            Box::new(move |_| reply.clone())
        });
        let ended = estate.kift("laptop", &["ls", &impostor.at(""), "--server-key", &pin]);
        ended.fails(&["kift: "]);
        let heard = impostor.end();
        assert_eq!((heard.len(), heard[0].len()), (1, FIRST_LEN), "a first flight");
    });
}
