//! Servers that are not the one that the client means: it says nothing to them, not even who it is,
//! and tells its user what to do.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use kift_core::secure::{Fingerprint, PublicKey, RustCrypto, SecretKey};
use kift_core::session::{Config, Responder, Side};
use kift_tests::files::place;
use kift_tests::impostor::{Impostor, Voice};
use kift_tests::machine::{Ended, kift};
use kift_tests::memory::Memory;
use kift_tests::raw::{Held, records};
use kift_tests::sealed::{noise, responder_key};
use tempfile::TempDir;

/// The first flight of a host that does not pair: clear part, suites and one key.
const FIRST_FLIGHT_LEN: usize = 4 + 8 + 32;

/// A sound server, but for who it is: it holds `key`, and serves whoever comes.
fn server(key: SecretKey) -> Impostor {
    Impostor::start(move || -> Voice {
        let buffer = || vec![0; 4096];
        let noise = noise::<RustCrypto>(key.clone(), None, 1);
        let config = Config::small(Side::Listener, 3);
        let session = Responder::with_security(buffer(), buffer(), &config, noise);
        let mut store = Memory::default();
        store.put("a", "a");
        let mut held = Held::new(session.expect("room"), store);
        Box::new(move |record| held.exchange(record))
    })
}

/// A client with its state, and a file that it would send.
struct Client {
    place: TempDir,
    state: PathBuf,
    file: String,
}

impl Client {
    fn new() -> Self {
        let place = place();
        let state = place.path().join("state");
        DirBuilder::new().mode(0o700).create(&state).unwrap();
        let file = place.path().join("file");
        fs::write(&file, "what nobody else is to see").unwrap();
        Self { file: file.to_str().unwrap().to_owned(), place, state }
    }

    fn kift(&self, args: &[&str]) -> Ended {
        kift([&["--state", self.state.to_str().unwrap()], args].concat())
    }

    fn known_hosts(&self) -> Option<String> {
        fs::read_to_string(self.state.join("known_hosts")).ok()
    }

    fn knows(&self, address: &str, keys: &[PublicKey]) {
        let lines = keys.iter().map(|key| format!("{address} x25519 {key}\n"));
        fs::write(self.state.join("known_hosts"), lines.collect::<String>()).unwrap();
    }

    /// Each command that talks to a server, on `a` there.
    fn commands(&self, at: &str) -> Vec<Vec<String>> {
        let (a, root) = (format!("{at}/a"), format!("{at}/"));
        let to = self.place.path().join("fetched");
        let commands = [
            &["put", &self.file, &a][..],
            &["get", &a, to.to_str().unwrap()],
            &["ls", &root],
            &["stat", &a],
            &["rm", &a],
            &["mv", &a, "b"],
            &["mkdir", &a],
            &["df", &root],
        ];
        commands.iter().map(|args| args.iter().map(|&arg| arg.to_owned()).collect()).collect()
    }
}

fn address(server: &Impostor) -> String {
    server.at("").trim_end_matches('/').to_owned()
}

/// Nothing but first flights was said, one a connection.
#[track_caller]
fn assert_nothing_said(heard: &[Vec<u8>], connections: usize) {
    assert_eq!(heard.len(), connections);
    for bytes in heard {
        assert_eq!((bytes.len(), records(bytes).len()), (FIRST_FLIGHT_LEN, 1), "{bytes:x?}");
    }
}

#[test]
fn a_server_that_is_not_the_one_that_was_named() {
    let client = Client::new();
    let server = server(responder_key());
    let shown = responder_key().public().fingerprint().to_string();
    let other = PublicKey([7; 32]);
    let named = other.fingerprint().to_string();
    let mut connections = 0;
    for pin in [named.clone(), other.to_string()] {
        for command in client.commands(&address(&server)) {
            let mut args: Vec<&str> = command.iter().map(String::as_str).collect();
            args.extend(["--server-key", &pin]);
            let ended = client.kift(&args);
            ended.fails(&[
                "not the one that --server-key names",
                "nothing was said",
                &named,
                &shown,
            ]);
            assert!(ended.stdout.is_empty());
            connections += 1;
        }
    }
    // It counts for nothing that the key is known.
    client.knows(&address(&server), &[*responder_key().public()]);
    client.kift(&["ls", &server.at(""), "--server-key", &named]).fails(&[&named, &shown]);
    assert_nothing_said(&server.end(), connections + 1);
}

#[test]
fn a_server_with_another_key_than_before() {
    let client = Client::new();
    let server = server(responder_key());
    let shown = responder_key().public().fingerprint().to_string();
    let known = [PublicKey([7; 32]), PublicKey([8; 32])];
    client.knows(&address(&server), &known);
    let [one, two] = known.map(|key| key.fingerprint().to_string());
    let forget = format!("kift key forget {}", address(&server));
    let commands = client.commands(&address(&server));
    for command in &commands {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        let ended = client.kift(&args);
        ended.fails(&["SHOWS ANOTHER KEY", "Nothing was said", &one, &two, &shown, &forget]);
        assert!(ended.stdout.is_empty());
    }
    let before = client.known_hosts();
    assert_nothing_said(&server.end(), commands.len());
    assert_eq!(client.known_hosts(), before, "it forgets nothing by itself");
}

#[test]
fn an_unknown_server_where_nobody_can_be_asked() {
    let client = Client::new();
    let server = server(responder_key());
    let pin = format!("--server-key {}", responder_key().public().fingerprint());
    let commands = client.commands(&address(&server));
    for command in &commands {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        client.kift(&args).fails(&["is not known here", &pin]);
    }
    // Known is an address, not a host.
    client.knows("127.0.0.1:1", &[*responder_key().public()]);
    let before = client.known_hosts();
    client.kift(&["ls", &server.at("")]).fails(&["is not known here", &pin]);
    assert_nothing_said(&server.end(), commands.len() + 1);
    assert_eq!(client.known_hosts(), before);
}

/// What the three above leave out is said to the right server: they would notice.
#[test]
fn to_the_right_server_all_is_said() {
    let key = *responder_key().public();
    let fingerprint: Fingerprint = key.fingerprint();
    for pin in [Some(fingerprint.to_string()), Some(key.to_string()), None] {
        let client = Client::new();
        let server = server(responder_key());
        let mut args = vec!["ls".to_owned(), server.at("")];
        match &pin {
            Some(pin) => args.extend(["--server-key".to_owned(), pin.clone()]),
            None => client.knows(&address(&server), &[PublicKey([7; 32]), key]),
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert!(client.kift(&args).ok().contains(" a"));
        let heard = server.end();
        assert_eq!(heard.len(), 1);
        assert!(records(&heard[0]).len() > 2);
        // A pin is for one command.
        assert_eq!(client.known_hosts().is_some(), pin.is_none());
    }
}

#[test]
fn a_known_server_is_forgotten_when_told() {
    let client = Client::new();
    let server = server(responder_key());
    let address = address(&server);
    let other = PublicKey([7; 32]);
    client.knows(&address, &[other, PublicKey([8; 32])]);
    let mut text = client.known_hosts().unwrap();
    text.push_str(&format!("# ours\nlab:5438 x25519 {other}\n"));
    fs::write(client.state.join("known_hosts"), text).unwrap();

    let forgotten = client.kift(&["key", "forget", &address, "--json"]).objects();
    assert_eq!(forgotten, [serde_json::json!({ "server": address, "forgotten": 2 })]);
    assert_eq!(client.known_hosts().unwrap(), format!("# ours\nlab:5438 x25519 {other}\n"));
    client.kift(&["ls", &server.at("")]).fails(&["is not known here"]);
    assert_nothing_said(&server.end(), 1);

    client.kift(&["key", "forget", &address]).fails(&[&address, "not known", "known_hosts"]);
    client.kift(&["key", "forget", "lab"]).ok();
    assert_eq!(client.known_hosts().unwrap(), "# ours\n");
    client.kift(&["key", "forget"]).exits(2, &["HOST[:PORT]"]);
    client.kift(&["key", "forget", "lab:0"]).exits(2, &["port"]);
}

/// Whoever may change what is known decides who is trusted.
#[test]
fn what_is_known_must_be_sound() {
    let client = Client::new();
    let server = server(responder_key());
    client.knows(&address(&server), &[*responder_key().public()]);
    let file = client.state.join("known_hosts");
    let sound = fs::read_to_string(&file).unwrap();
    for bad in [&sound[..sound.len() - 3], "x\n", &format!("{sound}{}", &sound[..9])] {
        fs::write(&file, bad).unwrap();
        client.kift(&["ls", &server.at("")]).fails(&["known_hosts, line"]);
    }
    assert_nothing_said(&server.end(), 0);
}
