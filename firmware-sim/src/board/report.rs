//! What whoever watches the device sees, on standard error: events as they come, a progress line on
//! a terminal, and a summary at the end.

use core::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};

/// Bytes of the longest line.
const LINE_LEN_MAX: usize = 256;

/// Standard error. Nothing here allocates, so that the device may use it too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal() }
    }

    /// A line that stays.
    pub(super) fn line(self, text: fmt::Arguments<'_>) {
        let mut line = Line::new(self.is_terminal);
        // What does not fit is left out.
        let _ = line.write_fmt(text);
        line.print("\n");
    }

    /// A line that the next one replaces, where somebody watches.
    pub(super) fn progress(self, text: fmt::Arguments<'_>) {
        if self.is_terminal {
            let mut line = Line::new(true);
            let _ = line.write_fmt(text);
            line.print("");
        }
    }
}

struct Line(heapless::String<LINE_LEN_MAX>);

impl Line {
    fn new(clears: bool) -> Self {
        let mut text = heapless::String::new();
        if clears {
            let _ = text.push_str("\r\x1b[K");
        }
        Self(text)
    }

    /// In one piece, since the peer writes to the same place.
    fn print(&mut self, end: &str) {
        let _ = self.0.push_str(end);
        // Whoever went away does not watch.
        let _ = io::stderr().write_all(self.0.as_bytes());
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Room is left for the end of the line.
        for c in text.chars() {
            if self.0.len() + c.len_utf8() >= LINE_LEN_MAX {
                return Err(fmt::Error);
            }
            let _ = self.0.push(c);
        }
        Ok(())
    }
}

/// A number of bytes, as people read it.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        match bytes {
            0..1024 => write!(f, "{bytes} B"),
            1024..1_048_576 => write!(f, "{:.1} KiB", bytes as f64 / 1024.0),
            _ => write!(f, "{:.2} MiB", bytes as f64 / 1_048_576.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn bytes_as_people_read_them() {
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(1 << 20).to_string(), "1.00 MiB");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_still_ends() {
        let mut line = Line::new(false);
        assert!(write!(line, "{}", "é".repeat(LINE_LEN_MAX)).is_err());
        assert_eq!(line.0.len(), LINE_LEN_MAX - 2);
        assert!(line.0.push('\n').is_ok());
    }
}
