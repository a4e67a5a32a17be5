//! A server that goes away, or a line that is cut, in each phase of a session: after any record of
//! either end. The client says what it knows and what it does not, by its exit code too, and nothing
//! has a final name that is not whole.

use std::fs;
use std::path::{Path, PathBuf};

use kift_tests::files::{assert_holds, names, place, random};
use kift_tests::hold::Hold;
use kift_tests::machine::{Ended, Running, command, kift, wait_until};
use kift_tests::proxy::{From, Proxy};
use kift_tests::serving::{Serve, Server};
use tempfile::TempDir;

/// Bytes of each file: some data frames.
const LEN: usize = 100_000;

/// A server, and whoever uses it.
struct Stage {
    server: Server,
    here: TempDir,
}

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Put,
    PutTree,
    Get,
    GetTree,
    Cat,
    List,
    Sync,
}

use Does::{Cat, Get, GetTree, List, Put, PutTree, Sync};

impl Stage {
    fn new(state: Option<&Path>) -> Self {
        let stage =
            Self { server: Server::start(Serve { state, ..Serve::default() }), here: place() };
        for top in [stage.here.path(), stage.server.root()] {
            fs::write(top.join("0"), random(LEN, 0)).unwrap();
            fs::create_dir(top.join("tree")).unwrap();
            for at in 1..4 {
                fs::write(top.join(format!("tree/{at}")), random(LEN, at)).unwrap();
            }
        }
        stage
    }

    /// Where what is moved arrives.
    fn target(&self, does: Does) -> PathBuf {
        match does {
            Put | PutTree | Sync => self.server.file("new"),
            _ => self.here.path().join("new"),
        }
    }

    /// Begins it, with the server at `port`.
    fn begin(&self, does: Does, port: u16, options: &[&str]) -> Running {
        let remote = |path: &str| format!("127.0.0.1:{port}/{path}");
        fs::create_dir(self.target(does)).unwrap();
        let (new, zero, tree, root) = (remote("new/"), remote("0"), remote("tree"), remote(""));
        let args: &[&str] = match does {
            Put => &["put", "0", &new],
            PutTree => &["put", "-r", "tree", &new],
            Get => &["get", &zero, "new"],
            GetTree => &["get", "-r", &tree, "new"],
            Cat => &["cat", &zero],
            List => &["ls", &root],
            Sync => &["sync", "./tree", &new],
        };
        let mut command = command([args, options].concat());
        command.current_dir(self.here.path());
        Running::start(command)
    }

    /// Whether the server is done with whoever has come.
    fn is_quiet(&self) -> bool {
        let log = self.server.log();
        let count = |words: &str| log.matches(words).count();
        count(" connected ") == count(" session ended ") + count(" connection lost ")
    }

    /// Looks at what is left of it, and takes it away. Gives how many files came, each of which is
    /// whole.
    #[track_caller]
    fn clear(&self, does: Does) -> usize {
        let target = self.target(does);
        let mut whole = 0;
        for dir in [target.clone(), target.join("tree")].iter().filter(|dir| dir.is_dir()) {
            for name in names(dir).iter().filter(|name| *name != "tree") {
                let number = name.parse().expect("no other name");
                assert_holds(&dir.join(name), &random(LEN, number));
                whole += 1;
            }
        }
        fs::remove_dir_all(target).unwrap();
        whole
    }
}

/// How many files `does` moves.
fn count(does: Does) -> usize {
    match does {
        Put | Get => 1,
        PutTree | GetTree | Sync => 3,
        Cat | List => 0,
    }
}

/// What was told is so.
#[track_caller]
fn assert_told(does: Does, ended: &Ended, came: usize) {
    if ended.status.success() {
        // Its answer had come: only the end of the session had not.
        assert_eq!(came, count(does));
        assert!(does != Cat || ended.stdout == random(LEN, 0));
        assert!(does != List || String::from_utf8_lossy(&ended.stdout).lines().count() >= 2);
        return;
    }
    ended.fails(&["the connection was lost"]);
    let told = &ended.stderr;
    if count(does) > 0 && told.contains("under way") {
        let (known, _) = told.split_once(" files were ").expect("a number");
        let known = known.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
        assert!(known <= came, "{known} were told and {came} came: {told}");
        assert!(told.contains("are not known to be"), "{told}");
    } else {
        assert_eq!(came, 0, "nothing was under way: {told}");
    }
    assert!(does != List || ended.stdout.is_empty(), "half a listing is none: {ended:?}");
}

fn in_each_phase(stage: &mut Stage, does: Does, options: &[&str], is_killed: bool) {
    let proxy = Proxy::lay(stage.server.port(), Box::new(|_, _, _| None));
    let whole = stage.begin(does, proxy.port(), options).end();
    assert!(whole.status.success(), "{whole:?}");
    assert_eq!(stage.clear(does), count(does));
    let seen = proxy.end();
    let mut failed = 0;
    for from in From::BOTH {
        for number in 0..seen.of(from).len() {
            let hold = Hold::at(stage.server.port(), from, number);
            let mut client = stage.begin(does, hold.port(), options);
            // Of what tells how far an end is, there is not the same amount each time.
            wait_until("the line is held", || hold.is_held() || client.is_over());
            if is_killed {
                stage.server.kill();
            }
            hold.lose();
            let ended = client.end();
            if is_killed {
                stage.server.restart();
                assert!(stage.server.partials().is_empty());
            } else {
                wait_until("the server is done with it", || stage.is_quiet());
                assert!(stage.server.partials().is_empty());
                wait_until("it is over there", || {
                    stage.server.log().matches("session").count() > 0
                });
            }
            let came = stage.clear(does);
            assert_told(does, &ended, came);
            failed += usize::from(!ended.status.success());
        }
    }
    assert!(failed >= 4, "{does:?}: {failed} phases");
}

#[test]
fn a_server_that_is_killed() {
    let mut stage = Stage::new(None);
    for does in [PutTree, GetTree, Cat, List] {
        in_each_phase(&mut stage, does, &["--plain"], true);
    }
}

#[test]
fn a_line_that_is_cut() {
    let mut stage = Stage::new(None);
    for does in [Put, Get, Sync] {
        in_each_phase(&mut stage, does, &["--plain"], false);
    }
    // It serves whoever comes after that.
    assert!(kift(["ls", "--plain", &stage.server.at("")]).ok().contains("tree/"));
}

#[test]
fn a_sealed_line_that_is_cut_and_a_server_that_is_killed() {
    let state = place();
    let mut stage = Stage::new(Some(state.path()));
    // Who has the server's own key knows it, and is known to it.
    let options = ["--state", state.path().to_str().unwrap()];
    for is_killed in [false, true] {
        for does in [Put, Get] {
            in_each_phase(&mut stage, does, &options, is_killed);
        }
    }
}
