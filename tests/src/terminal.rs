//! A person at a terminal: the real `kift` in a pseudo-terminal, which it cannot tell from one.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::machine::{Signal, end_now, make_own, program, wait_for, wait_until};

/// More than anything needs that is shown here.
const ROWS: u16 = 500;

/// A process with a terminal of its own.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// What was on the screen when the last expected words were found.
    seen: usize,
    reader: Option<JoinHandle<()>>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Terminal").field(&self.screen()).finish()
    }
}

impl Terminal {
    /// Runs `kift`.
    ///
    /// # Panics
    /// Where there are no terminals.
    #[must_use]
    pub fn kift<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        Self::start(80, Path::new("."), &[], args)
    }

    /// Runs `kift` in the directory `here`.
    ///
    /// # Panics
    /// Where there are no terminals.
    #[must_use]
    pub fn kift_in<A: AsRef<OsStr>>(here: &Path, args: impl IntoIterator<Item = A>) -> Self {
        Self::start(80, here, &[], args)
    }

    /// Runs `kift` in a terminal that is so wide.
    ///
    /// # Panics
    /// Where there are no terminals.
    #[must_use]
    pub fn sized<A: AsRef<OsStr>>(columns: u16, args: impl IntoIterator<Item = A>) -> Self {
        Self::start(columns, Path::new("."), &[], args)
    }

    /// Runs `kift` with further environment variables.
    ///
    /// # Panics
    /// Where there are no terminals.
    #[must_use]
    pub fn with_variables<A: AsRef<OsStr>>(
        variables: &[(&str, &str)],
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::start(80, Path::new("."), variables, args)
    }

    fn start<A: AsRef<OsStr>>(
        columns: u16,
        here: &Path,
        variables: &[(&str, &str)],
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master: OwnedFd = openpt(flags).expect("a terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let path = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
        tcsetwinsize(&master, size(columns)).expect("a size");
        // It is to be the other process's terminal, and not this one's.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = || open(&path, flags, Mode::empty()).expect("its other end");
        // Passwords are asked for at the controlling terminal.
        let mut command = Command::new("setsid");
        make_own(&mut command);
        let child = command
            .args(["--ctty", "--wait"])
            .arg(program())
            .args(args)
            .current_dir(here)
            .env("TERM", "xterm")
            .envs(variables.iter().copied())
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("setsid is there");
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().expect("a descriptor");
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let shown = Arc::clone(&screen);
        let reader = thread::spawn(move || {
            let mut buf = [0; 1024];
            // A terminal that nobody has open any more is read with an error.
            while let Ok(n @ 1..) = output.read(&mut buf) {
                shown.lock().expect("held briefly").extend_from_slice(&buf[..n]);
            }
        });
        Self { child, keyboard, screen, seen: 0, reader: Some(reader) }
    }

    /// All that was shown so far.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "nobody panics with the screen in hand")]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("held briefly")).into_owned()
    }

    /// What a person sees in a window of `columns`, high enough for all of it.
    #[must_use]
    pub fn picture(&self, columns: u16) -> String {
        picture(&self.screen(), columns)
    }

    /// Waits until `words` are shown, behind those that were expected last.
    ///
    /// # Panics
    /// Where they are not.
    #[track_caller]
    pub fn expect(&mut self, words: &str) {
        let mut is_over = false;
        wait_until(words, || {
            // The process first: what it said before its end is on the screen by then.
            let was_over = is_over;
            is_over = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            let screen = self.screen();
            if let Some(at) = screen.get(self.seen..).and_then(|new| new.find(words)) {
                self.seen += at + words.len();
                return true;
            }
            assert!(!was_over, "it ended without {words:?}: {screen}");
            false
        });
    }

    /// As [`expect`](Self::expect), and waits until what is typed is not shown.
    ///
    /// # Panics
    /// Where it would be.
    #[track_caller]
    pub fn expect_secret(&mut self, words: &str) {
        self.expect(words);
        wait_until("what is typed is not shown", || {
            let modes = tcgetattr(&self.keyboard).expect("a terminal").local_modes;
            !modes.contains(LocalModes::ECHO)
        });
    }

    /// Types a line.
    ///
    /// # Panics
    /// Where nobody has the terminal open any more.
    pub fn say(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).expect("somebody listens");
    }

    /// Presses keys, among them `\x03` for Ctrl-C, `\x04` for Ctrl-D and `\t`.
    ///
    /// # Panics
    /// Where nobody has the terminal open any more.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("somebody listens");
    }

    /// Makes the window so wide.
    ///
    /// # Panics
    /// Where that cannot be.
    pub fn resize(&self, columns: u16) {
        tcsetwinsize(&self.keyboard, size(columns)).expect("a size");
    }

    /// Presses Ctrl-C and waits for the end, which is to be as a shell expects it: exit code 130, or by
    /// the signal, for which shells give the same. Gives all that was shown.
    ///
    /// # Panics
    /// Where it ends otherwise, or hangs.
    #[track_caller]
    pub fn interrupt(mut self) -> String {
        self.press("\x03");
        let (status, screen) = self.end();
        let by_signal = status.signal() == Some(Signal::INT.as_raw());
        assert!(by_signal || status.code() == Some(130), "{status:?}: {screen}");
        screen
    }

    /// Waits for the end. Gives how it ended, and all that was shown. The terminal is as it was before.
    ///
    /// # Panics
    /// Where it hangs, or leaves a terminal that does not show what is typed.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, String) {
        let Some(status) = wait_for(&mut self.child) else { panic!("hangs: {}", self.screen()) };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reads to its end");
        }
        let modes = tcgetattr(&self.keyboard).expect("a terminal").local_modes;
        let usual = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        assert!(modes.contains(usual), "{modes:?} is left: {}", self.screen());
        (status, self.screen())
    }
}

/// What is left to be seen of all that was `shown` in a window of `columns`, high enough for it.
#[must_use]
pub fn picture(shown: &str, columns: u16) -> String {
    let mut window = vt100::Parser::new(ROWS, columns, 0);
    window.process(shown.as_bytes());
    let rows: Vec<String> = window.screen().rows(0, columns).collect();
    rows.iter()
        .map(|row| row.trim_end())
        .filter(|row| !row.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

fn size(columns: u16) -> Winsize {
    Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        end_now(&mut self.child);
    }
}
