//! The settings file of a server: what it may hold, what comes before it, and reading it again.

use std::fs;
use std::path::PathBuf;

use kift_core::secure::SecretKey;
use kift_core::wire::{Answer, Code};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::files::place;
use kift_tests::machine::{Running, Signal, command, kift, wait_until};
use kift_tests::serving::Server;
use tempfile::TempDir;

/// A settings file that holds `text`, in a directory of its own.
fn settings(text: &str) -> (TempDir, PathBuf) {
    let place = place();
    let file = place.path().join("server.toml");
    fs::write(&file, text).unwrap();
    (place, file)
}

#[test]
fn what_is_printed_is_a_file_that_is_taken() {
    let example = kift(["serve", "--print-config"]).ok();
    for name in ["dir", "listen", "max_sessions", "grace", "metrics", "password_tries"] {
        assert!(example.contains(&format!("\n#{name} = ")), "no {name} in {example}");
    }
    let (_place, file) = settings(&example);
    let server = Server::with(&["--config", file.to_str().unwrap()]);
    kift(["ls", "--plain", &server.at("")]).ok();
}

#[test]
fn a_server_starts_from_a_file_alone() {
    let here = place();
    let (root, run) = (here.path().join("served"), here.path().join("run"));
    [&root, &run].iter().for_each(|dir| fs::create_dir(dir).unwrap());
    fs::write(root.join("a"), "a").unwrap();
    let (_place, file) = settings(&format!(
        "dir = {root:?}\nlisten = \"127.0.0.1:0\"\nport_file = {:?}\nplain = true\nread_only = true\n\
         log_format = \"json\"\n",
        run.join("port"),
    ));
    let server = Running::start(command(["serve", "--config", file.to_str().unwrap()]));
    wait_until("the server listens", || run.join("port").exists());
    let port = fs::read_to_string(run.join("port")).unwrap();
    let at = |path: &str| format!("127.0.0.1:{}/{path}", port.trim());
    assert_eq!(kift(["get", "--plain", &at("a"), "-"]).ok(), "a");
    kift(["rm", "--plain", &at("a")]).fails(&["read-only"]);
    server.signal(Signal::TERM);
    let ended = server.end();
    assert!(ended.stderr.lines().all(|line| line.starts_with('{')), "{ended:?}");
    ended.ok();
}

#[test]
fn one_server_has_several_directories_for_the_same_users() {
    let here = place();
    let [main, other, run] = ["main", "other", "run"].map(|name| here.path().join(name));
    [&main, &other, &run].iter().for_each(|dir| fs::create_dir(dir).unwrap());
    fs::write(other.join("a"), "a").unwrap();
    let (_place, file) = settings(&format!(
        "dir = {main:?}\nlisten = \"127.0.0.1:0\"\nport_file = {:?}\nstate = {:?}\n\n[[root]]\n\
         dir = {other:?}\nlisten = \"127.0.0.1:0\"\nport_file = {:?}\nread_only = true\n",
        run.join("port"),
        here.path().join("state"),
        run.join("other"),
    ));
    let mut line = command(["serve", "--config", file.to_str().unwrap()]);
    line.env_remove("KIFT_STATE");
    let server = Running::start(line);
    wait_until("the server listens", || run.join("other").exists() && run.join("port").exists());
    let state = here.path().join("state");
    let kift = |args: &[&str]| kift([args, &["--state", state.to_str().unwrap()]].concat());
    let at = |door: &str, path: &str| {
        let port = fs::read_to_string(run.join(door)).unwrap();
        format!("127.0.0.1:{}/{path}", port.trim())
    };
    assert_eq!(kift(&["get", &at("other", "a"), "-"]).ok(), "a");
    kift(&["put", other.join("a").to_str().unwrap(), &at("port", "b")]).ok();
    assert_eq!(fs::read(main.join("b")).unwrap(), b"a");
    kift(&["rm", &at("other", "a")]).fails(&["read-only"]);
    // They end together, and take their files along.
    kift(&["stop", &at("other", "")]).ok();
    let told = server.end().ok();
    assert_eq!(told.matches("serving ").count(), 2, "{told}");
    assert!(!run.join("port").exists() && !run.join("other").exists());
}

#[test]
fn a_flag_comes_before_the_environment_and_that_before_the_file() {
    let sessions = |of_file: &str, of_environment: &[&str], of_flags: &[&str]| {
        let (_place, file) = settings(of_file);
        let args = [&["--config", file.to_str().unwrap()], of_flags].concat();
        let under = [&["env"], of_environment].concat();
        let server = Server::start(kift_tests::serving::Serve {
            args: &args,
            under: &under,
            ..Default::default()
        });
        let _held = [Dial::open(&server), Dial::open(&server)];
        // Two are in: there is a third place, or there is none.
        kift(["ls", "--plain", &server.at("")]).status.success()
    };
    assert!(sessions("", &[], &[]));
    assert!(!sessions("max_sessions = 2", &[], &[]));
    assert!(sessions("max_sessions = 2", &["KIFT_SERVE_MAX_SESSIONS=3"], &[]));
    let flag = ["--max-sessions", "2"];
    assert!(!sessions("max_sessions = 3", &["KIFT_SERVE_MAX_SESSIONS=3"], &flag));
}

#[test]
fn what_is_wrong_in_a_file_is_named() {
    let refused = |text: &str, words: &[&str]| {
        let (_place, file) = settings(text);
        let file = file.to_str().unwrap();
        let ended = kift(["serve", "--plain", "--listen", "127.0.0.1:0", "--config", file]);
        ended.fails(&[&[file, "--print-config"], words].concat());
    };
    refused("plain = true\nlisen = \":0\"", &["line 2", "unknown field `lisen`", "`listen`"]);
    refused("max_sessions = \"many\"", &["line 1", "max_sessions"]);
    refused("listen = \"5438\"", &["line 1", ":PORT for every address"]);
    refused("[[", &["line 1"]);
    kift(["serve", "--config", "/no/such/file"]).fails(&["/no/such/file", "No such file"]);
    let plain_admin = ["serve", "--plain-admin"];
    kift(plain_admin).fails(&["--plain-admin is for --plain"]);
}

#[test]
fn a_file_is_read_again_and_a_broken_one_changes_nothing() {
    let (_place, file) = settings("max_sessions = 1");
    let server = Server::with(&["--config", file.to_str().unwrap()]);
    let _held = Dial::open(&server);
    let ls = || kift(["ls", "--plain", &server.at("")]);
    ls().fails(&["too many sessions"]);

    fs::write(&file, "max_sessions = 4\nlog_level = \"debug\"\nread_only = true\n").unwrap();
    server.signal(Signal::HUP);
    wait_until("it is read", || server.log().contains("read the settings again"));
    wait_until("there is a place", || ls().status.success());
    wait_until("what waits is named", || server.log().contains("settings=\"read_only\""));
    kift(["stat", "--plain", &server.at("none")]).fails(&["none"]);
    assert!(server.log().contains("DEBUG"), "a level that is read again");

    for (turn, broken) in ["max_sessions = 0", "max_session = 1"].into_iter().enumerate() {
        // As an editor writes: another file takes its name.
        let next = file.with_extension("new");
        fs::write(&next, broken).unwrap();
        fs::rename(&next, &file).unwrap();
        server.signal(Signal::HUP);
        let told = || server.log().matches("the settings stay as they were").count();
        wait_until("it is refused", || told() == turn + 1);
    }
    wait_until("there is a place", || ls().status.success());
    fs::remove_file(&file).unwrap();
    server.signal(Signal::HUP);
    wait_until("it is missed", || server.log().contains("cannot read the settings"));
    ls().ok();
}

#[test]
fn without_a_file_the_server_goes_with_its_terminal() {
    let mut server = Server::new();
    server.signal(Signal::HUP);
    assert!(server.wait().success());
}

#[test]
fn patience_is_as_long_as_the_file_says() {
    let (_place, file) = settings("handshake_timeout = \"1s\"\nidle_timeout = \"1s\"\n");
    let server = Server::with(&["--config", file.to_str().unwrap()]);
    // By default one would wait ten times as long, and the other for five minutes.
    let (mut silent, mut idle) = (Dial::silent(&server), Dial::open(&server));
    silent.rest();
    idle.rest();
    wait_until("both are told in the log", || server.log().matches("session ended").count() == 2);
    assert!(server.log().contains("in time"), "{}", server.log());
}

#[test]
fn passwords_are_tried_as_often_as_the_file_says() {
    let (_place, file) = settings("password_tries = 1\nlogin_timeout = \"2m\"\n");
    let estate = Estate::with(&["--config", file.to_str().unwrap()]);
    estate.user("ben", "rw", "correct horse");
    let mut dial = Dial::sealed(estate.server(), &SecretKey::from_bytes(&[7; 32]));
    assert_eq!(dial.login("ben", "wrong horse"), Answer::Failed(Code::LoginFailed));
    assert_eq!(dial.closed(), Code::LoginFailed);
}
