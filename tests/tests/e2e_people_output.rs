//! Where output cannot go: readers that went away, full disks, closed descriptors. Nothing panics, and
//! nobody is told that all is well when what they asked for did not come.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Command;

use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, place, random};
use kift_tests::machine::{Ended, Running, command, kift, program};
use kift_tests::serving::Server;

const FULL: &str = "No space left on device";

/// Runs `kift` from a shell, with `redirections`.
fn redirected(args: &[&str], redirections: &str) -> Ended {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" {redirections}")]).arg(program()).args(args);
    shell.env_remove("KIFT_LOG").env("KIFT_STATE", "/dev/null/kift");
    Running::start(shell).end()
}

/// A server with a few files.
fn server() -> Server {
    let server = Server::new();
    fs::create_dir(server.file("many")).unwrap();
    for at in 0..3000 {
        fs::write(server.file(&format!("many/a file with number {at:05}")), "").unwrap();
    }
    fs::write(server.file("file"), "contents").unwrap();
    server
}

/// `kift ls | head -1`: who has read enough is no failure.
#[test]
fn a_reader_of_results_goes_away() {
    let server = server();
    let at = server.at("many");
    for options in [&["--plain"][..], &["--plain", "--json"]] {
        let args = [&["ls", at.as_str()], options].concat();
        let (ls, stdout) = Running::piping(command(args));
        let mut first = String::new();
        // More is to come than a pipe holds.
        BufReader::with_capacity(100, stdout).read_line(&mut first).unwrap();
        assert!(first.contains("a file with number 00000"), "{first}");
        let ended = ls.end();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    }
    for args in [&["man", "put"][..], &["completions", "zsh"]] {
        let (pages, stdout) = Running::piping(command(args));
        drop(stdout);
        let ended = pages.end();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn results_that_cannot_be_written_are_missed() {
    let (server, here) = (server(), place());
    let local = here.path().join("local");
    fs::write(&local, "local").unwrap();
    let (local, there) = (local.to_str().unwrap(), here.path().to_str().unwrap());
    let commands: [&[&str]; 9] = [
        &["ls", &server.at("")],
        &["ls", "--json", &server.at("")],
        &["stat", "--blake3", &server.at("file")],
        &["df", &server.at("")],
        &["put", "--json", local, &server.at("stored")],
        &["get", "--json", &server.at("file"), there],
        &["put", "--dry-run", local, &server.at("new")],
        &["sync", "--dry-run", there, &server.at("new")],
        &["mkdir", "--json", &server.at("made")],
    ];
    for args in commands {
        let told = format!("cannot write standard output: {FULL}");
        redirected(&[args, &["--plain"]].concat(), ">/dev/full").fails(&[&told]);
    }
    // What was to be done is done all the same.
    assert_holds(&server.file("stored"), b"local");
    assert_holds(&here.path().join("file"), b"contents");
    assert!(server.file("made").is_dir() && !server.file("new").exists());

    let estate = Estate::new();
    let state = estate.state();
    let state = ["--state", state.to_str().unwrap()];
    for args in [&["key", "show"][..], &["user", "ls"], &["serve", "--print-config"]] {
        redirected(&[args, &state].concat(), ">/dev/full").fails(&[FULL]);
    }
}

#[test]
fn contents_that_cannot_be_written_are_missed() {
    let server = server();
    fs::write(server.file("large"), random(1 << 20, 1)).unwrap();
    for name in ["file", "large"] {
        for args in [vec!["cat"], vec!["get"]] {
            let (at, dash) = (server.at(name), if args == ["get"] { &["-"][..] } else { &[] });
            let args = [&args[..], &["--plain", &at], dash].concat();
            let told = format!("{name}: cannot write standard output: {FULL}");
            redirected(&args, ">/dev/full").fails(&[&told]);
        }
    }
    // Some of it was read, and the rest is not wanted: that is for whoever looks at the exit code.
    let (cat, stdout) = Running::piping(command(["cat", "--plain", &server.at("large")]));
    drop(stdout);
    cat.end().fails(&["large: cannot write standard output", "Broken pipe"]);
}

#[test]
fn descriptors_that_are_closed() {
    let (server, here) = (server(), place());
    let local = here.path().join("local");
    let bytes = random(300_000, 2);
    fs::write(&local, &bytes).unwrap();
    let local = local.to_str().unwrap();
    for redirections in [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full 2>&1"] {
        let fetched = here.path().join("fetched");
        redirected(&["put", "-v", "--plain", local, &server.at("stored")], redirections).ok();
        redirected(
            &["get", "-v", "--plain", &server.at("stored"), fetched.to_str().unwrap()],
            redirections,
        )
        .ok();
        // No socket and no file has taken the place of one that was closed.
        assert_holds(&server.file("stored"), &bytes);
        assert_holds(&fetched, &bytes);
        fs::remove_file(server.file("stored")).unwrap();
        fs::remove_file(&fetched).unwrap();
        let nothing = ["get", "--plain", &server.at("nothing"), here.path().to_str().unwrap()];
        assert_eq!(redirected(&nothing, redirections).status.code(), Some(1), "{redirections}");
        let ls = redirected(&["ls", "--plain", &server.at("")], redirections);
        let code = if redirections.starts_with(">/dev/full") { 1 } else { 0 };
        assert_eq!(ls.status.code(), Some(code), "{redirections}: {ls:?}");
        assert!(!ls.stderr.contains("panicked"), "{ls:?}");
    }
}

#[test]
fn what_kift_says_of_itself_is_not_read_to_its_end() {
    for args in [&["--help"][..], &["--version"], &["help", "put"], &["serve", "--print-config"]] {
        let (said, stdout) = Running::piping(command(args));
        drop(stdout);
        let ended = said.end();
        assert!(ended.status.code().is_some() && !ended.stderr.contains("panicked"), "{ended:?}");
    }
    // A server and all; without anybody who looks.
    let ended = redirected(&["demo"], ">&- 2>&-");
    assert!(ended.status.success(), "{ended:?}");
    let (demo, stdout) = Running::piping(command(["demo"]));
    drop(stdout);
    let ended = demo.end();
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

/// The other end of a conversation is a pipe here.
#[test]
fn a_shell_whose_reader_goes_away() {
    let server = server();
    let (mut shell, stdout) = Running::piping(command(["shell", "--plain", &server.at("")]));
    drop(stdout);
    let mut stdin = shell.take_stdin();
    use std::io::Write as _;
    let _ = writeln!(stdin, "list many\ncat file\nmkdir after");
    drop(stdin);
    let ended = shell.end();
    ended.fails(&["file: cannot write standard output", "Broken pipe"]);
    assert!(kift(["ls", "--plain", &server.at("")]).ok().contains("file"));
}
