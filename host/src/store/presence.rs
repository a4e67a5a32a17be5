//! Since when the peer of a session is there, and whether it still is.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A peer's, from its connection on.
#[derive(Clone)]
pub(crate) struct Presence {
    pub(super) since: Instant,
    is_gone: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Presence {
    /// Of a peer that came now. `is_gone` tells whether it has left, whatever of what it sent is not read
    /// yet.
    pub(crate) fn new(is_gone: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { since: Instant::now(), is_gone: Arc::new(is_gone) }
    }

    pub(super) fn is_gone(&self) -> bool {
        (self.is_gone)()
    }
}

impl Default for Presence {
    /// Of one that stays.
    fn default() -> Self {
        Self::new(|| false)
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("since", &self.since).finish_non_exhaustive()
    }
}
