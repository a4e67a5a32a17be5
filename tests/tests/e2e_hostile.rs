//! Names that no honest client sends, and things in a directory that are nobody's business.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use kift_core::wire::{Answer, Ask, Code, EntryKind, Kind, Request, Signal};
use kift_tests::asking::{Does, outcome, put, requests};
use kift_tests::dial::Dial;
use kift_tests::files::place;
use kift_tests::machine::kift;
use kift_tests::raw::Frame;
use kift_tests::rng::Case;
use kift_tests::serving::Server;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// Sends `request`, the data too where it is an upload, and gives why it was refused.
fn refusal(dial: &mut Dial, request: &Request<'_>) -> Code {
    outcome(dial, request).expect_err("a refusal")
}

fn assert_usable(dial: &mut Dial) {
    match dial.ask(&Request::Stat { path: "good", digest: false }) {
        Answer::Stat { meta, .. } => assert_eq!((meta.kind, meta.size), (EntryKind::File, 4)),
        answer => panic!("{answer:?}"),
    }
}

/// Everything below a directory, and what it is.
fn inventory(dir: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let what = match kind {
            kind if kind.is_file() => format!("{:?}", fs::read(&path).unwrap()),
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
            kind => format!("{kind:?}"),
        };
        if kind.is_dir() {
            all.extend(inventory(&path));
        }
        all.insert(path.to_str().unwrap().to_owned(), what);
    }
    all
}

/// Sends every request with every one of `paths`: each must be refused with the code of `expected`,
/// leave the session usable, and change nothing.
fn refused(server: &Server, paths: &[String], expected: impl Fn(Does) -> Code) {
    fs::write(server.file("good"), "good").unwrap();
    let mut dial = Dial::open(server);
    let before = inventory(server.root());
    for path in paths {
        for (does, request) in requests(path) {
            let _case = Case(format!("{request:?}"));
            assert_eq!(refusal(&mut dial, &request), expected(does));
            assert_usable(&mut dial);
        }
    }
    assert_eq!(inventory(server.root()), before);
    assert!(!server.log().contains("panicked"));
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

#[test]
fn names_that_lead_elsewhere_or_nowhere() {
    let server = Server::new();
    let outside = server.root().with_file_name("outside");
    fs::write(&outside, "outside").unwrap();
    let absolute = outside.to_str().unwrap();
    let names = [
        "..",
        "../outside",
        "a/../b",
        "a/..",
        "good/../../outside",
        ".",
        "./good",
        "a/./b",
        "/",
        "/good",
        absolute,
        "//",
        "a//b",
        "a/",
        "good/",
        "\0",
        "good\0",
        "a\0b",
        "a/\0/b",
    ];
    refused(&server, &owned(&names), |_| Code::BadName);
    assert_eq!(fs::read(&outside).unwrap(), b"outside");

    let mut dial = Dial::open(&server);
    for name in names {
        assert_eq!(refusal(&mut dial, &Request::List { path: "", after: name }), Code::BadName);
    }
    // The root is there to be looked at, and nothing else.
    for (does, request) in requests("") {
        if !matches!(does, Does::Stat | Does::List) {
            assert_eq!(refusal(&mut dial, &request), Code::BadName, "{request:?}");
        }
    }
    assert_usable(&mut dial);
}

#[test]
fn names_that_are_too_long() {
    let server = Server::new();
    let names = [
        "x".repeat(256),
        format!("a/{}", "x".repeat(256)),
        "é".repeat(128),
        "x/".repeat(240) + "x",
    ];
    refused(&server, &names, |_| Code::NameTooLong);
    refused(&server, &["x".repeat(900), "/".repeat(700)], |_| Code::NameTooLong);
}

#[test]
fn the_servers_own_directory() {
    let server = Server::new();
    let names = [".kift", ".kift/lock", ".kift/new", ".kift/a/b"];
    refused(&server, &owned(&names), |_| Code::BadName);
    assert!(kift(["ls", "--plain", "--json", &server.at("")]).ok().lines().count() == 1);
}

#[test]
fn links_lead_nowhere() {
    let (server, outside) = (Server::new(), place());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::create_dir(server.file("dir")).unwrap();
    symlink(outside.path(), server.file("link")).unwrap();
    symlink(outside.path().join("secret"), server.file("file-link")).unwrap();
    symlink("good", server.file("inside-link")).unwrap();
    symlink("dir", server.file("dir-link")).unwrap();
    symlink("nowhere", server.file("dangling")).unwrap();
    symlink("loop", server.file("loop")).unwrap();
    symlink("..", server.file("dir/up")).unwrap();
    let before = inventory(outside.path());

    let through = ["link/secret", "link/new", "dir-link/x", "dir/up/good", "loop/x", "dangling/x"];
    refused(&server, &owned(&through), |_| Code::NotRegular);
    let links = ["link", "file-link", "inside-link", "dir-link", "dangling", "loop", "dir/up"];
    refused(&server, &owned(&links), |does| match does {
        Does::MakeDirectory => Code::Exists,
        _ => Code::NotRegular,
    });
    assert_eq!(inventory(outside.path()), before);

    // They are not even shown.
    let listed = kift(["ls", "--plain", "--json", &server.at("")]).objects();
    let listed: Vec<_> = listed.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(listed, ["dir", "good"]);
    kift(["get", "--plain", &server.at("file-link"), "-"])
        .fails(&["file-link: ", "links and special files"]);
}

#[test]
fn special_files_and_second_links() {
    let server = Server::new();
    let special =
        |name: &str, kind, device| mknodat(CWD, server.file(name), kind, Mode::RWXU, device);
    special("fifo", FileType::Fifo, 0).unwrap();
    let _socket = UnixListener::bind(server.file("socket")).unwrap();
    let other = server.root().with_file_name("other");
    fs::write(&other, "other").unwrap();
    fs::hard_link(&other, server.file("hard")).unwrap();
    let mut names = owned(&["fifo", "socket", "hard"]);
    // Only root may make devices, and not in every container.
    if special("null", FileType::CharacterDevice, makedev(1, 3)).is_ok() {
        names.push("null".to_owned());
    }
    refused(&server, &names, |does| match does {
        Does::MakeDirectory => Code::Exists,
        Does::List => Code::NotDirectory,
        _ => Code::NotRegular,
    });
    assert_eq!(fs::read(&other).unwrap(), b"other");
    let below = ["fifo/x", "hard/x", "socket/x", "good/x"];
    refused(&server, &owned(&below), |_| Code::NotDirectory);

    let lax = Server::with(&["--allow-hardlinks"]);
    fs::write(lax.file("a"), "a").unwrap();
    fs::hard_link(lax.file("a"), lax.file("b")).unwrap();
    assert_eq!(kift(["get", "--plain", &lax.at("b"), "-"]).ok(), "a");
}

/// The protocol's own rule: what is known but malformed closes the link.
#[test]
fn names_that_are_not_utf8_close_the_link_and_nothing_more() {
    let server = Server::new();
    fs::write(server.file("good"), "good").unwrap();
    let before = inventory(server.root());
    for (_, request) in requests("%%") {
        let _case = Case(format!("{request:?}"));
        let mut dial = Dial::open(&server);
        assert_usable(&mut dial);
        let mut frame = Frame::request(2, &request);
        let at = frame.payload.windows(2).position(|pair| pair == b"%%").unwrap();
        frame.payload[at..at + 2].copy_from_slice(b"\xff\xfe");
        dial.send(&frame.bytes());
        let last = dial.frame().unwrap();
        assert_eq!(
            (last.kind, last.as_signal()),
            (Kind::Signal, Some(Signal::Abort(Code::Malformed)))
        );
        assert!(dial.rest().is_empty());
    }
    assert_eq!(inventory(server.root()), before);
    assert_usable(&mut Dial::open(&server));
    assert!(!server.log().contains("panicked"));
}

/// One session, one bad request after the other, data and all, without waiting for answers.
#[test]
fn a_flood_of_refused_uploads_leaves_the_session_in_step() {
    let server = Server::new();
    fs::write(server.file("good"), "good").unwrap();
    let mut dial = Dial::open(&server);
    let names = ["..", "good/x", ".kift/x", "no/such", "a\0", "x/../y"];
    for round in 0..5 {
        for (at, name) in names.iter().enumerate() {
            let number = dial.request(&put(name, Ask::Now));
            assert_eq!(usize::from(number), round * (names.len() + 1) + at + 1);
            dial.send(&Frame::data(number, 0, b"evil").bytes());
            dial.send(&Frame::end(number, b"evil").bytes());
        }
        let first = dial.last - names.len() as u16 + 1;
        for number in first..=dial.last {
            assert!(matches!(dial.answer(number), Answer::Failed(_)));
        }
        assert_usable(&mut dial);
    }
    assert_eq!(server.names(), ["good"]);
    assert!(server.partials().is_empty());
}
