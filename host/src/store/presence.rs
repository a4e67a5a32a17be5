//! Whether the peer of a session is still there.

use std::fmt;
use std::sync::Arc;

/// Tells whether a peer is gone, whatever of what it sent is not read yet.
#[derive(Clone)]
pub(crate) struct Presence(Arc<dyn Fn() -> bool + Send + Sync>);

impl Presence {
    /// Of a peer of which `is_gone` tells.
    pub(crate) fn new(is_gone: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_gone))
    }

    pub(super) fn is_gone(&self) -> bool {
        (self.0)()
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
        f.debug_struct("Presence").finish_non_exhaustive()
    }
}
