//! The real `kift-firmware-sim`: a device with a peer beside it, in a network of their own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::files::place;
use crate::machine::{self, Ended, Running, skip, wait_until};

/// The flash image of every test.
pub const IMAGE: &str = "nor.img";

/// What the peer's script can use: `try NAME COMMAND...` leaves in the files NAME.out, NAME.err and
/// NAME.code what came of the command; `connections N` waits until there are so many, over IPv4, to
/// the default port.
const PRELUDE: &str = r#"
    set -eu
    try() {
        told=$1 code=0
        shift
        "$@" >"$told.out" 2>"$told.err" || code=$?
        echo "$code" >"$told.code"
    }
    connections() {
        for _ in $(seq 1000); do
            [ "$(grep -c ':153E 01 ' /proc/net/tcp)" != "$1" ] || return 0
            sleep 0.01
        done
        exit 99
    }
"#;

/// The `kift-firmware-sim` program, built once where `kift` is.
///
/// # Panics
/// Where it cannot be built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| machine::build("kift-firmware-sim"))
}

/// A place for a device: its flash image, and the files of the peer beside it.
#[derive(Debug)]
pub struct Bench {
    place: TempDir,
}

impl Bench {
    /// A place where a device can have a network; where there cannot be one, says why `test` does
    /// not run.
    ///
    /// # Panics
    /// Where everything must run.
    #[must_use]
    pub fn new(test: &str) -> Option<Self> {
        match why_no_network() {
            None => Some(Self::without_network()),
            Some(why) => {
                skip(test, why);
                None
            }
        }
    }

    /// A place for flash images.
    #[must_use]
    pub fn without_network() -> Self {
        Self { place: place() }
    }

    /// The path of a file here.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Makes a file.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// What a file holds.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A command line of `kift-firmware-sim`, run here, with `kift` in its search path.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(program());
        self.set_up(&mut command);
        command.args(args);
        command
    }

    /// Has `command` run here, with `kift` and `kift-firmware-sim` in its search path.
    ///
    /// # Panics
    /// Where the search path cannot be made.
    pub fn set_up(&self, command: &mut Command) {
        let ours = [machine::program(), program()].map(|program| program.with_file_name(""));
        let given = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&given)));
        command
            .env("PATH", path.expect("a search path"))
            .env_remove("KIFT_LOG")
            .env_remove("RUST_LOG")
            .current_dir(self.place.path());
    }

    /// A device: `line` is what it is to do, as `serve` or `push LOGFILE REMOTE`, with options;
    /// `script` is the peer beside it. Unless told otherwise it has a network of its own, and a flash
    /// that takes no time.
    #[must_use]
    pub fn device(&self, line: &str, script: &str) -> Command {
        let mut args: Vec<&str> = line.split_whitespace().collect();
        if !args.contains(&"--tap") {
            args.push("--netns");
        }
        for option in ["--erase-time", "--program-time"] {
            if !args.contains(&option) {
                args.extend([option, "0"]);
            }
        }
        let script = format!("{PRELUDE}{script}");
        args.extend(["--flash", IMAGE, "--", "sh", "-c", &script]);
        self.command(args)
    }

    /// Runs a [`device`](Self::device) to its end.
    pub fn run(&self, line: &str, script: &str) -> Ended {
        Running::start(self.device(line, script)).end()
    }

    /// What came of a command that the script tried.
    ///
    /// # Panics
    /// Where it was not tried, or is not over.
    #[track_caller]
    pub fn tried(&self, name: &str) -> Ended {
        let read = |end: &str| self.read(&format!("{name}.{end}"));
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code: i32 = text(read("code")).trim().parse().expect("an exit code");
        Ended {
            line: name.to_owned(),
            status: ExitStatus::from_raw(code << 8),
            stdout: read("out"),
            stderr: text(read("err")),
        }
    }

    /// Runs `kift-firmware-sim flash`.
    pub fn flash(&self, args: &[&str]) -> Ended {
        Running::start(self.command([&["flash"], args].concat())).end()
    }

    /// The names of the files in flash, none of which is damaged.
    ///
    /// # Panics
    /// Where one is, or the image is not sound.
    #[track_caller]
    pub fn sound_files(&self) -> Vec<String> {
        self.flash(&["verify", IMAGE]).ok();
        let list = self.flash(&["ls", IMAGE]).ok();
        let name = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
        // Between the head and the two lines about the flash.
        let lines: Vec<&str> = list.lines().collect();
        lines[1..lines.len() - 2].iter().filter_map(|line| name(line)).collect()
    }

    /// The file in flash holds these bytes.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn assert_keeps(&self, name: &str, bytes: &[u8]) {
        let cat = self.flash(&["cat", IMAGE, name]);
        assert!(cat.status.success(), "{}", cat.stderr);
        assert!(cat.stdout == bytes, "{name} differs");
    }

    /// Erases of the flash since it was made.
    #[must_use]
    pub fn erases(&self) -> u64 {
        let counts = fs::read(self.path(&format!("{IMAGE}.wear"))).unwrap_or_default();
        let (counts, _) = counts.as_chunks();
        counts.iter().map(|count| u64::from(u32::from_le_bytes(*count))).sum()
    }

    /// Waits until an upload is well under way: `blocks` more were erased than `before`.
    ///
    /// # Panics
    /// Where that does not happen.
    #[track_caller]
    pub fn wait_for_erases(&self, before: u64, blocks: u64) {
        wait_until("the flash is being written", || self.erases() >= before + blocks);
    }
}

/// The number before `what` in what a device said of its run, as 7 of `7 frames lost`.
///
/// # Panics
/// Where it did not say that.
#[must_use]
#[track_caller]
pub fn count(device: &Ended, what: &str) -> u64 {
    let told = &device.stderr;
    let before = told.rfind(what).map(|at| told[..at].trim_end());
    let number = before.and_then(|before| before.rsplit([' ', '\n']).next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no number of {what:?} in: {told}"))
}

/// The device did what it was to do, its peer too, and it took nothing from a heap.
///
/// # Panics
/// Where it is not so.
#[track_caller]
pub fn assert_sound(device: &Ended) {
    assert!(device.status.success(), "{}: {}", device.status, device.stderr);
    assert_eq!(count(device, "allocations"), 0, "{}", device.stderr);
}

/// Why there can be no network namespace with a TAP interface here, if so.
fn why_no_network() -> Option<&'static str> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let why = WHY.get_or_init(|| {
        let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
        let make = ["ip", "tuntap", "add", "mode", "tap", "dev", "tap0"];
        match Command::new("unshare").arg(flags).args(make).output() {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(format!("unshare: {error}")),
        }
    });
    why.as_deref()
}
