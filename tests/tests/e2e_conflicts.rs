//! What happens where a name is taken.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use kift_tests::files::{assert_holds, names, place, random};
use kift_tests::machine::{Ended, Running, command, kift};
use kift_tests::serving::Server;

/// Where files meet others of their name: on the server, or here.
enum Way {
    Put,
    Get,
}

impl Way {
    /// Moves a file `name` with `bytes` to where another may be, and gives what became of it.
    fn move_file(
        &self,
        server: &Server,
        local: &Path,
        name: &str,
        bytes: &[u8],
        on_conflict: &str,
    ) -> Ended {
        let conflict = ["--plain", "--json", "--on-conflict", on_conflict];
        match self {
            Self::Put => {
                let source = local.join("source");
                fs::create_dir_all(&source).unwrap();
                fs::write(source.join(name), bytes).unwrap();
                let file = source.join(name);
                let args = [&["put"], &conflict[..], &[file.to_str().unwrap(), &server.at("")]];
                kift(args.concat())
            }
            Self::Get => {
                fs::write(server.file(name), bytes).unwrap();
                let there = self.meeting(server, local);
                let args = [&["get"], &conflict[..], &[&server.at(name), there.to_str().unwrap()]];
                kift(args.concat())
            }
        }
    }

    /// The directory in which they meet.
    fn meeting(&self, server: &Server, local: &Path) -> std::path::PathBuf {
        match self {
            Self::Put => server.root().to_owned(),
            Self::Get => {
                let place = local.join("fetched");
                fs::create_dir_all(&place).unwrap();
                place
            }
        }
    }
}

#[test]
fn replace_keep_both_and_refuse_both_ways() {
    for way in [Way::Put, Way::Get] {
        let (server, here) = (Server::new(), place());
        let there = way.meeting(&server, here.path());
        let run = |name: &str, bytes: &[u8], conflict: &str| {
            way.move_file(&server, here.path(), name, bytes, conflict)
        };
        for (name, first, second) in [
            ("a.txt", "a_1.txt", "a_2.txt"),
            ("plain", "plain_1", "plain_2"),
            (".profile", ".profile_1", ".profile_2"),
            ("b.tar.gz", "b.tar_1.gz", "b.tar_2.gz"),
            ("語.語", "語_1.語", "語_2.語"),
        ] {
            run(name, b"one", "refuse").ok();
            run(name, b"two", "replace").ok();
            assert_holds(&there.join(name), b"two");
            run(name, b"three", "refuse").fails(&[name, "already exists", "--on-conflict"]);
            assert_holds(&there.join(name), b"two");
            for (bytes, kept) in [(b"four", first), (b"five", second)] {
                let object = run(name, bytes, "keep-both").objects().remove(0);
                let told = match way {
                    Way::Put => object["path"].as_str().unwrap().to_owned(),
                    Way::Get => {
                        object["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
                    }
                };
                assert_eq!(told, kept);
                assert_holds(&there.join(kept), bytes);
            }
            assert_holds(&there.join(name), b"two");
        }
        let all = names(&there).into_iter().filter(|name| name != ".kift").count();
        assert_eq!(all, 15, "{:?}", names(&there));
    }
}

/// Small ones are made durable together, but those of one name in their order.
#[test]
fn files_of_one_name_are_fetched_in_order() {
    let (server, local) = (Server::new(), place());
    let names: Vec<String> =
        (0..48).map(|n| format!("{n:02}/{}", ["f", "F", "g"][n % 3])).collect();
    for name in &names {
        fs::create_dir(server.file(&name[..2])).unwrap();
        fs::write(server.file(name), name).unwrap();
    }
    let remotes: Vec<String> = names.iter().map(|name| server.at(name)).collect();
    let remotes: Vec<&str> = remotes.iter().map(String::as_str).collect();
    for (on_conflict, last, refused) in [("replace", 15, 0), ("refuse", 0, 45), ("keep-both", 0, 0)]
    {
        let into = local.path().join(on_conflict);
        fs::create_dir(&into).unwrap();
        let line = ["get", "--plain", "--on-conflict", on_conflict];
        let ended = kift([&line, &remotes[..], &[into.to_str().unwrap()]].concat());
        assert_eq!(ended.stderr.matches("already").count(), refused, "{ended:?}");
        for first in 0..3 {
            let name = &names[first + 3 * last];
            assert_eq!(fs::read_to_string(into.join(&name[3..])).unwrap(), *name, "{on_conflict}");
        }
        assert_eq!(
            fs::read_dir(&into).unwrap().count(),
            if on_conflict == "keep-both" { 48 } else { 3 }
        );
    }
}

#[test]
fn a_name_of_255_bytes_is_shortened_to_keep_both() {
    for way in [Way::Put, Way::Get] {
        let (server, here) = (Server::new(), place());
        let name = format!("{}.txt", "é".repeat(125));
        way.move_file(&server, here.path(), &name, b"one", "refuse").ok();
        way.move_file(&server, here.path(), &name, b"two", "keep-both").ok();
        let there = way.meeting(&server, here.path());
        assert_holds(&there.join(format!("{}_1.txt", "é".repeat(124))), b"two");
        assert_holds(&there.join(name), b"one");
    }
}

#[test]
fn a_directory_never_gives_way() {
    for way in [Way::Put, Way::Get] {
        let (server, here) = (Server::new(), place());
        let there = way.meeting(&server, here.path());
        if matches!(way, Way::Put) {
            fs::create_dir(there.join("taken")).unwrap();
            fs::write(there.join("taken/inside"), "inside").unwrap();
            let local = here.path().join("local");
            fs::write(&local, "x").unwrap();
            for conflict in ["replace", "keep-both", "refuse"] {
                let put = ["put", "--plain", "--on-conflict", conflict, "--name", "taken"];
                let rest = [local.to_str().unwrap(), &server.at("")];
                kift([&put[..], &rest].concat()).fails(&["local", "directory"]);
            }
        } else {
            fs::create_dir(there.join("taken")).unwrap();
            fs::write(there.join("taken/inside"), "inside").unwrap();
            for conflict in ["replace", "keep-both", "refuse"] {
                way.move_file(&server, here.path(), "taken", b"x", conflict)
                    .fails(&["taken", "directory"]);
            }
        }
        assert_eq!(names(&there.join("taken")), ["inside"]);
        assert_eq!(names(&there).into_iter().filter(|name| name != ".kift").count(), 1);
        assert!(server.partials().is_empty());
    }
}

#[test]
fn a_file_is_no_directory_to_put_into() {
    let (server, here) = (Server::new(), place());
    fs::write(server.file("file"), "file").unwrap();
    let local = here.path().join("local");
    fs::write(&local, "x").unwrap();
    let put = kift(["put", "--plain", local.to_str().unwrap(), &server.at("file/below")]);
    put.fails(&["file/below", "not a directory"]);
    assert_holds(&server.file("file"), b"file");
}

/// Sets a flag when dropped, so that a failure ends the others too.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// While one is replaced by the other, a reader sees one or the other, whole.
#[test]
fn a_replaced_file_is_never_half() {
    let (server, here) = (Server::new(), place());
    let contents = [random(600_000, 1), random(700_001, 2)];
    let sources = [here.path().join("a"), here.path().join("b")];
    for (source, bytes) in sources.iter().zip(&contents) {
        fs::write(source, bytes).unwrap();
    }
    fs::write(server.file("file"), &contents[0]).unwrap();
    let is_whole = |bytes: &[u8]| contents.iter().any(|whole| whole == bytes);
    let (over, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    let fetched = here.path().join("fetched");
    let (server, fetched, over, seen) = (&server, &fetched, &over, &seen);
    thread::scope(|scope| {
        let _end = Set(over);
        // Whoever looks into the directory, and a client.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert!(is_whole(&fs::read(server.file("file")).unwrap()), "half a file there");
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                kift(["get", "--plain", &server.at("file"), fetched.to_str().unwrap()]).ok();
                assert!(is_whole(&fs::read(fetched).unwrap()), "half a file came");
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Ok(bytes) = fs::read(fetched) {
                    assert!(is_whole(&bytes), "half a file here");
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        for turn in 0..30 {
            let source = sources[turn % 2].to_str().unwrap();
            kift(["put", "--plain", source, &server.at("file")]).ok();
        }
    });
    assert!(seen.load(Ordering::Relaxed) > 30);
    assert!(server.partials().is_empty());
}

/// Eight at once, to one name.
fn race(server: &Server, here: &Path, conflict: &str) -> Vec<Ended> {
    let start = |at: u8| {
        let source = here.join(at.to_string());
        fs::write(&source, vec![at; 10_000]).unwrap();
        let put = ["put", "--plain", "--on-conflict", conflict, source.to_str().unwrap()];
        Running::start(command([&put[..], &[&server.at("name.ext")]].concat()))
    };
    let all: Vec<Running> = (0..8).map(start).collect();
    all.into_iter().map(Running::end).collect()
}

#[test]
fn of_eight_at_once_each_is_kept_or_one_or_the_last() {
    let (server, here) = (Server::new(), place());
    let stored = |server: &Server| -> BTreeSet<Vec<u8>> {
        server.names().iter().map(|name| fs::read(server.file(name)).unwrap()).collect()
    };
    race(&server, here.path(), "keep-both").into_iter().for_each(|put| drop(put.ok()));
    assert_eq!(stored(&server), (0..8).map(|at| vec![at; 10_000]).collect());
    let numbered = (1..8).map(|suffix| format!("name_{suffix}.ext"));
    assert_eq!(
        server.names(),
        ["name.ext".to_owned()].into_iter().chain(numbered).collect::<Vec<_>>()
    );

    let server = Server::new();
    let (won, lost): (Vec<_>, Vec<_>) =
        race(&server, here.path(), "refuse").into_iter().partition(|put| put.status.success());
    assert_eq!((won.len(), server.names()), (1, vec!["name.ext".to_owned()]));
    lost.iter().for_each(|put| put.fails(&["already exists"]));
    assert!(
        stored(&server)
            .iter()
            .all(|bytes| bytes.len() == 10_000 && bytes.iter().all(|b| *b == bytes[0]))
    );

    let server = Server::new();
    race(&server, here.path(), "replace").into_iter().for_each(|put| drop(put.ok()));
    assert_eq!(server.names(), ["name.ext"]);
    assert!(
        stored(&server)
            .iter()
            .all(|bytes| bytes.len() == 10_000 && bytes.iter().all(|b| *b == bytes[0]))
    );
}
