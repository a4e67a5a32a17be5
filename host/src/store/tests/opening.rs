use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn message(dir: &TempDir, options: Options) -> String {
    format!("{:#}", Root::open(dir.path(), options).unwrap_err())
}

#[test]
fn a_second_server_is_refused() {
    let f = Fixture::new();
    let refusal = message(&f.dir, Options::default());
    assert!(refusal.contains(f.dir.path().to_str().unwrap()), "{refusal}");
    assert!(refusal.contains("already being served"), "{refusal}");
    // One that only reads disturbs nobody.
    assert!(Root::open(f.dir.path(), Options { read_only: true, ..Options::default() }).is_ok());

    let Fixture { dir, root, session } = f;
    drop((root, session));
    assert!(Root::open(dir.path(), Options::default()).is_ok());
}

#[test]
fn leftovers_go_and_nothing_else() {
    let f = Fixture::with(Options::default(), |dir| {
        let kift = dir.path().join(".kift");
        fs::create_dir(&kift).unwrap();
        fs::write(kift.join("0123-0.part"), "half").unwrap();
        fs::write(kift.join("4567-1.part"), "").unwrap();
        fs::write(kift.join("notes of a later version"), "").unwrap();
        fs::write(dir.path().join("mine.part"), "").unwrap();
    });
    assert_eq!(f.partials(), ["notes of a later version"]);
    assert!(f.at("mine.part").exists());
}

#[test]
fn a_running_servers_uploads_are_no_leftovers() {
    let mut f = Fixture::new();
    f.begin("a", &put(Conflict::Replace)).unwrap();
    assert!(Root::open(f.dir.path(), Options::default()).is_err());
    assert_eq!(f.partials().len(), 1);
}

#[test]
fn nobody_else_may_look_into_the_reserved_directory() {
    let f = Fixture::with(Options::default(), |dir| {
        fs::create_dir(dir.path().join(".kift")).unwrap();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(dir.path().join(".kift"), open).unwrap();
    });
    let mode = fs::metadata(f.at(".kift")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_reserved_directory_that_is_none_is_an_error() {
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), dir.path().join(".kift")).unwrap();
    assert!(message(&dir, Options::default()).contains(".kift"));
    assert!(fs::read_dir(elsewhere.path()).unwrap().next().is_none());

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".kift"), "").unwrap();
    assert!(message(&dir, Options::default()).contains(".kift"));

    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    let refusal = format!("{:#}", Root::open(&none, Options::default()).unwrap_err());
    assert!(refusal.contains(none.to_str().unwrap()), "{refusal}");
}

#[test]
fn read_only_changes_nothing() {
    let options = Options { read_only: true, ..Options::default() };
    let mut f = Fixture::with(options, |dir| {
        fs::write(dir.path().join("a"), "a").unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
    });
    assert!(f.root.is_read_only());
    assert!(!f.at(".kift").exists());
    assert_eq!(f.get("a").unwrap(), b"a");
    assert_eq!(f.list("", "").unwrap().0, ["a", "d"]);
    assert_eq!(f.kind(".kift"), Err(Code::BadName));

    assert_eq!(f.begin("b", &sized(0)), Err(Code::ReadOnly));
    assert_eq!(f.delete("a"), Err(Code::ReadOnly));
    assert_eq!(f.rename("a", "b", true), Err(Code::ReadOnly));
    assert_eq!(f.make_directory("e"), Err(Code::ReadOnly));
    assert_eq!(f.list("", "").unwrap().0, ["a", "d"]);
}
