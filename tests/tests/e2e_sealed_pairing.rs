//! Pairing of two machines by a token that works once.

use std::fs;
use std::path::PathBuf;
use std::thread;

use kift_core::secure::{RustCrypto, Token};
use kift_core::session::{Config, Responder, Side};
use kift_core::wire::{PREFIX_LEN, Prefix, Record};
use kift_tests::estate::Estate;
use kift_tests::impostor::{Impostor, Voice};
use kift_tests::machine::Ended;
use kift_tests::memory::Memory;
use kift_tests::proxy::{Fate, From, Meddle, Proxy};
use kift_tests::raw::Held;
use kift_tests::sealed::{noise, responder_key};

/// What a dialler offers that pairs: suite 4, and nothing else.
const PAIRING: u8 = 1 << 4;

/// Where its first record says so.
const SUITES_AT: usize = 10;

/// A server with a user anna, who may do everything.
fn estate() -> Estate {
    let estate = Estate::new();
    estate.admin(&["user", "add", "anna", "rw", "--no-password"]);
    estate
}

/// A file with a new token for anna.
fn token(estate: &Estate, options: &[&str]) -> PathBuf {
    let text = estate.admin(&[&["pair", "anna"], options].concat());
    estate.secret("pairing", text.trim())
}

fn ls(estate: &Estate, who: &str, at: &str, token: Option<&PathBuf>) -> Ended {
    let mut args = vec!["ls", at];
    if let Some(file) = token {
        args.extend(["--token-file", file.to_str().unwrap()]);
    }
    estate.kift(who, &args)
}

/// The servers that the client `who` knows, as they stand in its file.
fn known_to(estate: &Estate, who: &str) -> String {
    fs::read_to_string(estate.state_of(who).join("known_hosts")).unwrap_or_default()
}

fn key_of(estate: &Estate, who: &str) -> String {
    estate.kift(who, &["key", "show"]).ok().trim().to_owned()
}

fn authorized(estate: &Estate) -> String {
    fs::read_to_string(estate.state().join("authorized_keys")).unwrap()
}

#[test]
fn a_token_works_once() {
    let estate = estate();
    let (file, at) = (token(&estate, &["ro"]), estate.at(""));
    let ended = ls(&estate, "phone", &at, Some(&file));
    assert!(ended.stderr.contains(&format!("paired with {}", at.trim_end_matches('/'))));
    assert!(ended.stderr.contains(&estate.fingerprint()));
    ended.ok();
    assert!(!estate.state().join("token").exists());
    let line = format!("anna {} ro\n", key_of(&estate, "phone"));
    assert!(authorized(&estate).ends_with(&line), "{}", authorized(&estate));
    let server = format!("{} {}\n", at.trim_end_matches('/'), key_of(&estate, ""));
    assert_eq!(known_to(&estate, "phone"), server);

    // From then on each knows the other.
    ls(&estate, "phone", &at, None).ok();
    let put = estate.kift("phone", &["put", file.to_str().unwrap(), &at]);
    put.fails(&["permission"]);

    for who in ["thief", "phone"] {
        ls(&estate, who, &at, Some(&file)).fails(&["kift: "]);
        assert!(!estate.server().log().contains("panicked"));
    }
    assert_eq!(known_to(&estate, "thief"), "");
    assert!(authorized(&estate).ends_with(&line));
    assert_eq!(authorized(&estate).lines().count(), 2, "this machine's own, and the phone's");
}

#[test]
fn a_wrong_token_changes_nothing() {
    let estate = estate();
    let (right, at) = (token(&estate, &[]), estate.at(""));
    let wrong = estate.secret("wrong", "aaaaaaaaaaaaaaaaaaaaaaaaaa");
    let before = authorized(&estate);
    for _ in 0..5 {
        ls(&estate, "thief", &at, Some(&wrong)).fails(&["kift: "]);
    }
    assert_eq!((known_to(&estate, "thief"), authorized(&estate)), (String::new(), before));
    assert!(estate.state().join("token").exists());
    ls(&estate, "phone", &at, Some(&right)).ok();
    ls(&estate, "thief", &at, None).fails(&["is not known here"]);
}

/// Of several who have the token one is paired, whoever is first.
#[test]
fn a_token_is_for_one() {
    let estate = estate();
    let (file, at) = (token(&estate, &[]), estate.at(""));
    let clients = ["a", "b", "c", "d", "e", "f"];
    let paired = thread::scope(|scope| {
        let pair = |who| ls(&estate, who, &at, Some(&file)).status.success();
        clients.map(|who| scope.spawn(move || pair(who))).map(|client| client.join().unwrap())
    });
    assert_eq!(paired.iter().filter(|is| **is).count(), 1, "{paired:?}");
    assert_eq!(authorized(&estate).lines().count(), 2);
    for (who, is) in clients.iter().zip(paired) {
        assert_eq!(known_to(&estate, who).is_empty(), !is);
    }
}

/// The server proves that it has the token by its first answer, and is nobody before that.
#[test]
fn a_link_dies_before_the_first_answer() {
    for cut_all in [true, false] {
        let estate = estate();
        let file = token(&estate, &[]);
        let meddle: Meddle = Box::new(move |from, n, record| {
            let on = record[..if cut_all { 0 } else { record.len() - 1 }].to_vec();
            ((from, n) == (From::Server, 1)).then(|| Fate { on, cut: true, ..Fate::default() })
        });
        let proxy = Proxy::lay(estate.server().port(), meddle);
        ls(&estate, "phone", &proxy.at(""), Some(&file)).fails(&["connection was lost"]);
        let seen = proxy.end();
        assert!(seen.meddled && seen.connections == 1);
        assert_eq!(seen.of(From::Client)[0][SUITES_AT], PAIRING);
        assert_eq!(known_to(&estate, "phone"), "");
        // The server has spent the token before it answered, and for good.
        assert!(!estate.state().join("token").exists());
        ls(&estate, "thief", &estate.at(""), Some(&file)).fails(&["kift: "]);
        // The key that it knows by now works, as soon as the client knows the server.
        let pin = estate.fingerprint();
        estate.kift("phone", &["ls", &estate.at(""), "--server-key", &pin]).ok();
    }
}

/// Whoever listens where the server should, and does not have the token, is not taken for it.
#[test]
fn a_listener_without_the_token() {
    let estate = estate();
    let file = token(&estate, &[]);
    let impostor = Impostor::start(|| -> Voice {
        let buffer = || vec![0; 4096];
        let noise = noise::<RustCrypto>(responder_key(), Some(Token([0x33; 32])), 1);
        let config = Config::small(Side::Listener, 3);
        let session = Responder::with_security(buffer(), buffer(), &config, noise);
        let mut held = Held::new(session.expect("room"), Memory::default());
        let mut is_first = true;
        Box::new(move |record| {
            if std::mem::take(&mut is_first) {
                return held.exchange(record);
            }
            let mut answer = vec![0; 45];
            let len = (answer.len() - PREFIX_LEN) as u16;
            Prefix { len, record: Record::Sealed }.emit(&mut answer);
            answer
        })
    });
    ls(&estate, "phone", &impostor.at(""), Some(&file)).fails(&["kift: "]);
    let heard = impostor.end();
    assert_eq!((heard.len(), heard[0][SUITES_AT]), (1, PAIRING), "once, and by no other suite");
    assert_eq!(known_to(&estate, "phone"), "");
    // Nothing was lost: the token is open still.
    ls(&estate, "phone", &estate.at(""), Some(&file)).ok();
}

/// Without a token open a server pairs with nobody, and whoever has one offers nothing else.
#[test]
fn without_a_token_there_is_no_pairing() {
    let estate = estate();
    let file = token(&estate, &[]);
    estate.admin(&["pair", "--cancel"]);
    let proxy = Proxy::lay(estate.server().port(), Box::new(|_, _, _| None));
    ls(&estate, "phone", &proxy.at(""), Some(&file)).fails(&["kift: "]);
    let seen = proxy.end();
    assert_eq!((seen.connections, seen.of(From::Client).len()), (1, 1), "a first flight");
    assert_eq!(seen.of(From::Client)[0][SUITES_AT], PAIRING);
    assert_eq!(known_to(&estate, "phone"), "");
}
