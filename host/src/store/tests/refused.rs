//! What is never served, whatever is asked of it.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, Mode, inotify, mkfifoat};

use super::*;

/// Everything that a peer can ask about `path`, and the answers.
fn ask_all(f: &mut Fixture, path: &str) -> [(&'static str, Code); 8] {
    f.put("other", b"other", Conflict::Replace).unwrap();
    let answers = [
        ("stat", f.kind(path).map(drop)),
        ("get", f.get(path).map(drop)),
        ("put", f.put(path, b"new", Conflict::Replace).map(drop)),
        ("put, keep both", f.put(path, b"new", Conflict::KeepBoth).map(drop)),
        ("put, refuse", f.put(path, b"new", Conflict::Refuse).map(drop)),
        ("delete", f.delete(path)),
        ("rename from", f.rename(path, "elsewhere", false)),
        ("rename to", f.rename("other", path, true)),
    ];
    assert_eq!(f.on_disk("other"), "other");
    assert!(f.partials().is_empty());
    answers.map(|(what, answer)| (what, answer.expect_err(what)))
}

fn assert_all(f: &mut Fixture, path: &str, code: Code) {
    for (what, answer) in ask_all(f, path) {
        assert_eq!(answer, code, "{what} {path:?}");
    }
}

#[test]
fn links_to_files_and_directories() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let mut f = Fixture::new();
    f.put("inside", b"inside", Conflict::Replace).unwrap();
    symlink(outside.path().join("secret"), f.at("file")).unwrap();
    symlink(outside.path(), f.at("directory")).unwrap();
    symlink("inside", f.at("within")).unwrap();
    symlink("nowhere", f.at("dangling")).unwrap();
    symlink("/proc/self/root", f.at("magic")).unwrap();

    for path in ["file", "directory", "within", "dangling", "magic"] {
        assert_all(&mut f, path, Code::NotRegular);
        assert_eq!(f.list(path, ""), Err(Code::NotRegular), "list {path}");
        assert_eq!(f.make_directory(path), Err(Code::Exists), "make {path}");
        assert!(f.at(path).is_symlink());
    }
    assert_all(&mut f, "directory/secret", Code::NotRegular);
    assert_eq!(f.make_directory("directory/new"), Err(Code::NotRegular));
    assert_eq!(f.list("", "").unwrap(), (vec!["inside".into(), "other".into()], 0));
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_link_that_appears_during_an_upload() {
    let mut f = Fixture::new();
    f.put("other", b"other", Conflict::Replace).unwrap();
    f.begin("a", &put(Conflict::Replace)).unwrap();
    symlink("other", f.at("a")).unwrap();
    assert_eq!(f.commit(0), Err(Code::NotRegular));
    assert!(f.at("a").is_symlink());
    assert_eq!(f.on_disk("other"), "other");
    assert!(f.partials().is_empty());
}

#[test]
fn fifos_and_sockets() {
    let mut f = Fixture::new();
    mkfifoat(CWD, f.at("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
    let _listener = UnixListener::bind(f.at("socket")).unwrap();
    for path in ["fifo", "socket"] {
        assert_all(&mut f, path, Code::NotRegular);
        assert_eq!(f.list(path, ""), Err(Code::NotDirectory), "list {path}");
        assert!(f.at(path).exists());
    }
    assert_eq!(f.list("", "").unwrap(), (vec!["other".into()], 0));
}

#[test]
fn a_fifo_is_not_even_opened() {
    let mut f = Fixture::new();
    mkfifoat(CWD, f.at("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, f.at("fifo"), inotify::WatchFlags::OPEN).unwrap();
    ask_all(&mut f, "fifo");
    let _ = f.list("fifo", "");
    let mut buf = [0; 512];
    assert_eq!(rustix::io::read(&watch, &mut buf), Err(rustix::io::Errno::AGAIN));

    // The watch does see it when someone opens it.
    fs::File::options().read(true).write(true).open(f.at("fifo")).unwrap();
    assert!(rustix::io::read(&watch, &mut buf).is_ok());
}

#[test]
fn a_file_with_a_second_name() {
    let outside = tempfile::tempdir().unwrap();
    let prepare = |dir: &TempDir| {
        fs::write(outside.path().join("secret"), "secret").unwrap();
        fs::hard_link(outside.path().join("secret"), dir.path().join("a")).unwrap();
    };
    let mut f = Fixture::with(Options::default(), prepare);
    assert_all(&mut f, "a", Code::NotRegular);
    assert_eq!(f.list("", "").unwrap(), (vec!["other".into()], 0));
    assert_eq!(f.on_disk("a"), "secret");
}

#[test]
fn a_file_with_a_second_name_where_that_is_allowed() {
    let options = Options { allow_hardlinks: true, ..Options::default() };
    let mut f = Fixture::with(options, |dir| {
        fs::write(dir.path().join("a"), "linked").unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
    });
    assert_eq!(f.get("a").unwrap(), b"linked");
    assert_eq!(f.list("", "").unwrap().0, ["a", "b"]);
    // To rename it over its other name does nothing, and must not be called done.
    assert_eq!(f.rename("a", "b", true), Err(Code::Exists));
    // The other name keeps what it had.
    assert_eq!(f.put("a", b"new", Conflict::Replace), Ok(0));
    assert_eq!(f.on_disk("b"), "linked");
}

#[test]
fn the_reserved_directory() {
    let mut f = Fixture::new();
    assert_all(&mut f, ".kift", Code::BadName);
    assert_all(&mut f, ".kift/lock", Code::BadName);
    assert_all(&mut f, ".kift/lock/x", Code::BadName);
    assert_eq!(f.list(".kift", ""), Err(Code::BadName));
    assert_eq!(f.make_directory(".kift"), Err(Code::BadName));
    assert_eq!(f.make_directory(".kift/d"), Err(Code::BadName));
    assert_eq!(f.list("", "").unwrap(), (vec!["other".into()], 0));

    // Only there is the name reserved.
    f.make_directory("d").unwrap();
    f.put("d/.kift", b"", Conflict::Replace).unwrap();
    f.put(".kifty", b"", Conflict::Replace).unwrap();
    assert_eq!(f.list("", "").unwrap().0, [".kifty", "d", "other"]);
    assert_eq!(f.list("d", "").unwrap().0, [".kift"]);
}

#[test]
fn the_reserved_directory_by_the_names_that_a_file_system_takes_for_its() {
    // Hard links are to this test what a file system that folds case is to a server.
    let options = Options { read_only: true, allow_hardlinks: true };
    let mut f = Fixture::with(options, |dir| {
        let at = |name| dir.path().join(name);
        fs::write(at(".kift"), "").unwrap();
        fs::write(at("plain"), "").unwrap();
        for name in [".KIFT", ".Kift", ".\u{212a}ift"] {
            fs::hard_link(at(".kift"), at(name)).unwrap();
        }
    });
    for path in [".kift", ".KIFT", ".Kift", ".\u{212a}ift", ".KIFT/lock"] {
        assert_eq!(f.kind(path), Err(Code::BadName), "{path:?}");
    }
    assert_eq!(f.list("", "").unwrap(), (vec!["plain".into()], 0));
}

#[test]
fn whatever_leads_out_of_the_root() {
    for path in ["..", "../a", "a/../../b", "/etc/passwd", "a/./b", ""] {
        assert_eq!(Path::named(path), Err(Code::BadName), "no session lets {path:?} in");
    }
    // And if it did, the kernel would not.
    let f = Fixture::new();
    fs::create_dir(f.at("d")).unwrap();
    for path in ["..", "d/../..", "/", "/etc"] {
        let opened = crate::store::beneath::open_beneath(
            &f.root.served.dir,
            path,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        );
        assert_eq!(opened.map(drop), Err(rustix::io::Errno::XDEV), "{path:?}");
    }
}

#[test]
fn the_root_is_a_directory_and_no_more() {
    let mut f = Fixture::new();
    assert_eq!(f.kind(""), Ok(EntryKind::Directory));
    let root = Path::ROOT;
    assert_eq!(ready(f.session.open(REQUEST, root)), Err(Code::IsDirectory));
    assert_eq!(ready(f.session.begin(REQUEST, root, &sized(0))), Err(Code::BadName));
    assert_eq!(ready(f.session.delete(REQUEST, root)), Err(Code::BadName));
    assert_eq!(ready(f.session.make_directory(REQUEST, root)), Err(Code::BadName));
    assert_eq!(ready(f.session.rename(REQUEST, root, named("a"), false)), Err(Code::BadName));
}
