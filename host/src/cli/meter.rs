//! Progress of a command, in one line that is no wider than the terminal.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::tcgetwinsize;

use super::console::printable;

/// Columns of a terminal that does not say how many it has.
const COLUMNS: u16 = 80;

/// What is shown where there are at least so many columns: while nobody knows how much is to go, and
/// where that is known. A line that were wider would be left behind at every step.
const LOOKS: [(u16, &str, &str); 4] = [
    (
        80,
        "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {wide_msg}",
        "{bar:16} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  \
         {binary_bytes_per_sec}  {eta} left  {wide_msg}",
    ),
    (
        40,
        "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {wide_msg}",
        "{percent:>3} %  {binary_bytes_per_sec}  {eta} left  {wide_msg}",
    ),
    (16, "{binary_bytes}  {wide_msg}", "{percent:>3} %  {wide_msg}"),
    (0, "{wide_msg}", "{wide_msg}"),
];

/// Progress of a whole command.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    bar: ProgressBar,
    /// The look that it has now.
    look: Arc<Mutex<&'static str>>,
    started: Instant,
}

impl Meter {
    /// A bar on standard error, where it `is_shown`.
    pub(super) fn new(is_shown: bool) -> Self {
        let bar = if is_shown {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        let meter = Self { bar, look: Arc::default(), started: Instant::now() };
        meter.fit();
        meter
    }

    /// `n` more bytes went.
    pub(super) fn add(&self, n: u64) {
        self.fit();
        self.bar.inc(n);
    }

    /// `n` more bytes are to go. Without a number, nobody knows how many.
    pub(super) fn expect(&self, n: Option<u64>) {
        let Some(n) = n else { return };
        if self.bar.length().is_some() {
            self.bar.inc_length(n);
        } else {
            self.bar.set_length(n);
        }
    }

    /// `n` of the expected bytes need not go.
    pub(super) fn unexpect(&self, n: u64) {
        self.bar.dec_length(n);
    }

    /// What is under way now.
    pub(super) fn show(&self, name: &str) {
        self.fit();
        self.bar.set_message(printable(name));
    }

    /// Runs `print` while the bar is out of the way.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Bytes that went, bytes in all where that is known, and bytes a second.
    pub(super) fn so_far(&self) -> (u64, Option<u64>, u64) {
        let (went, seconds) = (self.bar.position(), self.started.elapsed().as_secs_f64());
        let rate = if seconds > 0.0 { (went as f64 / seconds) as u64 } else { 0 };
        (went, self.bar.length(), rate)
    }

    /// Takes the bar away, and says how long it took.
    pub(super) fn finish(&self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }

    /// Has the look that fits the terminal, which may be another one now.
    fn fit(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let fitting = look(columns(), self.bar.length().is_some());
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        if *look != fitting {
            *look = fitting;
            self.bar.set_style(style(fitting));
        }
    }
}

fn columns() -> u16 {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => COLUMNS,
    }
}

fn look(columns: u16, is_size_known: bool) -> &'static str {
    let fitting = LOOKS.iter().find(|(columns_min, ..)| columns >= *columns_min);
    fitting.map_or("", |(_, unknown, known)| if is_size_known { known } else { unknown })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    /// What is on a screen of so many columns.
    fn drawn(columns: u16, is_size_known: bool) -> String {
        let term = InMemoryTerm::new(10, columns);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let bar = ProgressBar::with_draw_target(is_size_known.then_some(1023 << 20), target);
        bar.set_style(style(look(columns, is_size_known)));
        bar.set_message("a name that is rather long, and in no relation to what it names at all");
        bar.set_position(1022 << 20);
        bar.tick();
        term.contents()
    }

    #[test]
    fn one_line_is_enough_whatever_there_is_room_for() {
        for columns in 1..200 {
            for is_size_known in [false, true] {
                let line = drawn(columns, is_size_known);
                assert!(line.chars().count() <= columns.into(), "{columns} columns: {line:?}");
                assert_eq!(line.lines().count(), 1, "{columns} columns: {line:?}");
            }
        }
    }
}
