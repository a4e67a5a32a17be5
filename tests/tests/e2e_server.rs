//! Starting and stopping a server, and what it tells its user.

use std::fs;
use std::net::TcpListener;

use kift_tests::files::{assert_holds, place, random};
use kift_tests::machine::{Running, Signal, command, kift};
use kift_tests::serving::{Serve, Server};

#[test]
fn a_directory_has_one_server() {
    let server = Server::new();
    let root = server.root().to_str().unwrap();
    let second = ["serve", "--plain", "--listen", "127.0.0.1:0", root];
    kift(second).fails(&[root, "already being served", "read-only"]);
    kift(["ls", "--plain", &server.at("")]).ok();

    // One that changes nothing is in nobody's way.
    fs::write(server.file("a"), "a").unwrap();
    let reader = Server::start(Serve {
        root: Some(server.root()),
        args: &["--read-only"],
        ..Serve::default()
    });
    assert_eq!(kift(["get", "--plain", &reader.at("a"), "-"]).ok(), "a");
}

#[test]
fn the_next_server_takes_over_from_one_that_crashed() {
    let mut server = Server::new();
    server.kill();
    server.restart();
    kift(["ls", "--plain", &server.at("")]).ok();
}

#[test]
fn what_keeps_a_server_from_starting_is_named() {
    let here = place();
    let root = here.path().to_str().unwrap();
    let serve = |listen: &str, more: &[&str]| {
        kift([&["serve", "--plain", "--listen", listen], more].concat())
    };
    let none = format!("{root}/none");
    serve("127.0.0.1:0", &[&none]).fails(&["cannot open the directory", "/none", "No such file"]);
    fs::write(here.path().join("file"), "").unwrap();
    let file = format!("{root}/file");
    serve("127.0.0.1:0", &[&file]).fails(&[
        "cannot open the directory",
        "/file",
        "Not a directory",
    ]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    serve(&address, &[root]).fails(&["cannot listen on", &address, "in use"]);

    let port_file = format!("{root}/none/port");
    serve("127.0.0.1:0", &["--port-file", &port_file, root])
        .fails(&["cannot write to", &port_file]);
    serve("127.0.0.1:0", &["--max-sessions", "0", root]).exits(2, &["from 1 on"]);
    serve("localhost", &[root]).exits(2, &["localhost"]);
}

#[test]
fn the_commands_that_it_prints_work_as_printed() {
    for option in [&[][..], &["--read-only"]] {
        let (server, here) = (Server::with(option), place());
        let is_read_only = !option.is_empty();
        let greeting = server.greeting();
        let root = fs::canonicalize(server.root()).unwrap();
        assert!(greeting.contains(&format!("serving {}", root.display())), "{greeting}");
        assert_eq!(greeting.contains("read-only"), is_read_only);
        let bytes = random(5000, 1);
        fs::write(here.path().join("FILE"), &bytes).unwrap();
        if is_read_only {
            fs::write(server.file("FILE"), &bytes).unwrap();
        }
        let run = |label: &str| {
            let line = greeting.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap();
            let words: Vec<String> =
                line.split_whitespace().skip(1).map(|word| word.replace("NAME", "FILE")).collect();
            assert_eq!(line.split_whitespace().next(), Some("kift"));
            let mut command = command(words);
            command.current_dir(here.path());
            Running::start(command).end()
        };
        if is_read_only {
            run("send:").fails(&["FILE", "read-only"]);
        } else {
            run("send:").ok();
            assert_holds(&server.file("FILE"), &bytes);
        }
        fs::remove_file(here.path().join("FILE")).unwrap();
        assert!(run("list:").ok().ends_with("FILE\n"));
        run("fetch:").ok();
        assert_holds(&here.path().join("FILE"), &bytes);
    }
}

#[test]
fn a_read_only_server_changes_nothing_and_says_so() {
    let (server, here) = (Server::with(&["--read-only"]), place());
    fs::write(server.file("file"), "file").unwrap();
    fs::create_dir(server.file("dir")).unwrap();
    let local = here.path().join("local");
    fs::write(&local, "local").unwrap();
    let words = ["the peer is read-only"];
    kift(["put", "--plain", local.to_str().unwrap(), &server.at("")]).fails(&words);
    kift(["put", "--plain", local.to_str().unwrap(), &server.at("file")]).fails(&words);
    kift(["rm", "--plain", &server.at("file")]).fails(&words);
    kift(["mv", "--plain", &server.at("file"), "other"]).fails(&words);
    kift(["mkdir", "--plain", &server.at("other")]).fails(&words);
    assert_eq!(kift(["get", "--plain", &server.at("file"), "-"]).ok(), "file");
    assert_eq!(kift_tests::files::names(server.root()), ["dir", "file"], "not even .kift");
}

#[test]
fn stopped_without_work_it_ends_at_once_and_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::new();
        kift(["ls", "--plain", &server.at("")]).ok();
        server.signal(signal);
        assert!(server.wait().success());
        kift(["ls", "--plain", &server.at("")]).fails(&["cannot connect"]);
    }
}

#[test]
fn it_logs_what_it_did_and_refused() {
    let (server, here) = (Server::new(), place());
    let local = here.path().join("a\nname");
    fs::write(&local, "x").unwrap();
    kift(["put", "--plain", local.to_str().unwrap(), &server.at("")]).ok();
    kift(["get", "--plain", &server.at("a\nname"), "-"]).ok();
    kift(["get", "--plain", &server.at("none"), "-"]).fails(&["none"]);
    kift(["rm", "--plain", &server.at("a\nname")]).ok();
    let log = server.log();
    for words in
        ["stored", "sent", "deleted", "no such file or directory", "a\\nname", "127.0.0.1:"]
    {
        assert!(log.contains(words), "no {words:?} in {log}");
    }
    // A name cannot forge a line.
    assert!(log.lines().all(|line| line.contains("INFO") || line.contains("WARN")), "{log}");
}

#[test]
fn the_demonstration_works() {
    let shown = kift(["demo"]).ok();
    assert!(shown.contains("equal"), "{shown}");
    let here = place();
    let file = here.path().join("mine");
    fs::write(&file, random(3000, 2)).unwrap();
    let shown = kift(["demo", file.to_str().unwrap()]).ok();
    assert!(shown.contains("Send mine (3000 bytes)"), "{shown}");
    kift(["demo", "/no/such/file"]).fails(&["/no/such/file"]);
}
