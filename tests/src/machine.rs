//! The real `kift`, run as a user runs it: started, watched, and ended by its process id.
//!
//! Nothing here waits for a fixed time. What is waited for either happens, or the test fails after
//! [`PATIENCE`], which no sound run comes near.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

/// After this a process counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at what is waited for.
const GLANCE: Duration = Duration::from_millis(1);

/// Lines of a server's log that a failed test shows.
const LINES_TOLD: usize = 30;

/// The `kift` program, built once in the profile and target directory of this test.
///
/// # Panics
/// Where it cannot be built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // TARGET/PROFILE/deps/this
        let this = std::env::current_exe().expect("a test has a program");
        let profile_dir = this.ancestors().nth(2).expect("cargo puts tests into deps");
        let target = profile_dir.parent().expect("a profile's directory lies in the target's");
        let profile = match profile_dir.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--package", "kift", "--bin", "kift", "--profile", profile])
            .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
            .arg("--target-dir")
            .arg(target)
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        profile_dir.join("kift")
    })
}

/// A directory of the test's own, in memory where there is such.
///
/// # Panics
/// Where none can be made.
#[must_use]
pub fn place() -> TempDir {
    place_in(Path::new("/dev/shm"))
        .or_else(|_| place_in(&std::env::temp_dir()))
        .expect("a directory")
}

/// A directory of the test's own in `parent`.
///
/// # Errors
/// The system's.
pub fn place_in(parent: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("kift-e2e-").tempdir_in(parent)
}

/// Bytes that are free where `path` is.
///
/// # Panics
/// Where the system does not say.
#[must_use]
pub fn room(path: &Path) -> u64 {
    let system = rustix::fs::statvfs(path).expect("a file system");
    system.f_bavail.saturating_mul(system.f_frsize)
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

/// Says that a test did not run, by name, and why.
///
/// # Panics
/// Where the environment says that everything must run.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("KIFT_TEST_MUST_RUN").is_none(), "{test} must run, but {why}");
    eprintln!("SKIPPED: {why}: {test}");
}

/// Whether this process may do what root may; says so where not.
#[must_use]
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}

/// A command line of `kift`.
pub fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program());
    command.args(args).env_remove("KIFT_LOG").env_remove("RUST_LOG");
    command
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

fn send(child: &Child, signal: Signal) {
    // It may have ended meanwhile; it is not reaped, so the number is still its own.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// How it ended; none where it hangs.
fn wait_for(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Some(status);
        }
        thread::sleep(GLANCE);
    }
    None
}

fn end_now(child: &mut Child) {
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

/// How a [`Server`] is to be started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serve<'a> {
    /// The directory, where not a new one.
    pub root: Option<&'a Path>,
    /// Further arguments.
    pub args: &'a [&'a str],
    /// A command that runs the rest of its arguments, in the same process.
    pub under: &'a [&'a str],
}

/// A running `kift serve`, ended with SIGTERM when it is dropped.
#[derive(Debug)]
pub struct Server {
    place: TempDir,
    root: PathBuf,
    line: Vec<String>,
    child: Child,
    port: u16,
}

impl Default for Server {
    fn default() -> Self {
        Self::start(Serve::default())
    }
}

impl Server {
    /// Serves a new directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a new directory with further arguments.
    #[must_use]
    pub fn with(args: &[&str]) -> Self {
        Self::start(Serve { args, ..Serve::default() })
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Panics
    /// Where it does not.
    #[must_use]
    pub fn start(serve: Serve<'_>) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let place = place();
        // The server may be another user.
        let everyone = fs::Permissions::from_mode(0o777);
        fs::set_permissions(place.path(), everyone.clone()).expect("permissions");
        let root = serve.root.map_or_else(|| place.path().join("served"), Path::to_owned);
        if serve.root.is_none() {
            fs::create_dir(&root).expect("a directory");
            fs::set_permissions(&root, everyone).expect("permissions");
        }
        let port_file = place.path().join("port");
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let mut line: Vec<String> = serve.under.iter().map(|&arg| arg.to_owned()).collect();
        line.push(text(program()));
        let own = ["serve", "--plain", "--listen", "127.0.0.1:0", "--port-file"];
        line.extend(own.map(str::to_owned));
        line.push(text(&port_file));
        line.extend(serve.args.iter().map(|&arg| arg.to_owned()));
        line.push(text(&root));
        let child = spawn(&line, place.path());
        let mut server = Self { place, root, line, child, port: 0 };
        server.port = server.wait_for_port();
        server
    }

    #[track_caller]
    fn wait_for_port(&mut self) -> u16 {
        let file = self.place.path().join("port");
        wait_until("the server listens", || {
            file.exists() || self.child.try_wait().expect("a child of ours").is_some()
        });
        assert!(file.exists(), "{:?} ended: {}", self.line, self.log());
        let text = fs::read_to_string(&file).expect("the port");
        text.strip_suffix('\n').and_then(|port| port.parse().ok()).expect("a port and a newline")
    }

    /// The directory that is served.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a served file.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How a client names a path on it.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("127.0.0.1:{}/{path}", self.port)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    /// What it printed for the user so far.
    #[must_use]
    pub fn greeting(&self) -> String {
        fs::read_to_string(self.place.path().join("greeting")).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        end_now(&mut self.child);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it hangs.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait_for(&mut self.child).unwrap_or_else(|| panic!("the server hangs: {}", self.log()))
    }

    /// Starts it again, after it ended. It has another port then.
    ///
    /// # Panics
    /// Where it does not come up.
    #[track_caller]
    pub fn restart(&mut self) {
        fs::remove_file(self.place.path().join("port")).expect("it has listened before");
        self.child = spawn(&self.line, self.place.path());
        self.port = self.wait_for_port();
    }

    /// What lies in its reserved directory, but for the lock.
    #[must_use]
    pub fn partials(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.join(".kift")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| !path.ends_with("lock")).collect()
    }

    /// Bytes in its partial uploads.
    #[must_use]
    pub fn partial_len(&self) -> u64 {
        self.partials().iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum()
    }

    /// What a client may see in its root, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        names(&self.root).into_iter().filter(|name| name != ".kift").collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(LINES_TOLD).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            eprintln!("--- the server's log ends ---\n{}\n---", last.join("\n"));
        } else {
            send(&self.child, Signal::TERM);
            wait_for(&mut self.child);
        }
        end_now(&mut self.child);
    }
}

fn spawn(line: &[String], place: &Path) -> Child {
    let file = |name| File::options().create(true).append(true).open(place.join(name));
    let (program, args) = line.split_first().expect("a program");
    Command::new(program)
        .args(args)
        .env_remove("KIFT_LOG")
        .stdin(Stdio::null())
        .stdout(file("greeting").expect("a file"))
        .stderr(file("log").expect("a file"))
        .spawn()
        .unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// The names in a directory, in order.
///
/// # Panics
/// Where it cannot be read.
#[must_use]
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// `len` bytes that belong to `seed`, made at the speed of a hash.
#[must_use]
pub fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream(seed).fill(&mut bytes);
    bytes
}

fn stream(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()
}

/// Writes a file of `len` bytes that belong to `seed`.
///
/// # Panics
/// Where it cannot be written.
pub fn write_random(path: &Path, len: u64, seed: u64) {
    let mut file = File::create(path).expect("a file");
    let (mut stream, mut left, mut buf) = (stream(seed), len, vec![0; 1 << 20]);
    while left > 0 {
        let part = &mut buf[..left.min(1 << 20) as usize];
        stream.fill(part);
        file.write_all(part).expect("room for a file");
        left -= part.len() as u64;
    }
}

/// The files are equal to the byte.
///
/// # Panics
/// Where they are not.
#[track_caller]
pub fn assert_same(a: &Path, b: &Path) {
    let open = |path: &Path| {
        File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let (mut left, mut right) = (open(a), open(b));
    let len = |file: &File| file.metadata().expect("metadata").len();
    assert_eq!(len(&left), len(&right), "sizes of {} and {}", a.display(), b.display());
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..len(&left)).step_by(1 << 20) {
        let n = (len(&left) - at).min(1 << 20) as usize;
        left.read_exact(&mut x[..n]).expect("read");
        right.read_exact(&mut y[..n]).expect("read");
        // Not `assert_eq`, which would print a megabyte.
        assert!(x[..n] == y[..n], "{} and {} differ after {at}", a.display(), b.display());
    }
}

/// The file holds these bytes.
///
/// # Panics
/// Where it does not.
#[track_caller]
pub fn assert_holds(path: &Path, bytes: &[u8]) {
    let found = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found.len(), bytes.len(), "size of {}", path.display());
    assert!(found == bytes, "{} differs", path.display());
}
