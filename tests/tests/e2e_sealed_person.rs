//! A person at a terminal: asked about a server that is not known, and for a password.

use std::fs;
use std::path::Path;

use kift_core::secure::{RustCrypto, SecretKey};
use kift_core::session::{Config, Responder, Side};
use kift_tests::estate::Estate;
use kift_tests::files::place;
use kift_tests::impostor::{Impostor, Voice};
use kift_tests::memory::Memory;
use kift_tests::raw::{Held, records};
use kift_tests::sealed::{noise, responder_key};
use kift_tests::terminal::Terminal;

const QUESTION: &str = "Is that what it printed when it started? [yes/no]";

/// A server that shows these keys, one after the other, and serves whoever comes.
fn server(keys: &'static [fn() -> SecretKey]) -> Impostor {
    let mut keys = keys.iter().cycle();
    Impostor::start(move || -> Voice {
        let buffer = || vec![0; 4096];
        let noise = noise::<RustCrypto>(keys.next().expect("a cycle")(), None, 1);
        let config = Config::small(Side::Listener, 3);
        let session = Responder::with_security(buffer(), buffer(), &config, noise);
        let mut held = Held::new(session.expect("room"), Memory::default());
        Box::new(move |record| held.exchange(record))
    })
}

fn other_key() -> SecretKey {
    SecretKey::from_bytes(&[0x44; 32])
}

fn ls(at: &str, state: &Path) -> Terminal {
    Terminal::kift(["ls", at, "--state", state.to_str().unwrap()])
}

#[test]
fn a_server_that_a_person_knows_is_known_from_then_on() {
    let estate = Estate::new();
    estate.admin(&["user", "add", "anna", "rw", "--no-password"]);
    estate.authorize("laptop", "anna", "rw");
    let known = estate.state_of("laptop").join("known_hosts");
    let expected = fs::read_to_string(&known).unwrap();
    fs::remove_file(&known).unwrap();
    fs::write(estate.server().file("here"), "x").unwrap();

    let mut terminal = ls(&estate.at(""), &estate.state_of("laptop"));
    terminal.expect("is not known here");
    terminal.expect(&estate.fingerprint());
    terminal.expect(QUESTION);
    assert!(!estate.server().log().contains("logged in"), "nobody waits at a link meanwhile");
    assert!(!known.exists());
    terminal.say("yes");
    terminal.expect("here");
    let (status, screen) = terminal.end();
    assert!(status.success(), "{screen}");
    assert_eq!(fs::read_to_string(&known).unwrap(), expected);

    // At a terminal or not, nobody is asked again.
    let (status, screen) = ls(&estate.at(""), &estate.state_of("laptop")).end();
    assert!(status.success() && !screen.contains("known"), "{screen}");
    assert!(estate.kift("laptop", &["ls", &estate.at("")]).ok().contains("here"));
    assert_eq!(fs::read_to_string(&known).unwrap(), expected);
}

#[test]
fn a_server_that_a_person_does_not_know_is_told_nothing() {
    for answer in ["no", "", "y", "yes please", "\x04"] {
        let (place, server) = (place(), server(&[responder_key]));
        let state = place.path().join("state");
        let mut terminal = ls(&server.at(""), &state);
        terminal.expect(&responder_key().public().fingerprint().to_string());
        terminal.expect(QUESTION);
        terminal.say(answer);
        let (status, screen) = terminal.end();
        assert_eq!(status.code(), Some(1), "{screen}");
        assert!(screen.contains("is not trusted, and nothing was said to it"), "{screen}");
        let heard = server.end();
        assert_eq!((heard.len(), records(&heard[0]).len()), (1, 1), "a first flight");
        assert!(!state.join("known_hosts").exists());
    }
}

/// What a person agreed to is the key that was shown, and not whoever comes next.
#[test]
fn the_server_changes_while_a_person_is_asked() {
    let (place, server) = (place(), server(&[responder_key, other_key]));
    let state = place.path().join("state");
    let mut terminal = ls(&server.at(""), &state);
    terminal.expect(QUESTION);
    terminal.say("yes");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(1), "{screen}");
    let other = other_key().public().fingerprint().to_string();
    assert!(screen.contains("not expected") && screen.contains(&other), "{screen}");
    let heard = server.end();
    assert!(heard.len() == 2 && heard.iter().all(|bytes| records(bytes).len() == 1));
    let known = fs::read_to_string(state.join("known_hosts")).unwrap();
    assert!(known.contains(&responder_key().public().to_string()[..]));
    assert!(!known.contains(&other_key().public().to_string()[..]));
}

/// A server with a user anna and her password, and a client that knows it.
fn with_password(password: &str) -> Estate {
    let estate = Estate::new();
    let file = estate.secret("password", password);
    estate.admin(&["user", "add", "anna", "rw", "--password-file", file.to_str().unwrap()]);
    estate.introduce("laptop");
    fs::write(estate.server().file("here"), "x").unwrap();
    estate
}

/// What comes of it when `user` is asked for a password until there are no more of `typed`.
fn log_in(estate: &Estate, user: &str, typed: &[&str]) -> (Option<i32>, String) {
    let mut terminal = ls(&estate.at_as(user, ""), &estate.state_of("laptop"));
    for password in typed {
        terminal.expect_secret(&format!("password of {user} at 127.0.0.1:"));
        terminal.say(password);
    }
    let (status, screen) = terminal.end();
    for password in typed {
        assert!(!screen.contains(password), "{screen}");
    }
    (status.code(), screen)
}

#[test]
fn a_person_types_a_password() {
    let estate = with_password("correct horse");
    let (code, screen) = log_in(&estate, "anna", &["correct horse"]);
    assert!(code == Some(0) && screen.contains("here") && !screen.contains("wrong"), "{screen}");
    let (code, screen) = log_in(&estate, "anna", &["battery staple", "correct horse"]);
    assert!(code == Some(0) && screen.contains("here"), "{screen}");
    assert_eq!(screen.matches("wrong user or password").count(), 1, "{screen}");
    let log = estate.server().log();
    assert_eq!(log.matches("logged in by password").count(), 2, "{log}");
    assert_eq!(log.matches("login failed").count(), 1, "{log}");
}

#[test]
fn nobody_is_asked_a_fourth_time() {
    // One who is there, and one who is not.
    for user in ["anna", "nobody"] {
        let estate = with_password("correct horse");
        let wrong = ["battery staple", "correct  horse", "Correct horse"];
        let (code, screen) = log_in(&estate, user, &wrong);
        assert!(code == Some(1) && !screen.contains("here"), "{screen}");
        assert_eq!(screen.matches("password of").count(), 3, "{screen}");
        assert!(screen.contains(&format!("cannot log in as {user:?}")), "{screen}");
        assert_eq!(estate.server().log().matches("login failed").count(), 3);
    }
}
