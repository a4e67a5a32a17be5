//! Directories that become links while they are used.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::{RenameFlags, renameat_with};
use walkdir::WalkDir;

use super::*;

/// How long, where `KIFT_TEST_RACE_SECONDS` does not say.
const SECONDS: u64 = 5;

const INSIDE: &[u8] = b"inside";
const OUTSIDE: &[u8] = b"outside";

fn patience() -> Duration {
    let seconds = std::env::var("KIFT_TEST_RACE_SECONDS").ok();
    Duration::from_secs(seconds.map_or(SECONDS, |s| s.parse().expect("a number of seconds")))
}

/// What a race came to.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    fn note<T>(&self, result: Result<T, Code>) -> Option<T> {
        match result {
            Ok(done) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                Some(done)
            }
            Err(code) => {
                if code == Code::NotRegular {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                None
            }
        }
    }
}

#[test]
fn nothing_outside_is_read_or_changed_while_directories_become_links() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("d")).unwrap();
    for name in ["x", "y", "only outside", "d/x", "d/y", "d/only outside"] {
        fs::write(outside.path().join(name), OUTSIDE).unwrap();
    }
    let f = Fixture::with(Options::default(), |dir| {
        let at = |name| dir.path().join(name);
        fs::create_dir_all(at("home/d")).unwrap();
        fs::create_dir(at("beside")).unwrap();
        fs::write(at("beside/x"), OUTSIDE).unwrap();
        // One of them stays in the root and leaves the home, the other leaves both.
        symlink("../beside", at("home/link")).unwrap();
        symlink(outside.path(), at("link")).unwrap();
    });
    let before = seen(&outside);
    let bounds = Bounds { quota: Some(1 << 30), ..Bounds::default() };
    let home = f.root.home("home", bounds).unwrap();
    // Before there is a race: a link has no count.
    assert!(ready(Session::new(Arc::clone(&home), "peer".into()).space(REQUEST)).is_ok());
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));

    thread::scope(|scope| {
        // Both names are looked up where they were at first: the second pair lies in the first.
        let pairs = [(f.dir.path().to_owned(), "home"), (f.at("home"), "d")];
        for (folder, name) in pairs.map(|(dir, name)| (fs::File::open(dir).unwrap(), name)) {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let exchange = RenameFlags::EXCHANGE;
                    renameat_with(&folder, name, &folder, "link", exchange).unwrap();
                }
            });
        }
        for writer in 0..2 {
            let (home, tally, stop) = (Arc::clone(&home), &tally, &stop);
            scope.spawn(move || {
                let mut session = Session::new(home, format!("writer {writer}"));
                while !stop.load(Ordering::Relaxed) {
                    for folder in ["", "d/"] {
                        ask_everything(&mut session, folder, writer, tally);
                    }
                }
            });
        }
        thread::sleep(patience());
        stop.store(true, Ordering::Relaxed);
    });

    assert_eq!(seen(&outside), before);
    assert_eq!(fs::read_dir(f.at("beside")).unwrap().count(), 1);
    assert_eq!(fs::read(f.at("beside/x")).unwrap(), OUTSIDE);
    let (done, refused) = (tally.done.into_inner(), tally.refused.into_inner());
    eprintln!("{done} done, {refused} refused for a link");
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused: no race took place");
}

/// Everything that a session can do in `folder`, in names that are outside, too.
fn ask_everything(session: &mut Session, folder: &str, writer: usize, tally: &Tally) {
    let path = |name: &str| format!("{folder}{name}");
    let (x, y, own) = (path("x"), path("y"), path(&format!("own {writer}")));
    for name in [&x, &y] {
        let begun = ready(session.begin(REQUEST, named(name), &sized(INSIDE.len() as u64)));
        if tally.note(begun).is_some() {
            ready(session.write(REQUEST, 0, INSIDE)).unwrap();
            tally.note(ready(session.commit(REQUEST, INSIDE.len() as u64, DIGEST)));
        }
        let found = tally.note(ready(session.stat(REQUEST, named(name))));
        assert!(found.is_none_or(|meta| meta.size == INSIDE.len() as u64), "a look outside");
        if tally.note(ready(session.open(REQUEST, named(name)))).is_some() {
            let mut buf = [0; 16];
            let n = ready(session.read(REQUEST, 0, &mut buf)).unwrap();
            session.close(REQUEST);
            assert_eq!(&buf[..n], INSIDE, "read outside");
        }
    }
    let list = Path::new(folder.trim_end_matches('/')).unwrap();
    if tally.note(ready(session.open_directory(REQUEST, list, ""))).is_some() {
        let mut buf = [0; 1024];
        let mut page = Page::new(&mut buf);
        ready(session.read_directory(REQUEST, &mut page)).unwrap();
        let len = page.len();
        session.close_directory(REQUEST);
        let listed = String::from_utf8_lossy(&buf[..len]);
        assert!(!listed.contains("only outside"), "listed outside");
    }
    let only_outside = path("only outside");
    assert!(ready(session.stat(REQUEST, named(&only_outside))).is_err(), "a look outside");
    assert!(ready(session.delete(REQUEST, named(&only_outside))).is_err(), "deleted outside");
    tally.note(ready(session.rename(REQUEST, named(&x), named(&own), true)));
    tally.note(ready(session.rename(REQUEST, named(&own), named(&y), true)));
    tally.note(ready(session.delete(REQUEST, named(&y))));
    let made = path(&format!("made {writer}"));
    tally.note(ready(session.make_directory(REQUEST, named(&made))));
    tally.note(ready(session.delete(REQUEST, named(&made))));
}

/// All that is beneath a directory, and when it was changed.
fn seen(dir: &TempDir) -> Vec<(PathBuf, Option<Vec<u8>>, SystemTime)> {
    let mut found: Vec<_> = WalkDir::new(dir.path())
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            (entry.path().to_owned(), fs::read(entry.path()).ok(), modified)
        })
        .collect();
    found.sort();
    found
}
