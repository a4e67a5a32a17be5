//! `kift` alone on a terminal: a person who reads no help, and a menu.

use std::fs::{self, File};
use std::path::Path;

use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, names, place};
use kift_tests::machine::{kift, wait_until};
use kift_tests::serving::Server;
use kift_tests::terminal::Terminal;
use rustix::fs::{CWD, Mode, mkfifoat};

const CHOOSE: &str = "Choose 1 to 5: ";

/// A person before a menu that is to begin.
fn person(state: &Path, here: &Path) -> Terminal {
    Terminal::kift_in(here, ["--state", state.to_str().unwrap()])
}

/// Answers the questions in turn.
fn talk(menu: &mut Terminal, talk: &[(&str, &str)]) {
    for (question, answer) in talk {
        menu.expect(question);
        menu.say(answer);
    }
}

/// A person who is connected to a server that speaks plain.
fn connected(server: &Server, here: &Path) -> Terminal {
    let mut menu = person(&here.join("state"), here);
    let port = server.port().to_string();
    talk(&mut menu, &[("Address of the server [127.0.0.1]: ", ""), ("Port [5438]: ", &port)]);
    menu.expect("User: ");
    menu.say("");
    menu.expect("speaks plain only");
    menu.expect("Go on without any protection? [y/N] ");
    menu.say("y");
    menu.expect("Connected to 127.0.0.1");
    menu.expect(CHOOSE);
    menu
}

#[test]
fn a_visit_with_user_and_password() {
    let (estate, here) = (Estate::new(), place());
    estate.user("anna", "rw,delete", "correct horse battery");
    fs::write(here.path().join("notes.txt"), "notes").unwrap();
    let port = estate.server().port().to_string();
    let mut menu = person(&estate.state_of("laptop"), here.path());
    talk(&mut menu, &[("server [127.0.0.1]: ", "localhost"), ("Port [5438]: ", &port)]);
    menu.expect("User: ");
    menu.say("anna");
    menu.expect(&estate.fingerprint());
    menu.expect("[yes/no] ");
    menu.say("yes");
    menu.expect_secret("password of anna");
    menu.say("wrong");
    menu.expect("wrong user or password");
    menu.expect_secret("password of anna");
    menu.say("correct horse battery");
    menu.expect("Connected to localhost");
    talk(&mut menu, &[(CHOOSE, "1"), ("File to upload (Tab completes): ", "notes.txt")]);
    menu.expect("1 file, 5 B in");
    talk(&mut menu, &[(CHOOSE, "3")]);
    menu.expect("notes.txt");
    assert_holds(&estate.server().file("notes.txt"), b"notes");
    fs::write(estate.server().file("notes.txt"), "other").unwrap();
    let question = "\"notes.txt\" is there already. Replace it, keep both, or leave it [leave]: ";
    talk(&mut menu, &[(CHOOSE, "2"), ("File to download", "notes.txt"), (question, "keep")]);
    menu.expect("stored as \"./notes_1.txt\"");
    assert_holds(&here.path().join("notes_1.txt"), b"other");
    assert_holds(&here.path().join("notes.txt"), b"notes");
    talk(&mut menu, &[(CHOOSE, "upload"), ("File to upload", "notes.txt"), (question, "replace")]);
    menu.expect("1 file, 5 B in");
    assert_holds(&estate.server().file("notes.txt"), b"notes");
    let question = "Delete notes.txt there for good? [y/N] ";
    talk(&mut menu, &[(CHOOSE, "4"), ("File to delete", "notes.txt"), (question, "")]);
    menu.expect("Nothing was deleted.");
    talk(&mut menu, &[(CHOOSE, "4"), ("File to delete", "notes.txt"), (question, "y")]);
    menu.expect("Deleted notes.txt.");
    assert!(estate.server().names().is_empty());
    talk(&mut menu, &[(CHOOSE, "3")]);
    menu.expect("There are no files.");
    talk(&mut menu, &[(CHOOSE, "5")]);
    let (status, screen) = menu.end();
    assert!(status.success(), "{screen}");
    assert!(!screen.contains("battery"), "{screen}");
    estate.server().wait_until_idle();
    let log = estate.server().log();
    assert!(log.lines().last().unwrap().contains("session ended"), "a goodbye: {log}");
}

#[test]
fn wrong_answers_are_explained_and_asked_for_again() {
    let (server, here) = (Server::new(), place());
    let mut menu = person(&here.path().join("state"), here.path());
    for (answer, words) in [
        ("http://x", "the scheme is not kift"),
        ("::1", "brackets"),
        ("127.0.0.1/files", "only the address"),
    ] {
        talk(&mut menu, &[("Address of the server", answer)]);
        menu.expect(words);
    }
    talk(&mut menu, &[("Address of the server", "127.0.0.1")]);
    for answer in ["70000", "0", "http"] {
        talk(&mut menu, &[("Port [5438]: ", answer)]);
        menu.expect("is no number from 1 to 65535");
    }
    let port = server.port().to_string();
    talk(&mut menu, &[("Port [5438]: ", &port), ("User: ", "no user's/name")]);
    menu.expect("is no user's name");
    talk(&mut menu, &[("User: ", ""), ("without any protection? [y/N] ", "")]);
    // That was a no, so another server may be meant.
    talk(
        &mut menu,
        &[("Address of the server", "127.0.0.1:1"), ("Port [1]: ", ""), ("User: ", "")],
    );
    menu.expect("cannot connect to 127.0.0.1:1");
    menu.expect("Address of the server");
    menu.press("\x04");
    assert!(menu.end().0.success());

    let mut menu = connected(&server, here.path());
    for answer in ["0", "6", "frob", ""] {
        menu.say(answer);
        menu.expect("from 1 to 5");
        menu.expect(CHOOSE);
    }
    menu.say("1");
    talk(&mut menu, &[("File to upload", "nowhere.txt")]);
    menu.expect("cannot read nowhere.txt: No such file");
    talk(&mut menu, &[(CHOOSE, "2"), ("File to download", "nowhere.txt")]);
    menu.expect("nowhere.txt: no such file");
    talk(&mut menu, &[(CHOOSE, "4"), ("File to delete", "nowhere.txt")]);
    menu.expect("nowhere.txt: no such file");
    menu.expect(CHOOSE);
    menu.press("\x04");
    assert!(menu.end().0.success());
}

#[test]
fn names_are_completed_whatever_is_in_them() {
    let (server, here) = (Server::new(), place());
    fs::write(here.path().join("-a b; c"), "here").unwrap();
    fs::create_dir(server.file("a dir")).unwrap();
    fs::write(server.file("a dir/its 'file'"), "there").unwrap();
    let mut menu = connected(&server, here.path());
    menu.say("1");
    menu.expect("File to upload");
    menu.press("-\t\n");
    menu.expect("1 file");
    assert_holds(&server.file("-a b; c"), b"here");
    talk(&mut menu, &[(CHOOSE, "2"), ("File to download", "")]);
    menu.expect("a dir/");
    menu.expect("File to download");
    menu.press("a\t");
    menu.expect("a dir/");
    menu.press("i\t\n");
    menu.expect("1 file");
    assert_holds(&here.path().join("its 'file'"), b"there");
    talk(&mut menu, &[(CHOOSE, "exit")]);
    assert!(menu.end().0.success());
}

#[test]
fn ctrl_c_goes_back_to_the_menu() {
    let (server, here) = (Server::new(), place());
    mkfifoat(CWD, here.path().join("endless"), Mode::RUSR | Mode::WUSR).unwrap();
    let keep_open =
        File::options().read(true).write(true).open(here.path().join("endless")).unwrap();
    let mut menu = connected(&server, here.path());
    menu.say("1");
    menu.expect("File to upload");
    menu.press("\x03");
    menu.expect(CHOOSE);
    talk(&mut menu, &[("", "1"), ("File to upload", "endless")]);
    wait_until("it is under way", || server.partials().len() == 1);
    menu.press("\x03");
    menu.expect("endless: stopped, and nothing of it was kept");
    menu.expect(CHOOSE);
    assert!(server.names().is_empty() && server.partials().is_empty());
    menu.press("\x03");
    assert!(menu.end().0.success());
    drop(keep_open);
}

#[test]
fn a_server_that_went_away_is_told_and_asked_for_again() {
    let (mut server, here) = (Server::new(), place());
    fs::write(server.file("there"), "there").unwrap();
    let mut menu = connected(&server, here.path());
    server.kill();
    menu.say("3");
    menu.expect("the connection was lost");
    menu.expect("Address of the server [127.0.0.1]: ");
    menu.press("\x04");
    assert!(menu.end().0.success());
    assert_eq!(names(here.path()), ["state"]);
}

#[test]
fn without_a_terminal_there_is_no_menu() {
    let told = kift::<&str>([]);
    told.exits(2, &["Usage: kift", "Commands:", "serve"]);
}
