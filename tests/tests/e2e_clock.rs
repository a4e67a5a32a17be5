//! The clock of the day jumps, while files are on their way and between: nothing is lost, and what was
//! durable is not sent twice.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kift_tests::files::{assert_same, place, write_random};
use kift_tests::machine::{Running, Signal, skip, wait_until};
use kift_tests::rng::Rng;
use kift_tests::serving::Serve;
use kift_tests::stage::{Stage, Way};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// So many bytes that they are on their way for a while: each chunk waits for the one before.
const LEN: u64 = 60 * MIB + 7;

/// A clock that jumps when it is told to.
struct Clock {
    place: TempDir,
    env: Vec<String>,
}

impl Clock {
    /// None where it cannot be had, for which reason `test` is skipped.
    fn new(test: &str) -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let mut libraries = folders.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
        let Some(library) = libraries.find(|library| library.exists()) else {
            skip(test, "libfaketime is not here (Debian: faketime)");
            return None;
        };
        let place = place();
        let file = place.path().join("time");
        let env = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ];
        let clock = Self { place, env };
        clock.jump("+0");
        Some(clock)
    }

    /// From now on it is so much later or earlier than it is, as `+3d`.
    fn jump(&self, offset: &str) {
        // Never half a line to whoever reads it just now.
        let new = self.place.path().join("new");
        fs::write(&new, format!("{offset}\n")).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.place.path().join("time")
    }

    /// A server that goes by it. Its sandbox would keep the file from it.
    fn stage(&self) -> Stage {
        let under: Vec<_> = self.env.iter().map(String::as_str).collect();
        let args = ["--sandbox", "off"];
        Stage::with("1", Serve { under: &under, args: &args, ..Serve::default() })
    }

    /// A client that goes by it.
    fn client(&self, stage: &Stage, way: Way, more: &[&str]) -> Running {
        let mut command = stage.transfer(way, more);
        let vars = self.env[1..].iter().filter_map(|var| var.split_once('='));
        command.envs(vars);
        Running::start(command)
    }
}

/// Says so when a test is over, whatever came of it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Clock {
    /// The library leaves something behind of processes that are killed.
    fn drop(&mut self) {
        for left in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let name = left.file_name().to_string_lossy().into_owned();
            let pid = ["faketime_shm_", "sem.faketime_sem_"].map(|head| name.strip_prefix(head));
            if let Some(pid) = pid.into_iter().flatten().next()
                && !PathBuf::from(format!("/proc/{pid}")).exists()
            {
                let _ = fs::remove_file(left.path());
            }
        }
    }
}

/// Has a client killed when more than `enough` bytes came.
fn kill(stage: &Stage, mut client: Running, way: Way, enough: u64) {
    wait_until("enough is there", || client.is_over() || stage.came(way) > enough);
    client.signal(Signal::KILL);
    assert!(client.end().was_killed());
    stage.server.wait_until_idle();
}

#[test]
fn it_jumps_while_files_are_on_their_way() {
    let Some(clock) = Clock::new("it_jumps_while_files_are_on_their_way") else { return };
    let (stage, over) = (clock.stage(), AtomicBool::new(false));
    thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            let mut rng = Rng::new(1);
            while !over.load(Ordering::Relaxed) {
                let offset = ["+0", "-400d", "+8d", "+3650d", "-1h", "+61s"][rng.below(6)];
                clock.jump(offset);
                thread::sleep(Duration::from_millis(5));
            }
        });
        for way in Way::BOTH {
            write_random(&stage.source(way), LEN, 1);
            let client = clock.client(&stage, way, &["--retry", "3"]);
            kill(&stage, client, way, 20 * MIB);
            let ended = clock.client(&stage, way, &["--retry", "3"]).end();
            assert!(ended.status.success(), "{ended:?}");
            assert_same(&stage.source(way), &stage.target(way));
            // A client that thinks that its upload is weeks old begins a new one, and the old one stays.
            assert_eq!(stage.server.names(), ["file"]);
            fs::remove_file(stage.source(way)).unwrap();
            fs::remove_file(stage.target(way)).unwrap();
        }
    });
}

#[test]
fn what_is_left_of_an_upload_does_not_age_by_jumps() {
    let test = "what_is_left_of_an_upload_does_not_age_by_jumps";
    let Some(clock) = Clock::new(test) else { return };
    let mut stage = clock.stage();
    write_random(&stage.local("file"), LEN, 1);
    kill(&stage, Running::start(stage.transfer(Way::Put, &[])), Way::Put, 20 * MIB);
    let kept = stage.kept();
    assert!(kept > 15 * MIB, "{kept}");
    // While the server runs it knows better.
    clock.jump("+400d");
    assert_eq!(stage.kept(), kept);
    kill(&stage, Running::start(stage.transfer(Way::Put, &[])), Way::Put, 30 * MIB);
    let kept = stage.kept();
    assert!(kept > 25 * MIB, "{kept}");
    // One that finds it there is older than what it left.
    clock.jump("-400d");
    stage.server.kill();
    stage.server.restart();
    assert_eq!(stage.kept(), kept);
    // To this one it is a week old: so it begins again, and that is all.
    clock.jump("+8d");
    stage.server.kill();
    stage.server.restart();
    assert_eq!(stage.kept(), 0);
    let ended = Running::start(stage.transfer(Way::Put, &[])).end();
    assert!(ended.status.success(), "{ended:?}");
    stage.assert_clean();
}
