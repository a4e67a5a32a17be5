use super::*;

#[test]
fn delete_takes_files_and_empty_directories() {
    let mut f = Fixture::new();
    f.make_directory("d").unwrap();
    f.put("d/a", b"", Conflict::Replace).unwrap();
    assert_eq!(f.delete("d"), Err(Code::NotEmpty));
    assert_eq!(f.delete("d/none"), Err(Code::NotFound));
    assert_eq!(f.delete("d/a/b"), Err(Code::NotDirectory));
    assert_eq!(f.delete("d/a"), Ok(()));
    assert_eq!(f.delete("d"), Ok(()));
    assert_eq!(f.list("", "").unwrap().0.len(), 0);
}

#[test]
fn make_directory_makes_one() {
    let mut f = Fixture::new();
    assert_eq!(f.make_directory("a/b"), Err(Code::NotFound));
    assert_eq!(f.make_directory("a"), Ok(()));
    assert_eq!(f.make_directory("a"), Err(Code::Exists));
    assert_eq!(f.make_directory("a/b"), Ok(()));
    assert_eq!(f.kind("a/b"), Ok(EntryKind::Directory));
    f.put("file", b"", Conflict::Replace).unwrap();
    assert_eq!(f.make_directory("file"), Err(Code::Exists));
}

#[test]
fn rename_gives_another_name() {
    let mut f = Fixture::new();
    f.make_directory("d").unwrap();
    f.put("a", b"a", Conflict::Replace).unwrap();
    assert_eq!(f.rename("a", "b", false), Ok(()));
    assert_eq!(f.rename("b", "d/c", true), Ok(()));
    assert_eq!(f.rename("d", "e", false), Ok(()));
    assert_eq!(f.on_disk("e/c"), "a");
    assert_eq!(f.list("", "").unwrap().0, ["e"]);
    assert_eq!(f.rename("none", "x", false), Err(Code::NotFound));
    assert_eq!(f.rename("e/c", "none/x", false), Err(Code::NotFound));
}

#[test]
fn rename_replaces_files_only_and_only_if_told() {
    let mut f = Fixture::new();
    for name in ["a", "b"] {
        f.put(name, name.as_bytes(), Conflict::Replace).unwrap();
    }
    for name in ["empty", "d", "d/inside"] {
        f.make_directory(name).unwrap();
    }
    assert_eq!(f.rename("a", "b", false), Err(Code::Exists));
    assert_eq!(f.rename("a", "empty", false), Err(Code::Exists));
    assert_eq!(f.rename("a", "empty", true), Err(Code::IsDirectory));
    assert_eq!(f.rename("d", "empty", true), Err(Code::IsDirectory));
    assert_eq!(f.rename("d", "a", true), Err(Code::NotDirectory));
    assert_eq!(f.rename("d", "d/inside/d", false), Err(Code::BadName));
    assert_eq!(f.rename("d", "d/new", true), Err(Code::BadName));
    assert_eq!((f.on_disk("a"), f.on_disk("b")), ("a".into(), "b".into()));

    assert_eq!(f.rename("a", "b", true), Ok(()));
    assert_eq!(f.on_disk("b"), "a");
    assert_eq!(f.kind("a"), Err(Code::NotFound));
}

#[test]
fn a_store_with_no_right_to_write_says_so_early() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: nothing is forbidden to root");
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mut f = Fixture::new();
    f.make_directory("d").unwrap();
    fs::set_permissions(f.at("d"), fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(f.begin("d/a", &sized(1)), Err(Code::Denied));
    assert_eq!(f.make_directory("d/e"), Err(Code::Denied));
    fs::set_permissions(f.at("d"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(f.get("d/a"), Err(Code::Denied));
    assert_eq!(f.list("d", ""), Err(Code::Denied));
    fs::set_permissions(f.at("d"), fs::Permissions::from_mode(0o755)).unwrap();
}
