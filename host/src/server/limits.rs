//! How much a server lets its peers take, and for how long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kift_core::session::Timeouts;

use crate::net::{STALL_LEN, WINDOW};

/// What a server allows. Sessions that come later go by later limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once of those who are known.
    pub sessions_max: usize,
    /// Connections on which nobody is known yet.
    pub strangers_max: usize,
    /// Those of them that come from one address, or one IPv6 network of 64 bits.
    pub strangers_per_address_max: usize,
    /// From a connection to the peer's hello.
    pub handshake: Duration,
    /// How long a peer may be here before it has logged in.
    pub login: Duration,
    /// Without a request.
    pub idle: Duration,
    /// In which at least [`stall_len`](Self::stall_len) bytes must move while something is under way.
    pub stall: Duration,
    /// Bytes, at least 1.
    pub stall_len: u32,
    /// Chunks that are taken before any is acknowledged, at least 1.
    pub window: u32,
    /// Wrong passwords after which a link is closed, at least 1.
    pub password_tries: u32,
    /// What running transfers get when the server is stopped.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 64,
            strangers_max: 64,
            strangers_per_address_max: 20,
            handshake: Timeouts::DEFAULT.handshake,
            login: Duration::from_secs(30),
            idle: Timeouts::DEFAULT.idle,
            stall: Timeouts::DEFAULT.stall,
            stall_len: STALL_LEN,
            window: WINDOW,
            password_tries: 3,
            grace: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// What sessions are told of them.
    pub(super) fn timeouts(&self, usual: Timeouts) -> Timeouts {
        Timeouts {
            handshake: self.handshake,
            idle: self.idle,
            stall: self.stall,
            stall_len: self.stall_len.max(1),
            ..usual
        }
    }
}

/// The limits in force, which can be changed while the server runs.
#[derive(Debug, Clone, Default)]
pub struct Live(Arc<Mutex<Arc<Limits>>>);

impl Live {
    /// With these at first.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(limits))))
    }

    /// Those in force now.
    #[must_use]
    pub fn get(&self) -> Arc<Limits> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in force, for whoever comes from now on.
    pub fn set(&self, limits: Limits) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }
}
