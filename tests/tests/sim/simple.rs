//! Requests with one answer.

use crate::Pair;
use kift_core::session::{Failure, Reply};
use kift_core::wire::{Code, EntryKind, Meta, Timestamp};
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::digest;
use kift_tests::rng::contents;

fn refused(code: Code) -> Result<Reply, Failure> {
    Err(Failure::Peer(code))
}

#[test]
fn stat_with_and_without_hash() {
    let data = contents(70_000, 1);
    let mut sizes = vec![("empty", Vec::new()), ("large", data)];
    sizes.push(("chunk", contents(1024, 2)));
    for options in [Options::small(1, 1), Options::large(2).pieces(100)] {
        let mut store = Memory::default();
        store.directories.insert("folder".to_owned());
        for (path, data) in &sizes {
            store.put(path, data.clone());
        }
        let mut pair = Pair::new(options, store);
        pair.store.files.get_mut("empty").unwrap().modified = Some(Timestamp(77));
        for (path, data) in &sizes {
            let modified = (*path == "empty").then_some(Timestamp(77));
            let meta = Meta { kind: EntryKind::File, size: data.len() as u64, modified };
            let results = pair.run([Job::stat(path, false), Job::stat(path, true)]);
            assert_eq!(results[0], Ok(Reply::Stat { meta, digest: None }));
            assert_eq!(results[1], Ok(Reply::Stat { meta, digest: Some(digest(data)) }));
        }
        let meta = Meta { kind: EntryKind::Directory, size: 0, modified: None };
        for path in ["", "folder"] {
            let results = pair.run([Job::stat(path, true)]);
            assert_eq!(results, [Ok(Reply::Stat { meta, digest: None })]);
        }
        assert_eq!(pair.run([Job::stat("nothing", true)]), [refused(Code::NotFound)]);
        pair.finish();
    }
}

#[test]
fn a_hash_that_fails() {
    let mut store = Memory::default();
    store.put("fails", contents(9000, 1));
    store.put("shrinks", contents(9000, 1));
    store.faults.read.insert("fails".to_owned(), (5000, Code::Io));
    store.faults.shrink.insert("shrinks".to_owned(), 5000);
    let mut pair = Pair::new(Options::small(1, 1), store);
    let results = pair.run([Job::stat("fails", true), Job::stat("shrinks", true)]);
    assert_eq!(results, [refused(Code::Io), refused(Code::Changed)]);
    pair.finish();
}

#[test]
fn delete_rename_make_directory_space() {
    let (from, to) = (|| "a".to_owned(), || "folder/b".to_owned());
    let rename = |replace| Job::Rename { from: from(), to: to(), replace };
    let delete = |path: &str| Job::Delete { path: path.to_owned() };
    let make = |path: &str| Job::MakeDirectory { path: path.to_owned() };
    let mut pair = Pair::new(Options::small(1, 1), Memory::default());
    let done = Ok(Reply::Done);
    assert_eq!(pair.run([make("folder"), make("folder")]), [done, refused(Code::Exists)]);
    pair.run([Job::put("a", "a"), Job::put("folder/b", "b")]);
    assert_eq!(pair.run([rename(false), rename(true)]), [refused(Code::Exists), done]);
    assert_eq!(pair.store.get("folder/b"), Some(&b"a"[..]));
    let results = pair.run(["a", "folder", "folder/b", "folder"].map(delete));
    assert_eq!(results, [refused(Code::NotFound), refused(Code::NotEmpty), done, done]);
    assert!(pair.store.files.is_empty() && pair.store.directories.is_empty());
    assert!(matches!(pair.run([Job::Space])[0], Ok(Reply::Space(_))));
    pair.finish();
}

#[test]
fn the_longest_paths() {
    let folder = |c: &str| c.repeat(224);
    let path = |c: &str| format!("{}/{}", folder(c), "x".repeat(255));
    let mut store = Memory::default();
    store.directories.extend([folder("a"), folder("b")]);
    let mut pair = Pair::new(Options::small(1, 1), store);
    let rename = Job::Rename { from: path("a"), to: path("b"), replace: false };
    let jobs = [Job::put(&path("a"), "x"), rename, Job::stat(&path("b"), true), Job::list("")];
    assert!(pair.run(jobs).iter().all(Result::is_ok));
    pair.finish();
}
