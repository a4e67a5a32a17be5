//! The progress line.

use std::time::{Duration, Instant};

use crate::board::report::{Bytes, Screen};
use crate::net::Counters;

/// How often the line is written anew.
const TICK: Duration = Duration::from_millis(200);

/// Shows what goes over the wire.
#[derive(Debug)]
pub(super) struct Meter {
    screen: Screen,
    shown: Instant,
    before: Counters,
}

impl Meter {
    pub(super) fn new(screen: Screen) -> Self {
        Self { screen, shown: Instant::now(), before: Counters::default() }
    }

    pub(super) fn show(&mut self, now: &Counters) {
        let time = self.shown.elapsed();
        if time < TICK {
            return;
        }
        let rate = |now: u64, before: u64| {
            Bytes((now.saturating_sub(before) as f64 / time.as_secs_f64()) as u64)
        };
        self.screen.progress(format_args!(
            "in {} ({}/s)  out {} ({}/s)  sent again {}",
            Bytes(now.bytes_in),
            rate(now.bytes_in, self.before.bytes_in),
            Bytes(now.bytes_out),
            rate(now.bytes_out, self.before.bytes_out),
            now.retransmits
        ));
        self.before = *now;
        self.shown = Instant::now();
    }
}
