//! Listings.

use crate::Pair;
use kift_core::session::{Failure, Reply};
use kift_core::wire::{Code, EntryKind};
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;

fn folder_of(entries: usize, name_len: usize) -> Memory {
    let mut store = Memory::default();
    store.directories.insert("folder".to_owned());
    for n in 0..entries {
        let name = format!("folder/{n:06}{}", "ä".repeat(name_len / 2));
        if n % 7 == 0 {
            store.directories.insert(name);
        } else {
            store.put(&name, vec![0; n % 50]);
        }
    }
    store.put("folder0", "not inside");
    store
}

fn list(pair: &mut Pair, after: &str) -> Vec<String> {
    let job = Job::List { path: "folder".to_owned(), after: after.to_owned() };
    let job = pair.submit(job);
    pair.drive();
    let entries = pair.app.entries.remove(&pair.id(job)).unwrap_or_default();
    let count = entries.len() as u64;
    assert_eq!(pair.result(job), Some(Ok(Reply::Listed { entries: count, skipped: 0 })));
    entries.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn every_entry_once_and_in_order() {
    let windows = [Options::small(1, 1), Options::small(2, 3), Options::large(3).pieces(999)];
    for options in windows {
        for (entries, name_len) in [(0, 0), (1, 0), (1, 249), (300, 249), (5000, 60)] {
            let mut pair = Pair::new(options, folder_of(entries, name_len));
            let names = list(&mut pair, "");
            assert_eq!(names.len(), entries);
            assert!(names.is_sorted());
            if let Some(middle) = names.get(entries / 2) {
                assert_eq!(list(&mut pair, middle), names[entries / 2 + 1..]);
                assert_eq!(list(&mut pair, "zzz"), [""; 0]);
            }
            pair.finish();
        }
    }
}

#[test]
fn entries_say_what_they_are_and_what_is_left_out() {
    let mut store = folder_of(0, 0);
    store.put("folder/file", "12345");
    store.directories.insert("folder/inner".to_owned());
    store.put("folder/inner/deep", "");
    store.unspeakable.insert("folder".to_owned(), 3);
    let mut pair = Pair::new(Options::small(1, 1), store);
    let job = pair.submit(Job::list("folder"));
    let root = pair.submit(Job::list(""));
    pair.drive();
    assert_eq!(pair.result(job), Some(Ok(Reply::Listed { entries: 2, skipped: 3 })));
    let entries = &pair.app.entries[&pair.id(job)];
    let shape = entries.iter().map(|(name, meta)| (name.as_str(), meta.kind, meta.size));
    let expected = [("file", EntryKind::File, 5), ("inner", EntryKind::Directory, 0)];
    assert_eq!(shape.collect::<Vec<_>>(), expected);
    let root = &pair.app.entries[&pair.id(root)];
    assert_eq!(
        root.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["folder", "folder0"]
    );
    pair.finish();
}

#[test]
fn no_directory_no_listing() {
    let mut pair = Pair::new(Options::small(1, 1), folder_of(1, 0));
    let results = pair.run([Job::list("nothing"), Job::list("folder0"), Job::list("folder")]);
    assert_eq!(results[0], Err(Failure::Peer(Code::NotFound)));
    assert_eq!(results[1], Err(Failure::Peer(Code::NotDirectory)));
    assert!(results[2].is_ok());
    pair.finish();
}

#[test]
fn a_listing_that_breaks_off() {
    let mut store = folder_of(100, 50);
    store.faults.directory.insert("folder".to_owned(), (60, Code::Io));
    let mut pair = Pair::new(Options::small(1, 2), store);
    let results = pair.run([Job::list("folder"), Job::list("")]);
    assert_eq!(results[0], Err(Failure::Peer(Code::Io)));
    assert!(results[1].is_ok());
    pair.finish();
}
