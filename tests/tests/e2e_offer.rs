//! `kift offer` and `kift receive`: what is offered, accepted and confirmed, and what is not.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use kift_core::wire::{Answer, Kind, Request, Signal as Word};
use kift_tests::dial::Dial;
use kift_tests::files::{assert_holds, assert_same, names, place, random};
use kift_tests::machine::{Ended, Running, Signal, command, wait_until};
use kift_tests::raw::Frame;
use kift_tests::serving::{Listens, Server};
use kift_tests::terminal::Terminal;
use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

/// A person who offers files, with a place for what they have.
struct Offer {
    place: TempDir,
    running: Option<Running>,
    is_plain: bool,
}

impl Listens for Offer {
    fn port(&self) -> u16 {
        let text = fs::read_to_string(self.path("port")).expect("it listens");
        text.trim().parse().expect("a port")
    }
}

impl Offer {
    /// Offers what `make` makes in a new place.
    fn new(args: &[&str], files: &[&str], make: impl FnOnce(&Path)) -> Self {
        let place = place();
        make(place.path());
        let is_plain = args.contains(&"--plain");
        let mut offer = Self { place, running: None, is_plain };
        let token_file = offer.text("token");
        let mut line = vec!["offer", "--json", "--listen", "127.0.0.1:0"];
        if !is_plain && !args.contains(&"--to") {
            line.extend(["--token-file", &token_file]);
        }
        let (port_file, state) = (offer.text("port"), offer.text("state"));
        line.extend(["--port-file", &port_file, "--state", &state]);
        line.extend(args);
        line.extend(files);
        let mut command = command(line);
        command.current_dir(offer.place.path());
        offer.running = Some(Running::start(command));
        wait_until("it is offered", || offer.path("port").exists());
        offer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// How a receiver in `here` names it.
    fn line(&self, here: &Path, args: &[&str]) -> Vec<String> {
        let state = here.join("state").to_str().unwrap().to_owned();
        let mut line = vec!["receive".to_owned(), self.at(), "--state".to_owned(), state];
        if self.is_plain {
            line.push("--plain".to_owned());
        } else if self.path("token").exists() {
            line.extend(["--token-file".to_owned(), self.text("token")]);
        }
        line.extend(args.iter().map(|&arg| arg.to_owned()));
        line
    }

    /// Receives it in `here`.
    fn receive(&self, here: &Path, args: &[&str]) -> Ended {
        let mut command = command(self.line(here, args));
        command.current_dir(here);
        Running::start(command).end()
    }

    /// It ends by itself.
    fn end(mut self) -> Ended {
        self.running.take().unwrap().end()
    }

    /// It is stopped.
    fn stop(mut self) -> Ended {
        let running = self.running.take().unwrap();
        running.signal(Signal::TERM);
        running.end()
    }
}

/// What an offer told, each thing by its first key.
fn told(offer: Ended) -> Vec<String> {
    let objects = String::from_utf8(offer.stdout).unwrap();
    let objects = objects.lines().map(|line| serde_json::from_str(line).unwrap());
    objects
        .filter_map(|object: serde_json::Value| {
            let told = ["received", "unconfirmed", "broken_off", "declined"];
            told.iter().find_map(|key| object.get(key).map(|of| format!("{key} {of}")))
        })
        .collect()
}

fn files_in(here: &Path) -> Vec<String> {
    let mut names = names(here);
    names.retain(|name| name != "state");
    names
}

#[test]
fn one_offers_and_another_accepts_and_both_know() {
    let (from, to) = (place(), place());
    fs::write(from.path().join("notes.txt"), "notes").unwrap();
    let state = |of: &TempDir| of.path().join("state").to_str().unwrap().to_owned();
    let args = ["offer", "notes.txt", "--once", "--listen", "127.0.0.1:0", "--state"];
    let mut offer = Terminal::kift_in(from.path(), args.iter().copied().chain([&*state(&from)]));
    offer.expect("offering notes.txt, 5 B");
    offer.expect("the other side types:  kift receive 127.0.0.1:");
    offer.expect("and gives this token:  ");
    offer.expect("\n");
    let screen = offer.screen();
    let behind = |words: &str| {
        let (_, rest) = screen.split_once(words).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let (at, token) = (behind("kift receive "), behind("this token:"));

    let mut receive = Terminal::kift_in(to.path(), ["receive", &at, "--state", &state(&to)]);
    receive.expect_secret("Token that is shown there");
    receive.say(&token);
    receive.expect("Accept notes.txt, 5 B? [y/N] ");
    assert!(files_in(to.path()).is_empty(), "nothing comes unasked");
    receive.say("y");
    receive.expect("1 file, 5 B in");
    let (status, screen) = receive.end();
    assert!(status.success() && !screen.contains(&token), "{screen}");
    assert_holds(&to.path().join("notes.txt"), b"notes");
    offer.expect("received whole by 127.0.0.1:");
    offer.expect("notes.txt, 5 B");
    let (status, screen) = offer.end();
    assert!(status.success(), "{screen}");
}

#[test]
fn who_declines_gets_nothing_and_the_offer_says_so() {
    let to = place();
    let offer = Offer::new(&[], &["a"], |here| fs::write(here.join("a"), "a").unwrap());
    for answer in ["n", "", "maybe"] {
        let mut receive = Terminal::kift_in(to.path(), offer.line(to.path(), &[]));
        receive.expect("Accept a, 1 B? [y/N] ");
        receive.say(answer);
        receive.expect("nothing was received");
        assert!(receive.end().0.success());
    }
    assert!(files_in(to.path()).is_empty());
    let offer = offer.stop();
    offer.fails(&["nothing was received"]);
    assert_eq!(told(offer), ["declined true"; 3]);
}

#[test]
fn several_files_each_accepted_or_not() {
    let to = place();
    let large = random(5_000_000, 1);
    let make = |here: &Path| {
        fs::create_dir(here.join("d")).unwrap();
        fs::write(here.join("d/large"), &large).unwrap();
        fs::write(here.join("empty"), "").unwrap();
        fs::write(here.join("small"), "small").unwrap();
    };
    let offer = Offer::new(&["--plain"], &["small", "d/large", "empty"], make);
    let mut receive = Terminal::kift_in(to.path(), offer.line(to.path(), &[]));
    for (question, answer) in [
        ("Accept empty, 0 B? [y/N] ", "yes"),
        ("Accept large, 4.77 MiB? [y/N] ", "Y"),
        ("Accept small, 5 B? [y/N] ", "no"),
    ] {
        receive.expect(question);
        receive.say(answer);
    }
    receive.expect("2 files");
    assert!(receive.end().0.success());
    assert_holds(&to.path().join("large"), &large);
    assert_eq!(files_in(to.path()), ["empty", "large"]);
    // Others may have them too.
    let other = place();
    offer.receive(other.path(), &["--yes"]).ok();
    assert_same(&other.path().join("large"), &to.path().join("large"));
    assert_eq!(files_in(other.path()), ["empty", "large", "small"]);
    let path = offer.path("port");
    let offer = offer.stop();
    assert!(offer.status.success(), "{offer:?}");
    let mut told = told(offer);
    told.sort();
    let expected = ["\"empty\"", "\"empty\"", "\"large\"", "\"large\"", "\"small\""];
    assert_eq!(told, expected.map(|name| format!("received {name}")));
    assert!(!path.exists(), "the file with the port goes with the offer");
}

#[test]
fn nothing_that_is_here_is_touched_unasked() {
    let to = place();
    let offer = Offer::new(&[], &["f.txt"], |here| fs::write(here.join("f.txt"), "there").unwrap());
    let mine = to.path().join("f.txt");
    fs::write(&mine, "mine").unwrap();
    offer.receive(to.path(), &["--yes"]).ok();
    assert_holds(&to.path().join("f_1.txt"), b"there");
    offer.receive(to.path(), &["--yes", "--prefix", "downloaded_"]).ok();
    assert_holds(&to.path().join("downloaded_f.txt"), b"there");
    offer
        .receive(to.path(), &["--yes", "--on-conflict", "refuse"])
        .fails(&["f.txt: already exists", "--on-conflict"]);
    assert_holds(&mine, b"mine");
    assert_eq!(files_in(to.path()), ["downloaded_f.txt", "f.txt", "f_1.txt"]);
    offer.receive(to.path(), &["--yes", "--on-conflict", "replace"]).ok();
    assert_holds(&mine, b"there");
    offer.receive(to.path(), &["--yes", "--prefix", "../"]).fails(&["no name can begin like that"]);
    offer.receive(to.path(), &["nowhere", "--yes"]).fails(&["nowhere: there is no such directory"]);
    let told = told(offer.stop());
    assert_eq!(told.iter().filter(|told| told.starts_with("received")).count(), 3, "{told:?}");
    assert_eq!(told.iter().filter(|told| told.starts_with("unconfirmed")).count(), 1, "{told:?}");
}

#[test]
fn without_a_person_it_is_not_accepted_unless_that_is_said() {
    let to = place();
    let offer = Offer::new(&["--plain"], &["a"], |here| fs::write(here.join("a"), "a").unwrap());
    offer.receive(to.path(), &[]).fails(&["nobody here", "--yes"]);
    assert!(files_in(to.path()).is_empty());
    assert!(told(offer.stop()).is_empty(), "nobody came");
}

#[test]
fn only_for_whom_it_is_meant() {
    let (to, other) = (place(), place());
    let make = |here: &Path| fs::write(here.join("a"), "secret").unwrap();
    let offer = Offer::new(&[], &["a"], make);
    let wrong = to.path().join("wrong");
    let token = fs::read_to_string(offer.path("token")).unwrap();
    let another = Offer::new(&[], &["a"], make);
    fs::copy(another.path("token"), &wrong).unwrap();
    let at = offer.at();
    let state = to.path().join("state");
    let line = |token_file: &Path| {
        let mut line = vec!["receive", &at, "--yes", "--state", state.to_str().unwrap()];
        line.extend(["--token-file", token_file.to_str().unwrap()]);
        let mut command = command(line);
        command.current_dir(to.path());
        Running::start(command).end()
    };
    line(&wrong).fails(&["token"]);
    fs::write(&wrong, "no token\n").unwrap();
    let told_wrong = line(&wrong);
    told_wrong.fails(&["no token"]);
    // Neither without any, nor plain.
    let args = ["receive", &at, "--yes", "--state", state.to_str().unwrap(), "--server-key"];
    let key = {
        let shown = command(["key", "show", "--state", &offer.text("state")]);
        let shown = Running::start(shown).end().ok();
        shown.trim().strip_prefix("x25519 ").unwrap().to_owned()
    };
    Running::start(command(args.iter().copied().chain([&*key]))).end().fails(&["nobody's"]);
    Running::start(command(["receive", "--plain", &at, "--yes"])).end().fails(&["--plain"]);
    assert_eq!(names(to.path()), ["state", "wrong"]);
    let offer = offer.stop();
    assert!(!offer.stderr.contains(token.trim()), "{offer:?}");
    offer.fails(&["nothing was received"]);

    // By key.
    let state = other.path().join("state");
    let gen_key = ["key", "gen", "--state", state.to_str().unwrap()];
    let _ = Running::start(command(gen_key)).end();
    let shown = command(["key", "show", "--state", state.to_str().unwrap()]);
    let shown = Running::start(shown).end().ok();
    let theirs = shown.trim().strip_prefix("x25519 ").unwrap();
    let offer = Offer::new(&["--to", theirs, "--once"], &["a"], make);
    let shown = command(["key", "show", "--state", &offer.text("state")]);
    let shown = Running::start(shown).end().ok();
    let ours = ["--yes", "--server-key", shown.trim().strip_prefix("x25519 ").unwrap()];
    offer.receive(to.path(), &ours).fails(&["nobody's"]);
    offer.receive(other.path(), &ours).ok();
    assert_holds(&other.path().join("a"), b"secret");
    assert_eq!(told(offer.end()), ["received \"a\""]);
}

#[test]
fn a_single_receiver_has_it_once() {
    let (first, second) = (place(), place());
    let make = |here: &Path| File::create(here.join("large")).unwrap().set_len(1 << 36).unwrap();
    let offer = Offer::new(&["--plain", "--once"], &["large"], make);
    let begin = |here: &Path| {
        let mut command = command(offer.line(here, &["--yes"]));
        command.current_dir(here);
        let mut running = Running::start(command);
        let mut is_under_way = false;
        wait_until("it goes, or is refused", || {
            is_under_way = names(here).iter().any(|name| name.ends_with(".part"));
            is_under_way || running.is_over()
        });
        (running, is_under_way)
    };
    let (running, is_under_way) = begin(first.path());
    assert!(is_under_way);
    offer.receive(second.path(), &["--yes"]).fails(&["large", "busy"]);
    // Who is gone has no claim.
    running.signal(Signal::KILL);
    assert!(running.end().was_killed());
    wait_until("it is free again", || {
        let (running, is_under_way) = begin(second.path());
        running.signal(Signal::INT);
        let _ = running.end();
        is_under_way
    });
    // What is kept of it has no name that anybody takes for a file.
    let kept = |name: &String| name.starts_with(".kift-");
    assert!(files_in(second.path()).iter().all(kept), "{:?}", files_in(second.path()));
    let told = told(offer.stop());
    assert!(told.iter().all(|told| told.starts_with("broken_off")) && told.len() == 2, "{told:?}");
}

#[test]
fn what_was_changed_since_is_not_received() {
    let to = place();
    let offer =
        Offer::new(&["--plain"], &["f"], |here| fs::write(here.join("f"), "before").unwrap());
    let mut file = OpenOptions::new().append(true).open(offer.path("f")).unwrap();
    file.write_all(b" and after").unwrap();
    offer.receive(to.path(), &["--yes"]).fails(&["f: "]);
    assert!(files_in(to.path()).is_empty());
    assert!(!told(offer.stop()).iter().any(|told| told.starts_with("received")));
}

/// Whoever takes a file and says nothing, or something else, has not confirmed it.
#[test]
fn a_receipt_is_for_all_of_the_file() {
    let data = random(3000, 1);
    let offer = Offer::new(&["--plain"], &["f"], |here| fs::write(here.join("f"), &data).unwrap());
    let take = |first: u32, count: Option<u32>, receipt: Option<u32>| {
        let mut dial = Dial::open(&offer);
        let number = dial.request(&Request::Get { path: "f", first, count });
        assert!(matches!(dial.answer(number), Answer::Sending { .. }));
        while dial.frame().expect("a close").kind != Kind::Close {}
        if let Some(durable) = receipt {
            let word = Word::Progress { received: durable, durable };
            dial.tell(&Frame::signal(number, word));
        }
        let goodbye = dial.request(&Request::Goodbye);
        assert_eq!(dial.answer(goodbye), Answer::Done);
    };
    take(0, None, None);
    take(0, None, Some(2));
    take(1, None, Some(2));
    take(0, None, Some(3));
    let told = told(offer.stop());
    assert_eq!(told.iter().filter(|told| *told == "received \"f\"").count(), 1, "{told:?}");
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn names_of_others_do_no_harm() {
    let to = place();
    let server = Server::new();
    for name in ["-rf", ".bashrc", "a\x1b[2Jb"] {
        fs::write(server.file(name), name).unwrap();
    }
    fs::create_dir(server.file("directory")).unwrap();
    let mut command = command(["receive", "--plain", "--yes", &server.at("")]);
    command.current_dir(to.path());
    Running::start(command).end().fails(&[".bashrc: left out"]);
    assert_eq!(names(to.path()), ["-rf", "a\x1b[2Jb"]);
    let mut receive = Terminal::kift_in(to.path(), ["receive", "--plain", &server.at("")]);
    receive.expect("Accept -rf, 3 B? [y/N] ");
    receive.say("n");
    receive.expect("Accept .bashrc, 7 B? [y/N] ");
    receive.say("n");
    receive.expect("Accept a?[2Jb, 6 B? [y/N] ");
    receive.say("n");
    assert!(!receive.end().1.contains("\x1b[2Jb"));
}

#[test]
fn what_cannot_be_offered_is_said_at_once() {
    let here = place();
    fs::write(here.path().join("same"), "").unwrap();
    fs::create_dir(here.path().join("d")).unwrap();
    fs::write(here.path().join("d/same"), "").unwrap();
    mkfifoat(CWD, here.path().join("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    symlink("same", here.path().join("link")).unwrap();
    let offer = |files: &[&str]| {
        let mut command = command([&["offer", "--plain", "--once"], files].concat());
        command.current_dir(here.path());
        Running::start(command).end()
    };
    offer(&["none"]).fails(&["cannot read none"]);
    offer(&["d"]).fails(&["d is a directory", "kift serve"]);
    offer(&["pipe"]).fails(&["pipe is no regular file"]);
    offer(&["same", "d/same"]).fails(&["two of the files are called \"same\""]);
    offer(&[]).exits(2, &["FILE"]);
    let state = here.path().join("state");
    let state = state.to_str().unwrap();
    let to = command(["offer", "same", "--to", "nobody", "--state", state]);
    let mut to = to;
    to.current_dir(here.path());
    Running::start(to).end().fails(&["no key is known here to be nobody's", "kift authorize"]);
}
