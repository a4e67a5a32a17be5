//! No room, no permission, other file systems. These need root, for mounts of their own and for
//! being somebody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kift_tests::files::{assert_holds, names, place, random, room};
use kift_tests::machine::{Ended, Running, command, is_root, kift, program, skip};
use kift_tests::serving::{Serve, Server};

/// Nobody's numbers.
const NOBODY: u32 = 65_534;

/// Whether there can be mounts that only this test sees; says so where not.
fn may_mount(test: &str) -> bool {
    let may =
        || Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success());
    is_root(test) && (may() || skip(test, "needs mounts of its own"))
}

/// A shell that prepares a mount namespace of its own and becomes the rest of its arguments.
fn mounting(script: &str) -> [&str; 5] {
    ["unshare", "--mount", "sh", "-ec", script]
}

/// A server with a file system of `options` mounted at its root.
fn on_tmpfs(options: &str, args: &[&str]) -> (Server, tempfile::TempDir) {
    let place = place();
    let root = place.path().to_str().unwrap();
    let script = format!("mount -t tmpfs -o {options} tmpfs {root}; exec \"$@\"");
    let under = [&mounting(&script)[..], &["sh"]].concat();
    let server =
        Server::start(Serve { root: Some(place.path()), args, under: &under, ..Serve::default() });
    (server, place)
}

/// The served directory as the server sees it.
fn inside(server: &Server) -> PathBuf {
    let root = fs::canonicalize(server.root()).unwrap();
    Path::new("/proc")
        .join(server.pid().to_string())
        .join("root")
        .join(root.strip_prefix("/").unwrap())
}

fn put_with(bytes: &[u8], args: &[&str]) -> Ended {
    use std::io::Write as _;
    let mut client = Running::start(command(args));
    // It may be refused before it has it all.
    let _ = client.take_stdin().write_all(bytes);
    client.end()
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_behind() {
    if !may_mount("a_full_disk_is_told_and_nothing_is_left_behind") {
        return;
    }
    let (server, _place) = on_tmpfs("size=4m", &[]);
    let here = place();
    let large = here.path().join("large");
    fs::write(&large, random(8 << 20, 1)).unwrap();
    let small = here.path().join("small");
    fs::write(&small, random(1 << 20, 2)).unwrap();
    let (large, small) = (large.to_str().unwrap(), small.to_str().unwrap());
    let is_empty = || {
        let kept = names(&inside(&server));
        kept == [".kift"] && names(&inside(&server).join(".kift")) == ["lock"]
    };
    assert!(room(&inside(&server)) < 5 << 20, "this is the small file system");

    // Known beforehand, found out on the way, and found out in the middle of many.
    kift(["put", "--plain", large, &server.at("")]).fails(&["large", "no space left"]);
    assert!(is_empty());
    let bytes = random(8 << 20, 3);
    put_with(&bytes, &["put", "--plain", "-", &server.at("large")])
        .fails(&["large", "no space left"]);
    assert!(is_empty(), "{:?}", names(&inside(&server)));
    let several = kift(["put", "--plain", "--json", large, small, large, small, &server.at("")]);
    several.fails(&["large", "no space left"]);
    assert_eq!(
        String::from_utf8(several.stdout).unwrap().matches("\"path\"").count(),
        2,
        "the small ones are stored"
    );
    assert_holds(&inside(&server).join("small"), &random(1 << 20, 2));

    // What is there stays until the new one is whole.
    let other = random(7 << 19, 4);
    put_with(&other, &["put", "--plain", "-", &server.at("small")]).fails(&["no space left"]);
    assert_holds(&inside(&server).join("small"), &random(1 << 20, 2));
    let df = kift(["df", "--plain", "--json", &server.at("")]).objects().remove(0);
    assert!(df["free"].as_u64().unwrap() >= 2 << 20, "{df}");
    kift(["rm", "--plain", &server.at("small")]).ok();
    assert!(is_empty());
    kift(["put", "--plain", small, &server.at("")]).ok();
}

#[test]
fn a_full_disk_here_is_told_and_nothing_is_left_behind() {
    if !may_mount("a_full_disk_here_is_told_and_nothing_is_left_behind") {
        return;
    }
    let (server, here) = (Server::new(), place());
    fs::write(server.file("large"), random(8 << 20, 1)).unwrap();
    fs::write(server.file("small"), random(1000, 2)).unwrap();
    let there = here.path().to_str().unwrap();
    // The client ends, and its file system with it: the shell looks at it in between.
    let script = format!(
        "mount -t tmpfs -o size=4m tmpfs {there}; code=0; \"$@\" || code=$?; ls -A {there}; exit $code"
    );
    let mut get = Command::new("unshare");
    get.args(&mounting(&script)[1..]).arg("sh").arg(program());
    get.args(["get", "--plain", &server.at("large"), &server.at("small"), there]);
    let got = Running::start(get).end();
    got.fails(&["large: cannot write", "No space left on device"]);
    assert_eq!(
        String::from_utf8_lossy(&got.stdout),
        "small\n",
        "the next file is fetched all the same: {got:?}"
    );
}

/// Fetches by `args`, which name the current directory, on a file system of four megabytes or with files
/// of at most four. Standard output has what is there in the end.
fn fetched_with_little_room(is_disk_small: bool, args: &[&str]) -> Ended {
    let place = place();
    let there = place.path().to_str().unwrap();
    let limit = if is_disk_small {
        format!("mount -t tmpfs -o size=4m tmpfs {there}")
    } else {
        // In blocks of 512 bytes.
        "ulimit -f 8192".to_owned()
    };
    let script = format!(
        "{limit}; cd {there}; code=0; \"$@\" || code=$?; find . -type f | sort; exit $code"
    );
    let mut get = Command::new("unshare");
    get.args(&mounting(&script)[1..]).arg("sh").arg(program()).args(args);
    Running::start(get).end()
}

/// A tree with a file that does not fit, in the middle of others. One that goes in runs is among them
/// where there are data links.
#[test]
fn a_tree_for_which_there_is_no_room_here_comes_as_far_as_it_fits() {
    if !may_mount("a_tree_for_which_there_is_no_room_here_comes_as_far_as_it_fits") {
        return;
    }
    let server = Server::new();
    fs::create_dir_all(server.file("tree/sub")).unwrap();
    for (path, len) in [("a", 1000), ("b-large", 20 << 20), ("c", 1 << 20), ("sub/d", 2000)] {
        fs::write(server.file("tree").join(path), random(len, 1)).unwrap();
    }
    let tree = server.at("tree");
    for (is_disk_small, reason) in [(true, "No space left on device"), (false, "File too large")] {
        for (args, top) in [
            (&["get", "-r", &tree, "."][..], "./tree"),
            (&["get", "-r", "--links", "2", &tree, "."], "./tree"),
            (&["sync", "--delete", &tree, "."], "."),
        ] {
            let got = fetched_with_little_room(is_disk_small, &[args, &["--plain"]].concat());
            got.fails(&["tree/b-large: cannot write", reason]);
            let expected = ["a", "c", "sub/d"].map(|path| format!("{top}/{path}\n")).concat();
            assert_eq!(String::from_utf8_lossy(&got.stdout), expected, "{args:?}: {got:?}");
        }
    }
}

#[test]
fn what_the_server_may_not_do_is_refused() {
    if !is_root("what_the_server_may_not_do_is_refused") {
        return;
    }
    // Nobody may not come to where this was built.
    let place = place();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("kift");
    fs::copy(program(), &copy).unwrap();
    let (root, id) = (place.path().join("served"), NOBODY.to_string());
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::chown(&root, Some(NOBODY), Some(NOBODY)).unwrap();
    let become_nobody = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    // The program that the shell becomes is the copy.
    let script = format!("shift; exec {} \"$@\"", copy.display());
    let under = [&become_nobody[..], &["sh", "-ec", &script, "sh"]].concat();
    let server = Server::start(Serve { root: Some(&root), under: &under, ..Serve::default() });

    fs::write(root.join("secret"), "secret").unwrap();
    fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(root.join("closed")).unwrap();
    fs::write(root.join("closed/file"), "file").unwrap();
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(root.join("fixed")).unwrap();
    fs::write(root.join("fixed/file"), "file").unwrap();

    let denied = ["permission denied"];
    let local = copy.to_str().unwrap();
    for path in ["secret", "closed/file"] {
        kift(["get", "--plain", &server.at(path), "-"]).fails(&denied);
        kift(["stat", "--plain", "--blake3", &server.at(path)]).fails(&denied);
    }
    kift(["ls", "--plain", &server.at("closed")]).fails(&denied);
    for path in ["closed/new", "closed/file", "fixed/new", "fixed/file"] {
        kift(["put", "--plain", local, &server.at(path)]).fails(&denied);
        kift(["mkdir", "--plain", &server.at(&format!("{path}-dir"))]).fails(&denied);
    }
    kift(["rm", "--plain", &server.at("fixed/file")]).fails(&denied);
    kift(["mv", "--plain", &server.at("fixed/file"), "moved"]).fails(&denied);
    assert_eq!(kift(["get", "--plain", &server.at("fixed/file"), "-"]).ok(), "file");
    kift(["put", "--plain", local, &server.at("allowed")]).ok();
    assert_eq!(server.names(), ["allowed", "closed", "fixed", "secret"]);
    assert!(server.partials().is_empty());
}

#[test]
fn a_read_only_file_system_can_be_served_read_only() {
    if !may_mount("a_read_only_file_system_can_be_served_read_only") {
        return;
    }
    let (server, _place) = on_tmpfs("ro", &["--read-only"]);
    kift(["ls", "--plain", &server.at("")]).ok();
    kift(["put", "--plain", "/proc/version", &server.at("")]).fails(&["the peer is read-only"]);

    let place = place();
    let root = place.path().to_str().unwrap();
    let script = format!("mount -t tmpfs -o ro tmpfs {root}; exec \"$@\"");
    let mut serve = Command::new("unshare");
    serve.args(&mounting(&script)[1..]).arg("sh").arg(program());
    serve.args(["serve", "--plain", "--listen", "127.0.0.1:0", root]);
    Running::start(serve).end().fails(&[
        "cannot make",
        ".kift",
        "read-only",
        "Read-only file system",
    ]);
}

#[test]
fn another_file_system_below_is_not_served() {
    if !may_mount("another_file_system_below_is_not_served") {
        return;
    }
    let place = place();
    let root = place.path().to_str().unwrap();
    fs::create_dir(place.path().join("mounted")).unwrap();
    let script =
        format!("mount -t tmpfs tmpfs {root}/mounted; echo x > {root}/mounted/x; exec \"$@\"");
    let under = [&mounting(&script)[..], &["sh"]].concat();
    let server =
        Server::start(Serve { root: Some(place.path()), under: &under, ..Serve::default() });
    kift(["get", "--plain", &server.at("mounted/x"), "-"]).fails(&["permission denied"]);
    kift(["ls", "--plain", &server.at("mounted")]).fails(&["permission denied"]);
    put_with(b"x", &["put", "--plain", "-", &server.at("mounted/y")]).fails(&["permission denied"]);
}
