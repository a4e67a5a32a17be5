//! What the user sees: results on standard output, everything else on standard error.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use kift_core::session::{Error, Failure};
use kift_core::wire::Code;

use super::args::Output;
use super::meter::Meter;
use crate::client::{ClientError, DataStep};

/// Standard output and standard error, as the user wants them.
#[derive(Debug, Clone)]
pub(super) struct Console {
    quiet: bool,
    verbose: bool,
    /// Each step of each file is shown.
    steps: bool,
    pub(super) json: bool,
    /// Whether a person watches standard error.
    watched: bool,
    /// Whether the cursor can be moved there.
    moves: bool,
    /// Whether names go to a terminal, which must not be told what to do by them.
    terminal: bool,
    /// How the name before an error looks.
    label: Style,
    /// Lines that are shown later, by who asks for them.
    kept: Option<Arc<Mutex<Vec<Line>>>>,
    /// Why a line is missing on standard output.
    unwritten: Arc<OnceLock<io::Error>>,
}

/// What an error begins with.
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Whether colours are wanted on `stream`: not where it is no terminal or a dumb one, and not where
/// the user says so by `NO_COLOR`. Where `CI` is set, any terminal is taken to show them.
pub(super) fn in_colour(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// A line, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Out(String),
    Err(String),
}

impl Console {
    pub(super) fn new(output: &Output) -> Self {
        Self {
            quiet: output.quiet,
            verbose: output.verbose > 0,
            steps: output.verbose > 1 && !output.quiet,
            json: output.json,
            watched: io::stderr().is_terminal(),
            moves: std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            terminal: io::stdout().is_terminal(),
            label: if in_colour(&io::stderr()) { ERROR } else { Style::new() },
            kept: None,
            unwritten: Arc::default(),
        }
    }

    /// One for what goes on in the background: it shows nothing until [`show_kept`](Self::show_kept).
    pub(super) fn in_background(&self) -> Self {
        Self { kept: Some(Arc::default()), ..self.clone() }
    }

    /// Shows what was kept until now.
    pub(super) fn show_kept(&self) {
        let Some(kept) = &self.kept else { return };
        let lines = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
        lines.iter().for_each(|line| self.show(line));
    }

    fn put(&self, line: Line) {
        match &self.kept {
            Some(kept) => kept.lock().unwrap_or_else(PoisonError::into_inner).push(line),
            None => self.show(&line),
        }
    }

    fn show(&self, line: &Line) {
        match line {
            Line::Out(line) => match writeln!(io::stdout(), "{line}") {
                // A reader that went away has what it wanted.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    // The first says why.
                    let _ = self.unwritten.set(error);
                }
                _ => {}
            },
            Line::Err(line) => {
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
    }

    /// Why something is missing on standard output, if so.
    pub(super) fn unwritten(&self) -> Option<&io::Error> {
        self.unwritten.get()
    }

    /// A line of the result.
    pub(super) fn result(&self, line: fmt::Arguments<'_>) {
        self.put(Line::Out(line.to_string()));
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
            self.put(Line::Err(line.to_string()));
        }
    }

    /// Whether [`step`](Self::step) shows anything.
    pub(super) fn shows_steps(&self) -> bool {
        self.steps
    }

    /// A step of a file on its way.
    pub(super) fn step(&self, step: DataStep) {
        match step {
            DataStep::Sent { chunk, len } => {
                self.detail(format_args!("chunk {chunk}: {len} bytes sent"));
            }
            DataStep::Came { chunk, len } => {
                self.detail(format_args!("chunk {chunk}: {len} bytes came"));
            }
            DataStep::Acknowledged { chunks } => {
                self.detail(format_args!("{chunks} chunks acknowledged"));
            }
        }
    }

    /// Something that a person who watches wants to know at the end.
    pub(super) fn summary(&self, line: fmt::Arguments<'_>) {
        if !self.quiet && (self.watched || self.verbose) {
            self.put(Line::Err(line.to_string()));
        }
    }

    /// Something said to a person in a conversation.
    pub(super) fn say(&self, line: fmt::Arguments<'_>) {
        if !self.quiet {
            self.put(Line::Out(line.to_string()));
        }
    }

    /// Something that went wrong: what and why in the first line, and in those below what to do.
    pub(super) fn error(&self, text: fmt::Arguments<'_>) {
        let text = text.to_string();
        let lines: Vec<String> = text.lines().map(printable).collect();
        let (label, reset) = (self.label, self.label.render_reset());
        self.put(Line::Err(format!("{label}kift:{reset} {}", lines.join("\n      "))));
    }

    /// Why a command did not go on to its end.
    pub(super) fn tell(&self, error: &anyhow::Error) {
        let advice = match error.downcast_ref() {
            Some(ClientError::Session(end)) => advice_on_end(*end),
            _ => "",
        };
        self.error(format_args!("{}", advised(format_args!("{error:#}"), advice)));
    }

    /// A name as it may be shown: to a terminal without control characters.
    pub(super) fn name(&self, name: &str) -> String {
        if self.terminal { printable(name) } else { name.to_owned() }
    }

    /// A bar for what is to be moved, unless nobody watches.
    pub(super) fn meter(&self) -> Meter {
        let is_shown = self.watched && self.moves;
        let is_hidden = self.quiet || !is_shown || self.json || self.kept.is_some();
        Meter::new(!is_hidden)
    }
}

/// A name without control characters, which could move the cursor or worse.
pub(super) fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
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
fn advice_on_end(error: Error) -> &'static str {
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
}
