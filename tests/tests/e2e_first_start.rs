//! How a sealed server starts: what it makes, what it shows, and what keeps it from starting.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use kift_tests::estate::Estate;
use kift_tests::files::{names, place};
use kift_tests::machine::kift;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_first_start_makes_a_key_and_a_user_and_the_next_keeps_them() {
    let mut estate = Estate::new();
    let state = estate.state();
    assert_eq!(mode(&state), 0o700);
    let files = ["authorized_keys", "key", "users"];
    let read = || files.map(|name| fs::read_to_string(state.join(name)).unwrap());
    for name in files {
        assert_eq!(mode(&state.join(name)), 0o600, "{name}");
    }
    let (first, fingerprint) = (read(), estate.fingerprint());
    assert_eq!(first[2].lines().count(), 1);
    let user = first[2].split(' ').next().unwrap();

    // What is no terminal is told of the user and not of a password, nor is the log.
    let (greeting, log) = (estate.server().greeting(), estate.server().log());
    assert!(greeting.contains(&format!("made the user {user}")), "{greeting}");
    assert!(!greeting.contains("with the password"), "{greeting}");
    let secret = first[1].lines().last().unwrap();
    let hash = first[2].trim_end().rsplit_once(' ').unwrap().1;
    for text in [&greeting, &log] {
        assert!(!text.contains(secret) && !text.contains(hash), "{text}");
    }
    // This machine's own key is the user's: it needs nothing more.
    fs::write(estate.server().file("file"), "file").unwrap();
    assert_eq!(estate.kift("", &["get", &estate.at("file"), "-"]).ok(), "file");

    estate.server_mut().signal(kift_tests::machine::Signal::TERM);
    assert!(estate.server_mut().wait().success());
    estate.server_mut().restart();
    assert_eq!(read(), first);
    let again = estate.server().greeting();
    let again = again.strip_prefix(&greeting).unwrap();
    assert!(again.contains(&format!("its key is {fingerprint}\n")), "{again}");
    assert!(!again.contains("made the user"), "{again}");
    assert_eq!(estate.kift("", &["get", &estate.at("file"), "-"]).ok(), "file");
}

/// Each slip is refused before anybody can connect, by words that name the file and say what to do,
/// and nothing is changed.
#[test]
fn loose_and_damaged_files_keep_it_from_starting() {
    let here = place();
    let (state, root) = (here.path().join("state"), here.path().join("served"));
    fs::create_dir(&root).unwrap();
    let at = |name: &str| state.join(name);
    let kift_at = |args: &[&str]| kift([&["--state", state.to_str().unwrap()], args].concat());
    let port = here.path().join("port");
    let listen = ["--listen", "127.0.0.1:0", "--port-file", port.to_str().unwrap()];
    let serve = || kift_at(&[&["serve"], &listen[..], &[root.to_str().unwrap()]].concat());
    let key = kift_core::secure::PublicKey([1; 32]).to_string();
    kift_at(&["key", "gen"]).ok();
    kift_at(&["user", "add", "anna", "--no-password"]).ok();
    kift_at(&["authorize", "anna", &key]).ok();
    kift_at(&["pair", "anna"]).ok();
    let files = ["authorized_keys", "key", "token", "users"];
    let whole = files.map(|name| fs::read_to_string(at(name)).unwrap());
    let users = "anna rw\nbert rw $argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5";

    // File, what is in it, its permissions, and what is said.
    let slips: &[(&str, Option<&str>, u32, &str)] = &[
        ("key", None, 0o640, "chmod 600"),
        ("key", None, 0o604, "chmod 600"),
        ("users", None, 0o644, "chmod 600"),
        ("users", None, 0o620, "chmod 600"),
        ("token", None, 0o644, "chmod 600"),
        ("authorized_keys", None, 0o622, "chmod go-w"),
        ("key", Some(""), 0o600, "kift key gen --replace"),
        ("key", Some("# a word\nAAAA\n"), 0o600, "kift key gen --replace"),
        ("key", Some(&whole[1][..whole[1].len() - 4]), 0o600, "kift key gen --replace"),
        ("users", Some(users), 0o600, "users, line 2: "),
        ("users", Some("anna\n"), 0o600, "users, line 1: "),
        ("users", Some("anna rx\n"), 0o600, "users, line 1: "),
        ("users", Some("anna rw\nanna ro\n"), 0o600, "anna has two lines: remove one"),
        ("authorized_keys", Some("anna x25519 AAAA\n"), 0o600, "authorized_keys, line 1: "),
        ("authorized_keys", Some("# a word\nanna\n"), 0o600, "authorized_keys, line 2: "),
        ("token", Some("short anna 2099-01-01\n"), 0o600, "token, line 1: "),
    ];
    for &(name, text, permissions, words) in slips {
        let nth = files.iter().position(|file| *file == name).unwrap();
        let text = text.unwrap_or(&whole[nth]);
        fs::write(at(name), text).unwrap();
        set_mode(&at(name), permissions);
        let path = at(name);
        serve().fails(&[path.to_str().unwrap(), words]);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(!port.exists());
        fs::write(&path, &whole[nth]).unwrap();
        set_mode(&path, 0o600);
    }
    for name in files {
        fs::rename(at(name), here.path().join("kept")).unwrap();
        symlink(here.path().join("kept"), at(name)).unwrap();
        serve().fails(&[at(name).to_str().unwrap(), "is a link"]);
        fs::remove_file(at(name)).unwrap();
        fs::rename(here.path().join("kept"), at(name)).unwrap();
    }
    set_mode(&state, 0o770);
    serve().fails(&[state.to_str().unwrap(), "chmod go-w"]);
    set_mode(&state, 0o700);
    let now = files.map(|name| fs::read_to_string(at(name)).unwrap());
    assert_eq!((now, names(&root)), (whole, vec![".kift".to_owned()]));
    drop(kift_tests::serving::Server::start(kift_tests::serving::Serve {
        root: Some(&root),
        state: Some(&state),
        ..Default::default()
    }));
}

#[test]
fn the_state_is_not_served() {
    let here = place();
    let root = here.path().join("served");
    fs::create_dir(&root).unwrap();
    symlink(&root, here.path().join("link")).unwrap();
    for state in ["served", "served/state", "served/a/b", "link/state", "served/../served/c"] {
        let state = here.path().join(state);
        let served = root.to_str().unwrap();
        kift(["serve", "--state", state.to_str().unwrap(), "--listen", "127.0.0.1:0", served])
            .fails(&["lies in the directory that is to be served", "--state"]);
    }
    assert!(!root.join("key").exists() && !root.join("state/key").exists());
}
