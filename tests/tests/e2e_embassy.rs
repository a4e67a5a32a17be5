//! The example on embassy: one device that serves a client and asks a server, at once.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command};
use std::sync::OnceLock;

use kift_tests::files::{assert_holds, assert_same, random};
use kift_tests::machine::{Ended, Running, build_board, command, is_root, make_own, wait_until};
use kift_tests::peer::{DEVICE, HOST, Lab};

/// The example, built once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build_board("embassy-tap"))
}

/// A network, with keys for a device, a server and a client.
struct Scene {
    lab: Lab,
}

impl Scene {
    fn new(test: &str) -> Option<Self> {
        // It may take a network that is not there later.
        is_root(test).then(program)?;
        let scene = Self { lab: Lab::new(test)? };
        fs::create_dir(scene.path("served")).unwrap();
        for who in ["server", "client", "stranger"] {
            scene.kift(&["key", "gen", "--state", who]).ok();
        }
        Some(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.lab.bench.path(name)
    }

    fn kift(&self, args: &[&str]) -> Ended {
        let mut kift = command(args);
        kift.current_dir(self.path(""));
        Running::start(kift).end()
    }

    /// Who `who` is.
    fn key(&self, who: &str) -> String {
        let shown = self.kift(&["key", "show", "--state", who]).ok();
        shown.trim().strip_prefix("x25519 ").unwrap().to_owned()
    }

    fn device_key(&self) -> String {
        let shown = Running::start(self.example(&["key", "device.key"])).end().ok();
        shown.trim().to_owned()
    }

    fn example(&self, args: &[&str]) -> Command {
        let mut example = Command::new(program());
        example.args(args).current_dir(self.path(""));
        make_own(&mut example);
        example
    }

    /// A server of the directory `served`, which lets the device in.
    fn server(&self) -> Running {
        let key = self.device_key();
        let line =
            ["serve", "--state", "server", "--listen", HOST, "--port-file", "port", "served"];
        let mut serve = command(line);
        serve.current_dir(self.path(""));
        let server = Running::start(serve);
        wait_until("the server listens", || self.path("port").exists());
        self.kift(&["user", "add", "device", "rw", "--no-password", "--state", "server"]).ok();
        self.kift(&["authorize", "device", &key, "--state", "server"]).ok();
        server
    }

    /// The device, and what it prints.
    fn device(&self, sessions: &str) -> (Running, Told) {
        let (server, client) = (self.key("server"), self.key("client"));
        let args =
            ["run", "device.key", "tap69", "192.168.69.2/24", HOST, &server, &client, sessions];
        let (device, stdout) = Running::piping(self.example(&args));
        (device, Told { lines: BufReader::new(stdout).lines(), so_far: Vec::new() })
    }

    /// Does something with the device, which is named behind it, as `who`.
    fn with_device(&self, who: &str, args: &[&str], paths: &[&str]) -> Ended {
        let key = self.device_key();
        let paths: Vec<String> = paths.iter().map(|path| format!("{DEVICE}/{path}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.kift(&[args, &["--state", who, "--server-key", &key], &paths].concat())
    }
}

/// The lines that a device prints.
struct Told {
    lines: Lines<BufReader<ChildStdout>>,
    so_far: Vec<String>,
}

impl Told {
    /// The line that begins so, once it is there.
    #[track_caller]
    fn wait_for(&mut self, beginning: &str) -> String {
        loop {
            let found = self.so_far.iter().find(|line| line.starts_with(beginning));
            if let Some(line) = found {
                return line.clone();
            }
            let line = self.lines.next();
            let line = line.unwrap_or_else(|| panic!("no {beginning:?} in: {:?}", self.so_far));
            self.so_far.push(line.unwrap());
        }
    }

    /// It listens, for the client of that number.
    #[track_caller]
    fn wait_for_turn(&mut self, number: u32) {
        self.wait_for(&format!("waiting at port 5438 for client {number}"));
    }

    /// Says that a file has these bytes, in a line that begins so.
    #[track_caller]
    fn assert_says(&mut self, beginning: &str, file: &Path) {
        // What it sent is there once it says so.
        let line = self.wait_for(beginning);
        let bytes = fs::read(file).unwrap();
        let root = blake3::hash(&bytes);
        assert_eq!(line, format!("{beginning}: {} bytes, BLAKE3 {root}", bytes.len()));
    }
}

#[test]
fn two_tasks_move_files_at_once() {
    let Some(scene) = Scene::new("two_tasks_move_files_at_once") else { return };
    let image = random(200_001, 1);
    fs::write(scene.path("served/image.bin"), &image).unwrap();
    let server = scene.server();
    let (device, mut told) = scene.device("3");

    // Nobody else is served, and it does not count.
    told.wait_for_turn(1);
    scene.with_device("stranger", &["ls"], &[""]).fails(&["permission denied"]);
    told.wait_for_turn(2);
    scene.with_device("client", &["get"], &["capture.bin"]).ok();
    told.assert_says("capture.bin", &scene.path("capture.bin"));
    told.assert_says("sent device.log", &scene.path("served/device.log"));
    told.assert_says("fetched image.bin", &scene.path("served/image.bin"));

    told.wait_for_turn(3);
    scene.with_device("client", &["get"], &["device.log", "image.bin"]).ok();
    assert_same(&scene.path("device.log"), &scene.path("served/device.log"));
    assert_holds(&scene.path("image.bin"), &image);
    told.wait_for_turn(4);
    scene.with_device("client", &["put", "image.bin"], &[""]).fails(&["read-only"]);

    let meanwhile = told.wait_for("served meanwhile: ");
    assert_ne!(meanwhile, "served meanwhile: 0 bytes");
    let device = device.end();
    assert!(device.status.success(), "{device:?}");
    drop(server);
}

#[test]
fn one_task_goes_on_where_the_other_fails() {
    let Some(scene) = Scene::new("one_task_goes_on_where_the_other_fails") else { return };
    // Nobody is there to be asked.
    let (device, mut told) = scene.device("1");
    told.wait_for_turn(1);
    scene.with_device("client", &["get"], &["capture.bin"]).ok();
    told.assert_says("capture.bin", &scene.path("capture.bin"));
    device.end().fails(&[HOST, "ConnectionReset"]);
}
