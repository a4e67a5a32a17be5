//! A running `kift serve`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::files::{names, place};
use crate::machine::{Signal, end_now, program, send, wait_for, wait_until};

/// Lines of its log that a failed test shows.
const LINES_TOLD: usize = 30;

/// How a [`Server`] is to be started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serve<'a> {
    /// The directory, where not a new one.
    pub root: Option<&'a Path>,
    /// Its keys, with which links are sealed; without them they are plain.
    pub state: Option<&'a Path>,
    /// Where it is to listen, where not at a port of this machine alone.
    pub listen: Option<&'a str>,
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
    /// Bytes that its log had when it was started last.
    logged: usize,
}

/// Somebody who takes connections at a port of this machine.
pub trait Listens {
    /// The port.
    fn port(&self) -> u16;
}

impl Listens for Server {
    fn port(&self) -> u16 {
        self.port
    }
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
        line.push("serve".to_owned());
        line.extend(match serve.state {
            Some(state) => vec!["--state".to_owned(), text(state)],
            None => vec!["--plain".to_owned()],
        });
        let listen = serve.listen.unwrap_or("127.0.0.1:0");
        line.extend(["--listen", listen, "--port-file"].map(str::to_owned));
        line.push(text(&port_file));
        line.extend(serve.args.iter().map(|&arg| arg.to_owned()));
        line.push(text(&root));
        let child = spawn(&line, place.path());
        let mut server = Self { place, root, line, child, port: 0, logged: 0 };
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

    /// Starts it again, after it ended, at the same port.
    ///
    /// # Panics
    /// Where it does not come up.
    #[track_caller]
    pub fn restart(&mut self) {
        // One that was killed left it.
        let _ = fs::remove_file(self.place.path().join("port"));
        for arg in &mut self.line {
            if arg == "127.0.0.1:0" {
                *arg = format!("127.0.0.1:{}", self.port);
            }
        }
        self.logged = self.log().len();
        self.child = spawn(&self.line, self.place.path());
        self.port = self.wait_for_port();
    }

    /// What lies in its reserved directory of uploads that are not whole.
    #[must_use]
    pub fn partials(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.join(".kift")).into_iter().flatten().flatten();
        let is_partial = |path: &PathBuf| path.extension().is_some_and(|end| end == "part");
        entries.map(|entry| entry.path()).filter(is_partial).collect()
    }

    /// Bytes in its partial uploads.
    #[must_use]
    pub fn partial_len(&self) -> u64 {
        self.partials().iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum()
    }

    /// Waits until it is done with all who came since it was started, and what they leave is in order.
    #[track_caller]
    pub fn wait_until_idle(&self) {
        wait_until("the server is done with all who came", || {
            let log = self.log();
            let count = |what| log[self.logged..].matches(what).count();
            count(" connected peer=")
                == count(" session ended peer=") + count(" connection lost peer=")
        });
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
