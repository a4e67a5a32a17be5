//! What a session reaches whose root is a home: that, and nothing beside it.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, makedev, mkfifoat, mknodat};

use super::*;

const NONE: Bounds = Bounds { quota: None, largest: None };

/// A fixture whose session has the home `a`, beside `ab` and a file in the root.
fn at_home() -> Fixture {
    let mut f = Fixture::with(Options::default(), |dir| {
        for name in ["a", "a/d", "ab"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["secret", "ab/secret"] {
            fs::write(dir.path().join(name), "secret").unwrap();
        }
    });
    f.enter("a", NONE);
    f
}

/// Asks everything about `path`, not as a session would but as it comes.
fn ask_raw(f: &mut Fixture, path: &str) {
    let Ok(legal) = Path::new(path) else { return };
    assert!(ready(f.session.open(REQUEST, legal)).is_err(), "open {path:?}");
    assert!(ready(f.session.open_directory(REQUEST, legal, "")).is_err(), "list {path:?}");
    assert!(ready(f.session.delete(REQUEST, legal)).is_err(), "delete {path:?}");
    assert!(ready(f.session.rename(REQUEST, legal, named("d/x"), true)).is_err(), "from {path:?}");
    if ready(f.session.begin(REQUEST, legal, &sized(0))).is_ok() {
        // A name like any other, and in the home.
        f.commit(0).unwrap();
        assert!(f.at("a").join(path).exists(), "put {path:?}");
    }
}

fn untouched(f: &Fixture) {
    assert_eq!(f.on_disk("secret"), "secret");
    assert_eq!(f.on_disk("ab/secret"), "secret");
    assert_eq!(fs::read_dir(f.at("ab")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(f.dir.path()).unwrap().count(), 4, ".kift, a, ab, secret");
}

#[test]
fn everything_happens_beneath_it() {
    let mut f = at_home();
    assert_eq!(f.put("x", b"mine", Conflict::Replace), Ok(0));
    assert_eq!(f.put("x", b"again", Conflict::KeepBoth), Ok(1));
    assert_eq!(f.get("x").unwrap(), b"mine");
    assert_eq!(f.make_directory("e"), Ok(()));
    assert_eq!(f.rename("x_1", "e/y", false), Ok(()));
    assert_eq!(f.delete("x"), Ok(()));
    assert_eq!(f.list("", "").unwrap(), (vec!["d".into(), "e".into()], 0));
    assert_eq!(f.kind(""), Ok(EntryKind::Directory));
    assert_eq!(f.on_disk("a/e/y"), "again");
    // The partials are kept in the served directory, where no home reaches.
    f.begin("z", &put(Conflict::Replace)).unwrap();
    assert_eq!(f.partials().len(), 1);
    f.session.abort(REQUEST);
    untouched(&f);
}

#[test]
fn the_top_of_a_home_is_no_file_of_it() {
    let mut f = at_home();
    let root = Path::ROOT;
    assert_eq!(ready(f.session.open(REQUEST, root)), Err(Code::IsDirectory));
    assert_eq!(ready(f.session.begin(REQUEST, root, &sized(0))), Err(Code::BadName));
    assert_eq!(ready(f.session.delete(REQUEST, root)), Err(Code::BadName));
    assert_eq!(ready(f.session.rename(REQUEST, root, named("b"), false)), Err(Code::BadName));
    assert_eq!(ready(f.session.rename(REQUEST, named("d"), root, true)), Err(Code::BadName));
    untouched(&f);
}

#[test]
fn no_path_leads_out_of_it() {
    let mut f = at_home();
    let long = "../".repeat(1365) + "x";
    let deep = "d/".repeat(2047) + "dd";
    for path in [
        "..",
        "../secret",
        "../ab/secret",
        "../a",
        "d/../../secret",
        "d/..",
        "./x",
        "d//x",
        "/",
        "/etc/passwd",
        "/secret",
        "x/",
        "d/",
        "x\0",
        "\0",
        &long,
        &deep,
    ] {
        assert!(Path::new(path).is_err(), "no session lets {path:?} in");
        // And if it did, the kernel would not. (It takes `x/` and `d//x` for what they mean.)
        let top = f.root.home("a", NONE).unwrap();
        let home = top.open_directory(Path::ROOT).unwrap();
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let opened = crate::store::beneath::open_beneath(&home, path, flags);
        assert!(opened.is_err() || ["d/..", "d/"].contains(&path), "{path:?}");
        assert!(f.root.home(path, NONE).is_err(), "home {path:?}");
    }
    // What is a separator elsewhere is a part of a name here.
    for path in ["..\\secret", "\\etc\\passwd", "c:\\x", "secret", "ab/secret", "b", "...", "~"] {
        ask_raw(&mut f, path);
    }
    untouched(&f);
}

#[test]
fn what_lies_in_a_home_and_is_no_file_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let mut f = at_home();
    let targets = [
        ("relative", "../secret".into()),
        ("up", "..".into()),
        ("sibling", "../ab".into()),
        ("within", "d".into()),
        ("itself", "itself".into()),
        ("absolute", outside.path().to_owned()),
        ("process", PathBuf::from("/proc/self/root")),
        ("cwd", PathBuf::from("/proc/self/cwd")),
        ("descriptor", PathBuf::from("/proc/self/fd/0")),
    ];
    for (name, target) in &targets {
        symlink(target, f.at("a").join(name)).unwrap();
    }
    mkfifoat(CWD, f.at("a/fifo"), Mode::RUSR | Mode::WUSR).unwrap();
    let _listener = UnixListener::bind(f.at("a/socket")).unwrap();
    fs::hard_link(f.at("secret"), f.at("a/hard")).unwrap();
    let names = targets.map(|(name, _)| name);
    let mut names: Vec<_> = names.into_iter().chain(["fifo", "socket", "hard"]).collect();
    let null = makedev(1, 3);
    let mode = Mode::RUSR | Mode::WUSR;
    match mknodat(CWD, f.at("a/device"), FileType::CharacterDevice, mode, null) {
        Ok(()) => names.push("device"),
        Err(error) => eprintln!("skipped: the device: {error}"),
    }

    for name in names {
        for path in [name.to_owned(), format!("{name}/secret"), format!("{name}/x/y")] {
            let named = named(&path);
            let refused = |what: &str, answer: Result<(), Code>| {
                let code = answer.expect_err(&format!("{what} {path:?}"));
                assert!(
                    matches!(code, Code::NotRegular | Code::NotDirectory | Code::Exists),
                    "{what} {path:?}: {code}"
                );
            };
            refused("stat", f.kind(&path).map(drop));
            refused("get", f.get(&path).map(drop));
            refused("put", f.put(&path, b"new", Conflict::Replace).map(drop));
            refused("keep both", f.put(&path, b"new", Conflict::KeepBoth).map(drop));
            refused("list", f.list(&path, "").map(drop));
            refused("delete", f.delete(&path));
            refused("make", f.make_directory(&path));
            refused("from", ready(f.session.rename(REQUEST, named, self::named("x"), true)));
            refused("to", f.rename("d", &path, false));
            refused("home", f.root.home(&format!("a/{path}"), NONE).map(drop));
        }
        assert!(fs::symlink_metadata(f.at("a").join(name)).is_ok(), "{name} is still there");
    }
    assert_eq!(f.list("", "").unwrap(), (vec!["d".into()], 0));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    untouched(&f);
}

#[test]
fn nothing_is_renamed_out_of_it() {
    let mut f = at_home();
    f.put("x", b"mine", Conflict::Replace).unwrap();
    for to in ["../x", "../ab/x", "/x"] {
        assert_eq!(Path::named(to), Err(Code::BadName));
    }
    // `ab` is another home; from here it is a name like any other.
    assert_eq!(f.rename("x", "ab/x", false), Err(Code::NotFound));
    assert_eq!(f.rename("x", "ab", false), Ok(()));
    assert_eq!(f.on_disk("a/ab"), "mine");
    untouched(&f);
}

#[test]
fn missing_directories_are_made() {
    let mut f = Fixture::new();
    f.enter("users/anna/files", NONE);
    assert_eq!(f.put("x", b"x", Conflict::Replace), Ok(0));
    assert_eq!(f.on_disk("users/anna/files/x"), "x");
    // Again, and for another beside it.
    f.enter("users/anna/files", NONE);
    assert_eq!(f.get("x").unwrap(), b"x");
    f.enter("users/bert", NONE);
    assert_eq!(f.list("", "").unwrap().0.len(), 0);
    assert_eq!(f.root.home("users/anna/files/x", NONE).err(), Some(Code::NotDirectory));
    assert_eq!(f.root.home("users/anna/files/x/y", NONE).err(), Some(Code::NotDirectory));
}

#[test]
fn no_directory_is_made_where_nothing_is_changed() {
    let options = Options { read_only: true, ..Options::default() };
    let f = Fixture::with(options, |dir| fs::create_dir(dir.path().join("a")).unwrap());
    assert!(f.root.home("a", NONE).is_ok());
    assert_eq!(f.root.home("b", NONE).err(), Some(Code::NotFound));
    assert_eq!(f.root.home("a/b", NONE).err(), Some(Code::NotFound));
    assert!(!f.at("b").exists());
}

#[test]
fn the_reserved_directory_is_nobodys_home() {
    let mut f = Fixture::new();
    for path in [".kift", ".kift/x", ".kift/lock"] {
        assert_eq!(f.root.home(path, NONE).err(), Some(Code::BadName), "{path}");
    }
    assert!(f.partials().is_empty());
    // Whoever has the root for a home does not reach it either.
    f.enter("", NONE);
    assert_eq!(f.kind(".kift/lock"), Err(Code::BadName));
    assert_eq!(f.rename(".kift", "x", false), Err(Code::BadName));
    assert_eq!(f.list("", "").unwrap().0.len(), 0);
    // In a home the name is free.
    f.enter("a", NONE);
    assert_eq!(f.put(".kift", b"x", Conflict::Replace), Ok(0));
    assert_eq!(f.list("", "").unwrap().0, [".kift"]);
}

#[test]
fn a_home_is_what_has_its_name() {
    let mut f = at_home();
    f.begin("x", &put(Conflict::Replace)).unwrap();
    fs::rename(f.at("a"), f.at("b")).unwrap();
    assert_eq!(f.kind("d"), Err(Code::NotFound));
    assert_eq!(f.commit(0), Err(Code::NotFound), "not where its owner will look for it");
    symlink("ab", f.at("a")).unwrap();
    assert_eq!(f.kind("secret"), Err(Code::NotRegular));
    assert_eq!(f.put("x", b"", Conflict::Replace), Err(Code::NotRegular));
    fs::remove_file(f.at("a")).unwrap();
    fs::create_dir(f.at("a")).unwrap();
    assert_eq!(f.put("x", b"", Conflict::Replace), Ok(0));
    assert!(f.at("a/x").exists());
}

#[test]
fn a_home_in_a_home() {
    let f = at_home();
    let inner = f.root.home("a", NONE).unwrap().home("d", NONE).unwrap();
    let mut f = Fixture { session: Session::new(inner, "peer".into()), ..f };
    f.put("x", b"x", Conflict::Replace).unwrap();
    assert_eq!(f.on_disk("a/d/x"), "x");
}

#[test]
fn a_file_above_the_largest_is_refused() {
    let mut f = Fixture::new();
    f.enter("a", Bounds { largest: Some(10), ..NONE });
    assert_eq!(f.begin("x", &sized(11)), Err(Code::TooLarge), "before a byte is sent");
    assert_eq!(f.put_as("x", &[1; 10], &sized(10)), Ok(0));
    assert_eq!(f.put("y", &[1; 10], Conflict::Replace), Ok(0));
    assert_eq!(f.put("z", &[1; 11], Conflict::Replace), Err(Code::TooLarge), "when it shows");
    assert_eq!(f.put("z", &[0; 11], Conflict::Replace), Err(Code::TooLarge), "zeros count");
    assert_eq!(f.put_as("z", &[1; 11], &sized(5)), Err(Code::TooLarge), "whatever was said");
    assert!(f.partials().is_empty());
    assert_eq!(ready(f.session.space(REQUEST)).unwrap().file_size_max, 10);
}
