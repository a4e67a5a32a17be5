//! Many files and whole trees in one command.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kift_tests::files::{assert_holds, names, place, random};
use kift_tests::machine::{command, kift};
use kift_tests::rng::Rng;
use kift_tests::serving::Server;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn ten_thousand_small_files_in_one_command() {
    let (server, here) = (Server::new(), place());
    let source = here.path().join("source");
    let contents = random(10_000 * 4096, 3);
    let file = |at: usize| format!("{:02}/{at:05}.bin", at % 50);
    for directory in 0..50 {
        fs::create_dir_all(source.join(format!("{directory:02}"))).unwrap();
    }
    for (at, part) in contents.chunks(4096).enumerate() {
        fs::write(source.join(file(at)), part).unwrap();
    }
    let whole = |root: &Path| {
        for (at, part) in contents.chunks(4096).enumerate() {
            assert_holds(&root.join(file(at)), part);
        }
        let count: usize = names(root).iter().map(|name| names(&root.join(name)).len()).sum();
        assert_eq!(count, 10_000);
    };

    let put = kift(["put", "--plain", "--json", "-r", text(&source), &server.at("")]).moved();
    assert_eq!(put.len(), 10_000, "each file is told");
    assert!(put.iter().all(|object| object["size"] == 4096));
    whole(&server.file("source"));

    let fetched = here.path().join("fetched");
    let get = ["get", "--plain", "--json", "-r", &server.at("source"), text(&fetched)];
    assert_eq!(kift(get).moved().len(), 10_000);
    whole(&fetched);
}

/// Nanoseconds since 1970: now and then a second, and a nanosecond beside each.
fn times() -> Vec<i128> {
    let second = 1_000_000_000;
    let mut times = vec![0, 1, -1, -second, 1_700_000_000 * second + 123_456_789];
    times.extend([
        (1 << 31) * second + 1,
        -(1 << 31) * second,
        4_102_444_800 * second + 999_999_999,
    ]);
    let mut rng = Rng::new(4);
    times.extend((0..8).map(|_| i128::from(rng.bits() % (4 * 1_000_000_000_000_000_000))));
    times
}

fn modified(path: &Path) -> i128 {
    let meta = path.metadata().unwrap();
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    let (server, here) = (Server::new(), place());
    let source = here.path().join("source");
    fs::create_dir(&source).unwrap();
    for (at, time) in times().into_iter().enumerate() {
        let distance = Duration::from_nanos(time.unsigned_abs().try_into().unwrap());
        let epoch = SystemTime::UNIX_EPOCH;
        let time_set = if time < 0 { epoch - distance } else { epoch + distance };
        let path = source.join(at.to_string());
        File::create(&path).unwrap().set_modified(time_set).unwrap();
        assert_eq!(modified(&path), time, "this file system keeps nanoseconds");
    }
    kift(["put", "--plain", "-r", text(&source), &server.at("")]).ok();
    let fetched = here.path().join("fetched");
    kift(["get", "--plain", "-r", &server.at("source"), text(&fetched)]).ok();
    let listed = kift(["ls", "--plain", "--json", &server.at("source")]).objects();
    for (at, time) in times().into_iter().enumerate() {
        let name = at.to_string();
        assert_eq!(modified(&server.file("source").join(&name)), time, "stored {name}");
        assert_eq!(modified(&fetched.join(&name)), time, "fetched {name}");
        let entry = listed.iter().find(|entry| entry["name"] == name.as_str()).unwrap();
        assert_eq!(entry["modified_ns"].as_i64().map(i128::from), Some(time), "listed {name}");
    }
}

/// Everything below a directory: directories with a slash, files with their contents.
fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut left) = (Vec::new(), vec![String::new()]);
    while let Some(below) = left.pop() {
        for name in names(&root.join(&below)).into_iter().filter(|name| name != ".kift") {
            let path = format!("{below}{name}");
            if root.join(&path).is_dir() {
                found.push((format!("{path}/"), Vec::new()));
                left.push(format!("{path}/"));
            } else {
                found.push((path.clone(), fs::read(root.join(&path)).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn make_tree(root: &Path) {
    for directory in ["empty", "a/empty/below", "a/b/c/d/e/f", "日本"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (file, len) in [("top", 10), ("a/x", 0), ("a/b/c/d/e/f/deep", 5000), ("日本/語", 1)] {
        fs::write(root.join(file), random(len, 5)).unwrap();
    }
}

#[test]
fn trees_with_empty_directories_go_there_and_back() {
    let (server, here) = (Server::new(), place());
    let source = here.path().join("source");
    make_tree(&source);
    kift(["put", "--plain", "-r", text(&source), &server.at("")]).ok();
    assert_eq!(tree(&server.file("source")), tree(&source));

    // Into a directory: below it. To a name that is free: as it.
    let into = here.path().join("into");
    fs::create_dir(&into).unwrap();
    kift(["get", "--plain", "-r", &server.at("source"), text(&into)]).ok();
    assert_eq!(tree(&into.join("source")), tree(&source));
    let named = here.path().join("named");
    kift(["get", "--plain", "-r", &server.at("source/"), text(&named)]).ok();
    assert_eq!(tree(&named), tree(&source));

    // Under another name, and over what is there.
    kift(["put", "--plain", "-r", text(&source), &server.at("other")]).ok();
    kift(["put", "--plain", "-r", text(&source), &server.at("other/")]).ok();
    assert_eq!(tree(&server.file("other/source")), tree(&source));
    let mut with_dot = command(["put", "--plain", "-r", ".", &server.at("source/")]);
    with_dot.current_dir(&source);
    kift_tests::machine::Running::start(with_dot).end().ok();
    assert_eq!(tree(&server.file("source")), tree(&source), "unchanged");
}

#[test]
fn all_that_is_served_comes_with_one_get() {
    let (server, here) = (Server::new(), place());
    make_tree(server.root());
    let all = here.path().join("all");
    kift(["get", "--plain", "-r", &server.at(""), text(&all)]).ok();
    assert_eq!(tree(&all), tree(server.root()));
    assert!(!all.join(".kift").exists());
}

#[test]
fn a_directory_needs_to_be_asked_for() {
    let (server, here) = (Server::new(), place());
    make_tree(&here.path().join("source"));
    let local = here.path().join("source");
    kift(["put", "--plain", text(&local), &server.at("")]).fails(&["is a directory", "-r"]);
    assert_eq!(server.names(), [""; 0]);
    make_tree(server.root());
    kift(["get", "--plain", &server.at("a"), text(here.path())]).fails(&["a: ", "directory", "-r"]);
    assert_eq!(names(here.path()), ["source"]);
}

#[test]
fn links_in_a_tree_are_told_and_left_out() {
    let (server, here) = (Server::new(), place());
    let source = here.path().join("source");
    make_tree(&source);
    std::os::unix::fs::symlink("/etc/passwd", source.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", source.join("a/link")).unwrap();
    let put = kift(["put", "--plain", "-r", text(&source), &server.at("")]);
    put.fails(&["source/link: skipped", "source/a/link: skipped"]);
    for link in ["link", "a/link"] {
        assert!(server.file("source").join(link).symlink_metadata().is_err());
        fs::remove_file(source.join(link)).unwrap();
    }
    assert_eq!(tree(&server.file("source")), tree(&source), "the rest is stored");
}
