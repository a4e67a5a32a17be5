//! Uploads that were interrupted, and ones whose answer was lost.

use kift_core::Hasher;
use kift_core::storage::Begun;

use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use super::super::Presence;
use super::*;

const MIB: usize = 1 << 20;

fn contents(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn root_of(data: &[u8]) -> Digest {
    Digest(*blake3::hash(data).as_bytes())
}

/// An upload that asks what is there of it.
fn asking(data: &[u8], conflict: Conflict) -> Put<'static> {
    Put { size: Some(data.len() as u64), ask: Ask::Ready, ..put(conflict) }
}

fn begin(session: &mut Session, path: &str, put: &Put<'_>) -> Result<Begun, Code> {
    until(|| session.begin(REQUEST, named(path), put))
}

/// Writes `data` from byte `from` on to byte `to`, as a session does it.
fn write(session: &mut Session, data: &[u8], from: usize, to: usize) -> Result<(), Code> {
    let mut hasher = match session.tree(REQUEST) {
        Some(tree) if from > 0 => Hasher::continued(tree),
        _ => Hasher::new(),
    };
    assert_eq!(hasher.digest(), root_of(&data[..from]), "what was there");
    for (at, frame) in data[from..to].chunks(32 * 1024).enumerate() {
        let runs = hasher.tree().runs();
        until(|| session.write(REQUEST, (from + at * 32 * 1024) as u64, frame))?;
        hasher.update(frame);
        if hasher.tree().runs() > runs.max(1) {
            session.mark(REQUEST, hasher.tree());
        }
    }
    Ok(())
}

fn commit(session: &mut Session, data: &[u8]) -> Result<u32, Code> {
    until(|| session.commit(REQUEST, data.len() as u64, root_of(data)))
}

/// The directory as a power cut leaves it now, served again.
fn after_a_power_cut(f: &Fixture) -> Fixture {
    Fixture::with(Options::default(), |dir| {
        let copied = std::process::Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(f.dir.path().join("."))
            .arg(dir.path())
            .status();
        assert!(copied.unwrap().success());
    })
}

#[test]
fn an_upload_goes_on_behind_what_is_durable() {
    let mut f = Fixture::new();
    // Zeros in it, and at the end of what came, are not written.
    for (data, name) in [(contents(7 * MIB + 100), "bytes"), (vec![0; 7 * MIB + 100], "zeros")] {
        let put = asking(&data, Conflict::Replace);
        assert_eq!(begin(&mut f.session, name, &put), Ok(Begun::Fresh));
        write(&mut f.session, &data, 0, 5 * MIB + 5 * 1024).unwrap();
        f.session.suspend(REQUEST);
        assert!(!f.at(name).exists());
        assert_eq!(f.partials().len(), 2, "a partial and its checkpoint");
        // In another session, and after a power cut.
        let mut cut = after_a_power_cut(&f);
        for f in [&mut f, &mut cut] {
            f.session = Session::new(Arc::clone(&f.root), "another".into());
            assert_eq!(begin(&mut f.session, name, &put), Ok(Begun::Resumed(5 * 1024)));
            assert_eq!(f.session.durable(REQUEST), 5 * 1024);
            write(&mut f.session, &data, 5 * MIB, data.len()).unwrap();
            assert_eq!(commit(&mut f.session, &data), Ok(0));
            assert_eq!(fs::read(f.at(name)).unwrap(), data);
            let marks: Vec<_> = f.reserved();
            assert!(marks.iter().all(|name| name.ends_with(".mark")), "{marks:?}");
        }
    }
}

#[test]
fn what_was_checkpointed_survives_a_power_cut_in_the_middle() {
    let mut f = Fixture::new();
    let data = contents(70 * MIB);
    let put = asking(&data, Conflict::Replace);
    begin(&mut f.session, "a", &put).unwrap();
    write(&mut f.session, &data, 0, 69 * MIB + 1024).unwrap();
    let durable = loop {
        match f.session.durable(REQUEST) {
            0 => std::thread::sleep(Duration::from_millis(1)),
            durable => break durable,
        }
    };
    assert!(durable >= 32 * 1024, "{durable}");
    let mut cut = after_a_power_cut(&f);
    let Ok(Begun::Resumed(chunks)) = begin(&mut cut.session, "a", &put) else { panic!() };
    assert!(chunks >= durable, "{chunks} < {durable}");
    write(&mut cut.session, &data, chunks as usize * 1024, data.len()).unwrap();
    commit(&mut cut.session, &data).unwrap();
    assert_eq!(fs::read(cut.at("a")).unwrap(), data);
}

#[test]
fn nothing_is_kept_that_is_little_or_not_wanted() {
    let mut f = Fixture::new();
    let data = contents(4 * MIB);
    // Too little to have a checkpoint.
    begin(&mut f.session, "a", &asking(&data, Conflict::Replace)).unwrap();
    write(&mut f.session, &data, 0, 2 * MIB).unwrap();
    f.session.suspend(REQUEST);
    assert!(f.partials().is_empty());
    // Refused by its sender.
    begin(&mut f.session, "a", &asking(&data, Conflict::Replace)).unwrap();
    write(&mut f.session, &data, 0, 4 * MIB).unwrap();
    f.session.abort(REQUEST);
    assert!(f.partials().is_empty());
    // Of another file, or begun again.
    let put = asking(&data, Conflict::Replace);
    for other in [
        Put { size: Some(1), ..put },
        Put { modified: Some(Timestamp(1)), ..put },
        Put { conflict: Conflict::KeepBoth, ..put },
        Put { ask: Ask::Now, ..put },
    ] {
        begin(&mut f.session, "a", &put).unwrap();
        write(&mut f.session, &data, 0, 4 * MIB).unwrap();
        f.session.suspend(REQUEST);
        assert_eq!(f.partials().len(), 2);
        assert_eq!(begin(&mut f.session, "a", &other), Ok(Begun::Fresh), "{other:?}");
        assert_eq!(f.partials().len(), 1);
        f.session.abort(REQUEST);
        assert!(f.partials().is_empty());
    }
    assert_eq!(begin(&mut f.session, "a", &put), Ok(Begun::Fresh));
}

#[test]
fn what_another_user_began_is_not_gone_on_with() {
    let mut f = Fixture::new();
    let data = contents(4 * MIB);
    let put = asking(&data, Conflict::Replace);
    let join = |f: &Fixture, owner| {
        Session::joining(Arc::clone(&f.root), owner, "peer".into(), Arc::default())
    };
    f.session = join(&f, "anna");
    begin(&mut f.session, "a", &put).unwrap();
    write(&mut f.session, &data, 0, 4 * MIB).unwrap();
    f.session.suspend(REQUEST);
    let mut ben = join(&f, "ben");
    assert_eq!(begin(&mut ben, "a", &put), Ok(Begun::Fresh));
    let mut anna = join(&f, "anna");
    assert_eq!(begin(&mut anna, "a", &put), Ok(Begun::Resumed(3 * 1024)));
}

#[test]
fn a_newer_session_takes_over() {
    let mut f = Fixture::new();
    let data = contents(5 * MIB);
    let put = asking(&data, Conflict::Replace);
    begin(&mut f.session, "a", &put).unwrap();
    write(&mut f.session, &data, 0, 4 * MIB).unwrap();
    let mut newer = Session::new(Arc::clone(&f.root), "newer".into());
    // Nothing of it is durable yet.
    assert_eq!(begin(&mut newer, "a", &put), Ok(Begun::Fresh));
    let old = until(|| f.session.write(REQUEST, 4 * MIB as u64, b"from the older one"));
    assert_eq!(old, Err(Code::Superseded));
    write(&mut newer, &data, 0, 4 * MIB).unwrap();
    // Whatever becomes of the older one.
    f.session.abort(REQUEST);
    f.session = Session::new(Arc::clone(&f.root), "third".into());
    write(&mut newer, &data[4 * MIB..], 0, 0).unwrap_or_default();
    let rest = &data[4 * MIB..];
    until(|| newer.write(REQUEST, 4 * MIB as u64, rest)).unwrap();
    commit(&mut newer, &data).unwrap();
    assert_eq!(fs::read(f.at("a")).unwrap(), data);
}

/// It may have been sent again, and then another file in its place.
#[test]
fn nothing_is_stored_of_one_who_is_gone() {
    for len in [10, 5 * MIB] {
        let mut f = Fixture::new();
        let is_gone = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_gone);
        let presence = Presence::new(move || told.load(Ordering::Relaxed));
        let mut session = Session::new(Arc::clone(&f.root), "ghost".into()).of(presence);
        f.session = Session::new(Arc::clone(&f.root), "its successor".into());
        let data = contents(len);
        let put = asking(&data, Conflict::Replace);
        begin(&mut session, "a", &put).unwrap();
        write(&mut session, &data, 0, len).unwrap();
        is_gone.store(true, Ordering::Relaxed);
        assert_eq!(commit(&mut session, &data), Err(Code::Cancelled));
        assert!(!f.at("a").exists());
        assert_eq!(f.partials().len(), if len > MIB { 2 } else { 0 });
        // Nor does it take anything from one who came later.
        let begun = begin(&mut f.session, "a", &put).unwrap();
        assert_eq!(begun, if len > MIB { Begun::Resumed(4 * 1024) } else { Begun::Fresh });
        assert_eq!(begin(&mut session, "a", &put), Err(Code::Superseded));
        let from = if len > MIB { 4 * MIB } else { 0 };
        write(&mut f.session, &data, from, len).unwrap();
        assert_eq!(commit(&mut f.session, &data), Ok(0));
        assert_eq!(fs::read(f.at("a")).unwrap(), data);
    }
}

/// However close to the rename it comes: the wait before it follows the outcomes to that moment,
/// wherever a disk has it.
#[test]
fn one_that_takes_over_while_it_is_stored() {
    let mut outcomes = [0; 2];
    let mut wait = Duration::ZERO;
    for round in 0..400 {
        let f = Fixture::new();
        let (old, new) = (vec![1; 3000], vec![2; 3000]);
        let put = asking(&old, [Conflict::KeepBoth, Conflict::Refuse][round % 2]);
        let mut older = Session::new(Arc::clone(&f.root), "older".into());
        let mut newer = Session::new(Arc::clone(&f.root), "newer".into());
        begin(&mut older, "a", &put).unwrap();
        write(&mut older, &old, 0, old.len()).unwrap();
        let together = Barrier::new(2);
        let (first, second) = thread::scope(|scope| {
            let first = scope.spawn(|| {
                together.wait();
                commit(&mut older, &old)
            });
            together.wait();
            thread::sleep(wait);
            let second = begin(&mut newer, "a", &put).unwrap();
            if second == Begun::Fresh {
                write(&mut newer, &new, 0, new.len()).unwrap();
                assert_eq!(commit(&mut newer, &new), Ok(0), "round {round}");
            }
            (first.join().unwrap(), second)
        });
        let is = match (first, second) {
            (Ok(0), Begun::Stored { root, suffix: 0, .. }) if root == root_of(&old) => &old,
            (Err(Code::Superseded), Begun::Fresh) => &new,
            other => panic!("round {round}: {other:?}"),
        };
        let taken_over = *is == new;
        outcomes[usize::from(taken_over)] += 1;
        wait = if taken_over { wait * 5 / 4 + Duration::from_micros(1) } else { wait * 3 / 4 };
        assert!(fs::read(f.at("a")).unwrap() == *is, "round {round}");
        assert!(!f.at("a_1").exists());
        assert!(f.partials().is_empty());
    }
    eprintln!("{} were stored before, {} were taken over", outcomes[0], outcomes[1]);
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "no race took place");
}

#[test]
fn a_repeated_upload_has_its_first_outcome() {
    for conflict in [Conflict::Refuse, Conflict::KeepBoth, Conflict::Replace] {
        for len in [10, 5 * MIB] {
            let mut f = Fixture::new();
            fs::write(f.at("taken"), "by another").unwrap();
            let data = contents(len);
            let put = asking(&data, conflict);
            let name = if conflict == Conflict::Refuse { "free" } else { "taken" };
            assert_eq!(begin(&mut f.session, name, &put), Ok(Begun::Fresh));
            write(&mut f.session, &data, 0, len).unwrap();
            if len > MIB {
                f.session.suspend(REQUEST);
                assert_eq!(begin(&mut f.session, name, &put), Ok(Begun::Resumed(4 * 1024)));
                write(&mut f.session, &data, 4 * MIB, len).unwrap();
            }
            let suffix = commit(&mut f.session, &data).unwrap();
            let stored = Begun::Stored { size: len as u64, root: root_of(&data), suffix };
            // It knows from memory, and after a power cut from what lies beside.
            assert_eq!(begin(&mut f.session, name, &put), Ok(stored));
            let mut cut = after_a_power_cut(&f);
            let after = begin(&mut cut.session, name, &put).unwrap();
            if conflict != Conflict::Replace || len > MIB {
                assert_eq!(after, stored, "{conflict:?}, {len}");
            } else {
                assert_eq!(after, Begun::Fresh, "it takes its own place again");
            }
            // Another file is another one.
            let other = Put { path: "", ..asking(&data, Conflict::KeepBoth) };
            assert_eq!(begin(&mut cut.session, name, &other), Ok(Begun::Fresh));
        }
    }
}

#[test]
fn a_checkpoint_without_its_partial_and_the_other_way_are_removed() {
    let mut f = Fixture::new();
    let data = contents(4 * MIB);
    let put = asking(&data, Conflict::Replace);
    begin(&mut f.session, "a", &put).unwrap();
    write(&mut f.session, &data, 0, 4 * MIB).unwrap();
    f.session.suspend(REQUEST);
    for end in [".part", ".mark"] {
        let mut cut = after_a_power_cut(&f);
        let dir = cut.at(".kift");
        let name = cut.partials().into_iter().find(|name| name.ends_with(end)).unwrap();
        let again = Fixture::with(Options::default(), |again| {
            fs::create_dir(again.path().join(".kift")).unwrap();
            fs::copy(dir.join(&name), again.path().join(".kift").join(&name)).unwrap();
        });
        assert!(again.reserved().is_empty(), "{:?}", again.reserved());
        // And while the server runs.
        fs::remove_file(dir.join(name)).unwrap();
        assert_eq!(begin(&mut cut.session, "a", &put), Ok(Begun::Fresh));
    }
}

#[test]
fn what_is_left_counts_and_can_be_discarded() {
    let mut f = Fixture::new();
    let quota = Bounds { quota: Some(6 * MIB as u64), largest: None };
    f.enter("home", quota);
    let data = contents(5 * MIB);
    let put = asking(&data, Conflict::Replace);
    begin(&mut f.session, "a", &put).unwrap();
    write(&mut f.session, &data, 0, 5 * MIB).unwrap();
    f.session.suspend(REQUEST);
    let mut cut = after_a_power_cut(&f);
    cut.enter("home", quota);
    for f in [&mut f, &mut cut] {
        let left = Put { size: Some(3 * MIB as u64), ..super::put(Conflict::Replace) };
        assert_eq!(begin(&mut f.session, "b", &left), Err(Code::NoSpace));
        let attempts = &f.root.served.attempts;
        let shown = attempts.shown("");
        assert_eq!(shown.len(), 1);
        assert_eq!((&*shown[0].path, shown[0].durable), ("home/a", 4 << 20));
        assert!(attempts.shown("ben").is_empty());
        assert_eq!(attempts.discard(&f.root, "ben", put.transfer), Err(Code::NotFound));
        assert_eq!(attempts.discard(&f.root, "", put.transfer), Ok(()));
        assert!(f.partials().is_empty() && attempts.shown("").is_empty());
        assert_eq!(begin(&mut f.session, "b", &left), Ok(Begun::Fresh));
    }
}
