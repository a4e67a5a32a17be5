//! Names in any script and with any character that a file system takes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use kift_tests::files::{assert_holds, names, place, random};
use kift_tests::machine::{Running, command, kift};
use kift_tests::serving::Server;

/// Names that are legal everywhere in kift.
fn legal() -> Vec<String> {
    let mut names: Vec<String> = [
        "日本語のファイル.txt",
        "العربية.bin",
        "עברית",
        "Ελληνικά и русский",
        "हिन्दी.dat",
        "👩\u{200d}🚀🧑🏽\u{200d}🔧.png",
        // One letter, and a letter with a mark: two names.
        "caf\u{e9}",
        "cafe\u{301}",
        "z\u{334}\u{354}\u{32c}a\u{35b}l\u{31f}go",
        "right-to-left \u{202e}gpj.exe",
        "with space",
        " leading and trailing ",
        "   ",
        "double\"quote",
        "single'quote",
        "back\\slash",
        "new\nline",
        "tab\tand bell\u{7}and escape\u{1b}[31m",
        "-rf",
        "--plain",
        "--",
        "$HOME `id` $(id) ; rm * & | < >",
        "%20 %2e%2e%2f",
        "a?b#c&d=e",
        "user@host:5438",
        "C:",
        "CON",
        "*",
        "~",
        "...",
        "..a",
        ".hidden",
        ".kiftx",
        ".KIFT",
        "kift",
        "trailing.",
        "\u{feff}bom",
        "\u{fffd}",
    ]
    .map(ToOwned::to_owned)
    .into();
    names.push("x".repeat(255));
    names.push("é".repeat(127) + "x");
    names.push("🚀".repeat(63) + "abc");
    names
}

/// The client runs where the files are, so that names stand for themselves on its command line.
fn kift_in(dir: &Path, args: &[&str]) -> kift_tests::machine::Ended {
    let mut command = command(args);
    command.current_dir(dir);
    Running::start(command).end()
}

#[test]
fn names_in_any_script_go_there_and_back_and_away() {
    let (server, here, there) = (Server::new(), place(), place());
    let all = legal();
    assert!(all.iter().skip(38).all(|name| name.len() == 255));
    let contents = |at: usize| random(100 + at, at as u64);
    for (at, name) in all.iter().enumerate() {
        fs::write(here.path().join(name), contents(at)).unwrap();
    }

    // All at once, as they are.
    let target = server.at("");
    let mut put = vec!["put", "--plain", "--json", "--"];
    put.extend(all.iter().map(String::as_str));
    put.push(&target);
    let stored = kift_in(here.path(), &put).moved();
    let stored: Vec<&str> = stored.iter().map(|object| object["path"].as_str().unwrap()).collect();
    assert_eq!(stored, all);

    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(server.names(), sorted);
    let listed = kift(["ls", "--plain", "--json", &target]).objects();
    let listed: Vec<&str> = listed.iter().map(|object| object["name"].as_str().unwrap()).collect();
    assert_eq!(listed, sorted, "in byte order");

    for (at, name) in all.iter().enumerate() {
        let remote = server.at(name);
        let stat = kift(["stat", "--plain", "--json", &remote]).objects().remove(0);
        assert_eq!((&stat["path"], &stat["size"]), (&name.as_str().into(), &(100 + at).into()));
        kift_in(there.path(), &["get", "--plain", &remote]).ok();
        assert_holds(&there.path().join(name), &contents(at));
        kift(["rm", "--plain", &remote]).ok();
        assert!(!server.file(name).exists(), "{name:?} is removed");
    }
    assert_eq!(names(there.path()), sorted);
    assert_eq!(server.names(), [""; 0]);
}

#[test]
fn a_path_of_480_bytes_in_directories_of_any_name() {
    let (server, here) = (Server::new(), place());
    let folder = format!("{}/-d/日本 語/", "d".repeat(255));
    let path = format!("{folder}{}", "f".repeat(480 - folder.len()));
    let local = here.path().join("tree").join(&path);
    fs::create_dir_all(local.parent().unwrap()).unwrap();
    fs::write(&local, "deep").unwrap();
    kift_in(&here.path().join("tree"), &["put", "--plain", "-r", ".", &server.at("")]).ok();
    assert_holds(&server.file(&path), b"deep");
    kift_in(here.path(), &["get", "--plain", &server.at(&path), "back"]).ok();
    assert_holds(&here.path().join("back"), b"deep");

    // One byte more has no name on the wire.
    fs::write(here.path().join("tree").join(format!("{path}f")), "deeper").unwrap();
    let put = kift_in(here.path(), &["put", "--plain", "-r", "tree", &server.at("")]);
    put.fails(&["fff", "name is too long"]);
}

#[test]
fn names_that_are_not_utf8_are_told_and_left_out() {
    let (server, here, there) = (Server::new(), place(), place());
    let odd = OsStr::from_bytes(b"odd \xff\xfe name");
    fs::write(here.path().join(odd), "x").unwrap();
    fs::write(here.path().join("even"), "even").unwrap();

    let put = ["put", "--plain", "-r", here.path().to_str().unwrap(), &server.at("in/")];
    kift(["mkdir", "--plain", &server.at("in")]).ok();
    kift(put).fails(&["odd ", "name", "the name is not UTF-8"]);
    let base = here.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(
        names(&server.file("in").join(base)),
        ["even"],
        "nothing is stored under a like name"
    );
    let mut single = command(["put", "--plain"]);
    single.arg(here.path().join(odd)).arg(server.at(""));
    Running::start(single).end().fails(&["the name is not UTF-8"]);

    fs::write(server.file("in").join(odd), "x").unwrap();
    fs::write(server.file("in/even"), "even").unwrap();
    let ls = kift(["ls", "--plain", "--json", &server.at("in/")]);
    ls.fails(&["1 names are not UTF-8"]);
    let listed = String::from_utf8(ls.stdout).unwrap();
    assert!(listed.contains("\"even\"") && !listed.contains("odd"), "{listed}");
    let get = kift(["get", "--plain", "-r", &server.at("in"), there.path().to_str().unwrap()]);
    get.fails(&["1 names are not UTF-8"]);
    assert_eq!(fs::read(there.path().join("in/even")).unwrap(), b"even");
    assert_eq!(names(&there.path().join("in")).len(), 2, "that and {base}");
}
