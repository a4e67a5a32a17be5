//! A server's disk that fails, or is full, from any operation on.

use std::fs::{self, File};

use kift_core::wire::{Answer, Ask, Code, Conflict, Put, TransferId};
use kift_tests::disk::{Disk, Faults, Luck, Mount};
use kift_tests::machine::{Running, command};
use kift_tests::rng::{Case, contents};
use kift_tests::serving::{Serve, Server};

use crate::can_mount;
use crate::promises::{Promises, lying, visible};
use crate::session::Session;

/// Where on the disk the served directory is.
const SERVED: &str = "served";

/// What is uploaded: its path, its bytes, and what is to happen where the path is taken.
const UPLOADS: [(&str, usize, Conflict); 4] = [
    ("f", 5000, Conflict::Replace),
    ("g", 100_000, Conflict::Refuse),
    ("f", 7000, Conflict::KeepBoth),
    ("f", 200_000, Conflict::Replace),
];

/// What became of uploads on a disk with faults.
struct Outcome {
    operations: usize,
    syncs: usize,
    /// Whether a sync has failed.
    has_lost: bool,
    /// Why those failed that did.
    failed: Vec<Code>,
}

fn upload(uploads: &[(&str, usize, Conflict)], faults: Faults) -> Outcome {
    let (disk, mut promises, mut failed) = (Disk::default(), Promises::default(), Vec::new());
    let mount = Mount::new(&disk).expect("a mount");
    let root = mount.path().join(SERVED);
    fs::create_dir(&root).expect("a directory");
    File::open(mount.path()).and_then(|folder| folder.sync_all()).expect("a sync");
    // All of it may be sent before any answer: what fails is told at any time.
    let args = ["--window", "65536"];
    let mut server = Server::start(Serve { root: Some(&root), args: &args, ..Serve::default() });
    disk.set_faults(faults);
    let (begun, synced) = (disk.operations(), disk.syncs());
    let mut session = Session::new(&server);
    for (id, &(path, len, conflict)) in (1..).zip(uploads) {
        let data = contents(len, id);
        let (transfer, size) = (TransferId([id as u8; 16]), Some(len as u64));
        let put = Put { path, transfer, size, modified: None, conflict, ask: Ask::Ready };
        let asked = disk.operations();
        let answer = session.begin(&put).map_or_else(
            |answer| answer,
            |from| {
                session.send(&data, from);
                session.end(&data);
                session.answer()
            },
        );
        let becomes = if conflict == Conflict::KeepBoth { "f_1" } else { path };
        // What failed may be there all the same, whole: the rename was done, and its sync failed.
        let done = match answer {
            Answer::Stored { .. } => disk.operations(),
            Answer::Failed(code) => {
                failed.push(code);
                usize::MAX
            }
            answer => panic!("{path}: {answer:?}"),
        };
        promises.add(becomes, Some(data), asked, done);
    }
    server.kill();
    disk.set_faults(Faults::default());
    let end = disk.operations();
    assert_eq!(promises.complaint(end, &lying(&root)), None, "as it lies");
    for luck in [Luck::Bad, Luck::Good, Luck::Any(1), Luck::Any(2)] {
        let there = visible(&disk.cut(end, luck), SERVED);
        assert_eq!(promises.complaint(end, &there), None, "{luck:?}");
    }
    Outcome {
        operations: end - begun,
        syncs: disk.syncs() - synced,
        has_lost: disk.has_lost(),
        failed,
    }
}

/// By a sync that comes later it does not show: the system has told it once.
#[test]
fn a_sync_that_fails_once_is_no_success() {
    if !can_mount("a_sync_that_fails_once_is_no_success") {
        return;
    }
    let small = [UPLOADS[0], UPLOADS[1], UPLOADS[3]];
    // Of the larger one there is a checkpoint, in the background, while it is committed.
    for uploads in [&small[..], &[("large", (32 << 20) + 1, Conflict::Refuse)]] {
        // How many there are in the background is a matter of time; but each upload's data are synced, and
        // then its name.
        let Outcome { syncs, failed, .. } = upload(uploads, Faults::default());
        assert!(failed.is_empty() && syncs >= 2 * uploads.len(), "{syncs}, {failed:?}");
        // So up to one that there is none of.
        let (mut before, mut failures) = (0, 0);
        loop {
            let _case = Case(format!("sync {before} fails"));
            let faults = Faults { fails_sync: Some(before), ..Faults::default() };
            let Outcome { has_lost, failed, .. } = upload(uploads, faults);
            if !has_lost {
                assert!(failed.is_empty(), "{failed:?}");
                break;
            }
            failures += failed.len();
            before += 1;
        }
        assert!(failures >= 2 * uploads.len(), "{failures}");
        eprintln!("{before} disks that fail at some sync; {failures} uploads failed");
    }
}

#[test]
fn a_disk_that_fails_is_no_success() {
    if !can_mount("a_disk_that_fails_is_no_success") {
        return;
    }
    let Outcome { operations, failed, .. } = upload(&UPLOADS, Faults::default());
    assert!(failed.is_empty() && operations > 30, "{failed:?}");
    let mut failures = 0;
    for works_for in 0..operations as u64 {
        let _case = Case(format!("it works for {works_for} of {operations} operations"));
        let faults = Faults { works_for: Some(works_for), ..Faults::default() };
        let failed = upload(&UPLOADS, faults).failed;
        assert!(failed.iter().all(|code| *code == Code::Io), "{failed:?}");
        failures += failed.len();
    }
    assert!(failures > operations, "{failures}");
    eprintln!("{operations} disks that fail at some operation; {failures} uploads failed");
}

#[test]
fn a_disk_that_is_full_is_no_success() {
    if !can_mount("a_disk_that_is_full_is_no_success") {
        return;
    }
    let mut failures = 0;
    for capacity in (0..64).map(|step| step * 6000) {
        let _case = Case(format!("{capacity} bytes fit"));
        let faults = Faults { capacity: Some(capacity), ..Faults::default() };
        let failed = upload(&UPLOADS, faults).failed;
        assert!(failed.iter().all(|code| *code == Code::NoSpace), "{failed:?}");
        failures += failed.len();
    }
    assert!(failures > 64, "{failures}");
    eprintln!("64 disks that are full at some size; {failures} uploads failed");
}

#[test]
fn nor_is_one_that_is_fetched_to() {
    if !can_mount("nor_is_one_that_is_fetched_to") {
        return;
    }
    let server = Server::new();
    fs::create_dir(server.file("tree")).unwrap();
    let one: &[&str] = &["f"];
    // Which are made durable together.
    for (asked, names) in [("f", one), ("tree", &["tree/a", "tree/b", "tree/c"])] {
        let (old, new) = (contents(4000, 1), contents(100_000, 2));
        names.iter().for_each(|name| fs::write(server.file(name), &new).unwrap());
        let fetch = |faults| {
            let disk = Disk::default();
            let mount = Mount::new(&disk).unwrap();
            let here = mount.path().join("here");
            fs::create_dir_all(here.join("tree")).unwrap();
            for name in names {
                fs::write(here.join(name), &old).unwrap();
                File::open(here.join(name)).unwrap().sync_all().unwrap();
            }
            for path in [&here.join("tree"), &here, mount.path()] {
                File::open(path).unwrap().sync_all().unwrap();
            }
            let (begun, mut promises) = (disk.operations(), Promises::default());
            disk.set_faults(faults);
            let mut get = command(["get", "--plain", "--recursive", &server.at(asked), "."]);
            get.current_dir(&here);
            let ended = Running::start(get).end();
            let end = disk.operations();
            let is_done = ended.status.success();
            for name in names {
                promises.add(name, Some(old.clone()), 0, begun);
                let done = if is_done { end } else { usize::MAX };
                promises.add(name, Some(new.clone()), begun, done);
            }
            if !is_done {
                ended.fails(&[asked]);
            }
            for luck in [Luck::Bad, Luck::Good, Luck::Any(1), Luck::Any(2)] {
                let there = visible(&disk.cut(end, luck), "here");
                assert_eq!(promises.complaint(end, &there), None, "{luck:?}");
            }
            (end - begun, is_done)
        };
        let (operations, is_done) = fetch(Faults::default());
        assert!(is_done && operations > 4 * names.len(), "{operations}");
        let failures = (0..operations as u64).filter(|works_for| {
            let _case = Case(format!("it works for {works_for} of {operations} operations"));
            !fetch(Faults { works_for: Some(*works_for), ..Faults::default() }).1
        });
        let failures = failures.count();
        assert!(failures > 3 * names.len(), "{failures}");
        eprintln!("{operations} disks that fail at some operation; {failures} downloads failed");
    }
}
