//! What names were to become, and when that was promised.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kift_tests::disk::Wreck;

/// What is not there yet, or not any more, has no contents.
pub(crate) type Contents = Option<Vec<u8>>;

/// Files by their paths.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What a name was to become.
#[derive(Debug)]
struct Change {
    path: String,
    contents: Contents,
    /// Operations of the disk when it was asked for, and when it was told to be done.
    asked: usize,
    done: usize,
}

/// What was asked for, in order.
#[derive(Debug, Default)]
pub(crate) struct Promises(Vec<Change>);

impl Promises {
    /// Between these counts of operations `path` was to become that.
    pub(crate) fn add(&mut self, path: &str, contents: Contents, asked: usize, done: usize) {
        self.0.push(Change { path: path.to_owned(), contents, asked, done });
    }

    /// What is wrong with the files that are visible after a power cut, if something is: each path has
    /// what it was promised last, or what was asked for since.
    pub(crate) fn complaint(&self, cut: usize, files: &Files) -> Option<String> {
        let mut allowed: BTreeMap<&str, Vec<&Contents>> = BTreeMap::new();
        for Change { path, contents, asked, done } in &self.0 {
            let there = allowed.entry(path).or_insert_with(|| vec![&None]);
            if *done <= cut {
                there.clear();
            }
            if *asked <= cut {
                there.push(contents);
            }
        }
        if let Some(path) = files.keys().find(|path| !allowed.contains_key(path.as_str())) {
            return Some(format!("nobody made {path}"));
        }
        allowed.iter().find_map(|(path, allowed)| {
            let there = files.get(*path);
            let is_allowed = allowed.iter().any(|contents| contents.as_ref() == there);
            let len = there.map(Vec::len);
            (!is_allowed).then(|| format!("{path} has {len:?} bytes, of {} things", allowed.len()))
        })
    }
}

/// Whether a file or directory is no user's.
fn is_hidden(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with(".kift"))
}

/// The files beneath `folder` that people see, with their paths from there on.
pub(crate) fn visible(wreck: &Wreck, folder: &str) -> Files {
    let files = wreck.files(is_hidden).into_iter().filter(|(path, _)| !is_hidden(path));
    let below = |path: String| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
    files.filter_map(|(path, data)| Some((below(path)?, data.to_vec()))).collect()
}

/// The same of a directory of this machine.
pub(crate) fn lying(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((path, folder)) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory").map(|entry| entry.expect("one")) {
            let path = format!("{path}{}", entry.file_name().to_str().expect("UTF-8"));
            if is_hidden(&path) {
                continue;
            }
            if entry.path().is_dir() {
                folders.push((path + "/", entry.path()));
            } else {
                files.insert(path, fs::read(entry.path()).expect("a file"));
            }
        }
    }
    files
}
