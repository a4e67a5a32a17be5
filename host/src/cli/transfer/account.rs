//! The account of a command that moves files: what it came to, and what the user sees meanwhile.

use std::fmt;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};
use serde_json::json;

use crate::cli::Verdict;
use crate::cli::console::Console;
use crate::cli::meter::Meter;

/// What was moved, what was not, and why.
#[derive(Debug)]
pub(in crate::cli) struct Account<'a> {
    pub(in crate::cli) console: &'a Console,
    pub(super) meter: Meter,
    tally: Tally,
    /// Standard output is for the bytes of files.
    is_mute: bool,
}

/// Files by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    moved: u64,
    /// Of those that were moved.
    bytes: u64,
    /// The same at both ends, and so not moved.
    unchanged: u64,
    /// By the user's wish.
    left_out: u64,
    /// By `sync --delete`.
    removed: u64,
    /// Each was told.
    failed: u64,
}

impl<'a> Account<'a> {
    /// Nothing is moved yet.
    pub(super) fn new(console: &'a Console) -> Self {
        Self { console, meter: console.meter(), tally: Tally::default(), is_mute: false }
    }

    /// From now on nothing but the bytes of files goes to standard output.
    pub(super) fn mute(&mut self) {
        self.is_mute = true;
    }

    /// Files that were moved.
    pub(super) fn moved(&self) -> u64 {
        self.tally.moved
    }

    /// Whether something was to be done, and was not.
    pub(super) fn has_failures(&self) -> bool {
        self.tally.failed > 0
    }

    /// A file of `bytes` bytes was moved.
    pub(super) fn add(&mut self, bytes: u64) {
        self.tally.moved += 1;
        self.tally.bytes += bytes;
    }

    /// A file is the same at both ends.
    pub(super) fn add_unchanged(&mut self, name: &str) {
        self.tally.unchanged += 1;
        self.detail(format_args!("unchanged: {name:?}"));
    }

    /// Something is not to be moved, as the user wished.
    pub(super) fn add_left_out(&mut self, name: &str) {
        self.tally.left_out += 1;
        self.detail(format_args!("left out: {name:?}"));
    }

    /// Something was removed.
    pub(super) fn add_removed(&mut self, name: &str) {
        self.tally.removed += 1;
        self.detail(format_args!("removed {name:?}"));
    }

    /// Something was not done; the user is told.
    pub(in crate::cli) fn fail(&mut self, message: &str) {
        self.tally.failed += 1;
        self.meter.aside(|| self.console.error(format_args!("{message}")));
    }

    /// What would be done: a dry run's only result.
    pub(super) fn would(&self, line: fmt::Arguments<'_>) {
        // There are names in it, and a server chooses those that it has.
        let line = self.console.name(&line.to_string());
        self.meter.aside(|| self.console.result(format_args!("{line}")));
    }

    /// Something that a user who watches may want to know.
    pub(super) fn tell(&self, line: &str) {
        self.meter.aside(|| self.console.summary(format_args!("{line}")));
    }

    /// Something that the user need not know.
    pub(super) fn detail(&self, line: fmt::Arguments<'_>) {
        self.meter.aside(|| self.console.detail(line));
    }

    /// Takes the bar away and sums up; for programs only where the session went on to the end.
    pub(super) fn close(&self, is_whole: bool) -> Verdict {
        let took = self.meter.finish();
        let Tally { moved, bytes, unchanged, left_out, removed, failed } = self.tally;
        if is_whole && !self.is_mute {
            self.console.object(&json!({ "summary": {
                "files": moved, "bytes": bytes, "unchanged": unchanged, "left_out": left_out,
                "removed": removed, "failed": failed, "seconds": took.as_secs_f64(),
            }}));
        }
        self.console.summary(format_args!("{}", self.tally.told(took)));
        if failed == 0 { Verdict::AllDone } else { Verdict::SomeFailed }
    }
}

impl Tally {
    /// `3 files, 1.00 GiB in 2.00 s (512.00 MiB/s); 5 unchanged, 1 failed`.
    fn told(&self, took: Duration) -> String {
        let noun = if self.moved == 1 { "file" } else { "files" };
        let seconds = took.as_secs_f64();
        let rate = if seconds > 0.0 { self.bytes as f64 / seconds } else { 0.0 };
        let time = if seconds < 60.0 {
            format!("{seconds:.2} s")
        } else {
            HumanDuration(took).to_string()
        };
        let (bytes, rate) = (HumanBytes(self.bytes), HumanBytes(rate as u64));
        let others = [
            (self.unchanged, "unchanged"),
            (self.left_out, "left out"),
            (self.removed, "removed"),
            (self.failed, "failed"),
        ];
        let others: Vec<String> = others
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let others =
            if others.is_empty() { String::new() } else { format!("; {}", others.join(", ")) };
        format!("{} {noun}, {bytes} in {time} ({rate}/s){others}", self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies() {
        let second = Duration::from_secs(1);
        let one = Tally { moved: 1, bytes: 1024, ..Tally::default() };
        assert_eq!(one.told(second), "1 file, 1.00 KiB in 1.00 s (1.00 KiB/s)");
        let none = Tally::default();
        assert_eq!(none.told(Duration::ZERO), "0 files, 0 B in 0.00 s (0 B/s)");
        let all = Tally { moved: 2, bytes: 0, unchanged: 5, left_out: 4, removed: 3, failed: 1 };
        let told = "2 files, 0 B in 1.00 s (0 B/s); 5 unchanged, 4 left out, 3 removed, 1 failed";
        assert_eq!(all.told(second), told);
    }
}
