//! `kift shell`: a person at its prompt, and scripts.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, names, place, random};
use kift_tests::machine::{Ended, Running, Signal, command, kift, wait_until};
use kift_tests::serving::Server;
use kift_tests::terminal::Terminal;
use rustix::fs::{CWD, Mode, mkfifoat};

/// A prompt, and what is behind it once it waits.
fn prompt(directory: &str) -> String {
    format!("kift 127.0.0.1:/{directory}> ")
}

/// A shell of a person, at its first prompt.
fn person(server: &Server, here: &Path) -> Terminal {
    let mut terminal = Terminal::kift(["shell", "--plain", &server.at("")]);
    terminal.expect("Connected to 127.0.0.1");
    terminal.expect(&prompt(""));
    terminal.say(&format!("lcd {}", here.display()));
    terminal.expect(&prompt(""));
    terminal
}

/// Runs a script in `here`.
fn script(server: &Server, here: &Path, options: &[&str], text: &str) -> Ended {
    let at = server.at("");
    let mut command = command([&["shell", "--plain", &at], options].concat());
    command.current_dir(here);
    let mut running = Running::start(command);
    // One that ended early does not read it all.
    let _ = running.take_stdin().write_all(text.as_bytes());
    running.end()
}

#[test]
fn a_visit() {
    let (server, here) = (Server::new(), place());
    fs::write(here.path().join("notes.txt"), "notes").unwrap();
    let mut shell = person(&server, here.path());
    for (line, words) in [
        ("help", "Send files from here"),
        ("HELP upload", "--recursive"),
        ("mkdir in", ""),
        ("CD in", ""),
        ("Upload notes.txt", "1 file, 5 B in"),
        ("LIST", "notes.txt"),
        ("stat --blake3 notes.txt", "blake3"),
        ("cat notes.txt", "notes"),
        ("rename notes.txt 'my notes.txt'", ""),
        ("download \"my notes.txt\"", "1 file, 5 B in"),
        ("pwd", "/in"),
        ("df", "largest file"),
        ("lls", "my notes.txt"),
        ("lpwd", here.path().to_str().unwrap()),
        ("frob", "unrecognized subcommand 'frob'"),
        ("delete my\\ notes.txt", ""),
        ("cd ../nowhere", "no such file"),
        ("cd ..", ""),
        ("delete in", ""),
    ] {
        shell.say(line);
        shell.expect(line);
        shell.expect(words);
        shell.expect("kift 127.0.0.1:/");
    }
    assert_holds(&here.path().join("my notes.txt"), b"notes");
    assert!(server.names().is_empty());
    shell.say("LOGOUT");
    let (status, screen) = shell.end();
    assert!(status.success(), "{screen}");
    wait_until("a goodbye", || server.log().contains("session ended"));
}

#[test]
fn names_are_completed() {
    let (server, here) = (Server::new(), place());
    fs::create_dir(server.file("a dir")).unwrap();
    fs::write(server.file("a dir/some file"), "there").unwrap();
    fs::write(here.path().join("local one"), "here").unwrap();
    let mut shell = person(&server, here.path());
    shell.press("cat a\t");
    shell.expect("a\\ dir/");
    shell.press("s\t");
    shell.expect("some\\ file");
    shell.say("");
    shell.expect("there");
    shell.expect(&prompt(""));
    shell.press("upl\t");
    shell.expect("upload ");
    shell.press("lo\t");
    shell.expect("local\\ one");
    shell.say("");
    shell.expect("1 file");
    assert_holds(&server.file("local one"), b"here");
    shell.expect(&prompt(""));
    shell.press("\x04");
    let (status, screen) = shell.end();
    assert!(status.success(), "{screen}");
}

#[test]
fn ctrl_c_stops_what_is_under_way_and_nothing_else() {
    let (server, here) = (Server::new(), place());
    // One that never ends, and one that takes a while.
    mkfifoat(CWD, here.path().join("endless"), Mode::RUSR | Mode::WUSR).unwrap();
    let keep_open =
        File::options().read(true).write(true).open(here.path().join("endless")).unwrap();
    File::create(server.file("large")).unwrap().set_len(1 << 36).unwrap();
    let mut shell = person(&server, here.path());
    shell.press("half a line\x03");
    shell.expect(&prompt(""));

    shell.say("upload endless");
    wait_until("it is under way", || server.partials().len() == 1);
    shell.press("\x03");
    shell.expect("endless: stopped, and nothing of it was kept");
    shell.expect(&prompt(""));
    assert!(server.partials().is_empty());

    shell.say("download large");
    wait_until("it is under way", || names(here.path()).iter().any(|name| name.ends_with(".part")));
    shell.press("\x03");
    shell.expect("large: stopped, and nothing of it was kept");
    shell.expect(&prompt(""));
    assert_eq!(names(here.path()), ["endless"]);

    shell.say("list");
    shell.expect("large");
    shell.expect(&prompt(""));
    shell.say("exit");
    assert!(shell.end().0.success());
    drop(keep_open);
}

#[test]
fn the_prompt_stays_free_while_files_go_in_the_background() {
    let (server, here) = (Server::new(), place());
    mkfifoat(CWD, here.path().join("endless"), Mode::RUSR | Mode::WUSR).unwrap();
    let keep_open =
        File::options().read(true).write(true).open(here.path().join("endless")).unwrap();
    let large = random(20 << 20, 1);
    fs::write(server.file("large"), &large).unwrap();
    let mut shell = person(&server, here.path());
    shell.say("upload endless &");
    shell.expect("[1]");
    shell.expect(&prompt(""));
    wait_until("it is under way", || server.partials().len() == 1);
    shell.say("list");
    shell.expect("large");
    shell.expect(&prompt(""));
    shell.say("jobs");
    shell.expect("[1]  upload endless  0 B, 0 B/s");
    shell.say("list &");
    shell.expect("only what uploads or downloads");

    shell.expect(&prompt(""));
    shell.say("download --links 2 large &");
    shell.expect("[2]");
    // It may be told at any prompt from here on.
    shell.expect("> ");
    // Where it goes is decided already.
    shell.say("lcd /");
    shell.expect("> ");
    shell.say("wait 2");
    wait_until("it is told", || shell.screen().contains("[2] done: download --links 2 large"));
    assert!(shell.screen().contains("1 file, 20.00 MiB in"), "{}", shell.screen());
    assert_holds(&here.path().join("large"), &large);

    shell.expect("> ");
    shell.say("exit");
    shell.expect("Stop what goes on in the background (1)? [y/N] ");
    shell.say("");
    shell.expect(&prompt(""));
    shell.say("cancel 7");
    shell.expect("there is no job 7");
    shell.say("cancel 1");
    shell.expect("endless: stopped, and nothing of it was kept");
    shell.expect("[1] stopped: upload endless");
    shell.expect(&prompt(""));
    assert!(server.partials().is_empty());
    shell.say("exit");
    let (status, screen) = shell.end();
    assert!(status.success(), "{screen}");
    drop(keep_open);
}

#[test]
fn what_is_typed_ahead_is_done_in_its_turn() {
    let (server, here) = (Server::new(), place());
    fs::write(here.path().join("notes"), "notes").unwrap();
    let mut shell = person(&server, here.path());
    shell.press("mkdir one\nupload notes\nmkdir two\nlogout\n");
    let (status, screen) = shell.end();
    assert!(status.success(), "{screen}");
    assert_eq!(server.names(), ["notes", "one", "two"]);
}

#[test]
fn a_script_waits_for_what_it_left_in_the_background() {
    let (server, here) = (Server::new(), place());
    let data = random(3_000_000, 1);
    fs::write(here.path().join("one"), &data).unwrap();
    fs::write(here.path().join("two"), &data).unwrap();
    script(&server, here.path(), &[], "upload one & upload two &\nmkdir in").ok();
    assert_holds(&server.file("one"), &data);
    assert_holds(&server.file("two"), &data);
    script(&server, here.path(), &[], "upload one & wait; mkdir never").fails(&[
        "one",
        "already exists",
        "failed: upload one",
    ]);
    script(&server, here.path(), &[], "upload one &").fails(&["failed: upload one"]);
    assert_eq!(server.names(), ["in", "one", "two"]);
}

#[test]
fn what_is_removed_by_a_pattern_is_asked_about() {
    let (server, here) = (Server::new(), place());
    for name in ["a.log", "b.log", "c.txt"] {
        fs::write(server.file(name), name).unwrap();
    }
    let mut shell = person(&server, here.path());
    shell.say("delete *.log");
    shell.expect("Remove 2 files? [y/N] ");
    shell.say("");
    shell.expect("nothing was removed");
    assert_eq!(server.names(), ["a.log", "b.log", "c.txt"]);
    shell.say("delete *.log");
    shell.expect("Remove 2 files? [y/N] ");
    shell.say("y");
    shell.expect(&prompt(""));
    assert_eq!(server.names(), ["c.txt"]);
    shell.say("delete *.zip");
    shell.expect("nothing fits \"*.zip\"");
}

#[test]
fn a_server_that_goes_away_is_told_and_can_be_had_again() {
    let (mut server, here) = (Server::new(), place());
    fs::write(server.file("there"), "").unwrap();
    let mut shell = person(&server, here.path());
    server.kill();
    let again = ["serve", "--plain", "--listen", &server.at("")[..server.at("").len() - 1]];
    let root = server.root().to_str().unwrap().to_owned();
    let again = Running::start(command([&again[..], &[root.as_str()]].concat()));
    wait_until("another one listens", || TcpStream::connect(("127.0.0.1", server.port())).is_ok());
    shell.say("list");
    shell.expect("the connection was lost");
    shell.expect("Connect again? [Y/n] ");
    shell.say("");
    shell.expect(&prompt(""));
    shell.say("list");
    shell.expect("there");
    shell.expect(&prompt(""));
    again.signal(Signal::TERM);
    again.end().ok();
    shell.say("list");
    shell.expect("Connect again? [Y/n] ");
    shell.say("y");
    shell.expect("cannot connect");
    shell.expect("Connect again? [Y/n] ");
    shell.say("n");
    let (status, screen) = shell.end();
    assert_eq!(status.code(), Some(1), "{screen}");
}

#[test]
fn scripts_stop_at_what_fails() {
    let (server, here) = (Server::new(), place());
    fs::write(here.path().join("-dash"), "dash").unwrap();
    fs::write(here.path().join("b.bin"), random(100_000, 1)).unwrap();
    let text = "# a comment\n\nmkdir in; cd in\nupload *\nlist\n";
    let told = script(&server, here.path(), &[], text).ok();
    assert!(told.contains("-dash") && told.contains("b.bin"), "{told}");
    assert_holds(&server.file("in/-dash"), b"dash");

    let failing = "delete in/nothing\nmkdir after\n";
    script(&server, here.path(), &[], failing).fails(&["in/nothing", "no such file"]);
    assert_eq!(server.names(), ["in"]);
    script(&server, here.path(), &["--keep-going"], failing).fails(&["in/nothing"]);
    assert_eq!(server.names(), ["after", "in"]);

    let told = script(&server, here.path(), &["-c", "cd in; pwd"], "never read").ok();
    assert_eq!(told, "/in\n");
    script(&server, here.path(), &[], "list 'a").fails(&["not closed: '"]);
    let echoed = script(&server, here.path(), &["-v"], "pwd\n");
    assert!(echoed.stderr.contains("pwd"), "{echoed:?}");
}

#[test]
fn nothing_is_overwritten_unasked() {
    let (server, here) = (Server::new(), place());
    fs::write(here.path().join("f"), "here").unwrap();
    fs::write(server.file("f"), "there").unwrap();
    script(&server, here.path(), &[], "upload f").fails(&["f", "--on-conflict"]);
    script(&server, here.path(), &[], "download f").fails(&["already exists", "--on-conflict"]);
    assert_holds(&server.file("f"), b"there");
    assert_holds(&here.path().join("f"), b"here");
    script(&server, here.path(), &[], "download f --on-conflict keep-both").ok();
    assert_holds(&here.path().join("f_1"), b"there");
    script(&server, here.path(), &[], "upload f --on-conflict replace").ok();
    assert_holds(&server.file("f"), b"here");
}

#[test]
fn a_script_that_is_interrupted_ends() {
    let (server, here) = (Server::new(), place());
    mkfifoat(CWD, here.path().join("endless"), Mode::RUSR | Mode::WUSR).unwrap();
    let keep_open =
        File::options().read(true).write(true).open(here.path().join("endless")).unwrap();
    let mut command =
        command(["shell", "--plain", &server.at(""), "-c", "upload endless; mkdir x"]);
    command.current_dir(here.path());
    let running = Running::start(command);
    wait_until("it is under way", || server.partials().len() == 1);
    running.signal(Signal::INT);
    running.end().exits(130, &["endless: stopped"]);
    assert!(server.names().is_empty() && server.partials().is_empty());
    drop(keep_open);
}

#[test]
fn lines_are_remembered_where_only_their_user_reads_them() {
    let estate = Estate::new();
    estate.admin(&["user", "add", "anna", "rw", "--no-password"]);
    estate.authorize("laptop", "anna", "rw");
    let state = estate.state_of("laptop");
    let args = ["shell", &estate.at(""), "--state", state.to_str().unwrap()];
    let mut shell = Terminal::kift(args);
    shell.expect("> ");
    shell.say("mkdir remembered");
    shell.expect("> ");
    shell.say("exit");
    assert!(shell.end().0.success());
    let history = state.join("history");
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut shell = Terminal::kift(args);
    shell.expect("> ");
    shell.press("\x1b[A\x1b[A");
    shell.expect("mkdir remembered");
    shell.press("\x03");
    shell.expect("> ");
    shell.press("\x04");
    assert!(shell.end().0.success());
}

#[test]
fn names_do_not_move_the_cursor() {
    let (server, here) = (Server::new(), place());
    fs::write(server.file("a\x1b[2Jb"), "x").unwrap();
    let mut shell = person(&server, here.path());
    shell.say("list");
    shell.expect("a?[2Jb");
    shell.say("list a*");
    shell.expect("a?[2Jb");
    shell.say("exit");
    assert!(!shell.end().1.contains("\x1b[2Jb"));
}

#[test]
fn a_narrow_terminal() {
    let (server, here) = (Server::new(), place());
    fs::write(here.path().join("file"), random(200_000, 1)).unwrap();
    let mut shell = Terminal::sized(20, ["shell", "--plain", &server.at("")]);
    shell.expect("> ");
    shell.say(&format!("lcd {}", here.path().display()));
    shell.expect("> ");
    shell.say("upload file");
    shell.expect("1 file");
    shell.say("exit");
    let (status, screen) = shell.end();
    assert!(status.success(), "{screen}");
    assert_holds(&server.file("file"), &random(200_000, 1));
}

/// As many as a machine of a developer bears, at once on one server.
#[test]
fn five_hundred_at_once() {
    const SHELLS: usize = 500;
    // A server has no more strangers of one address at once, and tells others to come later.
    const STRANGERS: usize = 20;
    let server = Server::with(&["--max-sessions", "600"]);
    let here = place();
    let contents = random(5000, 1);
    fs::write(here.path().join("file"), &contents).unwrap();
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned()
    };
    let mut shells: Vec<(Running, std::process::ChildStdin)> = Vec::new();
    for n in 0..SHELLS {
        let own = here.path().join(n.to_string());
        fs::create_dir(&own).unwrap();
        let mut command = command(["shell", "--plain", &server.at("")]);
        command.current_dir(&own);
        let mut running = Running::start(command);
        let mut stdin = running.take_stdin();
        writeln!(stdin, "mkdir {n}; cd {n}; upload ../file").unwrap();
        shells.push((running, stdin));
        if shells.len().is_multiple_of(STRANGERS) {
            wait_until("all are at work at once", || {
                (n + 1 - STRANGERS..=n).all(|n| server.file(&format!("{n}/file")).exists())
            });
        }
    }
    println!("{SHELLS} shells: {}", memory());
    for (_, stdin) in &mut shells {
        writeln!(stdin, "list; download file").unwrap();
    }
    for (n, (running, stdin)) in shells.into_iter().enumerate() {
        drop(stdin);
        let told = running.end().ok();
        assert!(told.contains("file"), "{told}");
        assert_holds(&here.path().join(format!("{n}/file")), &contents);
    }
}

#[test]
fn a_shell_needs_a_server() {
    kift(["shell", "--plain", "127.0.0.1:1"]).fails(&["cannot connect to 127.0.0.1:1"]);
}
