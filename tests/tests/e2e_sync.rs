//! Directories made like others, both ways: what is moved, what is not, and what is removed.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kift_tests::files::{assert_holds, names, place, random};
use kift_tests::machine::{Ended, kift};
use kift_tests::serving::Server;
use serde_json::Value;
use tempfile::TempDir;

/// A directory here and one on a server, one of which is to be made like the other.
struct Pair {
    server: Server,
    here: TempDir,
    is_up: bool,
}

impl Pair {
    fn both() -> [Self; 2] {
        [true, false].map(|is_up| {
            let (server, here) = (Server::new(), place());
            fs::create_dir(server.file("tree")).unwrap();
            fs::create_dir(here.path().join("tree")).unwrap();
            Self { server, here, is_up }
        })
    }

    fn local(&self) -> PathBuf {
        self.here.path().join("tree")
    }

    fn source(&self) -> PathBuf {
        if self.is_up { self.local() } else { self.server.file("tree") }
    }

    fn destination(&self) -> PathBuf {
        if self.is_up { self.server.file("tree") } else { self.local() }
    }

    fn sync(&self, options: &[&str]) -> Ended {
        let (local, remote) = (self.local().display().to_string(), self.server.at("tree"));
        let (from, to) = if self.is_up { (&local, &remote) } else { (&remote, &local) };
        kift([&["sync", "--plain", "--json"], options, &[from.as_str(), to.as_str()]].concat())
    }

    /// Its summary: files moved, unchanged, left out, removed.
    #[track_caller]
    fn synced(&self, options: &[&str]) -> [u64; 4] {
        let objects = self.sync(options).objects();
        let summary: &Value = &objects.last().expect("a summary")["summary"];
        assert_eq!(summary["failed"], 0, "{summary}");
        ["files", "unchanged", "left_out", "removed"].map(|key| summary[key].as_u64().unwrap())
    }
}

fn write(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// All files in `dir`, with their contents and times.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
    let mut all = Vec::new();
    for name in names(dir) {
        let path = dir.join(&name);
        if path.is_dir() {
            all.extend(
                tree(&path).into_iter().map(|(below, b, t)| (Path::new(&name).join(below), b, t)),
            );
        } else {
            let modified = path.metadata().unwrap().modified().unwrap();
            all.push((name.into(), fs::read(&path).unwrap(), modified));
        }
    }
    all
}

#[test]
fn what_is_the_same_is_not_moved_again() {
    for pair in Pair::both() {
        write(&pair.source(), "a", b"first");
        write(&pair.source(), "sub/deep/b", &random(100_000, 1));
        fs::create_dir(pair.source().join("empty")).unwrap();
        assert_eq!(pair.synced(&[]), [2, 0, 0, 0]);
        assert_eq!(tree(&pair.destination()), tree(&pair.source()));
        assert!(pair.destination().join("empty").is_dir());
        assert_eq!(pair.synced(&[]), [0, 2, 0, 0]);
        assert_eq!(pair.synced(&["--checksum"]), [0, 2, 0, 0]);

        // Another time, another size, both.
        let later = SystemTime::now() + Duration::from_secs(10);
        File::options()
            .append(true)
            .open(pair.source().join("a"))
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(pair.synced(&["--checksum"]), [0, 2, 0, 0], "the contents are the same");
        assert_eq!(pair.synced(&[]), [1, 1, 0, 0]);
        write(&pair.source(), "sub/deep/b", b"short");
        assert_eq!(pair.synced(&[]), [1, 1, 0, 0]);
        assert_eq!(tree(&pair.destination()), tree(&pair.source()));
    }
}

#[test]
fn contents_count_where_one_asks_for_them() {
    for pair in Pair::both() {
        write(&pair.source(), "a", b"good");
        assert_eq!(pair.synced(&[]), [1, 0, 0, 0]);
        // The same size and time, and damaged.
        let time = pair.source().join("a").metadata().unwrap().modified().unwrap();
        fs::write(pair.destination().join("a"), b"evil").unwrap();
        File::options()
            .append(true)
            .open(pair.destination().join("a"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        assert_eq!(pair.synced(&[]), [0, 1, 0, 0]);
        let dry = pair.sync(&["--checksum", "--dry-run"]).ok();
        assert!(dry.starts_with("would "), "{dry}");
        assert_eq!(pair.synced(&["--checksum"]), [1, 0, 0, 0]);
        assert_holds(&pair.destination().join("a"), b"good");
    }
}

#[test]
fn patterns_say_what_is_moved() {
    for pair in Pair::both() {
        for path in ["a.bin", "a.txt", "tmp/a.bin", "sub/b.bin", "sub/old.bin", "sub/tmp"] {
            write(&pair.source(), path, path.as_bytes());
        }
        let options = ["--include", "*.bin", "--exclude", "tmp/", "--exclude", "/sub/old*"];
        assert_eq!(pair.synced(&options), [2, 0, 4, 0]);
        let moved: Vec<PathBuf> = tree(&pair.destination()).into_iter().map(|f| f.0).collect();
        assert_eq!(moved, [Path::new("a.bin"), Path::new("sub/b.bin")]);
        pair.sync(&["--exclude", "a["]).fails(&["\"a[\" is no pattern"]);
    }
}

#[test]
fn a_dry_run_only_says_what_would_be_done() {
    for pair in Pair::both() {
        write(&pair.source(), "new/a", b"a");
        write(&pair.source(), "b", b"b");
        write(&pair.destination(), "other", b"other");
        let before = tree(&pair.destination());
        let told = pair.sync(&["--dry-run", "--delete"]).ok();
        assert_eq!(tree(&pair.destination()), before);
        assert_eq!(names(&pair.destination()), ["other"]);
        for words in ["would make the directory", "new", "would remove", "other"] {
            assert!(told.contains(words), "{words}: {told}");
        }
        let verb = if pair.is_up { "would send" } else { "would fetch" };
        assert_eq!(told.matches(verb).count(), 2, "{told}");
    }
}

#[test]
fn what_only_the_destination_has_goes_where_one_says_so() {
    for pair in Pair::both() {
        write(&pair.source(), "a", b"a");
        for path in ["b", "gone/c", "gone/deep/d", "kept/e.keep", "kept/f"] {
            write(&pair.destination(), path, b"old");
        }
        assert_eq!(pair.synced(&[]), [1, 0, 0, 0]);
        assert_eq!(names(&pair.destination()), ["a", "b", "gone", "kept"]);
        // b, gone/c, gone/deep/d, gone/deep, gone, kept/f.
        assert_eq!(pair.synced(&["--delete", "--exclude", "*.keep"])[3], 6);
        assert_eq!(names(&pair.destination()), ["a", "kept"]);
        assert_eq!(names(&pair.destination().join("kept")), ["e.keep"]);
        pair.synced(&["--delete"]);
        assert_eq!(names(&pair.destination()), ["a"]);
    }
}

#[test]
fn nothing_is_removed_where_anything_failed() {
    for pair in Pair::both() {
        write(&pair.source(), "a", b"a");
        write(&pair.destination(), "a/in-the-way", b"a");
        write(&pair.destination(), "other", b"other");
        pair.sync(&["--delete"]).fails(&["a", "nothing was removed"]);
        assert_eq!(names(&pair.destination()), ["a", "other"]);
    }
    // A source that is not there is no empty one.
    let [up, down] = Pair::both();
    write(&down.destination(), "precious", b"precious");
    fs::remove_dir(down.source()).unwrap();
    down.sync(&["--delete"]).fails(&["tree", "no such file", "nothing was removed"]);
    assert_eq!(names(&down.destination()), ["precious"]);
    write(&up.destination(), "precious", b"precious");
    fs::remove_dir(up.source()).unwrap();
    up.sync(&["--delete"]).fails(&["is not a directory here"]);
    assert_eq!(names(&up.destination()), ["precious"]);
}

#[test]
fn links_are_not_followed() {
    let [up, down] = Pair::both();
    let outside = place();
    write(outside.path(), "secret", b"secret");
    symlink(outside.path(), up.source().join("link")).unwrap();
    up.sync(&[]).fails(&["link: skipped"]);
    assert!(names(&up.destination()).is_empty());

    write(&down.source(), "link/secret", b"new");
    symlink(outside.path(), down.destination().join("link")).unwrap();
    down.sync(&["--delete"]).fails(&["link", "is not followed"]);
    assert_holds(&outside.path().join("secret"), b"secret");
    // A link that the source does not have is removed, and not what it leads to.
    fs::remove_dir_all(down.source().join("link")).unwrap();
    assert_eq!(down.synced(&["--delete"])[3], 1);
    assert_holds(&outside.path().join("secret"), b"secret");
}

#[test]
fn one_end_is_here_and_the_other_is_not() {
    let (server, here) = (Server::new(), place());
    let dir = here.path().to_str().unwrap();
    kift(["sync", "--plain", dir, dir]).fails(&["one must be on a server"]);
    let (one, other) = (server.at("a"), server.at("b"));
    kift(["sync", "--plain", &one, &other]).fails(&["neither", "./ in front"]);
    // Directories that are missing are made, all of them.
    write(here.path(), "file", b"file");
    kift(["sync", "--plain", dir, &server.at("a/b/c")]).ok();
    assert_holds(&server.file("a/b/c/file"), b"file");
    let new = here.path().join("x/y");
    kift(["sync", "--plain", &server.at("a"), new.to_str().unwrap()]).ok();
    assert_holds(&new.join("b/c/file"), b"file");
}

#[test]
fn put_and_get_can_skip_too() {
    let (server, here) = (Server::new(), place());
    write(here.path(), "f", b"contents");
    let file = here.path().join("f");
    let file = file.to_str().unwrap();
    let summary = |args: &[&str]| {
        let objects = kift([args, &["--plain", "--json", "--skip-unchanged"]].concat()).objects();
        let summary = &objects.last().unwrap()["summary"];
        (summary["files"].as_u64().unwrap(), summary["unchanged"].as_u64().unwrap())
    };
    for expected in [(1, 0), (0, 1)] {
        assert_eq!(summary(&["put", file, &server.at("")]), expected);
    }
    let (fetched, there) = (here.path().join("g"), server.at("f"));
    for expected in [(1, 0), (0, 1)] {
        assert_eq!(summary(&["get", &there, fetched.to_str().unwrap()]), expected);
    }
    let dry = kift(["put", "--plain", "-n", file, &server.at("new")]).ok();
    assert!(dry.contains("would send") && !server.file("new").exists(), "{dry}");
}

#[test]
fn cat_shows_bytes_as_they_are() {
    let server = Server::new();
    let texts: [(&str, &[u8]); 4] = [
        ("dos", b"one\r\ntwo\r\n"),
        ("utf-16", b"\xff\xfea\0\r\0\n\0"),
        ("latin-1", b"caf\xe9\0end, and no newline"),
        ("-dash", b"\x1b[2Jred"),
    ];
    for (name, bytes) in texts {
        fs::write(server.file(name), bytes).unwrap();
    }
    let paths = texts.map(|(name, _)| server.at(name));
    let shown = kift([&["cat", "--plain"], &paths.each_ref().map(String::as_str)[..]].concat());
    assert!(shown.status.success() && shown.stderr.is_empty(), "{shown:?}");
    assert_eq!(shown.stdout, texts.map(|(_, bytes)| bytes).concat());

    let none = kift(["cat", "--plain", &server.at("dos"), &server.at("nothing")]);
    none.fails(&["nothing", "no such file"]);
    assert_eq!(none.stdout, texts[0].1);
    kift(["cat", "--plain", &server.at("")]).fails(&["the root is no file"]);
}
