//! Devices on sealed links: whom they serve, whom they dial, and how they come to know each other.

use std::time::Duration;

use kift_core::secure::{Plain, PublicKey, SecretKey, Token, crc32c};
use kift_core::session::{Error, Timeouts};
use kift_core::wire::Code;
use kift_tests::app::Job;
use kift_tests::device::{Bench, IMAGE, assert_sound, count};
use kift_tests::files::random;
use kift_tests::machine::Ended;
use kift_tests::memory::Memory;
use kift_tests::peer::{
    Asked, Lab, Link, Served, ask, ask_for, assert_nobody_dialled, listen, serve, stop,
};
use kift_tests::sealed::noise;

/// What a device says before it knows that it likes its server: a prefix, the first flight, and a
/// key for once.
const FIRST_FLIGHT_LEN: usize = 4 + 8 + 32;

const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz";
const OTHER_TOKEN: &str = "zyxwvutsrqponmlkjihgfedcba";

const NEVER: fn(&Memory) -> bool = |_| false;

fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32])
}

/// The text of the public half.
fn text(number: u8) -> String {
    key(number).public().to_string()
}

fn sealed(number: u8) -> Link {
    noise(key(number), None, number.into())
}

fn pairing(number: u8, token: &str) -> Link {
    let token: Token = token.parse().unwrap();
    noise(key(number), Some(token), number.into())
}

/// Formats a flash, and gives the device's key.
fn format(bench: &Bench, image: &str) -> PublicKey {
    bench.flash(&["format", "--flash-size", "256k", image]).ok();
    let key = bench.flash(&["key", image]).ok();
    key.lines().next().unwrap().parse().unwrap()
}

/// The peers that a device knows: a line each.
fn peers(bench: &Bench) -> Vec<String> {
    let key = bench.flash(&["key", IMAGE]).ok();
    key.lines().skip(2).map(str::to_owned).collect()
}

fn knows(number: u8, role: &str) -> String {
    format!("{}  {}  {role}", text(number), key(number).public().fingerprint())
}

/// Has a device serve while `host` lasts.
fn serving(lab: &Lab, options: &str, host: impl FnOnce()) -> Ended {
    let device = lab.device(&format!("serve {options}"), IMAGE, 69);
    host();
    stop(&device);
    device.end()
}

#[track_caller]
fn assert_refused(asked: &Asked, code: Code) {
    assert_eq!(asked.ended, Err(Error::PeerClosed(code)));
    assert!(asked.app.results.is_empty(), "{:?}", asked.app.results);
}

/// What tells whether a host is served.
fn look() -> [Job; 2] {
    [Job::list(""), Job::Goodbye]
}

#[test]
fn a_device_serves_whom_it_knows_and_nobody_else() {
    let Some(lab) = Lab::new("a_device_serves_whom_it_knows_and_nobody_else") else { return };
    let device_key = format(&lab.bench, IMAGE);
    lab.bench.flash(&["trust", IMAGE, &text(1), "--as", "client"]).ok();
    lab.bench.flash(&["trust", IMAGE, &text(2), "--as", "server"]).ok();
    let file = random(50_000, 1);
    let device = serving(&lab, "--log 20k", || {
        let jobs = [Job::put("file", file.clone()), Job::get("device.log"), Job::Goodbye];
        let known = ask(sealed(1), &jobs);
        assert_eq!(known.ended, Ok(()));
        assert!(known.app.results.values().all(Result::is_ok), "{:?}", known.app.results);
        assert_eq!(known.app.peers[0].key, device_key);
        assert_eq!(known.app.got.first_key_value().unwrap().1.len(), 20 * 1024);

        assert_refused(&ask(sealed(3), &look()), Code::Denied);
        // It may be dialled, and may not dial.
        assert_refused(&ask(sealed(2), &look()), Code::Denied);
        // Nobody may pair, nor go without a seal.
        assert_refused(&ask(pairing(4, TOKEN), &look()), Code::Incompatible);
        assert_refused(&ask(Plain::new(crc32c), &look()), Code::SealedOnly);
        assert_eq!(ask(sealed(1), &look()).ended, Ok(()));
    });
    assert_sound(&device);
    assert!(count(&device, "bytes, all static") <= 64 * 1024);
    assert_eq!(lab.bench.sound_files(), ["device.log", "file"]);
    lab.bench.assert_keeps("file", &file);
    assert_eq!(peers(&lab.bench), [knows(1, "client"), knows(2, "server")]);

    lab.bench.flash(&["forget", IMAGE, &text(1)]).ok();
    let refuses = || assert_refused(&ask(sealed(1), &look()), Code::Denied);
    assert_sound(&serving(&lab, "", refuses));
}

#[test]
fn a_device_that_serves_pairs_once() {
    let Some(lab) = Lab::new("a_device_that_serves_pairs_once") else { return };
    format(&lab.bench, IMAGE);
    let serve = format!("--sessions 2 --pair {TOKEN}");
    let device = serving(&lab, &serve, || {
        // To whoever has another token nothing is said.
        let wrong = ask(pairing(1, OTHER_TOKEN), &look());
        assert_eq!(wrong.ended, Err(Error::Disconnected));
        assert!(wrong.app.results.is_empty());
        assert_refused(&ask(sealed(1), &look()), Code::Denied);

        let right = ask(pairing(2, TOKEN), &[Job::put("file", b"first"), Job::Goodbye]);
        assert_eq!(right.ended, Ok(()));
        assert!(right.app.peers[0].pairing);
        // Whoever comes next with it is too late, whether he is known or not.
        assert_refused(&ask(pairing(3, TOKEN), &look()), Code::Incompatible);
        assert_refused(&ask(pairing(2, TOKEN), &look()), Code::Incompatible);
        assert_eq!(ask(sealed(2), &look()).ended, Ok(()));
    });
    assert_sound(&device);
    assert_eq!(device.stderr.matches(" paired").count(), 1, "{}", device.stderr);
    assert_eq!(peers(&lab.bench), [knows(2, "client")]);

    // Nor is it taken after a boot, even where the peer was forgotten.
    let again = || assert_refused(&ask(pairing(3, TOKEN), &look()), Code::Incompatible);
    assert_sound(&serving(&lab, &serve, again));
    lab.bench.flash(&["forget", IMAGE, &text(2)]).ok();
    let device = serving(&lab, &serve, again);
    assert!(device.stderr.contains("the token was used"), "{}", device.stderr);
    assert_eq!(peers(&lab.bench), [""; 0]);
}

#[test]
fn two_who_come_with_one_token_at_once() {
    let Some(lab) = Lab::new("two_who_come_with_one_token_at_once") else { return };
    format(&lab.bench, IMAGE);
    let device = serving(&lab, &format!("--sessions 2 --pair {TOKEN}"), || {
        std::thread::scope(|hosts| {
            let come = |number| hosts.spawn(move || ask(pairing(number, TOKEN), &look()).ended);
            let ended = [1, 2].map(come).map(|host| host.join().unwrap());
            assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 1, "{ended:?}");
        });
    });
    assert_sound(&device);
    assert_eq!(peers(&lab.bench).len(), 1);
}

/// The token is used and the key is kept by one write: where the power goes in it, neither happened.
#[test]
fn a_device_that_serves_loses_its_power_while_it_pairs() {
    let test = "a_device_that_serves_loses_its_power_while_it_pairs";
    let Some(lab) = Lab::new(test) else { return };
    format(&lab.bench, IMAGE);
    let device = serving(&lab, &format!("--pair {TOKEN} --cut-after 1"), || {
        // What was cut does not answer, so nobody waits for it.
        let stall = Duration::from_secs(5);
        let mut tries = 0;
        while ask_for(Timeouts { stall, ..Timeouts::DEFAULT }, pairing(1, TOKEN), &look())
            .ended
            .is_err()
        {
            tries += 1;
            assert!(tries < 20, "the token is lost");
        }
        assert!(tries > 0, "it was cut");
    });
    assert_sound(&device);
    assert!(device.stderr.contains("; booting again"), "{}", device.stderr);
    assert_eq!(peers(&lab.bench), [knows(1, "client")]);
}

/// Has a device push its log, and serves it as `link` until `is_enough`.
fn pushing(
    lab: &Lab,
    options: &str,
    link: Link,
    store: &mut Memory,
    is_enough: fn(&Memory) -> bool,
) -> (Served, Ended) {
    let listener = listen();
    let device = lab.device(&format!("push log 192.168.69.1/ --log 20k {options}"), IMAGE, 69);
    let served = serve(&listener, link, store, is_enough);
    // It does not try again.
    assert_eq!(count_of_dials(&listener), 0);
    let device = device.end();
    assert_eq!(count(&device, "allocations"), 0, "{}", device.stderr);
    (served, device)
}

fn count_of_dials(listener: &std::net::TcpListener) -> usize {
    listener.set_nonblocking(true).unwrap();
    listener.incoming().take_while(Result::is_ok).count()
}

#[test]
fn a_device_asks_a_server_that_it_knows() {
    let Some(lab) = Lab::new("a_device_asks_a_server_that_it_knows") else { return };
    let device_key = format(&lab.bench, IMAGE);
    lab.bench.flash(&["trust", IMAGE, &text(1), "--as", "server"]).ok();
    let mut store = Memory::default();
    let (served, device) = pushing(&lab, "", sealed(1), &mut store, NEVER);
    assert_sound(&device);
    assert_eq!(served.ended, Some(Ok(())));
    assert_eq!(store.peers[0].key, device_key);
    lab.bench.assert_keeps("log", store.get("log").unwrap());

    store.put("image", random(30_000, 1));
    let listener = listen();
    let device = lab.device("fetch 192.168.69.1/image", IMAGE, 69);
    serve(&listener, sealed(1), &mut store, NEVER);
    assert_sound(&device.end());
    lab.bench.assert_keeps("image", &random(30_000, 1));
}

#[test]
fn a_server_that_is_not_known_is_told_nothing() {
    let Some(lab) = Lab::new("a_server_that_is_not_known_is_told_nothing") else { return };
    format(&lab.bench, IMAGE);
    let check = || {
        let mut store = Memory::default();
        let (served, device) = pushing(&lab, "", sealed(1), &mut store, NEVER);
        device.fails(&["not known", &text(1), "flash trust", "--pair"]);
        assert_eq!(served.received, FIRST_FLIGHT_LEN);
        assert!(store.peers.is_empty() && store.files.is_empty());
    };
    // It knows nobody, somebody else, or knows it as somebody else.
    check();
    lab.bench.flash(&["trust", IMAGE, &text(2), "--as", "server"]).ok();
    check();
    lab.bench.flash(&["trust", IMAGE, &text(1), "--as", "client"]).ok();
    check();
    assert_eq!(peers(&lab.bench), [knows(2, "server"), knows(1, "client")]);
    lab.bench.flash(&["trust", IMAGE, &text(1), "--as", "server"]).ok();
    assert_eq!(peers(&lab.bench)[1], knows(1, "client and server"));
    let (served, _) = pushing(&lab, "", sealed(1), &mut Memory::default(), NEVER);
    assert_eq!(served.ended, Some(Ok(())));
}

#[test]
fn a_device_that_asks_pairs_once() {
    let Some(lab) = Lab::new("a_device_that_asks_pairs_once") else { return };
    format(&lab.bench, IMAGE);
    let pair = format!("--pair {TOKEN}");
    let mut store = Memory::default();
    // A server that hears the device and says nothing has not shown that it has the token.
    let silent = |store: &Memory| !store.peers.is_empty();
    let (served, device) = pushing(&lab, &pair, pairing(1, TOKEN), &mut store, silent);
    assert!(served.ended.is_none() && store.peers[0].pairing);
    device.fails(&["no pairing", "token"]);
    assert_eq!(peers(&lab.bench), [""; 0]);
    // One with another token, or with none.
    for link in [pairing(1, OTHER_TOKEN), sealed(1)] {
        let (served, device) = pushing(&lab, &pair, link, &mut Memory::default(), NEVER);
        assert!(served.ended.is_some_and(|ended| ended.is_err()));
        device.fails(&["no pairing", "token"]);
        assert_eq!(peers(&lab.bench), [""; 0]);
    }
    // One that does not want the device.
    let mut unwilling = Memory::default();
    unwilling.turns_away = Some(Code::Denied);
    let (_, device) = pushing(&lab, &pair, pairing(1, TOKEN), &mut unwilling, NEVER);
    device.fails(&["no pairing"]);
    assert_eq!(peers(&lab.bench), [""; 0]);

    let mut store = Memory::default();
    let (_, device) = pushing(&lab, &pair, pairing(1, TOKEN), &mut store, NEVER);
    assert_sound(&device);
    assert_eq!(peers(&lab.bench), [knows(1, "server")]);
    lab.bench.assert_keeps("log", store.get("log").unwrap());
    // From now on without the token, even where it is given again.
    for options in ["", &pair] {
        let mut store = Memory::default();
        let (_, device) = pushing(&lab, options, sealed(1), &mut store, NEVER);
        assert_sound(&device);
        assert!(!store.peers[0].pairing && store.get("log").is_some());
        let (served, device) = pushing(&lab, options, sealed(2), &mut store, NEVER);
        device.fails(&["not known", &text(2)]);
        assert_eq!(served.received, FIRST_FLIGHT_LEN);
    }
}

#[test]
fn a_refusal_proves_the_token_as_a_success_does() {
    let test = "a_refusal_proves_the_token_as_a_success_does";
    let Some(lab) = Lab::new(test) else { return };
    format(&lab.bench, IMAGE);
    let listener = listen();
    let device = lab.device(&format!("fetch 192.168.69.1/none --pair {TOKEN}"), IMAGE, 69);
    serve(&listener, pairing(1, TOKEN), &mut Memory::default(), NEVER);
    device.end().fails(&["the server says", "no such file"]);
    assert_eq!(peers(&lab.bench), [knows(1, "server")]);
}

#[test]
fn a_device_without_a_seed_seals_nothing() {
    let Some(lab) = Lab::new("a_device_without_a_seed_seals_nothing") else { return };
    let bench = &lab.bench;
    bench.flash(&["format", "--no-seed", "--flash-size", "256k", IMAGE]).ok();
    bench.flash(&["key", IMAGE]).fails(&["no key", "without a seed"]);
    bench.flash(&["trust", IMAGE, &text(1)]).ok();
    let listener = listen();
    for _ in 0..2 {
        let push = format!("push log 192.168.69.1/ --log 1k --pair {TOKEN}");
        for line in ["serve", "push log 192.168.69.1/ --log 1k", &push] {
            let device = lab.device(line, IMAGE, 69).end();
            device.fails(&["no seed", "flash format", "--plain"]);
            assert!(!device.stderr.contains("listening"), "{}", device.stderr);
        }
    }
    assert_nobody_dialled(&listener);
}

#[test]
fn two_devices_pair_and_exchange_files() {
    let Some(lab) = Lab::new("two_devices_pair_and_exchange_files") else { return };
    let other = "other.img";
    let ours = format(&lab.bench, IMAGE);
    let theirs = format(&lab.bench, other);
    for (serve, ask) in [
        (format!("--pair {TOKEN}"), format!("push log 192.168.69.2/ --log 30k --pair {TOKEN}")),
        (String::new(), "push log 192.168.69.2/again".to_owned()),
        (String::new(), "fetch 192.168.69.2/again copy".to_owned()),
    ] {
        let asks = || assert_sound(&lab.device(&ask, other, 70).end());
        assert_sound(&serving(&lab, &serve, asks));
    }
    assert_eq!(lab.bench.sound_files(), ["again", "log"]);
    let log = lab.bench.flash(&["cat", other, "log"]).ok();
    lab.bench.assert_keeps("again", log.as_bytes());
    assert_eq!(lab.bench.flash(&["cat", other, "copy"]).ok(), log);
    let known = |image, key: PublicKey| {
        lab.bench.flash(&["key", image]).ok().lines().any(|line| line.starts_with(&key.to_string()))
    };
    assert!(known(IMAGE, theirs) && known(other, ours));
    // And no more, once one of them knows the other no more.
    lab.bench.flash(&["forget", IMAGE, &theirs.to_string()]).ok();
    let refused = || lab.device("push log 192.168.69.2/", other, 70).end().fails(&["denied"]);
    assert_sound(&serving(&lab, "", refused));
}
