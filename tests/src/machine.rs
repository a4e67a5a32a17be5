//! The real `kift`, run as a user runs it: started, watched, and ended by its process id.
//!
//! Nothing here waits for a fixed time. What is waited for either happens, or the test fails after
//! [`PATIENCE`], which no sound run comes near.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// After this a process counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at what is waited for.
const GLANCE: Duration = Duration::from_millis(1);

/// The `kift` program, built once in the profile and target directory of this test.
///
/// # Panics
/// Where it cannot be built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("kift"))
}

/// Builds the program of a package that has its name, as this test was built, and gives its path.
pub(crate) fn build(package: &str) -> PathBuf {
    build_in(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), package, "", &[])
}

/// The same for a workspace of its own, the folder of which has the same name in `firmware-sim/boards`
/// as its program behind `kift-`. It has a target directory of its own below this test's.
///
/// # Panics
/// Where it cannot be built.
#[must_use]
pub fn build_board(board: &str) -> PathBuf {
    let boards = concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware-sim/boards");
    let manifest = format!("{boards}/{board}/Cargo.toml");
    build_in(&manifest, &format!("kift-{board}"), board, &["--locked"])
}

fn build_in(manifest: &str, package: &str, below: &str, options: &[&str]) -> PathBuf {
    // TARGET/PROFILE/deps/this
    let this = std::env::current_exe().expect("a test has a program");
    let profile_dir = this.ancestors().nth(2).expect("cargo puts tests into deps");
    let profile_name = profile_dir.file_name().expect("a profile has a name");
    let target = profile_dir.parent().expect("a profile's directory lies in the target's");
    let target = target.join(below);
    let profile = match profile_name.to_str() {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--package", package, "--bin", package, "--profile", profile])
        .args(["--manifest-path", manifest])
        .args(options)
        .arg("--target-dir")
        .arg(&target)
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join(profile_name).join(package)
}

/// Waits until `happened`.
///
/// # Panics
/// Where it does not.
#[track_caller]
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(GLANCE);
    }
}

/// Says that a test does not run, by name, and why. Gives false: it does not.
///
/// # Panics
/// Where the environment says that everything must run.
pub fn skip(test: &str, why: &str) -> bool {
    assert!(std::env::var_os("KIFT_TEST_MUST_RUN").is_none(), "{test} must run, but {why}");
    // Not by a macro, whose output a test that passes does not show.
    let _ = writeln!(io::stderr(), "SKIPPED: {why}: {test}");
    false
}

/// Whether this process may do what root may; says so where not.
#[must_use]
pub fn is_root(test: &str) -> bool {
    rustix::process::geteuid().is_root() || skip(test, "needs root")
}

/// A program, which may be among those of the administrator. It has no input.
#[must_use]
pub fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null());
    command
}

/// A command line of `kift`.
pub fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program());
    command.args(args);
    make_own(&mut command);
    command
}

/// Lets a command see nothing of the environment of whoever runs the tests that would change what it
/// does.
pub fn make_own(command: &mut Command) {
    // What says how much is logged, and whether in colour.
    for name in ["KIFT_LOG", "RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    // Nobody's keys are touched by a test that forgot to say whose it uses.
    command.env("KIFT_STATE", "/dev/null/kift");
    // Nor is anybody's configuration read.
    command.env("KIFT_CONFIG", "");
}

/// Runs `kift` to its end, without input.
pub fn kift<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ended {
    Running::start(command(args)).end()
}

/// A process of ours. What it writes is read all the time.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts `command` with pipes to all three of its streams.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(command: Command) -> Self {
        let (mut running, stdout) = Self::piping(command);
        running.stdout = Some(thread::spawn(|| all_of(stdout)));
        running
    }

    /// Starts `command`, and leaves it to the caller to read what it writes.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn piping(mut command: Command) -> (Self, ChildStdout) {
        let line = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stderr = stderr.map(|stderr| thread::spawn(|| all_of(stderr)));
        (Self { line, child, stdout: None, stderr }, stdout.expect("a pipe"))
    }

    /// Where it reads from. It ends when this is dropped.
    ///
    /// # Panics
    /// Where it was taken before.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// Where the system cannot tell.
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Closes its input, unless that was taken, and waits for its end.
    ///
    /// # Panics
    /// Where it hangs; it is killed then.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        drop(self.child.stdin.take());
        let Some(status) = wait_for(&mut self.child) else { panic!("hangs: {}", self.line) };
        let read = |stream: Option<JoinHandle<Vec<u8>>>| match stream {
            Some(stream) => stream.join().expect("reads to its end"),
            None => Vec::new(),
        };
        Ended {
            line: std::mem::take(&mut self.line),
            status,
            stdout: read(self.stdout.take()),
            stderr: String::from_utf8_lossy(&read(self.stderr.take())).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end_now(&mut self.child);
    }
}

fn all_of(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before an error is worth telling.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

pub(crate) fn send(child: &Child, signal: Signal) {
    // It may have ended meanwhile; it is not reaped, so the number is still its own.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// How it ended; none where it hangs.
pub(crate) fn wait_for(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Some(status);
        }
        thread::sleep(GLANCE);
    }
    None
}

pub(crate) fn end_now(child: &mut Child) {
    // Neither does anything to a child that was waited for.
    let _ = child.kill();
    let _ = child.wait();
}

/// What became of a process.
#[derive(Debug)]
#[must_use]
pub struct Ended {
    /// The command.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: String,
}

impl Ended {
    /// It succeeded. Gives what it wrote.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{self:?}");
        String::from_utf8(self.stdout).expect("UTF-8")
    }

    /// It succeeded. Gives the JSON objects that it wrote, one a line.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn objects(self) -> Vec<serde_json::Value> {
        let text = self.ok();
        let object = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(object).collect()
    }

    /// It moved files. Gives the JSON objects that it wrote, one a file; its summary says as many.
    ///
    /// # Panics
    /// Where it failed, or the summary is wrong.
    #[track_caller]
    pub fn moved(self) -> Vec<serde_json::Value> {
        let mut objects = self.objects();
        let summary = objects.pop().expect("a summary at the end");
        assert_eq!(summary["summary"]["files"], objects.len(), "{summary}");
        assert_eq!(summary["summary"]["failed"], 0, "{summary}");
        objects
    }

    /// It ended by itself with exit code `code`, and its message has all `words`.
    ///
    /// # Panics
    /// Where it is not so.
    #[track_caller]
    pub fn exits(&self, code: i32, words: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in: {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }

    /// It failed in an orderly way, and its message has all `words`.
    ///
    /// # Panics
    /// Where it is not so.
    #[track_caller]
    pub fn fails(&self, words: &[&str]) {
        self.exits(1, words);
    }

    /// It was killed by SIGKILL.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(Signal::KILL.as_raw())
    }
}
