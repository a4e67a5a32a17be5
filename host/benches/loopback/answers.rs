//! How soon a session answers while a file moves in it: from a command at `kift shell` to what it shows.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use crate::median;
use crate::peers::{Kift, Peer as _};

const IDLE_LISTINGS: usize = 101;

/// Prints how long the listing of a directory takes while nothing else goes on, and while `file` goes
/// up and comes down.
pub(crate) fn show(kift: &Kift, file: &Path, place: &Path) -> io::Result<()> {
    println!("listings of {} links    median ms  longest ms  listings", kift.name());
    let here = place.join("session");
    fs::create_dir(&here)?;
    let mut shell = Shell::start(kift, &here)?;
    shell.ask("mkdir looked-at; mkdir looked-at/one")?;
    let mut took = Vec::new();
    for _ in 0..IDLE_LISTINGS {
        took.push(shell.list()?);
    }
    report("idle", &took);
    let put = format!("upload --name sent '{}' &", file.display());
    for (name, command) in [("during put", put.as_str()), ("during get", "download file &")] {
        shell.ask(command)?;
        let mut took = Vec::new();
        while shell.is_moving()? {
            took.push(shell.list()?);
        }
        report(name, &took);
    }
    shell.end()
}

fn report(name: &str, took: &[Duration]) {
    let mut ms: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
    let longest = ms.iter().copied().fold(0.0, f64::max);
    println!("  {name:20}  {:10.2}  {longest:10.2}  {:8}", median(&mut ms), took.len());
}

/// A session in which commands are typed, one after the answer to the other.
struct Shell {
    child: Child,
    keyboard: ChildStdin,
    screen: BufReader<ChildStdout>,
}

impl Shell {
    fn start(kift: &Kift, here: &Path) -> io::Result<Self> {
        let mut command = kift.command("shell");
        command.arg(kift.address()).current_dir(here).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(keyboard), Some(screen)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        Ok(Self { child, keyboard, screen: BufReader::new(screen) })
    }

    /// Does a command. Gives the lines that it showed.
    fn ask(&mut self, command: &str) -> io::Result<Vec<String>> {
        // The answer to the second says that the first has been given.
        writeln!(self.keyboard, "{command}\npwd")?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.screen.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("the session ended: {command}")));
            }
            if line == "/\n" {
                return Ok(lines);
            }
            lines.push(line);
        }
    }

    /// How long a listing takes.
    fn list(&mut self) -> io::Result<Duration> {
        let started = Instant::now();
        let lines = self.ask("list looked-at")?;
        assert!(lines.len() == 1 && lines[0].ends_with("  one/\n"), "{lines:?}");
        Ok(started.elapsed())
    }

    /// Whether anything still goes on in the background.
    fn is_moving(&mut self) -> io::Result<bool> {
        Ok(self.ask("jobs")?.iter().any(|line| line.starts_with('[') && !line.ends_with("ended\n")))
    }

    fn end(mut self) -> io::Result<()> {
        drop(self.keyboard);
        assert!(self.child.wait()?.success(), "the session failed");
        Ok(())
    }
}
