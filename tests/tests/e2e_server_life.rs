//! A server while it lives: its port file, its log, its numbers, who sees what it does, and who ends it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, place, random};
use kift_tests::machine::{Running, Signal, command, kift, wait_until};
use kift_tests::serving::{Serve, Server};
use serde_json::Value;

/// What `kift status --json` tells of the session that does `request`, once there is one.
fn doing(estate: &Estate, request: &str) -> Option<Value> {
    let objects = estate.kift("", &["status", "--json", &estate.at("")]).objects();
    assert!(objects[0]["server"]["uptime_s"].is_u64(), "{objects:?}");
    let sessions = objects[1..].iter().map(|object| object["session"].clone());
    sessions.into_iter().find(|session| session["request"] == request)
}

/// A client of the first user's that sends what it is given on its standard input.
fn sender(estate: &Estate, path: &str) -> Running {
    let state = estate.state();
    Running::start(command(["put", "-", &estate.at(path), "--state", state.to_str().unwrap()]))
}

#[test]
fn status_shows_a_transfer_and_stop_lets_it_end() {
    let mut estate = Estate::with(&["--grace", "170"]);
    let mut put = sender(&estate, "in.bin");
    let mut stdin = put.take_stdin();
    let piece = random(100_000, 1);
    let mut sent = Vec::new();
    let mut send = |stdin: &mut std::process::ChildStdin| {
        stdin.write_all(&piece).unwrap();
        sent.extend_from_slice(&piece);
    };
    let mut seen = Value::Null;
    wait_until("the transfer is seen to move", || {
        send(&mut stdin);
        seen = doing(&estate, "put").unwrap_or_default();
        seen["rate"].as_u64().is_some_and(|rate| rate > 0)
    });
    assert_eq!((&seen["path"], &seen["total"]), (&"in.bin".into(), &Value::Null));
    assert!(seen["done"].as_u64().unwrap() <= sent.len() as u64, "{seen}");
    assert!(seen["user"].is_string() && seen["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let table = estate.admin(&["status", &estate.at("")]);
    assert!(table.contains("put in.bin") && table.contains("/s"), "{table}");

    let told = estate.admin(&["stop", &estate.at("")]);
    assert!(told.contains("is stopping") && told.contains("put in.bin"), "{told}");
    wait_until("it takes nobody any more", || {
        !estate.kift("", &["ls", &estate.at("")]).status.success()
    });
    stdin.write_all(b"end").unwrap();
    sent.extend_from_slice(b"end");
    drop(stdin);
    let _ = put.end().ok();
    assert!(estate.server_mut().wait().success());
    assert_holds(&estate.server().file("in.bin"), &sent);
    assert!(estate.server().log().contains("asked to stop"));
}

#[test]
fn only_an_admin_sees_and_stops() {
    let estate = Estate::new();
    estate.user("ben", "rw", "");
    estate.authorize("ben", "ben", "");
    for command in ["status", "stop"] {
        estate.kift("ben", &[command, &estate.at("")]).fails(&["denied", "the right admin"]);
    }
    assert_eq!(estate.server().log().matches("this user may not do that").count(), 2);
    estate.user("carl", "admin", "");
    estate.authorize("carl", "carl", "");
    let shown = estate.kift("carl", &["status", &estate.at("")]).ok();
    assert!(shown.contains("carl"), "{shown}");
    estate.kift("ben", &["ls", &estate.at("")]).ok();
}

#[test]
fn a_plain_server_is_managed_only_where_it_was_told_so() {
    let server = Server::new();
    for command in ["status", "stop"] {
        kift([command, "--plain", &server.at("")]).fails(&["--plain-admin"]);
    }
    assert!(server.log().contains("over a plain link"));
    kift(["ls", "--plain", &server.at("")]).ok();

    let mut server = Server::with(&["--plain-admin"]);
    let shown = kift(["status", "--plain", &server.at("")]).ok();
    assert!(shown.contains("sessions 1"), "{shown}");
    let stopped = kift(["stop", "--plain", "--json", &server.at("")]).objects();
    assert_eq!(stopped[0]["stopping"], true);
    assert!(server.wait().success());
}

#[test]
fn the_port_is_free_for_the_next_server() {
    let first = Estate::new();
    let port = first.server().port();
    let mut first = first;
    first.admin(&["stop", &first.at("")]);
    assert!(first.server_mut().wait().success());
    let here = place();
    let address = format!("127.0.0.1:{port}");
    let port_file = here.path().join("port");
    let root = here.path().to_str().unwrap();
    let port_text = port_file.to_str().unwrap();
    let next = ["serve", "--plain", "--listen", &address, "--port-file", port_text, root];
    let next = Running::start(command(next));
    wait_until("the next one listens", || port_file.exists());
    kift(["ls", "--plain", &address]).ok();
    next.signal(Signal::TERM);
    next.end().ok();
}

#[test]
fn a_port_of_every_address_is_taken_and_its_file_goes_with_the_server() {
    let here = place();
    let (root, dir) = (here.path().join("served"), here.path().join("run"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&dir).unwrap();
    let file = dir.join("port");
    // What a killed server left is not believed for long.
    fs::write(&file, "1\n").unwrap();
    let [root, file_text] = [&root, &file].map(|path| path.to_str().unwrap());
    let line = ["serve", "--plain", "--listen", ":0", "--port-file", file_text, root];
    let serve = Running::start(command(line));
    let port = || fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
    wait_until("the port is written", || port() != "1");
    let port = port();
    assert!(port.parse::<u16>().unwrap() > 1);
    kift(["ls", "--plain", &format!("127.0.0.1:{port}")]).ok();
    serve.signal(Signal::TERM);
    let told = serve.end().ok();
    assert!(told.contains(&format!(":{port}\n")), "{told}");
    assert!(!file.exists());
    kift(["serve", "--listen", ":http", root]).exits(2, &[":PORT for every address"]);
}

#[test]
fn a_log_of_objects_has_the_same_fields_and_no_secret() {
    let estate = Estate::with(&["--log-format", "json"]);
    estate.user("ben", "rw", "correct horse");
    estate.introduce("new");
    let file = estate.secret("password", "correct horse");
    let file = file.to_str().unwrap();
    let ls = ["ls", "--password-file", file, &estate.at_as("ben", "")];
    estate.kift("new", &ls).ok();
    let log = estate.server().log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let login = lines.iter().find(|line| line["message"] == "logged in by password").unwrap();
    assert!(login["peer"].as_str().unwrap().starts_with("ben@127.0.0.1:"), "{login}");
    assert_eq!((&login["level"], &login["rights"]), (&"INFO".into(), &"rw".into()));
    assert!(login["timestamp"].is_string());
    assert!(!log.contains("correct horse"));
}

/// What is answered to a request to the endpoint for monitoring.
fn asked(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_numbers_match_what_was_moved() {
    // A port that is free, most likely still a moment later.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::with(&["--metrics", &free.to_string()]);
    let here = place();
    let file = here.path().join("a.bin");
    fs::write(&file, random(70_000, 3)).unwrap();
    kift(["put", "--plain", file.to_str().unwrap(), &server.at("")]).ok();
    let _ =
        kift(["get", "--plain", &server.at("a.bin"), here.path().join("b").to_str().unwrap()]).ok();
    kift(["stop", "--plain", &server.at("")]).fails(&["denied"]);
    let get = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let sample = |name: &str| {
        let text = asked(free.port(), get);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("version=0.0.4"), "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse::<u64>().unwrap())
    };
    wait_until("all sessions are over", || sample("kift_sessions") == Some(0));
    assert_eq!(sample("kift_files_total{direction=\"in\"}"), Some(1));
    assert_eq!(sample("kift_files_total{direction=\"out\"}"), Some(1));
    assert_eq!(sample("kift_bytes_total{direction=\"in\"}"), Some(70_000));
    assert_eq!(sample("kift_bytes_total{direction=\"out\"}"), Some(70_000));
    assert_eq!(sample("kift_sessions_total{outcome=\"ended\"}"), Some(3));
    assert_eq!(sample("kift_refusals_total{reason=\"rights\"}"), Some(1));
    assert_eq!(sample("kift_transfers{direction=\"in\"}"), Some(0));

    assert!(asked(free.port(), "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(asked(free.port(), "PUT /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(asked(free.port(), "hello\r\n\r\n").starts_with("HTTP/1.1 400 "));
    // Who says nothing is not waited for by the next for long.
    let _silent = TcpStream::connect(free).unwrap();
    assert_eq!(sample("kift_sessions"), Some(0));
}

#[test]
fn a_server_without_a_seat_counts_whom_it_refused() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let args = ["--metrics", &free.to_string(), "--max-sessions", "1"];
    let server = Server::start(Serve { args: &args, ..Serve::default() });
    let _held = kift_tests::dial::Dial::open(&server);
    kift(["ls", "--plain", &server.at("")]).fails(&["too many sessions"]);
    let text = asked(free.port(), "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(text.contains("kift_refusals_total{reason=\"sessions\"} 1\n"), "{text}");
    assert!(text.contains("kift_sessions 1\n"), "{text}");
}
