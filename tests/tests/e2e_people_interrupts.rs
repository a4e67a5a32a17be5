//! Ctrl-C at a terminal, in each phase of what a person may have begun: it ends soon, says so by its exit
//! code, gives the terminal back, and leaves nothing half behind at either end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;

use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, names, place, random};
use kift_tests::hold::Hold;
use kift_tests::machine::{kift, wait_until};
use kift_tests::proxy::From;
use kift_tests::serving::Server;
use kift_tests::terminal::Terminal;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use tempfile::TempDir;

/// A server, and a person's directory with a file and a tree in it.
struct Stage {
    server: Server,
    here: TempDir,
}

impl Stage {
    fn new() -> Self {
        let (server, here) = (Server::new(), place());
        for dir in [here.path().join("there"), server.file("tree"), here.path().join("tree")] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(here.path().join("small"), "small").unwrap();
        fs::write(server.file("small"), "small").unwrap();
        for at in 0..50_u64 {
            let bytes = random(100_000, at);
            fs::write(here.path().join(format!("tree/{at}")), &bytes).unwrap();
            fs::write(server.file(&format!("tree/{at}")), &bytes).unwrap();
        }
        File::create(here.path().join("large")).unwrap().set_len(1 << 30).unwrap();
        File::create(server.file("large")).unwrap().set_len(1 << 30).unwrap();
        Self { server, here }
    }

    /// A person's command, in their directory, over `hold`.
    fn person(&self, args: &[&str]) -> Terminal {
        Terminal::kift_in(self.here.path(), args)
    }

    /// Nothing is left of what was interrupted, and the server serves others.
    #[track_caller]
    fn assert_clean(&self) {
        wait_until("the server drops it", || self.server.partials().is_empty());
        self.assert_nothing_new();
    }

    /// There is no new file, and what is hidden is for who goes on.
    #[track_caller]
    fn assert_nothing_new(&self) {
        assert!(!self.server.file("new").exists());
        assert_eq!(names(self.here.path()), ["large", "small", "there", "tree"]);
        let there = names(&self.here.path().join("there")).into_iter();
        assert_eq!(there.filter(|name| !name.starts_with(".kift-")).count(), 0);
        assert!(kift(["ls", "--plain", &self.server.at("")]).ok().contains("small"));
    }
}

/// Every command that talks to a server at `at`.
fn commands(at: impl Fn(&str) -> String) -> Vec<Vec<String>> {
    let (root, small, new) = (at(""), at("small"), at("new"));
    let commands: [&[&str]; 10] = [
        &["put", "small", &new],
        &["put", "-r", "tree", &root],
        &["get", &small, "there"],
        &["get", "-r", &at("tree"), "there"],
        &["sync", "./tree", &new],
        &["cat", &small],
        &["ls", &root],
        &["stat", &small],
        &["rm", &new],
        &["shell", &root],
    ];
    commands.iter().map(|args| args.iter().map(|&arg| arg.to_owned()).collect()).collect()
}

/// A command with further options.
fn with<'a>(args: &'a [String], options: &[&'a str]) -> Vec<&'a str> {
    args.iter().map(String::as_str).chain(options.iter().copied()).collect()
}

/// Whether somebody here is waiting to be let in at `port`.
fn is_knocking(port: u16) -> bool {
    let connections = fs::read_to_string("/proc/net/tcp").unwrap();
    let address = format!("0100007F:{port:04X}");
    connections.lines().any(|line| {
        // The line's number, this end, that end, the state: 2 where nothing came back yet.
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        fields[2..] == [address.as_str(), "02"]
    })
}

#[test]
fn while_it_connects() {
    // A listener whose queue is full lets nobody in, and says nothing.
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&listener, 0).unwrap();
    let address: SocketAddrV4 = getsockname(&listener).unwrap().try_into().unwrap();
    let queued = TcpStream::connect(address).unwrap();
    let stage = Stage::new();
    for args in commands(|path| format!("{address}/{path}")) {
        let terminal = stage.person(&with(&args, &["--plain"]));
        wait_until("it connects", || is_knocking(address.port()));
        terminal.interrupt();
        wait_until("it does not any more", || !is_knocking(address.port()));
    }
    drop(queued);
    stage.assert_clean();
}

#[test]
fn while_a_server_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stage = Stage::new();
    let state = stage.server.root().join("../state");
    for args in commands(|path| format!("{address}/{path}")) {
        for protection in [&["--plain"][..], &["--state", state.to_str().unwrap()]] {
            let args: Vec<&str> =
                args.iter().map(String::as_str).chain(protection.iter().copied()).collect();
            let terminal = stage.person(&args);
            let (silent, _) = listener.accept().unwrap();
            // It has said what it wants, and waits.
            silent.peek(&mut [0; 8]).unwrap();
            terminal.interrupt();
        }
    }
    stage.assert_clean();
}

#[test]
fn at_the_question_about_a_server() {
    let estate = Estate::new();
    let state = estate.state_of("laptop");
    for command in ["ls", "shell", "put", "get"] {
        let at = estate.at("x");
        let mut args = vec![command, &at, "--state", state.to_str().unwrap()];
        if command == "put" {
            args.insert(1, "Cargo.toml");
        }
        let mut terminal = Terminal::kift(args);
        terminal.expect("[yes/no]");
        terminal.interrupt();
        assert!(!state.join("known_hosts").exists());
    }
    assert_eq!(estate.server().names(), [""; 0]);
}

#[test]
fn at_a_password() {
    let estate = Estate::new();
    estate.user("anna", "rw", "correct horse");
    estate.introduce("laptop");
    let state = estate.state_of("laptop");
    for command in ["ls", "shell"] {
        for typed in ["", "correct"] {
            let mut terminal = Terminal::kift([
                command,
                &estate.at_as("anna", ""),
                "--state",
                state.to_str().unwrap(),
            ]);
            terminal.expect_secret("password of anna");
            terminal.press(typed);
            let screen = terminal.interrupt();
            assert!(!screen.contains("correct"), "{screen}");
        }
    }
    assert!(!estate.server().log().contains("logged in by password"));

    let state = estate.state();
    let mut terminal =
        Terminal::kift(["user", "passwd", "anna", "--state", state.to_str().unwrap()]);
    terminal.expect_secret("New password for anna: ");
    terminal.say("battery staple");
    terminal.expect_secret("The same again: ");
    terminal.press("battery");
    terminal.interrupt();
    let password = estate.secret("password", "correct horse");
    let log_in = ["ls", &estate.at_as("anna", ""), "--password-file", password.to_str().unwrap()];
    estate.kift("laptop", &log_in).ok();
}

#[test]
fn while_data_flow_under_a_bar() {
    let stage = Stage::new();
    for from in From::BOTH {
        // Some megabytes go, and then the bar stands still.
        let hold = Hold::at(stage.server.port(), from, 200);
        let (new, large) = (hold.path("new"), hold.path("large"));
        let args = match from {
            From::Client => ["put", "--plain", "large", &new],
            From::Server => ["get", "--plain", &large, "there"],
        };
        let mut terminal = stage.person(&args);
        hold.wait();
        terminal.expect(" of 1.00 GiB");
        let screen = terminal.interrupt();
        assert!(screen.contains("interrupted"), "{args:?}: {screen}");
        drop(hold);
        stage.assert_nothing_new();
    }
}

/// The server has stored it, and its answer has not come: nobody here knows.
#[test]
fn while_the_answer_is_awaited() {
    let stage = Stage::new();
    // Behind its first flight, its hello, and what is at that path now.
    let hold = Hold::at(stage.server.port(), From::Server, 3);
    let terminal = stage.person(&["put", "--plain", "small", &hold.path("stored")]);
    wait_until("it is stored", || stage.server.file("stored").exists());
    let screen = terminal.interrupt();
    assert!(
        screen.contains("0 files were stored, 1 were under way and are not known to be"),
        "{screen}"
    );
    assert_holds(&stage.server.file("stored"), b"small");

    // All of it is there but for its end.
    let hold = Hold::at(stage.server.port(), From::Client, 5);
    let terminal = stage.person(&["put", "--plain", "small", &hold.path("new")]);
    hold.wait();
    wait_until("it is there", || stage.server.partial_len() >= 5);
    terminal.interrupt();
    drop(hold);
    stage.assert_clean();
}

/// The files below `dir`, each of which is whole.
#[track_caller]
fn whole(dir: &Path) -> usize {
    let below = names(dir).into_iter().map(|name| match dir.join(&name) {
        path if path.is_dir() => whole(&path),
        path => {
            let bytes = random(100_000, name.parse().expect("no other name"));
            assert_holds(&path, &bytes);
            1
        }
    });
    below.sum()
}

/// Whether a file has come below `dir`.
fn has_some(dir: &Path) -> bool {
    let is_some = |name: &String| name.parse::<u64>().is_ok() || has_some(&dir.join(name));
    dir.is_dir() && names(dir).iter().any(is_some)
}

#[test]
fn in_the_middle_of_a_tree() {
    let stage = Stage::new();
    let (new, there) = (stage.server.file("new"), stage.here.path().join("there"));
    for (from, command) in [
        (From::Client, &["put", "-r"][..]),
        (From::Client, &["sync"]),
        (From::Server, &["get", "-r"]),
        (From::Server, &["sync"]),
    ] {
        fs::create_dir(&new).unwrap();
        let hold = Hold::at(stage.server.port(), from, 120);
        let (far_tree, far_new) = (hold.path("tree"), hold.path("new/"));
        let operands = match from {
            From::Client => ["./tree", &far_new],
            From::Server => [&far_tree, "./there"],
        };
        let terminal = stage.person(&[command, &["--plain"], &operands].concat());
        hold.wait();
        let target = if from == From::Client { &new } else { &there };
        wait_until("some have come", || has_some(target));
        let screen = terminal.interrupt();
        assert!(screen.contains("were under way and are not known to be"), "{screen}");
        drop(hold);
        wait_until("the server drops it", || stage.server.partials().is_empty());
        let moved = whole(target);
        assert!((1..50).contains(&moved), "{moved} files were moved before");
        for dir in [&new, &there] {
            fs::remove_dir_all(dir).unwrap();
        }
        fs::create_dir(&there).unwrap();
        stage.assert_clean();
    }
}

#[test]
fn while_something_is_shown() {
    let stage = Stage::new();
    for (number, args) in [(60, ["cat", "large"]), (2, ["ls", ""]), (2, ["stat", "small"])] {
        let hold = Hold::at(stage.server.port(), From::Server, number);
        let terminal = stage.person(&[args[0], "--plain", &hold.path(args[1])]);
        hold.wait();
        let screen = terminal.interrupt();
        assert!(screen.contains("interrupted"), "{args:?}");
        drop(hold);
        stage.assert_clean();
    }
}
