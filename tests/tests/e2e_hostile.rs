//! Names that no honest client sends, and things in a directory that are nobody's business.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use kift_core::wire::{Answer, Ask, Code, EntryKind, Kind, Request};
use kift_tests::asking::{Does, outcome, put, requests};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::files::{names, place};
use kift_tests::machine::{Ended, kift};
use kift_tests::raw::Frame;
use kift_tests::rng::Case;
use kift_tests::sealed::key;
use kift_tests::serving::Server;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// Where tricks are tried: in the root over a plain link, or in a home over a sealed one.
enum Ground {
    Root(Server),
    Home(Estate),
}

impl Ground {
    fn both() -> [Self; 2] {
        let estate = Estate::new();
        estate.user("anna", "rw,path=some/home", "");
        estate.admit(&key(1), "anna", "");
        estate.authorize("anna", "anna", "rw");
        let home = Self::Home(estate);
        drop(home.open());
        // What lies beside the home has the names that tests ask for.
        fs::write(home.server().file("some/good"), "beside").unwrap();
        fs::write(home.server().file("some/outside"), "beside").unwrap();
        [Self::Root(Server::new()), home]
    }

    fn server(&self) -> &Server {
        match self {
            Self::Root(server) => server,
            Self::Home(estate) => estate.server(),
        }
    }

    /// What a client takes for the root.
    fn dir(&self) -> PathBuf {
        match self {
            Self::Root(server) => server.root().to_owned(),
            Self::Home(estate) => estate.server().file("some/home"),
        }
    }

    fn file(&self, path: &str) -> PathBuf {
        self.dir().join(path)
    }

    fn names(&self) -> Vec<String> {
        names(&self.dir()).into_iter().filter(|name| name != ".kift").collect()
    }

    fn open(&self) -> Dial {
        match self {
            Self::Root(server) => Dial::open(server),
            Self::Home(estate) => {
                let mut dial = Dial::sealed(estate.server(), &key(1));
                assert!(outcome(&mut dial, &Request::Space).is_ok());
                dial
            }
        }
    }

    /// Runs `kift` with the remote `path` behind `args` and before `more`.
    fn kift(&self, args: &[&str], path: &str, more: &[&str]) -> Ended {
        match self {
            Self::Root(server) => kift([args, &["--plain", &server.at(path)], more].concat()),
            Self::Home(estate) => estate.kift("anna", &[args, &[&*estate.at(path)], more].concat()),
        }
    }
}

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
fn refused(ground: &Ground, paths: &[String], expected: impl Fn(Does) -> Code) {
    fs::write(ground.file("good"), "good").unwrap();
    let mut dial = ground.open();
    let before = inventory(ground.server().root());
    for path in paths {
        for (does, request) in requests(path) {
            let _case = Case(format!("{request:?}"));
            assert_eq!(refusal(&mut dial, &request), expected(does));
            assert_usable(&mut dial);
        }
    }
    assert_eq!(inventory(ground.server().root()), before);
    assert!(!ground.server().log().contains("panicked"));
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

#[test]
fn names_that_lead_elsewhere_or_nowhere() {
    for ground in Ground::both() {
        let outside = ground.dir().with_file_name("outside");
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
        refused(&ground, &owned(&names), |_| Code::BadName);
        // Here they are letters as any others.
        for name in ["..\\outside", "\\outside", "a\\..\\..\\outside"] {
            assert!(outcome(&mut ground.open(), &put(name, Ask::Now)).is_ok());
            assert_eq!(fs::read(ground.file(name)).unwrap(), b"evil");
        }
        assert_eq!(fs::read(&outside).unwrap(), b"outside");

        let mut dial = ground.open();
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
}

#[test]
fn names_that_are_too_long() {
    for ground in Ground::both() {
        let names = [
            "x".repeat(256),
            format!("a/{}", "x".repeat(256)),
            "é".repeat(128),
            "x/".repeat(240) + "x",
        ];
        refused(&ground, &names, |_| Code::NameTooLong);
        refused(&ground, &["x".repeat(900), "/".repeat(700)], |_| Code::NameTooLong);
    }
}

#[test]
fn the_servers_own_directory() {
    let ground = Ground::Root(Server::new());
    let names = [".kift", ".kift/lock", ".kift/new", ".kift/a/b"];
    refused(&ground, &owned(&names), |_| Code::BadName);
    assert_eq!(ground.kift(&["ls", "--json"], "", &[]).ok().lines().count(), 1);
}

#[test]
fn links_lead_nowhere() {
    for ground in Ground::both() {
        let outside = place();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        fs::create_dir(ground.file("dir")).unwrap();
        symlink(outside.path(), ground.file("link")).unwrap();
        symlink(outside.path().join("secret"), ground.file("file-link")).unwrap();
        symlink("good", ground.file("inside-link")).unwrap();
        symlink("dir", ground.file("dir-link")).unwrap();
        symlink("nowhere", ground.file("dangling")).unwrap();
        symlink("loop", ground.file("loop")).unwrap();
        symlink("..", ground.file("dir/up")).unwrap();
        symlink("/proc/self/root", ground.file("proc")).unwrap();
        symlink("../good", ground.file("beside")).unwrap();
        let before = inventory(outside.path());

        let through = [
            "link/secret",
            "link/new",
            "dir-link/x",
            "dir/up/good",
            "loop/x",
            "dangling/x",
            "proc/etc/passwd",
            "dir/up/up",
        ];
        refused(&ground, &owned(&through), |_| Code::NotRegular);
        let links = [
            "link",
            "file-link",
            "inside-link",
            "dir-link",
            "dangling",
            "loop",
            "dir/up",
            "proc",
            "beside",
        ];
        refused(&ground, &owned(&links), |does| match does {
            Does::MakeDirectory => Code::Exists,
            _ => Code::NotRegular,
        });
        assert_eq!(inventory(outside.path()), before);

        // They are not even shown.
        let listed = ground.kift(&["ls", "--json"], "", &[]).objects();
        let listed: Vec<_> = listed.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(listed, ["dir", "good"]);
        ground
            .kift(&["get"], "file-link", &["-"])
            .fails(&["file-link: ", "links and special files"]);
    }
}

#[test]
fn special_files_and_second_links() {
    for ground in Ground::both() {
        let special =
            |name: &str, kind, device| mknodat(CWD, ground.file(name), kind, Mode::RWXU, device);
        special("fifo", FileType::Fifo, 0).unwrap();
        let _socket = UnixListener::bind(ground.file("socket")).unwrap();
        let other = ground.dir().with_file_name("other");
        fs::write(&other, "other").unwrap();
        fs::hard_link(&other, ground.file("hard")).unwrap();
        let mut names = owned(&["fifo", "socket", "hard"]);
        // Only root may make devices, and not in every container.
        if special("null", FileType::CharacterDevice, makedev(1, 3)).is_ok() {
            names.push("null".to_owned());
        }
        refused(&ground, &names, |does| match does {
            Does::MakeDirectory => Code::Exists,
            Does::List => Code::NotDirectory,
            _ => Code::NotRegular,
        });
        assert_eq!(fs::read(&other).unwrap(), b"other");
        let below = ["fifo/x", "hard/x", "socket/x", "good/x"];
        refused(&ground, &owned(&below), |_| Code::NotDirectory);
    }
    let lax = Server::with(&["--allow-hardlinks"]);
    fs::write(lax.file("a"), "a").unwrap();
    fs::hard_link(lax.file("a"), lax.file("b")).unwrap();
    assert_eq!(kift(["get", "--plain", &lax.at("b"), "-"]).ok(), "a");
}

/// The protocol's own rule: what is known but malformed closes the link.
#[test]
fn names_that_are_not_utf8_close_the_link_and_nothing_more() {
    for ground in Ground::both() {
        fs::write(ground.file("good"), "good").unwrap();
        let before = inventory(ground.server().root());
        for (_, request) in requests("%%") {
            let _case = Case(format!("{request:?}"));
            let mut dial = ground.open();
            assert_usable(&mut dial);
            let mut frame = Frame::request(dial.last + 1, &request);
            let at = frame.payload.windows(2).position(|pair| pair == b"%%").unwrap();
            frame.payload[at..at + 2].copy_from_slice(b"\xff\xfe");
            dial.tell(&frame);
            assert_eq!(dial.closed(), Code::Malformed);
        }
        assert_eq!(inventory(ground.server().root()), before);
        // Nor does a request that is longer than any may be: a stat, in this case.
        let mut dial = ground.open();
        let long = [&[0, 0x80, 0x20][..], &[b'x'; 4096], &[0]].concat();
        dial.tell(&Frame::new(Kind::Request, dial.last + 1, long));
        assert_eq!(dial.closed(), Code::Malformed);
        assert_usable(&mut ground.open());
        assert!(!ground.server().log().contains("panicked"));
    }
}

/// One session, one bad request after the other, data and all, without waiting for answers.
#[test]
fn a_flood_of_refused_uploads_leaves_the_session_in_step() {
    for ground in Ground::both() {
        fs::write(ground.file("good"), "good").unwrap();
        let mut dial = ground.open();
        let before = usize::from(dial.last);
        let names = ["..", "good/x", ".kift/x", "no/such", "a\0", "x/../y"];
        for round in 0..5 {
            for (at, name) in names.iter().enumerate() {
                let number = dial.request(&put(name, Ask::Now));
                assert_eq!(usize::from(number), before + round * (names.len() + 1) + at + 1);
                dial.tell(&Frame::data(number, 0, b"evil"));
                dial.tell(&Frame::end(number, b"evil"));
            }
            let first = dial.last - names.len() as u16 + 1;
            for number in first..=dial.last {
                assert!(matches!(dial.answer(number), Answer::Failed(_)));
            }
            assert_usable(&mut dial);
        }
        assert_eq!(ground.names(), ["good"]);
        assert!(ground.server().partials().is_empty());
    }
}
