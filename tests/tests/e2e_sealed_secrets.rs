//! What is secret stands in the files that it is kept in, and nowhere else: in no log, however much is
//! logged, in no message, and on no command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kift_core::secure::Base64;
use kift_tests::estate::Estate;
use kift_tests::machine::Ended;

const PASSWORD: &str = "correct horse battery";
const WRONG: &str = "staple that is wrong";

/// Text that must not be seen, and all that was.
#[derive(Default)]
struct Watch {
    secrets: Vec<(String, String)>,
    seen: String,
}

impl Watch {
    fn secret(&mut self, what: &str, text: &str) {
        assert!(text.len() >= 16, "{what} is no such secret: {text:?}");
        self.secrets.push((what.to_owned(), text.to_owned()));
    }

    /// A key, in its file, and as a program could show it.
    fn secret_key(&mut self, what: &str, state: &Path) {
        let text = fs::read_to_string(state.join("key")).expect("a key");
        let text = text.lines().last().expect("a line");
        self.secret(what, text);
        let bytes = Base64::parse(text).expect("a key");
        self.secret(what, &bytes.map(|byte| format!("{byte:02x}")).concat());
        let listed = format!("{:?}", &bytes[..8]);
        self.secret(what, listed.trim_matches(['[', ']']));
    }

    /// A line with a password's hash: what of it depends on the password.
    fn hash(&mut self, users: &str) {
        for line in users.lines().filter(|line| line.contains("argon2id")) {
            for part in line.rsplit('$').take(2) {
                self.secret("a hash", part);
            }
        }
    }

    /// What a command wrote.
    #[track_caller]
    fn look(&mut self, ended: &Ended) {
        self.complaint(ended);
        self.seen += &String::from_utf8_lossy(&ended.stdout);
    }

    /// What it wrote, but for its result, which is meant to be a secret.
    fn complaint(&mut self, ended: &Ended) {
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        self.seen += &ended.stderr;
    }

    #[track_caller]
    fn assert_kept(&self) {
        for (what, text) in &self.secrets {
            let line = self.seen.lines().find(|line| line.contains(&text[..]));
            assert!(line.is_none(), "{what} is shown: {line:?}");
        }
    }
}

fn path(file: &Path) -> &str {
    file.to_str().expect("UTF-8")
}

#[test]
fn nothing_secret_is_shown() {
    let estate = Estate::with(&["-vvv"]);
    let mut watch = Watch::default();
    let (right, wrong) = (estate.secret("right", PASSWORD), estate.secret("wrong", WRONG));
    let run = |watch: &mut Watch, who: &str, args: &[&str]| {
        let ended = estate.kift(who, &[args, &["-vvv"]].concat());
        watch.look(&ended);
        ended.status.success()
    };
    for args in [
        &["user", "add", "anna", "rw", "--password-file", path(&right)][..],
        &["user", "passwd", "anna", "--password-file", path(&right)],
        &["user", "ls"],
        &["user", "ls", "--json"],
        &["key", "show"],
        &["key", "show", "--json"],
        &["key", "fingerprint"],
    ] {
        assert!(run(&mut watch, "", args), "{args:?}");
    }
    watch.hash(&fs::read_to_string(estate.state().join("users")).unwrap());
    assert!(watch.secrets.len() >= 4, "anna's, and the first user's");

    // Pairing, right and wrong.
    let pair = estate.kift("", &["pair", "anna", "-vvv"]);
    watch.complaint(&pair);
    let text = pair.ok().trim().to_owned();
    let (token, none) = (estate.secret("token", &text), estate.secret("none", &"a".repeat(26)));
    let at = estate.at("");
    assert!(!run(&mut watch, "thief", &["ls", &at, "--token-file", path(&none)]));
    assert!(run(&mut watch, "phone", &["ls", &at, "--token-file", path(&token)]));
    assert!(!run(&mut watch, "thief", &["ls", &at, "--token-file", path(&token)]));
    assert!(!run(&mut watch, "thief", &["ls", &at, "--token-file", path(&right)]));
    watch.secret("the token", &text);
    watch.secret("another token", &"a".repeat(26));

    // Logging in, right and wrong, and some work.
    estate.introduce("laptop");
    let (file, mine) = (estate.at_as("anna", "file"), estate.place().join("file"));
    fs::write(&mine, "contents that are nobody's business").unwrap();
    let with = |password| ["--password-file", path(password)];
    for (args, password, succeeds) in [
        (&["put", path(&mine), &file][..], &right, true),
        (&["get", &file, path(&mine)], &right, true),
        (&["stat", "--blake3", &file], &right, true),
        (&["ls", &file], &right, false),
        (&["ls", &file], &wrong, false),
        (&["rm", &file], &right, true),
    ] {
        let args = [args, &with(password)].concat();
        assert_eq!(run(&mut watch, "laptop", &args), succeeds, "{args:?}");
    }
    watch.secret("a password", PASSWORD);
    watch.secret("a wrong password", WRONG);
    watch.secret("contents", "contents that are nobody's");
    watch.secret_key("the server's key", &estate.state());
    for who in ["phone", "laptop", "thief"] {
        watch.secret_key("a client's key", &estate.state_of(who));
    }

    // What the server says of all that.
    let log = estate.server().log();
    assert!(log.contains("login failed") && log.contains("logged in by password"), "{log}");
    assert!(log.contains("paired") && log.contains("anna@"), "{log}");
    watch.seen += &log;
    watch.seen += &estate.server().greeting();
    let line = fs::read(format!("/proc/{}/cmdline", estate.server().pid())).unwrap();
    watch.seen += &String::from_utf8_lossy(&line);
    watch.assert_kept();
}

/// Lines that somebody broke or put together otherwise are told by their number.
#[test]
fn messages_about_damaged_files_do_not_quote_secrets() {
    let estate = Estate::new();
    let right = estate.secret("right", PASSWORD);
    estate.admin(&["user", "add", "anna", "rw", "--password-file", path(&right)]);
    let token = estate.admin(&["pair", "anna"]).trim().to_owned();
    let users = fs::read_to_string(estate.state().join("users")).unwrap();
    let hash = users.lines().find_map(|line| line.strip_prefix("anna rw ")).unwrap();
    let key = fs::read_to_string(estate.state().join("key")).unwrap();
    let key = key.lines().last().unwrap().to_owned();
    let (mut watch, pin) = (Watch::default(), estate.fingerprint());
    watch.hash(hash);
    watch.secret("the token", &token);
    watch.secret("the key", &key);

    let damaged = [
        ("users", hash, vec!["", "anna ", "anna rw,", "anna path=a,", "anna rw x ", "anna rw $"]),
        ("token", &*token, vec!["", "anna ", "x anna ", "anna rw ", "x x x x "]),
        ("key", &*key, vec!["x25519 ", "x", "key = "]),
    ];
    for (file, secret, befores) in damaged {
        let place = estate.state().join(file);
        let sound = fs::read_to_string(&place).unwrap();
        for before in befores {
            for behind in ["", " anna rw", " x y z", ",ro", "x", " anna 2999-01-01T00:00:00Z x=y"] {
                fs::write(&place, format!("{before}{secret}{behind}\n")).unwrap();
                fs::set_permissions(&place, fs::Permissions::from_mode(0o600)).unwrap();
                for args in [
                    &["user", "ls"][..],
                    &["user", "add", "bert", "rw", "--no-password"],
                    &["authorize", "bert", &"A".repeat(43)],
                    &["key", "show"],
                    &["ls", &estate.at("")],
                ] {
                    watch.look(&estate.kift("", args));
                }
                // It would be told to the next who asks that the file changed.
                watch.look(&estate.kift("laptop", &["ls", &estate.at(""), "--server-key", &pin]));
            }
        }
        fs::write(&place, sound).unwrap();
    }
    watch.seen += &estate.server().log();
    assert!(watch.seen.contains("users, line 1") && watch.seen.contains("is damaged"));
    watch.assert_kept();
}

#[test]
fn no_secret_is_an_argument() {
    let estate = Estate::new();
    let at = estate.at("");
    for args in [
        &["ls", &at, "--password", PASSWORD][..],
        &["ls", &at, "--token", "aaaaaaaaaaaaaaaaaaaaaaaaaa"],
        &["ls", &at, "--key", "AAAA"],
        &["user", "add", "anna", "rw", "--password", PASSWORD],
        &["user", "passwd", "anna", PASSWORD],
        &["serve", "--password", PASSWORD],
    ] {
        estate.kift("", args).exits(2, &["unexpected argument"]);
    }
    // Nor is a part of one.
    let with = format!("kift://anna:{}@{at}", "secret");
    estate.kift("", &["ls", &with]).fails(&["is no user's name"]);
    assert!(!estate.server().log().contains("secret"));
}
