//! A client's disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kift_core::wire::{Kind, Request};
use kift_tests::disk::{Disk, Faults, Mount};
use kift_tests::files::place;
use kift_tests::hold::Hold;
use kift_tests::machine::{Running, Signal, command};
use kift_tests::proxy::{From, Proxy};
use kift_tests::raw::frames;
use kift_tests::rng::contents;
use kift_tests::serving::Server;

use crate::promises::{Promises, lying, visible};
use crate::{can_mount, cut_everywhere};

/// Where on the disk things are.
const HERE: &str = "here";

/// Bytes of a file of which a part is worth keeping.
const LARGE: usize = (7 << 19) + 100;

/// The record of the server behind which two MiB of that have come: a frame has 32 KiB.
const HELD: usize = 90;

fn get(from: &str, into: &Path) -> Command {
    let mut get = command(["get", "--plain", from, "."]);
    get.current_dir(into);
    get
}

/// The disk, and a durable directory on it.
fn mounted(disk: &Disk) -> (Mount, PathBuf) {
    let mount = Mount::new(disk).unwrap();
    let here = mount.path().join(HERE);
    fs::create_dir(&here).unwrap();
    fs::File::open(mount.path()).unwrap().sync_all().unwrap();
    (mount, here)
}

#[test]
fn what_was_fetched_is_there() {
    if !can_mount("what_was_fetched_is_there") {
        return;
    }
    let server = Server::new();
    let large = contents(LARGE, 1);
    fs::write(server.file("large"), &large).unwrap();
    let (disk, mut promises) = (Disk::default(), Promises::default());
    let begun;
    {
        let (_mount, here) = mounted(&disk);
        begun = disk.operations();
        for version in [contents(3000, 2), contents(5000, 3)] {
            fs::write(server.file("small"), &version).unwrap();
            let asked = disk.operations();
            Running::start(get(&server.at("small"), &here)).end().ok();
            promises.add("small", Some(version), asked, disk.operations());
        }
        let asked = disk.operations();
        let hold = Hold::at(server.port(), From::Server, HELD);
        // By the same name as later, or it would be another file.
        let running = Running::start(get(&hold.path("large"), &here));
        hold.wait();
        running.signal(Signal::KILL);
        assert!(running.end().was_killed());
        drop(hold);
        Running::start(get(&server.at("large"), &here)).end().ok();
        promises.add("large", Some(large), asked, disk.operations());
    }
    let found = cut_everywhere(&disk, begun, 4, |cut, _, wreck| {
        if let Some(complaint) = promises.complaint(cut, &visible(wreck, HERE)) {
            return Some(complaint);
        }
        if !cut.is_multiple_of(4) {
            return None;
        }
        // The same once more.
        let place = place();
        wreck.lay_out(place.path()).unwrap();
        let here = place.path().join(HERE);
        for name in ["small", "large"] {
            let ended = Running::start(get(&server.at(name), &here)).end();
            if !ended.status.success() {
                return Some(format!("{name}: {ended:?}"));
            }
        }
        promises.complaint(usize::MAX, &lying(&here))
    });
    found.assert_nothing();
}

#[test]
fn so_it_is_where_files_are_made_durable_together() {
    if !can_mount("so_it_is_where_files_are_made_durable_together") {
        return;
    }
    let server = Server::new();
    fs::create_dir(server.file("tree")).unwrap();
    let found = |faults| {
        let (disk, mut promises) = (Disk::default(), Promises::default());
        let begun;
        {
            let (_mount, here) = mounted(&disk);
            begun = disk.operations();
            disk.set_faults(faults);
            for version in 0..2 {
                let name = |n| format!("tree/m{n}");
                let data =
                    |n: u8| contents(900 * (usize::from(n) + 1), u64::from(10 * version + n));
                (0..6).for_each(|n| fs::write(server.file(&name(n)), data(n)).unwrap());
                let asked = disk.operations();
                let mut get = get(&server.at("tree"), &here);
                get.arg("--recursive");
                Running::start(get).end().ok();
                (0..6)
                    .for_each(|n| promises.add(&name(n), Some(data(n)), asked, disk.operations()));
            }
        }
        cut_everywhere(&disk, begun, 4, |cut, _, wreck| {
            promises.complaint(cut, &visible(wreck, HERE))
        })
    };
    found(Faults::default()).assert_nothing();
    found(Faults { forgets_syncs: true, ..Faults::default() }).assert_something();
    found(Faults { renames_first: true, ..Faults::default() }).assert_something();
}

#[test]
fn what_was_sent_is_not_stored_twice() {
    if !can_mount("what_was_sent_is_not_stored_twice") {
        return;
    }
    let server = Server::new();
    let place = place();
    fs::write(place.path().join("file"), contents(2 << 20, 1)).unwrap();
    let disk = Disk::default();
    let mount = Mount::new(&disk).unwrap();
    let asked = Arc::new(AtomicUsize::new(usize::MAX));
    let (noted, log) = (Arc::clone(&asked), disk.clone());
    let note = move |from: From, number: usize, record: &[u8]| {
        // Behind its first flight.
        let is_put = from == From::Client
            && number > 0
            && frames(record).iter().any(|frame| {
                frame.kind == Kind::Request
                    && matches!(Request::decode(&frame.payload), Ok(Request::Put(_)))
            });
        if is_put {
            noted.fetch_min(log.operations(), Ordering::Relaxed);
        }
        None
    };
    let proxy = Proxy::lay(server.port(), Box::new(note));
    let put = |state: &Path| {
        let mut put =
            command(["put", "--plain", "--on-conflict", "keep-both", "file", &proxy.at("f")]);
        put.env("KIFT_STATE", state).current_dir(place.path());
        Running::start(put).end()
    };
    put(&mount.path().join(HERE)).ok();
    let (asked, done) = (asked.load(Ordering::Relaxed), disk.operations());
    drop(mount);
    assert!(asked < done, "{asked} of {done}");
    // Until it said so, it must know that it may have been done.
    let found = cut_everywhere(&disk, asked, 40, |cut, _, wreck| {
        if cut == done {
            return None;
        }
        let wrecked = kift_tests::files::place();
        wreck.lay_out(wrecked.path()).unwrap();
        let ended = put(&wrecked.path().join(HERE));
        let names = server.names();
        (!ended.status.success() || names != ["f"]).then(|| format!("{names:?}: {}", ended.stderr))
    });
    found.assert_nothing();
    proxy.close();
}
