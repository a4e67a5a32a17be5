use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::*;
use crate::store::snapshot::Snapshot;

#[test]
fn names_come_in_byte_order_after_the_one_given() {
    let mut f = Fixture::new();
    let mut names: Vec<String> = (0..200).map(|i| format!("file {i}")).collect();
    names.extend(["A", "Z", "a", "é", "日本", "\u{1}", "~", "a b"].map(String::from));
    for name in &names {
        fs::write(f.at(name), "").unwrap();
    }
    names.sort_unstable();
    assert_eq!(f.list("", ""), Ok((names.clone(), 0)));
    for (i, name) in names.iter().enumerate() {
        assert_eq!(f.list("", name), Ok((names[i + 1..].to_vec(), 0)), "after {name:?}");
    }
    assert_eq!(f.list("", "file").unwrap().0[0], "file 0");
}

#[test]
fn entries_say_what_they_are() {
    let mut f = Fixture::new();
    f.make_directory("d").unwrap();
    f.put_as("d/f", b"12345", &dated(1_500_000_000)).unwrap();
    f.make_directory("d/g").unwrap();
    ready(f.session.open_directory(REQUEST, named("d"), "")).unwrap();
    let mut buf = [0; 1024];
    let mut page = Page::new(&mut buf);
    assert_eq!(ready(f.session.read_directory(REQUEST, &mut page)), Ok(false));
    let (file, rest) = Entry::decode(&buf).unwrap();
    let (directory, _) = Entry::decode(rest).unwrap();
    assert_eq!((file.name, file.meta.kind, file.meta.size), ("f", EntryKind::File, 5));
    assert_eq!(file.meta.modified, Some(Timestamp(1_500_000_000)));
    assert_eq!(
        (directory.name, directory.meta.kind, directory.meta.size),
        ("g", EntryKind::Directory, 0)
    );
}

#[test]
fn illegal_names_are_counted_and_skipped() {
    let mut f = Fixture::new();
    for name in [&b"b\xff"[..], b"\xc3", b"a", b"c"] {
        fs::write(f.dir.path().join(OsStr::from_bytes(name)), "").unwrap();
    }
    assert_eq!(f.list("", ""), Ok((vec!["a".into(), "c".into()], 2)));
    assert_eq!(f.list("", "c"), Ok((vec![], 1)));
    // A link by such a name would not be served by another either.
    let link = f.dir.path().join(OsStr::from_bytes(b"\xfe"));
    std::os::unix::fs::symlink("a", link).unwrap();
    assert_eq!(f.list("", "").unwrap().1, 2);
}

#[test]
fn paths_that_no_request_can_name_are_counted_and_skipped() {
    let mut f = Fixture::new();
    let folder = format!("{0}/{0}", "d".repeat(230));
    fs::create_dir_all(f.at(&folder)).unwrap();
    fs::write(f.at(&folder).join("n".repeat(18)), "").unwrap();
    fs::write(f.at(&folder).join("n".repeat(19)), "").unwrap();
    assert_eq!(f.list(&folder, ""), Ok((vec!["n".repeat(18)], 1)));
}

#[test]
fn what_vanishes_while_pages_are_made_is_left_out() {
    let mut f = Fixture::new();
    for name in ["a", "b", "c"] {
        fs::write(f.at(name), "").unwrap();
    }
    ready(f.session.open_directory(REQUEST, Path::ROOT, "")).unwrap();
    fs::remove_file(f.at("b")).unwrap();
    fs::write(f.at("bb"), "").unwrap();
    let mut buf = [0; 1024];
    let mut page = Page::new(&mut buf);
    assert_eq!(ready(f.session.read_directory(REQUEST, &mut page)), Ok(false));
    assert_eq!(page.entries(), 2, "a and c, and not what came later");
}

#[test]
fn more_names_than_the_limit_are_refused() {
    let f = Fixture::new();
    for name in ["a", "b", "c"] {
        fs::write(f.at(name), "").unwrap();
    }
    assert!(Snapshot::take(&f.root, Path::ROOT, "", 3).is_ok());
    assert_eq!(Snapshot::take(&f.root, Path::ROOT, "", 2).err(), Some(Code::TooMany));
    assert!(Snapshot::take(&f.root, Path::ROOT, "a", 2).is_ok());
}

#[test]
fn only_directories_are_listed() {
    let mut f = Fixture::new();
    f.put("a", b"", Conflict::Replace).unwrap();
    assert_eq!(f.list("a", ""), Err(Code::NotDirectory));
    assert_eq!(f.list("none", ""), Err(Code::NotFound));
    assert_eq!(f.session.close_directory(REQUEST), 0);
}
