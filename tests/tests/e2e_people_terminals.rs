//! Terminals of any width, that change it, and none at all.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, place, random};
use kift_tests::hold::Hold;
use kift_tests::machine::{Ended, Running, program, wait_until};
use kift_tests::proxy::From;
use kift_tests::serving::Server;
use kift_tests::terminal::{Terminal, picture};
use rustix::fs::{CWD, Mode, mkfifoat};

const NAME: &str = "a name that is longer than some windows are wide, and even than a usual one is";

/// Where a window says that it has no columns, eighty is as good a guess as any.
fn columns_seen(columns: u16) -> u16 {
    if columns == 0 { 80 } else { columns }
}

#[test]
fn a_bar_is_one_line_however_narrow_the_window_is() {
    let (server, here) = (Server::new(), place());
    File::create(here.path().join(NAME)).unwrap().set_len(1 << 30).unwrap();
    File::create(server.file(NAME)).unwrap().set_len(1 << 30).unwrap();
    for columns in [0, 1, 2, 10, 16, 20, 39, 40, 60, 79, 80, 81, 200] {
        for from in From::BOTH {
            let hold = Hold::at(server.port(), from, 100);
            let path = hold.path(if from == From::Client { "new" } else { NAME });
            let local = here.path().join(NAME);
            let fetched = here.path().join("fetched");
            let args = match from {
                From::Client => ["put", "--plain", local.to_str().unwrap(), &path],
                From::Server => ["get", "--plain", &path, fetched.to_str().unwrap()],
            };
            let terminal = Terminal::sized(columns, args);
            hold.wait();
            wait_until("the bar is shown", || {
                let shown = terminal.picture(columns_seen(columns));
                // What is drawn at this moment is not all there yet.
                shown.lines().count() == 1 && (columns_seen(columns) < 16 || shown.contains(" %"))
            });
            let screen = terminal.interrupt();
            assert!(!screen.contains("panicked"), "{columns}: {screen}");
        }
    }
}

#[test]
fn what_is_left_in_the_end_is_the_summary() {
    let (server, here) = (Server::new(), place());
    let bytes = random(3 << 20, 1);
    let local = here.path().join(NAME);
    fs::write(&local, &bytes).unwrap();
    for columns in [0, 1, 20, 80] {
        let put = ["put", "--plain", local.to_str().unwrap(), &server.at("")];
        let (status, screen) = Terminal::sized(columns, put).end();
        let shown = picture(&screen, columns_seen(columns)).replace('\n', "");
        assert!(
            status.success() && shown.starts_with('1') && shown.ends_with("/s)"),
            "{columns}: {shown}"
        );
        assert_holds(&server.file(NAME), &bytes);
    }
}

#[test]
fn a_window_that_changes_its_width_meanwhile() {
    let (server, here) = (Server::new(), place());
    let pipe = here.path().join("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let put = ["put", "--plain", pipe.to_str().unwrap(), &server.at("")];
    let mut terminal = Terminal::sized(100, put);
    let mut into = File::options().write(true).open(&pipe).unwrap();
    let part = random(1 << 20, 2);
    let mut sent = Vec::new();
    for columns in [100, 20, 1, 0, 300, 5, 80] {
        terminal.resize(columns);
        // Twice: one of them was perhaps under way when the window changed.
        for _ in 0..2 {
            into.write_all(&part).unwrap();
            sent.extend_from_slice(&part);
            // What it holds back is less than that.
            wait_until("it goes on", || server.partial_len() + (1 << 20) > sent.len() as u64);
        }
    }
    drop(into);
    terminal.expect("1 file, 14.00 MiB in");
    let (status, screen) = terminal.end();
    assert!(status.success() && !screen.contains("panicked"), "{screen}");
    assert_holds(&server.file("pipe"), &sent);
}

/// Runs `kift` where there is no terminal, not even behind the back of its standard streams.
fn alone(state: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(program()).args(args).arg("--state").arg(state);
    command.env_remove("KIFT_LOG");
    // Its input ends at once.
    Running::start(command).end()
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let estate = Estate::new();
    estate.user("anna", "rw", "correct horse");
    let state = estate.state_of("laptop");
    for command in ["ls", "cat", "shell", "get"] {
        let told = alone(&state, &[command, &estate.at("x")]);
        told.fails(&["is not known here", &estate.fingerprint(), "--server-key"]);
    }
    estate.introduce("laptop");
    for command in ["ls", "cat", "shell", "get"] {
        let told = alone(&state, &[command, &estate.at_as("anna", "x")]);
        told.fails(&["there is no terminal to ask for the password at", "--password-file"]);
    }
    let told = alone(&estate.state(), &["user", "passwd", "anna"]);
    told.fails(&["there is no terminal to ask for the password at", "--password-file"]);
    let told = alone(&estate.state(), &["user", "add", "ben", "ro"]);
    told.fails(&["there is no terminal to ask for the password at", "--password-file"]);
    let told = alone(&state, &["receive", &estate.at("")]);
    told.fails(&["there is nobody here to say whether it is accepted", "--yes"]);
    alone(&state, &[]).exits(2, &["Usage: kift"]);
    // What needs no answer is done.
    assert_eq!(alone(&estate.state(), &["ls", &estate.at("")]).ok(), "");
    assert_eq!(alone(&estate.state(), &["shell", &estate.at("")]).ok(), "");
    alone(&estate.state(), &["put", "-", &estate.at("empty")]).ok();
    assert_holds(&estate.server().file("empty"), b"");
}
