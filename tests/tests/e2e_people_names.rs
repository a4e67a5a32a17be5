//! Names that look like options, and names that would move the cursor, on command lines and terminals.

use std::fs;
use std::path::Path;

use kift_tests::files::{assert_holds, names, place};
use kift_tests::machine::{Ended, Running, command};
use kift_tests::serving::Server;
use kift_tests::terminal::Terminal;

/// Runs `kift` in `here`.
fn kift_in(here: &Path, args: &[&str]) -> Ended {
    let mut command = command(args);
    command.current_dir(here);
    Running::start(command).end()
}

#[test]
fn names_that_look_like_options() {
    let (server, here) = (Server::new(), place());
    for name in ["-r", "--delete", "-", "--"] {
        let (dir, new) = (format!("{name}dir"), format!("{name}new"));
        fs::create_dir(here.path().join(&dir)).unwrap();
        fs::write(here.path().join(&dir).join(name), name).unwrap();
        let run = |args: &[&str]| kift_in(here.path(), args).ok();
        let at = |path: &str| server.at(path);

        // A server's come behind its own name; those here behind `--` or `./`.
        run(&["put", "--plain", "-r", "--", &dir, &at("")]);
        assert_holds(&server.file(&dir).join(name), name.as_bytes());
        run(&["put", "--plain", &format!("./{dir}/{name}"), &at(&new)]);
        run(&["mv", "--plain", &at(&new), "--", name]);
        assert_holds(&server.file(name), name.as_bytes());
        assert!(run(&["ls", "--plain", &at("")]).contains(name));
        assert!(run(&["stat", "--plain", &at(name)]).contains(name));
        assert_eq!(run(&["cat", "--plain", &at(name)]), name);
        run(&["get", "--plain", &at(name), "--", &new]);
        assert_holds(&here.path().join(&new), name.as_bytes());
        run(&["get", "--plain", &at(name), "--", &dir]);
        run(&["sync", "--plain", "--", &dir, &at("synced")]);
        assert_holds(&server.file("synced").join(name), name.as_bytes());
        fs::write(server.file("synced").join(format!("{name}more")), "more").unwrap();
        run(&["sync", "--plain", &at("synced"), "--", &dir]);
        assert_holds(&here.path().join(&dir).join(format!("{name}more")), b"more");
        run(&["mkdir", "--plain", &at(&new)]);
        run(&["rm", "--plain", &at(&new), &at(name)]);
        assert!(!server.file(name).exists() && !server.file(&new).exists());
    }
}

/// Without `--` an option that is none is said to be one.
#[test]
fn an_option_that_is_none_is_explained() {
    let (server, here) = (Server::new(), place());
    fs::write(here.path().join("-x"), "x").unwrap();
    let told = kift_in(here.path(), &["put", "--plain", "-x", &server.at("")]);
    told.exits(2, &["unexpected argument '-x'", "-- -x"]);
    assert_eq!(server.names(), [""; 0]);
}

const EVIL: &str = "a\x1b[2J\x1b]0;title\x07\r\u{9b}31mb\nc";
const SHOWN: &str = "a?[2J?]0;title???31mb";

#[test]
fn names_that_would_move_the_cursor_are_shown_without_that() {
    let (server, here) = (Server::new(), place());
    fs::create_dir(server.file("dir")).unwrap();
    fs::write(server.file("dir").join(EVIL), "evil").unwrap();
    fs::write(here.path().join(EVIL), "evil").unwrap();
    let (evil, dir, evil_dir) =
        (server.at(&format!("dir/{EVIL}")), server.at("dir"), server.at(&format!("dir/{EVIL}/x")));
    let commands: [(&[&str], Option<&str>); 10] = [
        (&["ls", &dir], Some(SHOWN)),
        (&["stat", &evil], Some(SHOWN)),
        (&["stat", &evil_dir], Some(SHOWN)),
        (&["get", &evil_dir, "x"], Some(SHOWN)),
        (&["get", "-v", &evil, "fetched"], None),
        (&["put", "-v", EVIL, &server.at("")], None),
        (&["sync", "--dry-run", &dir, "./new"], Some(SHOWN)),
        (&["put", &format!("{EVIL}x"), &server.at("")], Some(SHOWN)),
        (&["mv", &evil_dir, EVIL], None),
        (&["rm", "-v", &evil_dir, &evil], Some(SHOWN)),
    ];
    for (args, words) in commands {
        let args = [args, &["--plain"]].concat();
        let (_, screen) = Terminal::kift_in(here.path(), &args).end();
        for sequence in ["\x1b[2J", "\x1b]0;", "\x07", "\u{9b}"] {
            assert!(!screen.contains(sequence), "{args:?}: {screen:?}");
        }
        assert!(words.is_none_or(|words| screen.contains(words)), "{args:?}: {screen:?}");
    }
    assert!(names(here.path()).contains(&"fetched".to_owned()));
    assert_holds(&server.file(EVIL), b"evil");
}
