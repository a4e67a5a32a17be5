//! A bare-metal board in QEMU, and whoever is beside it: by QEMU's own network, which needs no
//! rights.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::machine::{Ended, Running, Signal, command, skip, tool, wait_until};
use crate::serving::{Serve, Server};

/// By which a device and whoever is beside it become known to each other.
pub const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz";

/// The seed of a device's random numbers, in words.
const SEED: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What a device is told so that it has one, where its disk is blank.
#[must_use]
pub fn seed() -> String {
    format!("seed={SEED}")
}

/// Which board it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// The SmartFusion2 kit, with its files on NOR flash.
    EmcraftSf2,
    /// The LM3S6965 kit, with its files on an SD card.
    Lm3s6965evb,
}

impl Board {
    const fn name(self) -> &'static str {
        match self {
            Self::EmcraftSf2 => "emcraft-sf2",
            Self::Lm3s6965evb => "lm3s6965evb",
        }
    }

    /// How QEMU has its disk, and what it adds to a network.
    const fn interfaces(self) -> [&'static str; 2] {
        match self {
            Self::EmcraftSf2 => ["mtd", ",model=msf2-emac"],
            Self::Lm3s6965evb => ["sd", ""],
        }
    }

    /// What it needs of the machine that the tests run on.
    const fn tools(self) -> &'static [&'static str] {
        match self {
            Self::EmcraftSf2 => &["qemu-system-arm", "arm-none-eabi-ld"],
            Self::Lm3s6965evb => &["qemu-system-arm", "arm-none-eabi-ld", "mkfs.fat"],
        }
    }

    /// Makes a disk that nobody has written to.
    fn make_disk(self, path: &Path) {
        match self {
            // 16 MiB of NOR flash.
            Self::EmcraftSf2 => fs::write(path, vec![0xff; 16 << 20]).expect("room"),
            // A FAT16 of clusters of 2 KiB, 32 MiB of them.
            Self::Lm3s6965evb => {
                let mut made = tool("mkfs.fat");
                made.args(["-F16", "-s4", "-C"]).arg(path).arg("32768");
                let made = made.output().expect("mkfs.fat");
                assert!(made.status.success(), "{made:?}");
            }
        }
    }
}

/// cargo for a board's processor.
fn cargo(board: &str) -> Command {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-sim/boards");
    let mut cargo = tool("bash");
    cargo.arg(boards.join("cargo")).arg("thumbv7m-none-eabi").current_dir(boards.join(board));
    // Those are for the tests.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// A board's image, if it can be built here and run.
fn image(board: Board, test: &str) -> Option<&'static Path> {
    static IMAGES: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    for name in board.tools() {
        if tool(name).arg("--version").output().is_err() {
            skip(test, &format!("needs {name}"));
            return None;
        }
    }
    let name = board.name();
    if !cargo(name).arg("--which").output().is_ok_and(|said| said.status.success()) {
        skip(test, "needs a toolchain for thumbv7m-none-eabi");
        return None;
    }
    Some(IMAGES[board as usize].get_or_init(|| {
        let this = std::env::current_exe().expect("a test has a program");
        let target = this.ancestors().nth(3).expect("TARGET/PROFILE/deps/this").join(name);
        let mut build = cargo(name);
        build.args(["build", "--release", "--locked", "--target-dir"]).arg(&target);
        let built = build.output().expect("bash");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join(format!("thumbv7m-none-eabi/release/kift-{name}"))
    }))
}

/// A board with a disk that nobody has written to, and files of whoever is beside it.
#[derive(Debug)]
pub struct Kit {
    board: Board,
    image: &'static Path,
    place: TempDir,
    port: u16,
}

/// One life of the device. The power is cut when it is dropped.
#[derive(Debug)]
pub struct Life {
    qemu: Running,
    console: PathBuf,
    monitor: PathBuf,
}

impl Kit {
    /// Says why not where there can be none.
    ///
    /// # Panics
    /// Where everything must run; or where the image cannot be built.
    #[must_use]
    pub fn new(test: &str, board: Board) -> Option<Self> {
        let image = image(board, test)?;
        let place = crate::files::place();
        let kit = Self { board, image, place, port: free_port() };
        board.make_disk(&kit.disk());
        kit.write_token("token", TOKEN);
        Some(kit)
    }

    /// Writes a token to a file of ours.
    ///
    /// # Panics
    /// Where that is not possible.
    pub fn write_token(&self, name: &str, token: &str) {
        fs::write(self.at(name), token).expect("room");
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o600)).expect("ours");
    }

    /// A file of whoever is beside the device.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// What the device's files are on.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.at("disk.img")
    }

    /// How that one names a file of the device.
    #[must_use]
    pub fn device(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Starts the device with these words, in QEMU's own network.
    #[must_use]
    pub fn start<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Life {
        // Whoever dials it is let in; and it may dial this machine.
        let network = format!("user,hostfwd=tcp:127.0.0.1:{}-10.0.2.15:5438", self.port);
        self.start_in(&network, words)
    }

    /// Starts the device in a network, as QEMU has it.
    ///
    /// # Panics
    /// Where there is no QEMU.
    #[must_use]
    pub fn start_in<'a>(&self, network: &str, words: impl IntoIterator<Item = &'a str>) -> Life {
        let console = self.at("console");
        // What an earlier life has said is not what this one says.
        let _ = fs::remove_file(&console);
        let words: String = words.into_iter().map(|word| format!(",arg={word}")).collect();
        let [disk, nic] = self.board.interfaces();
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-M", self.board.name(), "-display", "none", "-monitor"])
            .arg(format!("unix:{},server=on,wait=off", self.at("monitor").display()))
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-kernel")
            .arg(self.image)
            .arg("-drive")
            .arg(format!("file={},if={disk},format=raw", self.disk().display()))
            .arg("-nic")
            .arg(format!("{network}{nic}"))
            .arg("-semihosting-config")
            .arg(format!("enable=on,target=native,arg=kift{words}"));
        Life { qemu: Running::start(qemu), console, monitor: self.at("monitor") }
    }

    /// Starts the device, and waits until it serves.
    ///
    /// # Panics
    /// Where it does not.
    #[must_use]
    #[track_caller]
    pub fn serve(&self) -> Life {
        let (pair, seed) = (format!("pair={TOKEN}"), seed());
        let mut life = self.start(["serve", &pair, &seed]);
        life.wait_for("listening on port");
        life
    }

    /// Starts `kift` beside it.
    #[must_use]
    pub fn start_kift<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Running {
        let mut command = command(args);
        command.env("KIFT_STATE", self.at("state")).current_dir(self.place.path());
        Running::start(command)
    }

    /// Runs `kift` beside it.
    pub fn kift<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ended {
        self.start_kift(args).end()
    }

    /// A file of the device, as whoever is beside it gets it.
    ///
    /// # Panics
    /// Where it cannot be got.
    #[track_caller]
    #[must_use]
    pub fn got(&self, name: &str) -> Vec<u8> {
        let _ = fs::remove_file(self.at("got"));
        self.kift(["get", "--quiet", &self.device(name), "got"]).ok();
        fs::read(self.at("got")).expect("it was got")
    }
}

impl Life {
    /// What it has said.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }

    /// Waits until it says this.
    ///
    /// # Panics
    /// Where it ends, or never says it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        wait_until(text, || {
            let said = self.said();
            assert!(said.contains(text) || !self.qemu.is_over(), "it has ended: {said}");
            said.contains(text)
        });
    }

    /// The card is pulled out.
    ///
    /// # Panics
    /// Where QEMU cannot be told.
    pub fn eject(&self) {
        let mut monitor = UnixStream::connect(&self.monitor).expect("QEMU listens");
        monitor.write_all(b"eject -f sd0\ninfo block\n").expect("QEMU reads");
        let mut told = Vec::new();
        let mut piece = [0; 1024];
        while !String::from_utf8_lossy(&told).contains("[not inserted]") {
            let len = monitor.read(&mut piece).expect("QEMU answers");
            assert!(len > 0, "QEMU went: {}", String::from_utf8_lossy(&told));
            told.extend_from_slice(&piece[..len]);
        }
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        self.qemu.is_over()
    }

    /// The power is cut.
    ///
    /// # Panics
    /// Where it has ended before.
    #[track_caller]
    pub fn cut(self) {
        self.qemu.signal(Signal::KILL);
        assert!(self.qemu.end().was_killed());
    }

    /// The power is cut, unless it has ended by itself just before.
    pub fn cut_or_ended(self) {
        self.qemu.signal(Signal::KILL);
        let _ = self.qemu.end();
    }

    /// Waits until it ends by itself; gives what it said, and its exit code.
    ///
    /// # Panics
    /// Where it hangs.
    #[track_caller]
    pub fn end(self) -> (String, Option<i32>) {
        let ended = self.qemu.end();
        (fs::read_to_string(&self.console).unwrap_or_default(), ended.status.code())
    }
}

/// A server of this machine, with a user that a device may become.
#[derive(Debug)]
pub struct Host {
    /// It.
    pub server: Server,
    state: PathBuf,
}

impl Host {
    /// Starts one that keeps its keys in `state`, a new directory of the kit's.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn new(kit: &Kit, state: &str) -> Self {
        Self::start(kit, state, Serve::default())
    }

    /// Starts one like that, otherwise as `serve` has it.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start(kit: &Kit, state: &str, serve: Serve<'_>) -> Self {
        let state = kit.at(state);
        let server = Server::start(Serve { state: Some(&state), ..serve });
        let host = Self { server, state };
        host.admin(&["user", "add", "--quiet", "device", "--no-password"]);
        host
    }

    /// A word for the device, by which it becomes that user.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn pairing(&self) -> String {
        format!("pair={}", self.admin(&["pair", "--quiet", "device"]))
    }

    /// Runs a command of whoever keeps the server.
    fn admin(&self, args: &[&str]) -> String {
        let mut command = command(args);
        command.env("KIFT_STATE", &self.state);
        Running::start(command).end().ok().trim().to_owned()
    }
}

/// A port of this machine that nobody has now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its number").port()
}
