//! Somebody between a client and a server who holds the line at one record, until told what becomes of
//! it: the one phase of a session lasts as long as a test needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::machine::wait_until;
use crate::proxy::{Fate, From, Proxy};

/// A line that is held, and lost when this is dropped.
#[derive(Debug)]
pub struct Hold {
    proxy: Proxy,
    line: Arc<Line>,
}

#[derive(Debug, Default)]
struct Line {
    is_held: AtomicBool,
    is_lost: AtomicBool,
}

impl Hold {
    /// Carries connections to the server at `server`. In each, the record of that number from that end
    /// does not go on, and nothing behind it.
    #[must_use]
    pub fn at(server: u16, from: From, number: usize) -> Self {
        let line = Arc::<Line>::default();
        let held = Arc::clone(&line);
        let meddle = move |side: From, n: usize, _: &[u8]| {
            if (side, n) != (from, number) {
                return None;
            }
            held.is_held.store(true, Ordering::Relaxed);
            while !held.is_lost.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            Some(Fate { cut: true, ..Fate::default() })
        };
        Self { proxy: Proxy::lay(server, Box::new(meddle)), line }
    }

    /// How a client names a path on the server behind it.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        self.proxy.at(path)
    }

    /// The port that stands for the server's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.proxy.port()
    }

    /// Waits until the record has come that does not go on.
    ///
    /// # Panics
    /// Where it does not come.
    #[track_caller]
    pub fn wait(&self) {
        wait_until("the line is held", || self.is_held());
    }

    /// Whether that record has come.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.line.is_held.load(Ordering::Relaxed)
    }

    /// What was held is lost, and the line with it.
    pub fn lose(&self) {
        self.line.is_lost.store(true, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.lose();
        self.proxy.close();
    }
}
