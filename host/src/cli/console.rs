//! What the user sees: results on standard output, everything else on standard error.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use kift_core::session::{Error, Failure};
use kift_core::wire::Code;

use super::Verdict;
use super::args::Output;

/// Standard output and standard error, as the user wants them.
#[derive(Debug)]
pub(super) struct Console {
    quiet: bool,
    verbose: bool,
    pub(super) json: bool,
    /// Whether a person watches standard error.
    watched: bool,
    /// Whether names go to a terminal, which must not be told what to do by them.
    terminal: bool,
}

impl Console {
    pub(super) fn new(output: &Output) -> Self {
        Self {
            quiet: output.quiet,
            verbose: output.verbose > 0,
            json: output.json,
            watched: io::stderr().is_terminal(),
            terminal: io::stdout().is_terminal(),
        }
    }

    /// A line of the result. A reader that went away is not our failure.
    pub(super) fn result(&self, line: fmt::Arguments<'_>) {
        let _ = writeln!(io::stdout(), "{line}");
    }

    /// An object of the result, where JSON is wanted.
    pub(super) fn object(&self, object: &serde_json::Value) {
        if self.json {
            self.result(format_args!("{object}"));
        }
    }

    /// Something that the user need not know.
    pub(super) fn detail(&self, line: fmt::Arguments<'_>) {
        if self.verbose && !self.quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Something that a person who watches wants to know at the end.
    pub(super) fn summary(&self, line: fmt::Arguments<'_>) {
        if !self.quiet && (self.watched || self.verbose) {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Something that went wrong: what and why in the first line, and in those below what to do.
    pub(super) fn error(&self, text: fmt::Arguments<'_>) {
        let text = text.to_string().replace('\n', "\n      ");
        let _ = writeln!(io::stderr(), "kift: {text}");
    }

    /// A name as it may be shown: to a terminal without control characters.
    pub(super) fn name(&self, name: &str) -> String {
        if self.terminal { printable(name) } else { name.to_owned() }
    }

    /// A bar for `bytes` bytes, unless nobody watches.
    pub(super) fn meter(&self, bytes: Option<u64>) -> Meter {
        let bar = match bytes {
            _ if self.quiet || !self.watched || self.json => ProgressBar::hidden(),
            Some(bytes) => ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr()).with_style(style(
                "{bar:30} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}",
            )),
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
                .with_style(style("{spinner} {binary_bytes}  {binary_bytes_per_sec}  {msg}")),
        };
        Meter { bar, started: Instant::now() }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A name without control characters, which could move the cursor or worse.
pub(super) fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Progress of a whole command.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    bar: ProgressBar,
    started: Instant,
}

impl Meter {
    /// `n` more bytes went.
    pub(super) fn add(&self, n: u64) {
        self.bar.inc(n);
    }

    /// What is under way now.
    pub(super) fn show(&self, name: &str) {
        self.bar.set_message(printable(name));
    }

    /// Runs `print` while the bar is out of the way.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away, and says how long it took.
    pub(super) fn finish(&self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }
}

/// The account of a command that moves files: what it came to, and what the user sees meanwhile.
#[derive(Debug)]
pub(super) struct Account<'a> {
    pub(super) console: &'a Console,
    pub(super) meter: Meter,
    /// Files that were moved.
    pub(super) files: u64,
    bytes: u64,
    failed: u64,
}

impl<'a> Account<'a> {
    /// Nothing is moved yet, and `failed` things cannot be.
    pub(super) fn new(console: &'a Console, meter: Meter, failed: u64) -> Self {
        Self { console, meter, files: 0, bytes: 0, failed }
    }

    /// A file of `bytes` bytes was moved.
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    /// Something was not; the user is told.
    pub(super) fn fail(&mut self, message: &str) {
        self.failed += 1;
        self.meter.aside(|| self.console.error(format_args!("{message}")));
    }

    /// Takes the bar away and sums up.
    pub(super) fn close(&self) -> Verdict {
        let took = self.meter.finish();
        self.console.summary(format_args!("{}", tally(self.files, self.bytes, took)));
        if self.failed == 0 { Verdict::AllDone } else { Verdict::SomeFailed }
    }
}

/// `3 files, 1.00 GiB in 2 seconds (512 MiB/s)`.
fn tally(files: u64, bytes: u64, took: Duration) -> String {
    let noun = if files == 1 { "file" } else { "files" };
    let seconds = took.as_secs_f64();
    let rate = if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 };
    let time =
        if seconds < 60.0 { format!("{seconds:.2} s") } else { HumanDuration(took).to_string() };
    format!("{files} {noun}, {} in {time} ({}/s)", HumanBytes(bytes), HumanBytes(rate as u64))
}

/// A failure or the end of a session, `said` by somebody, with what the user can do about it in the
/// next line.
pub(super) fn advised(said: impl fmt::Display, advice: &str) -> String {
    if advice.is_empty() { said.to_string() } else { format!("{said}\n{advice}") }
}

/// What the user can do about a failure of a request; empty where that is plain.
pub(super) fn advice(failure: Failure) -> &'static str {
    match failure {
        Failure::Peer(Code::Exists) => "use --on-conflict replace or keep-both, or another name",
        Failure::Peer(Code::IsDirectory) => "use -r, or name a file in it",
        Failure::Peer(Code::NotFound) => "`kift ls` shows what is there",
        Failure::Peer(Code::BadName) => {
            "names may not be empty, `.`, `..` or absolute, and `.kift` is kept by the server"
        }
        Failure::Peer(Code::NotRegular) => "links and special files are not served",
        Failure::Peer(Code::NotEmpty) => "remove what is in it first",
        Failure::Peer(Code::HashMismatch | Code::SizeMismatch)
        | Failure::Local(Code::HashMismatch | Code::SizeMismatch) => {
            "the file was damaged or changed on its way, and was not kept; try again"
        }
        Failure::Peer(Code::Changed) => "try again when nobody writes to it",
        Failure::Peer(Code::Busy | Code::TooMany) => "try again later",
        Failure::Peer(Code::LoginRequired) => {
            "this machine's key is nobody's there, so say who you are: kift://USER@HOST"
        }
        Failure::Peer(Code::Denied) => {
            "this user may not do that there; `kift user ls` there shows what each may"
        }
        _ => "",
    }
}

/// What the user can do about the end of a session.
pub(super) fn advice_on_end(error: Error) -> &'static str {
    match error {
        Error::PeerClosed(Code::TooManySessions) => "try again later, or raise --max-sessions",
        Error::PeerClosed(Code::SealedOnly) => "leave --plain out",
        Error::PeerClosed(Code::PlainOnly) => {
            "whoever is there says so without any proof. Start the server without --plain; only \
             on a closed network give --plain here too"
        }
        Error::PeerClosed(Code::Denied) => {
            "this machine's key is nobody's there, and no password would help. `kift key show` \
             prints it, and `kift authorize USER KEY` there lets it in"
        }
        Error::PeerClosed(Code::HandshakeFailed) | Error::PeerMisbehaved(Code::HandshakeFailed) => {
            "With a pairing token: make a new one there by `kift pair`"
        }
        Error::PeerMisbehaved(Code::Malformed | Code::OutOfOrder) => {
            "is this port really a kift server's?"
        }
        Error::PeerMisbehaved(Code::Corrupt) => "bytes were changed on their way; try again",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n\u{9b}é日"), "a?[2Jb??é日");
    }

    #[test]
    fn tallies() {
        let second = Duration::from_secs(1);
        assert_eq!(tally(1, 1024, second), "1 file, 1.00 KiB in 1.00 s (1.00 KiB/s)");
        assert_eq!(tally(2, 0, Duration::ZERO), "2 files, 0 B in 0.00 s (0 B/s)");
    }
}
