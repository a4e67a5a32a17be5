//! Text files: nobody takes them for anything but bytes. Line ends and encodings stay as they are.

use std::fs;

use kift_tests::files::{assert_holds, names, place};
use kift_tests::machine::{Running, command, kift};
use kift_tests::serving::Server;

/// Texts as other systems and older programs write them.
const TEXTS: [(&str, &[u8]); 13] = [
    ("unix.txt", b"one\ntwo\n"),
    ("dos.txt", b"one\r\ntwo\r\n"),
    ("old-mac.txt", b"one\rtwo\r"),
    ("mixed.txt", b"one\r\ntwo\nthree\r\r\n\n"),
    ("no-end.txt", b"one\ntwo"),
    ("only-ends.txt", b"\n\r\n\r"),
    ("empty.txt", b""),
    ("bom.txt", b"\xef\xbb\xbfone\n"),
    ("utf-16le.txt", b"\xff\xfeo\0n\0e\0\r\0\n\0"),
    ("utf-16be.txt", b"\xfe\xff\0o\0n\0e\0\n"),
    ("latin-1.txt", b"caf\xe9 \xa7 \xfcber\n"),
    ("nul.txt", b"be\0fore\0\n\0"),
    ("control.txt", b"\x1a\x04\x03\x11\x13\x7f\x1b[31m\x80\n"),
];

#[test]
fn texts_stay_as_they_are_whichever_way_they_go() {
    let (server, here) = (Server::new(), place());
    let path = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    for dir in ["mine", "fetched"] {
        fs::create_dir(path(dir)).unwrap();
    }
    for (name, bytes) in TEXTS {
        fs::write(here.path().join("mine").join(name), bytes).unwrap();
    }
    kift(["put", "-r", "--plain", &path("mine"), &server.at("")]).ok();
    kift(["sync", "--plain", &path("mine"), &server.at("synced")]).ok();
    kift(["get", "-r", "--plain", &server.at("mine"), &path("fetched")]).ok();
    kift(["sync", "--plain", &server.at("mine"), &path("synced")]).ok();
    for (name, bytes) in TEXTS {
        for dir in ["mine", "synced"] {
            assert_holds(&server.file(dir).join(name), bytes);
        }
        for dir in ["fetched/mine", "synced"] {
            assert_holds(&here.path().join(dir).join(name), bytes);
        }
        let at = server.at(&format!("mine/{name}"));
        assert_eq!(kift(["cat", "--plain", &at]).stdout, bytes, "{name}");
        assert_eq!(kift(["get", "--plain", &at, "-"]).stdout, bytes, "{name}");

        // Through a pipe, and one by one.
        let mut put = Running::start(command(["put", "--plain", "-", &server.at(name)]));
        std::io::Write::write_all(&mut put.take_stdin(), bytes).unwrap();
        put.end().ok();
        assert_holds(&server.file(name), bytes);
        kift(["get", "--plain", &server.at(name), &path("single")]).ok();
        assert_holds(&here.path().join("single"), bytes);
    }
    assert_eq!(names(&server.file("mine")).len(), TEXTS.len());

    // All at once is one after the other, with nothing between.
    let mut cat = vec!["cat".to_owned(), "--plain".to_owned()];
    cat.extend(TEXTS.map(|(name, _)| server.at(name)));
    assert_eq!(kift(cat).stdout, TEXTS.map(|(_, bytes)| bytes).concat());
}

#[test]
fn a_shell_takes_texts_for_no_more() {
    let (server, here) = (Server::new(), place());
    for (name, bytes) in TEXTS {
        fs::write(here.path().join(name), bytes).unwrap();
    }
    let run = |script: &str| {
        let mut shell = command(["shell", "--plain", &server.at(""), "-c", script]);
        shell.current_dir(here.path());
        Running::start(shell).end()
    };
    assert!(run("upload *.txt").status.success());
    for (name, bytes) in TEXTS {
        assert_holds(&server.file(name), bytes);
        assert_eq!(run(&format!("cat {name}")).stdout, bytes, "{name}");
        fs::remove_file(here.path().join(name)).unwrap();
    }
    assert!(run("download *.txt").status.success());
    for (name, bytes) in TEXTS {
        assert_holds(&here.path().join(name), bytes);
    }
}
