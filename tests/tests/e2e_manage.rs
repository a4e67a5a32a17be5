//! Looking, removing, renaming; what is printed, and what is said when something is wrong.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use kift_tests::files::{place, random};
use kift_tests::machine::kift;
use kift_tests::serving::{Serve, Server};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use serde_json::{Value, json};

fn ls(server: &Server, path: &str) -> Vec<Value> {
    kift(["ls", "--plain", "--json", &server.at(path)]).objects()
}

#[test]
fn ls_tells_every_entry_in_order() {
    let server = Server::new();
    assert_eq!(ls(&server, ""), [Value::Null; 0]);
    assert_eq!(kift(["ls", "--plain", &server.at("")]).ok(), "");
    fs::write(server.file("b"), "12345").unwrap();
    fs::write(server.file("B"), "").unwrap();
    fs::create_dir(server.file("a")).unwrap();
    let all = ls(&server, "");
    let part = |key: &str| all.iter().map(|entry| entry[key].clone()).collect::<Vec<_>>();
    assert_eq!(part("name"), ["B", "a", "b"]);
    assert_eq!(part("kind"), ["file", "directory", "file"]);
    assert_eq!(part("size"), [0, 0, 5]);
    assert!(part("modified").iter().all(|time| time.as_str().unwrap().ends_with('Z')));

    let text = kift(["ls", "--plain", &server.at("")]).ok();
    let last: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(last, ["B", "a/", "b"]);
    assert_eq!(ls(&server, "a"), [Value::Null; 0]);
    kift(["ls", "--plain", &server.at("b")]).fails(&["/b: ", "not a directory"]);
    kift(["ls", "--plain", &server.at("none")]).fails(&["/none: ", "no such file or directory"]);
}

#[test]
fn ls_of_many_entries_is_whole() {
    let server = Server::new();
    let names: Vec<String> =
        (0..5000).map(|at| format!("a name of some length, {at:04}")).collect();
    names.iter().for_each(|name| fs::write(server.file(name), "").unwrap());
    let listed: Vec<String> =
        ls(&server, "").iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, names);
}

#[test]
fn stat_tells_what_is_there() {
    let server = Server::new();
    let bytes = random(100_000, 1);
    fs::write(server.file("file"), &bytes).unwrap();
    fs::create_dir(server.file("dir")).unwrap();
    let stat =
        |path: &str| kift(["stat", "--plain", "--json", &server.at(path)]).objects().remove(0);
    let file = stat("file");
    assert_eq!(
        (&file["kind"], &file["size"], &file["path"]),
        (&json!("file"), &json!(100_000), &json!("file"))
    );
    assert_eq!(file.get("blake3"), None);
    assert_eq!(stat("dir/")["kind"], "directory");
    assert_eq!(stat("")["kind"], "directory");

    let digest = blake3::hash(&bytes).to_hex();
    let hashed =
        kift(["stat", "--plain", "--json", "--blake3", &server.at("file")]).objects().remove(0);
    assert_eq!(hashed["blake3"], digest.as_str());
    let text = kift(["stat", "--plain", "--blake3", &server.at("file")]).ok();
    for part in ["100000", "file", digest.as_str()] {
        assert!(text.contains(part), "{text}");
    }
    kift(["stat", "--plain", &server.at("none")]).fails(&["/none: ", "no such file or directory"]);
}

#[test]
fn rm_removes_files_and_empty_directories_and_goes_on_after_a_failure() {
    let server = Server::new();
    fs::create_dir_all(server.file("full/empty")).unwrap();
    for file in ["a", "b", "full/c"] {
        fs::write(server.file(file), file).unwrap();
    }
    let rm = [
        "rm",
        "--plain",
        "--json",
        &server.at("a"),
        &server.at("none"),
        &server.at("full"),
        &server.at("full/empty"),
    ];
    let rm = kift(rm);
    rm.fails(&["none: no such file", "full: ", "not empty"]);
    let removed: Vec<Value> = String::from_utf8(rm.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        removed,
        [json!({"path": "a", "removed": true}), json!({"path": "full/empty", "removed": true})]
    );
    assert_eq!(server.names(), ["b", "full"]);
    kift(["rm", "--plain", &server.at("full/c"), &server.at("full")]).ok();
    assert_eq!(server.names(), ["b"]);
    kift(["rm", "--plain", &server.at("")]).fails(&["not an acceptable name"]);

    let other = Server::new();
    let both = kift(["rm", "--plain", &server.at("b"), &other.at("b")]);
    both.fails(&["one server at a time"]);
    assert_eq!(server.names(), ["b"]);
}

#[test]
fn mv_renames_and_replaces_only_when_told_to() {
    let server = Server::new();
    fs::create_dir(server.file("dir")).unwrap();
    fs::write(server.file("a"), "a").unwrap();
    fs::write(server.file("b"), "b").unwrap();
    let mv = |from: &str, to: &str, options: &[&str]| {
        kift([&["mv", "--plain", "--json"], options, &[&server.at(from), to]].concat())
    };
    let renamed = mv("a", "c", &[]).objects().remove(0);
    assert_eq!(renamed, json!({"path": "a", "renamed": "c"}));
    mv("c", "/dir/c", &[]).ok();
    mv("dir", "d2", &[]).ok();
    assert_eq!(fs::read(server.file("d2/c")).unwrap(), b"a");
    mv("d2/c", "b", &[]).fails(&["already exists"]);
    assert_eq!(fs::read(server.file("b")).unwrap(), b"b");
    mv("d2/c", "b", &["--replace"]).ok();
    assert_eq!(fs::read(server.file("b")).unwrap(), b"a");
    mv("b", "d2", &["--replace"]).fails(&["directory"]);
    mv("d2", "d2/below", &[]).fails(&["not an acceptable name"]);
    mv("none", "x", &[]).fails(&["/none", "no such file or directory"]);
    mv("b", "../x", &[]).fails(&["not an acceptable name"]);
    mv("b", "no/x", &[]).fails(&["no such file or directory"]);
    assert_eq!(server.names(), ["b", "d2"]);
}

#[test]
fn mkdir_makes_one_directory() {
    let server = Server::new();
    let mkdir = |path: &str| kift(["mkdir", "--plain", "--json", &server.at(path)]);
    assert_eq!(mkdir("a").objects(), [json!({"path": "a", "made": true})]);
    mkdir("a/b/").ok();
    assert!(server.file("a/b").is_dir());
    mkdir("a").fails(&["/a: already exists"]);
    mkdir("x/y").fails(&["/x/y: no such file or directory"]);
    mkdir("").fails(&["not an acceptable name"]);
}

#[test]
fn df_tells_the_room_of_the_file_system() {
    let server = Server::new();
    let system = rustix::fs::statvfs(server.root()).unwrap();
    let df = kift(["df", "--plain", "--json", &server.at("")]).objects().remove(0);
    let number = |key: &str| df[key].as_u64().unwrap();
    assert_eq!(number("total"), system.f_blocks * system.f_frsize);
    assert!(number("free") > 0 && number("free") <= number("total"), "{df}");
    assert!(number("file_size_max") <= 4 << 40, "{df}");
    assert_eq!(kift(["df", "--plain", &server.at("")]).ok().lines().count(), 3);
}

#[test]
fn neither_end_is_plain_unless_told_to() {
    let (server, place) = (Server::new(), place());
    let state = place.path().to_str().unwrap();
    for command in ["ls", "stat", "mkdir", "df", "rm", "get"] {
        kift([command, "--state", state, &server.at("x")]).fails(&["accepts plain links only"]);
    }
    let sealed = Server::start(Serve { state: Some(place.path()), ..Serve::default() });
    for command in ["ls", "stat", "mkdir", "df", "rm", "get"] {
        kift([command, "--plain", &sealed.at("x")]).fails(&["sealed links only", "--plain out"]);
    }
    assert!(!sealed.greeting().contains("--plain"), "{}", sealed.greeting());
}

#[test]
fn what_cannot_be_reached_is_named() {
    // Taken, but nobody listens.
    let taken = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&taken, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(getsockname(&taken).unwrap()).unwrap();
    let remote = format!("{address}/x");
    kift(["ls", "--plain", &remote]).fails(&[&format!("cannot connect to {address}: "), "refused"]);

    let server = Server::new();
    let user = format!("kift://me@{}", server.at(""));
    kift(["ls", "--plain", &user]).fails(&["no login", "me@"]);
    // The command line itself: exit code 2, as of every program that parses it so.
    for (remote, words) in [
        ("http://127.0.0.1/", "scheme"),
        ("127.0.0.1:99999/", "port"),
        ("127.0.0.1:1/../x", "`..`"),
        ("", "host is empty"),
    ] {
        kift(["ls", "--plain", remote]).exits(2, &[words]);
    }
}
