//! What is stored and on its way never exceeds the quota, whatever is done.

use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::store::ledger::Account;

const K: u64 = 1024;

fn quota(quota: u64) -> Bounds {
    Bounds { quota: Some(quota), ..Bounds::default() }
}

/// A session in the home `a` with a quota.
fn bounded(bytes: u64) -> Fixture {
    let mut f = Fixture::new();
    f.enter("a", quota(bytes));
    f
}

/// An upload of so many bytes, and not zeros.
fn data(size: u64) -> Vec<u8> {
    vec![7; size as usize]
}

impl Fixture {
    fn put_sized(&mut self, path: &str, size: u64) -> Result<u32, Code> {
        self.put_as(path, &data(size), &sized(size))
    }

    /// What the quota leaves.
    fn left(&mut self) -> u64 {
        until(|| self.session.space(REQUEST)).unwrap().free
    }

    /// What the account of `home` says, if it was counted.
    fn used(&self, home: &str) -> Option<u64> {
        match self.root.served.ledger.books().accounts.get(home) {
            Some(Account::Counted { used, .. }) => Some(*used),
            _ => None,
        }
    }

    /// Has every count so long ago, and that it took so long.
    fn counted(&self, ago: Duration, for_so_long: Duration) {
        for account in self.root.served.ledger.books().accounts.values_mut() {
            if let Account::Counted { since, took, .. } | Account::Failed { since, took, .. } =
                account
            {
                (*since, *took) = (Instant::now() - ago, for_so_long);
            }
        }
    }

    /// Every account says what is there.
    fn assert_true(&self) {
        let homes: Vec<_> =
            self.root.served.ledger.books().accounts.keys().map(ToString::to_string).collect();
        for home in homes {
            if let Some(used) = self.used(&home) {
                assert_eq!(Ok(used), self.root.served.weigh(&home), "home {home:?}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut f = bounded(10 * K);
    assert_eq!(f.begin("x", &sized(10 * K + 1)), Err(Code::NoSpace), "before a byte is sent");
    assert_eq!(f.put_sized("x", 6 * K), Ok(0));
    assert_eq!(f.begin("y", &sized(4 * K + 1)), Err(Code::NoSpace));
    assert_eq!(f.put("y", &data(4 * K + 1), Conflict::Replace), Err(Code::NoSpace), "as it comes");
    assert!(f.partials().is_empty());
    assert_eq!(f.put("y", &data(4 * K), Conflict::Replace), Ok(0));
    assert_eq!(f.begin("z", &sized(0)), Err(Code::NoSpace));
    assert_eq!(f.left(), 0);
    f.assert_true();
}

#[test]
fn what_was_there_before_counts() {
    let mut f = Fixture::with(Options::default(), |dir| {
        fs::create_dir_all(dir.path().join("a/d")).unwrap();
        fs::write(dir.path().join("a/d/x"), data(5 * K)).unwrap();
        fs::write(dir.path().join("beside"), data(50 * K)).unwrap();
    });
    f.enter("a", quota(10 * K));
    assert_eq!(f.left(), 4 * K, "the file and the directory");
    assert_eq!(f.put_sized("y", 4 * K + 1), Err(Code::NoSpace));
    assert_eq!(f.put_sized("y", 4 * K), Ok(0));
}

#[test]
fn what_is_not_stored_is_given_back() {
    let mut f = bounded(10 * K);
    for _ in 0..3 {
        f.begin("x", &sized(10 * K)).unwrap();
        assert_eq!(f.left(), 0);
        f.session.abort(REQUEST);
        assert_eq!(f.left(), 10 * K);

        f.begin("x", &sized(10 * K)).unwrap();
        f.enter("a", quota(10 * K));
        assert_eq!(f.left(), 10 * K, "a session that is gone holds nothing");

        f.begin("x", &put(Conflict::Replace)).unwrap();
        ready(f.session.write(REQUEST, 0, &data(9 * K))).unwrap();
        assert_eq!(f.left(), K);
        assert_eq!(f.commit(8 * K), Err(Code::SizeMismatch));
        assert_eq!(f.left(), 10 * K);

        f.begin("x", &put(Conflict::Refuse)).unwrap();
        ready(f.session.write(REQUEST, 0, &data(9 * K))).unwrap();
        fs::write(f.at("a/x"), "").unwrap();
        assert_eq!(f.commit(9 * K), Err(Code::Exists));
        fs::remove_file(f.at("a/x")).unwrap();
        assert_eq!(f.left(), 10 * K);
    }
    f.assert_true();
}

#[test]
fn a_file_and_what_replaces_it_are_both_there_for_a_while() {
    let mut f = bounded(10 * K);
    f.put_sized("x", 6 * K).unwrap();
    assert_eq!(f.begin("x", &sized(5 * K)), Err(Code::NoSpace));
    for size in [4 * K, 6 * K, 4 * K, K, 0] {
        assert_eq!(f.put_sized("x", size), Ok(0));
        f.assert_true();
    }
    assert_eq!(f.left(), 9 * K);
}

#[test]
fn two_uploads_to_one_name() {
    let mut f = bounded(10 * K);
    let mut other = Session::new(f.root.home("a", quota(10 * K)).unwrap(), "other".into());
    f.begin("x", &sized(3 * K)).unwrap();
    ready(other.begin(REQUEST, named("x"), &sized(5 * K))).unwrap();
    assert_eq!(f.left(), 2 * K);
    ready(f.session.write(REQUEST, 0, &data(3 * K))).unwrap();
    ready(other.write(REQUEST, 0, &data(5 * K))).unwrap();
    f.commit(3 * K).unwrap();
    assert_eq!(f.left(), 2 * K);
    ready(other.commit(REQUEST, 5 * K, DIGEST)).unwrap();
    assert_eq!(f.left(), 5 * K);
    // Now it is taken away under an upload, and another file put there.
    f.begin("x", &sized(K)).unwrap();
    ready(f.session.write(REQUEST, 0, &data(K))).unwrap();
    ready(other.rename(REQUEST, named("x"), named("y"), false)).unwrap();
    f.commit(K).unwrap();
    assert_eq!(f.left(), 4 * K);
    f.assert_true();
}

#[test]
fn deletes_and_renames_give_back_what_is_gone_and_no_more() {
    let mut f = bounded(20 * K);
    for (name, size) in [("x", 5 * K), ("y", 3 * K), ("z", 2 * K)] {
        f.put_sized(name, size).unwrap();
    }
    assert_eq!(f.left(), 10 * K);
    assert_eq!(f.delete("none"), Err(Code::NotFound));
    assert_eq!(f.rename("x", "y", false), Err(Code::Exists));
    assert_eq!(f.rename("none", "y", true), Err(Code::NotFound));
    assert_eq!(f.rename("x", "x", true), Err(Code::Exists));
    assert_eq!(f.left(), 10 * K);
    assert_eq!(f.rename("x", "w", false), Ok(()));
    assert_eq!(f.rename("w", "x", true), Ok(()));
    assert_eq!(f.left(), 10 * K);
    assert_eq!(f.rename("x", "y", true), Ok(()));
    assert_eq!(f.left(), 13 * K, "y was 3 K");
    assert_eq!(f.delete("x"), Err(Code::NotFound));
    assert_eq!(f.delete("y"), Ok(()));
    assert_eq!(f.delete("y"), Err(Code::NotFound));
    assert_eq!(f.left(), 18 * K);
    assert_eq!(f.put("z", &data(2 * K), Conflict::KeepBoth), Ok(1));
    assert_eq!(f.left(), 16 * K);
    f.assert_true();
}

#[test]
fn holes_count() {
    let mut f = bounded(10 * K);
    let zeros = vec![0; 11 * K as usize];
    assert_eq!(f.put("x", &zeros, Conflict::Replace), Err(Code::NoSpace));
    assert_eq!(f.put("x", &zeros[..10 * K as usize], Conflict::Replace), Ok(0));
    assert_eq!(f.left(), 0);
    f.assert_true();
}

#[test]
fn nothing_is_for_nothing() {
    let mut f = bounded(4 * K);
    assert_eq!(f.put_sized("empty", 0), Ok(0));
    assert_eq!(f.put_sized("one", 1), Ok(0));
    assert_eq!(f.make_directory("d"), Ok(()));
    assert_eq!(f.make_directory("d/e"), Ok(()));
    assert_eq!(f.left(), 0);
    assert_eq!(f.put_sized("more", 0), Err(Code::NoSpace));
    assert_eq!(f.make_directory("more"), Err(Code::NoSpace));
    assert_eq!(f.make_directory("d"), Err(Code::Exists));
    assert_eq!(f.make_directory("one"), Err(Code::Exists));
    assert!(!f.at("a/more").exists());
    assert_eq!(f.delete("d/e"), Ok(()));
    assert_eq!(f.make_directory("more"), Ok(()));
    f.assert_true();
}

#[test]
fn more_than_was_declared_is_reserved_too() {
    let mut f = bounded(10 * K);
    assert_eq!(f.put_as("x", &data(11 * K), &sized(1)), Err(Code::NoSpace));
    assert_eq!(f.put_as("x", &data(10 * K), &sized(1)), Ok(0));
    assert_eq!(f.left(), 0);
    // And less is not kept.
    f.delete("x").unwrap();
    assert_eq!(f.put_as("x", &data(K), &sized(10 * K)), Ok(0));
    assert_eq!(f.left(), 9 * K);
    assert_eq!(f.begin("y", &sized(u64::MAX)), Err(Code::NoSpace));
    f.assert_true();
}

#[test]
fn reservations_of_all_sessions_add_up() {
    let f = bounded(20 * K);
    let start = Barrier::new(8);
    let hold = Barrier::new(8);
    let accepted = thread::scope(|scope| {
        let session = || {
            let home = f.root.home("a", quota(20 * K)).unwrap();
            let mut session = Session::new(home, "peer".into());
            start.wait();
            let begun = session.begin(REQUEST, named("x"), &sized(3 * K));
            hold.wait();
            ready(begun)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(session)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let refused = accepted.iter().filter(|begun| **begun == Err(Code::NoSpace)).count();
    assert_eq!((accepted.len(), refused), (8, 2), "20 K are six times 3 K");
}

#[test]
fn sessions_that_change_the_same_names_win_nothing() {
    let mut f = bounded(64 * K);
    f.put_sized("f0", K).unwrap();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let home = f.root.home("a", quota(64 * K)).unwrap();
            scope.spawn(move || {
                let mut random = Random(seed);
                let mut session = Session::new(home, "peer".into());
                for _ in 0..300 {
                    change_something(&mut session, &mut random, &["f0", "f1", "f2"]);
                }
            });
        }
    });
    assert!(f.used("a").is_some());
    f.assert_true();
    assert!(f.left() <= 64 * K);
}

#[test]
fn homes_in_one_another_all_say_what_is_there() {
    let mut f = Fixture::new();
    let paths: [(&str, &[&str]); 4] = [
        ("", &["f", "a", "a/f", "a/b", "a/b/f", "a/b/d", "a/b/d/f", "c", "c/b", "c/b/f", "c/f"]),
        ("a", &["f", "b", "b/f", "b/d", "b/d/f", "d", "d/f"]),
        ("a/b", &["f", "d", "d/f", "e", "e/f"]),
        ("c", &["f", "b", "b/f", "d"]),
    ];
    let mut sessions: Vec<_> = paths
        .iter()
        .map(|(home, _)| Session::new(f.root.home(home, quota(90 * K)).unwrap(), "peer".into()))
        .collect();
    let mut random = Random(1);
    let mut checked = 0;
    for step in 0..3_000 {
        let who = random.below(4);
        change_something(&mut sessions[who], &mut random, paths[who].1);
        if step % 10 == 0 {
            f.assert_true();
            checked += paths.iter().filter(|(home, _)| f.used(home).is_some()).count();
        }
    }
    assert!(checked > 300, "{checked}: most accounts are counted most of the time");
    f.enter("", quota(90 * K));
    f.left();
    assert!(f.used("").unwrap() > 0);
}

/// One change of names, or an upload.
fn change_something(session: &mut Session, random: &mut Random, paths: &[&str]) {
    let mut path = || named(paths[random.below(paths.len())]);
    let (path, to) = (path(), path());
    match random.below(10) {
        0 | 1 => drop(session.delete(REQUEST, path)),
        2 | 3 => drop(session.rename(REQUEST, path, to, true)),
        4 => drop(session.rename(REQUEST, path, to, false)),
        5 => drop(session.make_directory(REQUEST, path)),
        kind => {
            let conflict =
                [Conflict::Replace, Conflict::KeepBoth, Conflict::Refuse][random.below(3)];
            let size = random.below(6) as u64 * 700;
            let declared = (kind > 7).then_some(size);
            let begun = session.begin(REQUEST, path, &Put { size: declared, ..put(conflict) });
            if begun != Poll::Ready(Ok(Begun::Fresh)) {
                return;
            }
            let written = session.write(REQUEST, 0, &data(size));
            if written != Poll::Ready(Ok(())) || random.below(5) == 0 {
                return session.abort(REQUEST);
            }
            if session.commit(REQUEST, size, DIGEST).is_pending() {
                session.abort(REQUEST);
            }
        }
    }
}

/// Numbers by xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn whoever_stores_it_it_counts() {
    let mut f = bounded(10 * K);
    assert_eq!(f.left(), 10 * K);
    // One whose home is the root, and who has no quota.
    let mut manager = Session::new(Arc::clone(&f.root), "manager".into());
    let put = |session: &mut Session, path, size| {
        ready(session.begin(REQUEST, named(path), &sized(size)))?;
        ready(session.write(REQUEST, 0, &data(size)))?;
        ready(session.commit(REQUEST, size, DIGEST))
    };
    put(&mut manager, "a/x", 4 * K).unwrap();
    put(&mut manager, "ab", 40 * K).unwrap();
    assert_eq!(f.left(), 6 * K, "`ab` lies beside `a`");
    // What is on its way counts, too.
    ready(manager.begin(REQUEST, named("a/y"), &sized(5 * K))).unwrap();
    assert_eq!(f.put_sized("z", 2 * K), Err(Code::NoSpace));
    manager.abort(REQUEST);
    ready(manager.rename(REQUEST, named("a/x"), named("x"), false)).unwrap();
    assert_eq!(f.left(), 10 * K);
    // It is not the manager whom this quota binds.
    put(&mut manager, "a/big", 12 * K).unwrap();
    assert_eq!(f.left(), 0);
    assert_eq!(f.put_sized("z", 0), Err(Code::NoSpace));
    f.assert_true();
}

#[test]
fn a_directory_that_crosses_the_border_is_counted() {
    let mut f = Fixture::new();
    for name in ["out", "a", "a/in"] {
        f.make_directory(name).unwrap();
    }
    f.put_sized("out/x", 9 * K).unwrap();
    f.put_sized("a/in/y", 2 * K).unwrap();
    let mut manager = Session::new(Arc::clone(&f.root), "manager".into());
    f.enter("a", quota(20 * K));
    assert_eq!(f.left(), 17 * K);
    let mut rename = |from, to| ready(manager.rename(REQUEST, named(from), named(to), false));
    rename("out", "a/out").unwrap();
    assert_eq!(f.left(), 7 * K);
    rename("a/in", "in").unwrap();
    assert_eq!(f.left(), 10 * K);
    rename("a/out", "a/still").unwrap();
    assert_eq!(f.used("a"), Some(10 * K), "what stays is not counted again");
    // The home goes, and comes back.
    rename("a", "away").unwrap();
    assert_eq!(f.put_sized("x", K), Err(Code::NotFound));
    rename("in", "a").unwrap();
    assert_eq!(f.left(), 18 * K);
    f.assert_true();
}

#[test]
fn two_quotas_on_one_home() {
    let mut f = bounded(10 * K);
    f.put_sized("x", 6 * K).unwrap();
    f.enter("a", quota(5 * K));
    assert_eq!(f.left(), 0);
    assert_eq!(f.put_sized("y", 0), Err(Code::NoSpace));
    f.enter("a", quota(10 * K));
    assert_eq!(f.left(), 4 * K);
}

#[test]
fn what_other_means_change_is_found_later() {
    let mut f = bounded(10 * K);
    let (now, second) = (Duration::ZERO, Duration::from_secs(1));
    f.put_sized("x", 10 * K).unwrap();
    fs::remove_file(f.at("a/x")).unwrap();
    f.counted(now, second);
    assert_eq!(f.put_sized("y", K), Err(Code::NoSpace), "it was just counted");
    f.counted(6 * second, now);
    assert_eq!(f.put_sized("y", K), Ok(0));

    // More than there is room for is found in the end, though all seems to fit.
    fs::write(f.at("a/z"), data(20 * K)).unwrap();
    f.counted(60 * second, now);
    assert_eq!(f.put_sized("y", K), Ok(0));
    f.counted(600 * second, now);
    assert_eq!(f.put_sized("y", K), Err(Code::NoSpace));
    f.assert_true();
}

#[test]
fn only_so_much_time_goes_into_counting() {
    let mut f = bounded(10 * K);
    let second = Duration::from_secs(1);
    f.put_sized("x", 10 * K).unwrap();
    fs::remove_file(f.at("a/x")).unwrap();
    f.counted(60 * second, 10 * second);
    assert_eq!(f.put_sized("x", K), Err(Code::NoSpace));
    f.counted(200 * second, 10 * second);
    assert_eq!(f.put_sized("x", K), Ok(0));
}

#[test]
fn space_is_what_all_bounds_leave() {
    let mut f = Fixture::new();
    f.enter("a", Bounds { quota: Some(10 * K), largest: Some(8 * K) });
    let space = |f: &mut Fixture| {
        let space = ready(f.session.space(REQUEST)).unwrap();
        (space.free, space.total, space.file_size_max)
    };
    assert_eq!(space(&mut f), (10 * K, 10 * K, 8 * K));
    f.put_sized("x", 4 * K).unwrap();
    assert_eq!(space(&mut f), (6 * K, 10 * K, 6 * K));
    f.enter("a", quota(u64::MAX));
    let (free, total, file_size_max) = space(&mut f);
    assert!(free < total && total < u64::MAX && file_size_max <= free, "the file system's");
}

#[test]
fn changes_wait_while_a_home_is_counted_and_nothing_else_does() {
    // Large enough to be synced in the background, too.
    let (size, bound) = (5 << 20, 10 << 20);
    let mut f = bounded(bound);
    f.put_sized("x", K).unwrap();
    f.begin("late", &sized(size)).unwrap();
    ready(f.session.write(REQUEST, 0, &data(size))).unwrap();
    assert!(f.root.served.ledger.start_count("a"));
    assert!(!f.root.served.ledger.start_count("a"), "one at a time");
    assert_eq!(f.session.commit(REQUEST, size, DIGEST), Poll::Pending);
    assert_eq!(f.session.commit(REQUEST, size, DIGEST), Poll::Pending);

    let mut other = Session::new(f.root.home("a", quota(bound)).unwrap(), "other".into());
    assert_eq!(other.begin(REQUEST, named("y"), &sized(1)), Poll::Pending);
    assert_eq!(other.make_directory(REQUEST, named("d")), Poll::Pending);
    assert_eq!(other.delete(REQUEST, named("x")), Poll::Pending);
    assert_eq!(other.rename(REQUEST, named("x"), named("z"), false), Poll::Pending);
    assert_eq!(other.space(REQUEST), Poll::Pending);
    assert!(ready(other.open(REQUEST, named("x"))).is_ok());
    other.close(REQUEST);
    // One beside it, and one around it.
    let mut beside = Session::new(f.root.home("b", quota(10 * K)).unwrap(), "beside".into());
    assert!(ready(beside.make_directory(REQUEST, named("d"))).is_ok());
    let mut around = Session::new(Arc::clone(&f.root), "around".into());
    assert_eq!(around.delete(REQUEST, named("a/x")), Poll::Pending);
    assert!(ready(around.make_directory(REQUEST, named("c"))).is_ok());

    // The end of the count wakes whoever waits.
    let (ended, wait) = sync_channel(0);
    let served = Arc::clone(&f.root.served);
    let count = thread::spawn(move || {
        wait.recv().unwrap();
        served.ledger.end_count("a", served.weigh("a"), Duration::ZERO);
    });
    ended.send(()).unwrap();
    assert_eq!(f.commit(size), Ok(0));
    count.join().unwrap();
    assert_eq!(f.left(), bound - size - K);
    f.assert_true();
}

#[test]
fn a_home_that_cannot_be_counted_takes_nothing_and_can_be_cleared() {
    let mut f = bounded(10 * K);
    let deep = "d/".repeat(1_001);
    fs::create_dir_all(f.at("a").join(deep)).unwrap();
    assert_eq!(f.put_sized("x", K), Err(Code::TooMany));
    f.counted(Duration::ZERO, Duration::from_secs(1));
    assert_eq!(ready(f.session.space(REQUEST)).err(), Some(Code::TooMany));
    fs::write(f.at("a/y"), "").unwrap();
    assert_eq!(f.delete("y"), Ok(()));
    fs::remove_dir_all(f.at("a/d")).unwrap();
    assert_eq!(f.put_sized("x", K), Err(Code::TooMany), "not tried again at once");
    f.counted(Duration::from_secs(20), Duration::from_secs(1));
    assert_eq!(f.put_sized("x", K), Ok(0));
}

#[test]
fn what_lies_deeper_than_a_path_can_say_is_counted() {
    let mut f = Fixture::new();
    let deep = "deep-deep-deep-deep-deep-deep-deep-deep/".repeat(90);
    for name in ["a", "b"] {
        fs::create_dir_all(f.at(name).join(&deep)).unwrap();
    }
    let top = "deep-deep-deep-deep-deep-deep-deep-deep";
    fs::write(f.at("b").join(&deep).join("x"), data(5 * K)).unwrap();
    // A request may do such a thing piece by piece.
    fs::rename(f.at("b").join(top), f.at("a").join(&deep).join("b")).unwrap();
    f.enter("a", quota(200 * K));
    assert_eq!(f.left(), (200 - 180 - 5) * K);
}

#[test]
fn the_root_as_a_home_is_counted_without_what_is_reserved() {
    let mut f = Fixture::new();
    f.put_sized("x", K).unwrap();
    let mut other = Session::new(Arc::clone(&f.root), "other".into());
    ready(other.begin(REQUEST, named("y"), &put(Conflict::Replace))).unwrap();
    ready(other.write(REQUEST, 0, &data(3 * K))).unwrap();
    f.enter("", quota(10 * K));
    assert_eq!(f.left(), 6 * K, "x, and once what is on its way");
    ready(other.commit(REQUEST, 3 * K, DIGEST)).unwrap();
    assert_eq!(f.left(), 6 * K);
    f.assert_true();
}
