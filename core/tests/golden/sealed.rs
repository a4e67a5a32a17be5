//! Handshakes and sealed frames, by this crate and by `snow`: A.9.

use std::collections::VecDeque;

use kift_core::secure::{
    AesGcm, ChaChaPoly, ChaChaPolyOnly, Cipher, Ciphers, Entropy, NoEntropy, Noise, RustCrypto,
    SecretKey, Token,
};
use kift_core::session::{Config, Perform, Requester, Responder, Side};
use kift_core::wire::{Answer, Code, Hello, PREFIX_LEN, Record, Request, Space};

use crate::document::Vectors;
use crate::frames::{encoded, split_frame};
use crate::sessions::{Memory, drain, feed};

/// Gives what it is told to.
struct Fixed([u8; 32]);

impl Entropy for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        bytes.copy_from_slice(&self.0);
        Ok(())
    }
}

fn key(vectors: &Vectors, name: &str) -> [u8; 32] {
    vectors.get(&format!("sealed.key.{name}")).try_into().expect("32 bytes")
}

fn noise<C: Ciphers>(vectors: &Vectors, who: &str, token: bool) -> Noise<C> {
    let identity = SecretKey::from_bytes(&key(vectors, &format!("{who}.identity")));
    vectors.check(&format!("sealed.key.{who}.public"), &identity.public().0);
    let token = token.then(|| Token(key(vectors, "token")));
    let ephemeral = key(vectors, &format!("{who}.ephemeral"));
    Noise::new(identity, token, &mut Fixed(ephemeral)).expect("random")
}

fn dialler<C: Ciphers>(vectors: &Vectors, token: bool) -> Requester<Vec<u8>, 8, Noise<C>> {
    let noise = noise(vectors, "dialler", token);
    let config = Config::small(Side::Dialler, 4);
    Requester::with_security(vec![0; 1052], vec![0; 1052], &config, noise).expect("room")
}

fn listener(vectors: &Vectors, token: bool) -> Responder<Vec<u8>, Noise<RustCrypto>> {
    let noise = noise(vectors, "listener", token);
    let config = Config::small(Side::Listener, 2);
    Responder::with_security(vec![0; 4096], vec![0; 4096], &config, noise).expect("room")
}

/// What `session` sends when `bytes` come.
fn response<S: Perform<Memory>>(session: &mut S, port: &mut Memory, bytes: &[u8]) -> Vec<u8> {
    feed(session, &mut bytes.iter().copied().collect::<VecDeque<_>>());
    drain(session, port)
}

/// The records of a session in which `Space` is asked for, by this crate.
fn ours<C: Ciphers>(vectors: &Vectors, token: bool) -> Vec<Vec<u8>> {
    let (mut asks, mut serves) = (dialler::<C>(vectors, token), listener(vectors, token));
    let (mut app, mut store) = (Memory::default(), Memory::default());
    let first = drain(&mut asks, &mut app);
    let second = response(&mut serves, &mut store, &first);
    let third = response(&mut asks, &mut app, &second);
    asks.request(&Request::Space).expect("open");
    let fourth = drain(&mut asks, &mut app);
    let fifth = response(&mut serves, &mut store, &[&third[..], &fourth].concat());
    assert!(response(&mut asks, &mut app, &fifth).is_empty());
    assert_eq!(app.results(), ["#1 Space(Space"]);
    vec![first, second, third, fourth, fifth]
}

/// The same, by `snow`.
fn theirs(vectors: &Vectors, suite: u8, name: &str, offered: u8) -> Vec<Vec<u8>> {
    let first_len = if suite == 4 { 48 } else { 32 };
    let mut clear = vec![8 + first_len, 0, Record::Handshake as u8, 0];
    clear.extend(b"KIFT\x01\x00");
    clear.extend([offered, 0]);
    let prologue = [&clear[..], &[suite]].concat();
    let keys = ["dialler", "listener"]
        .map(|who| ["identity", "ephemeral"].map(|which| key(vectors, &format!("{who}.{which}"))));
    let token = key(vectors, "token");
    let build = |[identity, ephemeral]: &[[u8; 32]; 2], dials: bool| {
        let builder = snow::Builder::new(name.parse().unwrap())
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(identity))
            .unwrap()
            .fixed_ephemeral_key_for_testing_only(ephemeral);
        let builder = if suite == 4 { builder.psk(3, &token).unwrap() } else { builder };
        if dials { builder.build_initiator() } else { builder.build_responder() }.unwrap()
    };
    let (mut dials, mut listens) = (build(&keys[0], true), build(&keys[1], false));
    let hello = |name| vectors.get(name).to_vec();
    let payloads =
        [vec![], [vec![0], hello("sealed.hello.listener")].concat(), hello("sealed.hello.dialler")];
    let mut records = Vec::new();
    for (n, payload) in payloads.iter().enumerate() {
        let (mut message, mut scratch) = ([0; 200], [0; 200]);
        let (from, to) =
            if n == 1 { (&mut listens, &mut dials) } else { (&mut dials, &mut listens) };
        let len = from.write_message(payload, &mut message).unwrap();
        to.read_message(&message[..len], &mut scratch).unwrap();
        let flight = match n {
            0 => clear[PREFIX_LEN..].to_vec(),
            1 => [b"KIFT\x01\x00", &[suite, 0][..]].concat(),
            _ => vec![],
        };
        let prefix = [(flight.len() + len) as u8, 0, Record::Handshake as u8, 0];
        records.push([&prefix[..], &flight, &message[..len]].concat());
    }
    let mut up = dials.into_transport_mode().unwrap();
    let mut down = listens.into_transport_mode().unwrap();
    let space = Answer::Space(Space { free: 1, total: 2, file_size_max: 3 });
    for (transport, kind, payload) in [
        (&mut up, 2, encoded(|buf| Request::Space.encode(buf))),
        (&mut down, 3, encoded(|buf| space.encode(buf))),
    ] {
        let text = [&[kind, 0, 1, 0, 0, 0, 0, 0], &payload[..]].concat();
        let mut sealed = [0; 200];
        let len = transport.write_message(&text, &mut sealed).unwrap();
        let prefix = [len as u8, 0, Record::Sealed as u8, 0];
        records.push([&prefix[..], &sealed[..len]].concat());
    }
    records
}

pub(crate) fn check_sealed(vectors: &Vectors) {
    for (who, role) in [("dialler", 0), ("listener", 1)] {
        let hello = vectors.get(&format!("sealed.hello.{who}"));
        assert_eq!(hello[0], role);
        assert!(Hello::decode(hello).unwrap().is_valid());
    }
    let who = ["dialler", "listener", "dialler", "dialler", "listener"];
    for (suite, name, offered, ours) in [
        (1, "Noise_XX_25519_ChaChaPoly_SHA256", 0x02, ours::<ChaChaPolyOnly>(vectors, false)),
        (2, "Noise_XX_25519_AESGCM_SHA256", 0x06, ours::<RustCrypto>(vectors, false)),
        (4, "Noise_XXpsk3_25519_ChaChaPoly_SHA256", 0x10, ours::<RustCrypto>(vectors, true)),
    ] {
        let theirs = theirs(vectors, suite, name, offered);
        assert_eq!(ours, theirs, "{name}");
        for (n, record) in ours.iter().enumerate() {
            assert_eq!(split_frame(&mut record.clone()).as_ref(), Some(record));
            vectors.check(&format!("sealed.suite-{suite}.{:02}.{}", n + 1, who[n]), record);
        }
    }
    check_refusals(vectors);
    check_rekey(vectors);
}

/// `sealed.refused.WHY.offer` is refused by a listener of sealed links by `sealed.refused.WHY.reply`.
fn check_refusals(vectors: &Vectors) {
    for (case, offer, reply) in vectors.cases("sealed.refused.", 6, ["offer", "reply"]) {
        let mut store = Memory::default();
        let sent = response(&mut listener(vectors, false), &mut store, offer);
        assert_eq!(sent, reply, "{case}");
        assert!(!matches!(Code::from(sent[11]), Code::Unknown(_)), "{case}");
    }
}

/// `rekey.CIPHER.key` is followed by `rekey.CIPHER.next`.
fn check_rekey(vectors: &Vectors) {
    fn check<C: Cipher>(vectors: &Vectors, cipher: &str) {
        let name = |which| format!("rekey.{cipher}.{which}");
        let key = vectors.get(&name("key")).try_into().unwrap();
        let mut next = [0; 32];
        let _tag = C::new(C::there().unwrap(), key).seal(u64::MAX, &[], &mut next);
        vectors.check(&name("next"), &next);
    }
    check::<ChaChaPoly>(vectors, "chacha20-poly1305");
    check::<AesGcm>(vectors, "aes-256-gcm");
}
