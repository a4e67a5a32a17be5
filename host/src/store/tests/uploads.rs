use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::*;
use crate::background::Background;
use crate::store::session::Open;

#[test]
fn what_was_put_is_got_back() {
    let mut f = Fixture::new();
    let data: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    for (path, data) in [("a", &data[..]), ("empty", b""), ("one", b"x"), ("-rf \u{7}é", b"y")] {
        assert_eq!(f.put(path, data, Conflict::Replace), Ok(0));
        assert_eq!(f.get(path).unwrap(), data);
        assert_eq!(f.kind(path), Ok(EntryKind::File));
    }
    assert!(f.partials().is_empty());
}

#[test]
fn a_read_anywhere_is_short_only_at_the_end() {
    let mut f = Fixture::new();
    f.put("a", b"0123456789", Conflict::Replace).unwrap();
    assert_eq!(ready(f.session.open(REQUEST, named("a"))).unwrap().size, 10);
    let mut buf = [0; 4];
    for (at, expected) in [(0, &b"0123"[..]), (7, b"789"), (10, b""), (4, b"4567")] {
        let n = ready(f.session.read(REQUEST, at, &mut buf)).unwrap();
        assert_eq!(&buf[..n], expected);
    }
    f.session.close(REQUEST);
    assert_eq!(ready(f.session.read(REQUEST, 0, &mut buf)), Err(Code::Internal));
}

#[test]
fn nothing_appears_before_the_commit() {
    let mut f = Fixture::new();
    f.begin("a", &put(Conflict::Replace)).unwrap();
    ready(f.session.write(REQUEST, 0, b"half")).unwrap();
    assert_eq!(f.kind("a"), Err(Code::NotFound));
    assert_eq!(f.partials().len(), 1);
    f.commit(4).unwrap();
    assert_eq!(f.on_disk("a"), "half");
    assert!(f.partials().is_empty());
}

#[test]
fn abort_leaves_nothing() {
    let mut f = Fixture::new();
    f.session.abort(REQUEST);
    f.put("a", b"old", Conflict::Replace).unwrap();
    f.begin("a", &put(Conflict::Replace)).unwrap();
    ready(f.session.write(REQUEST, 0, b"new")).unwrap();
    f.session.abort(REQUEST);
    f.session.abort(REQUEST);
    assert!(f.partials().is_empty());
    assert_eq!(f.on_disk("a"), "old");
    assert_eq!(ready(f.session.write(REQUEST, 3, b"x")), Err(Code::Internal));
    assert_eq!(f.commit(3), Err(Code::Internal));
}

#[test]
fn a_dropped_session_leaves_nothing() {
    let mut f = Fixture::new();
    f.begin("a", &put(Conflict::Replace)).unwrap();
    f.session = Session::new(Arc::clone(&f.root), "another".into());
    assert!(f.partials().is_empty());
}

#[test]
fn a_gap_or_a_wrong_size_is_not_stored() {
    let mut f = Fixture::new();
    f.begin("a", &put(Conflict::Replace)).unwrap();
    ready(f.session.write(REQUEST, 0, b"abc")).unwrap();
    assert_eq!(ready(f.session.write(REQUEST, 4, b"x")), Err(Code::Internal));
    assert_eq!(f.commit(4), Err(Code::SizeMismatch));
    assert!(f.partials().is_empty());
    assert!(!f.at("a").exists());
}

#[test]
fn replace_takes_the_place() {
    let mut f = Fixture::new();
    assert_eq!(f.put("a", b"old", Conflict::Replace), Ok(0));
    assert_eq!(f.put("a", b"new", Conflict::Replace), Ok(0));
    assert_eq!(f.on_disk("a"), "new");
    assert_eq!(f.list("", "").unwrap().0, ["a"]);
}

#[test]
fn refuse_is_checked_early_and_decided_late() {
    let mut f = Fixture::new();
    assert_eq!(f.put("a", b"old", Conflict::Refuse), Ok(0));
    assert_eq!(f.begin("a", &put(Conflict::Refuse)), Err(Code::Exists));
    assert!(f.partials().is_empty());

    f.begin("b", &put(Conflict::Refuse)).unwrap();
    fs::write(f.at("b"), "quicker").unwrap();
    assert_eq!(f.commit(0), Err(Code::Exists));
    assert_eq!(f.on_disk("b"), "quicker");
    assert!(f.partials().is_empty());
}

#[test]
fn keep_both_takes_the_next_free_name() {
    let mut f = Fixture::new();
    f.make_directory("d").unwrap();
    for (suffix, text) in ["zero", "one", "two"].iter().enumerate() {
        let stored = f.put("d/a.txt", text.as_bytes(), Conflict::KeepBoth);
        assert_eq!(stored, Ok(suffix as u32));
    }
    // A name taken by something else is taken.
    fs::create_dir(f.at("d/a_3.txt")).unwrap();
    assert_eq!(f.put("d/a.txt", b"four", Conflict::KeepBoth), Ok(4));
    let contents = ["a", "a_1", "a_2", "a_4"].map(|name| f.on_disk(&format!("d/{name}.txt")));
    assert_eq!(contents, ["zero", "one", "two", "four"]);
}

#[test]
fn keep_both_stores_nothing_where_no_request_reaches_it() {
    let mut f = Fixture::new();
    let folder = format!("{0}/{0}", "d".repeat(230));
    fs::create_dir_all(f.at(&folder)).unwrap();
    let path = format!("{folder}/{}", "n".repeat(18));
    assert_eq!(path.len(), 480);
    assert_eq!(f.put(&path, b"", Conflict::KeepBoth), Ok(0));
    assert_eq!(f.put(&path, b"", Conflict::KeepBoth), Err(Code::NameTooLong));
    assert!(f.partials().is_empty());
}

#[test]
fn keep_both_gives_every_writer_a_name_of_its_own() {
    let f = Fixture::new();
    let writers = (0..4).map(|writer| {
        let root = Arc::clone(&f.root);
        thread::spawn(move || {
            let mut session = Session::new(root, format!("writer {writer}"));
            (0..25)
                .map(|_| {
                    ready(session.begin(REQUEST, named("a"), &put(Conflict::KeepBoth))).unwrap();
                    ready(session.write(REQUEST, 0, b"x")).unwrap();
                    ready(session.commit(REQUEST, 1, DIGEST)).unwrap()
                })
                .collect::<Vec<_>>()
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut suffixes: Vec<_> = writers.into_iter().flat_map(|w| w.join().unwrap()).collect();
    suffixes.sort_unstable();
    assert_eq!(suffixes, (0..100).collect::<Vec<_>>());
}

/// Writes `data`, and gives the number of the upload if it could be set aside.
fn set_aside(f: &mut Fixture, path: &str, data: &[u8], put: &Put<'_>) -> Option<RequestId> {
    static COUNT: AtomicU64 = AtomicU64::new(100);
    let request = RequestId(COUNT.fetch_add(1, Ordering::Relaxed) as u32);
    until(|| f.session.begin(request, named(path), put)).unwrap();
    until(|| f.session.write(request, 0, data)).unwrap();
    f.session.set_aside(request, data.len() as u64, DIGEST).then_some(request)
}

#[test]
fn small_ones_are_stored_together() {
    let mut f = Fixture::new();
    let replace = || put(Conflict::Replace);
    let names: Vec<_> = (0..9).map(|n| format!("f{n}")).collect();
    let aside: Vec<_> = (names.iter())
        .map(|name| set_aside(&mut f, name, name.as_bytes(), &replace()).unwrap())
        .collect();
    // One of them finds a directory in its way, and another is open meanwhile.
    fs::create_dir(f.at("f3")).unwrap();
    f.begin("open", &replace()).unwrap();
    assert_eq!(f.partials().len(), 10);
    assert!(!f.at("f0").exists());
    for (name, request) in names.iter().zip(aside) {
        let settled = until(|| f.session.settle(request));
        if name == "f3" {
            assert_eq!(settled, Err(Code::IsDirectory));
        } else {
            assert_eq!(settled.map(|settled| (settled.size, settled.suffix)), Ok((2, 0)));
            assert_eq!(f.on_disk(name), *name);
        }
        // All are there with the first answer.
        assert!(f.at("f8").exists());
    }
    assert_eq!(f.partials().len(), 1);
    f.commit(0).unwrap();
    assert!(f.partials().is_empty());
}

#[test]
fn what_is_set_aside_when_a_session_ends_is_dropped() {
    let mut f = Fixture::new();
    set_aside(&mut f, "a", b"a", &put(Conflict::Refuse)).unwrap();
    f.session = Session::new(Arc::clone(&f.root), "another".into());
    assert!(f.partials().is_empty());
    assert!(!f.at("a").exists());
}

#[test]
fn what_depends_on_others_or_takes_long_is_stored_alone() {
    let mut f = Fixture::new();
    for (path, data, conflict) in [
        ("a", &b"2"[..], Conflict::Replace),
        ("b", b"3", Conflict::KeepBoth),
        ("c", &[4; (256 << 10) + 1], Conflict::Replace),
    ] {
        let first = set_aside(&mut f, "a", b"1", &put(Conflict::Replace)).unwrap();
        assert_eq!(set_aside(&mut f, path, data, &put(conflict)), None);
        assert_eq!(until(|| f.session.settle(first)).unwrap().size, 1);
        f.commit(data.len() as u64).unwrap();
        assert_eq!(fs::read(f.at(path)).unwrap(), data);
    }
}

#[test]
fn a_directory_in_the_way_stays() {
    let mut f = Fixture::new();
    f.make_directory("d").unwrap();
    for conflict in [Conflict::Replace, Conflict::KeepBoth, Conflict::Refuse] {
        assert_eq!(f.begin("d", &put(conflict)), Err(Code::IsDirectory));
    }
    f.begin("late", &put(Conflict::Replace)).unwrap();
    fs::create_dir(f.at("late")).unwrap();
    assert_eq!(f.commit(0), Err(Code::IsDirectory));
    assert!(f.at("late").is_dir());
    assert!(f.partials().is_empty());
}

#[test]
fn a_parent_must_be_a_directory_that_is_there() {
    let mut f = Fixture::new();
    f.put("file", b"", Conflict::Replace).unwrap();
    assert_eq!(f.begin("none/a", &put(Conflict::Replace)), Err(Code::NotFound));
    assert_eq!(f.begin("file/a", &put(Conflict::Replace)), Err(Code::NotDirectory));

    f.make_directory("d").unwrap();
    f.begin("d/a", &put(Conflict::Replace)).unwrap();
    fs::rename(f.at("d"), f.at("moved")).unwrap();
    assert_eq!(f.commit(0), Err(Code::NotFound), "not where it was to be stored");
    assert!(fs::read_dir(f.at("moved")).unwrap().next().is_none());
}

#[test]
fn a_file_is_as_any_other_program_makes_it() {
    let mut f = Fixture::new();
    f.put("ours", b"x", Conflict::Replace).unwrap();
    fs::write(f.at("other"), "x").unwrap();
    let mode = |name| fs::metadata(f.at(name)).unwrap().permissions().mode();
    // The umask is taken from what the other program asked for, 0666.
    assert_eq!(mode("ours") & 0o777, mode("other") & 0o644);
}

#[test]
fn the_time_is_kept() {
    let mut f = Fixture::new();
    for time in [0, 1, 1_700_000_000_123_456_789, -1, -1_500_000_000, 4_102_444_800_000_000_000] {
        f.put_as("a", b"x", &dated(time)).unwrap();
        let modified = ready(f.session.stat(REQUEST, named("a"))).unwrap().modified;
        assert_eq!(modified, Some(Timestamp(time)));
    }
    let metadata = fs::metadata(f.at("a")).unwrap();
    assert_eq!((metadata.mtime(), metadata.atime()), (4_102_444_800, 4_102_444_800));
}

#[test]
fn a_large_file_is_stored_by_the_background_sync() {
    let mut f = Fixture::new();
    let data = vec![7; 5 << 20];
    f.put_as("a", &data, &Put { modified: Some(Timestamp(1_000_000_000)), ..sized(5 << 20) })
        .unwrap();
    assert!(f.get("a").unwrap() == data);
    assert_eq!(fs::metadata(f.at("a")).unwrap().mtime(), 1);
}

#[test]
fn a_slow_sync_is_pending_and_can_be_aborted() {
    let mut f = Fixture::new();
    f.begin("a", &put(Conflict::Replace)).unwrap();
    ready(f.session.write(REQUEST, 0, b"x")).unwrap();
    let (go, wait) = sync_channel::<()>(0);
    let Open::Upload(upload) = &mut f.session.open else { panic!("no upload") };
    upload.syncing =
        Some(Background::start(move || wait.recv().map_err(|_| rustix::io::Errno::IO)).unwrap());

    assert_eq!(f.session.commit(REQUEST, 1, DIGEST), Poll::Pending);
    assert_eq!(f.session.commit(REQUEST, 1, DIGEST), Poll::Pending);
    assert!(!f.at("a").exists());
    f.session.abort(REQUEST);
    assert!(f.partials().is_empty());
    drop(go);

    // The same, but the sync fails in the end.
    f.begin("a", &put(Conflict::Replace)).unwrap();
    let Open::Upload(upload) = &mut f.session.open else { panic!("no upload") };
    upload.syncing = Some(
        Background::start(|| {
            thread::sleep(Duration::from_millis(10));
            Err(rustix::io::Errno::IO)
        })
        .unwrap(),
    );
    assert_eq!(f.commit(0), Err(Code::Io));
    assert!(!f.at("a").exists());
    assert!(f.partials().is_empty());
}

#[test]
fn zeros_weigh_nothing_and_are_read_back() {
    let mut f = Fixture::new();
    let (zeros, far) = (vec![0; 1 << 20], (4u64 << 30) + 5);
    f.begin("sparse", &put(Conflict::Replace)).unwrap();
    ready(f.session.write(REQUEST, 0, b"head")).unwrap();
    ready(f.session.write(REQUEST, 4, &zeros)).unwrap();
    // To compare 4 GiB with zero takes half a minute without optimisation.
    let Open::Upload(upload) = &mut f.session.open else { panic!("no upload") };
    upload.at = far;
    ready(f.session.write(REQUEST, far, &zeros)).unwrap();
    let size = far + zeros.len() as u64;
    assert_eq!(f.commit(size), Ok(0));
    let metadata = fs::metadata(f.at("sparse")).unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());

    let mut buf = [1; 16];
    ready(f.session.open(REQUEST, named("sparse"))).unwrap();
    assert_eq!(ready(f.session.read(REQUEST, size - 8, &mut buf)), Ok(8));
    assert_eq!(buf[..8], [0; 8]);
    assert_eq!(ready(f.session.read(REQUEST, 0, &mut buf)), Ok(16));
    assert_eq!(&buf, b"head\0\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn zeros_in_the_middle_and_nothing_else_are_whole() {
    let mut f = Fixture::new();
    let mut data = vec![0; 96 * 1024];
    assert_eq!(f.put("zeros", &data, Conflict::Replace), Ok(0));
    assert!(f.get("zeros").unwrap() == data);
    data[0] = 1;
    data[96 * 1024 - 1] = 2;
    assert_eq!(f.put("middle", &data, Conflict::Replace), Ok(0));
    assert!(f.get("middle").unwrap() == data);
}

#[test]
fn a_size_that_finds_no_room_is_refused_before_it_is_sent() {
    let mut f = Fixture::new();
    let space = ready(f.session.space(REQUEST)).unwrap();
    assert!(space.free <= space.total && space.file_size_max <= space.free);
    assert_eq!(f.begin("a", &sized(space.total + 1)), Err(Code::NoSpace));
    assert!(f.partials().is_empty());
    assert_eq!(f.begin("a", &sized(1)), Ok(()));
}
