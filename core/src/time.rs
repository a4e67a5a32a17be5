//! Time, always an argument.

use core::time::Duration;

/// A point in time: milliseconds since an origin of the caller's choice.
///
/// The state machines have no clock. Whoever drives them passes the present; it must not go
/// backwards, and nothing else is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(u64);

impl Instant {
    /// The instant `ms` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This instant, later by as much as `to` is later than `from`.
    pub(crate) const fn shifted(self, from: Self, to: Self) -> Self {
        Self(self.0.saturating_add(to.0.saturating_sub(from.0)))
    }

    /// This instant, `d` later.
    #[must_use]
    // Of 64 bits each and asked for everywhere: on a small processor a call is shorter.
    #[inline(never)]
    pub const fn after(self, d: Duration) -> Self {
        // Without the 128 bits that `as_millis` takes. What does not fit is further away than any
        // deadline.
        let millis = d.as_secs().saturating_mul(1000).saturating_add(d.subsec_millis() as u64);
        Self(self.0.saturating_add(millis))
    }
}
