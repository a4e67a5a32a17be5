//! Operations that are pending for a while, and a check that a session keeps to the port's contract.

use crate::rng::Rng;

/// Decides which operations are pending and for how long.
#[derive(Debug, Clone)]
pub struct Busy {
    rng: Rng,
    percent: u8,
    most: usize,
    /// The pending operation and how often it is still pending.
    pending: Option<(String, usize)>,
    /// How often something was pending.
    pub pendings: usize,
}

impl Busy {
    /// Everything is done at once.
    #[must_use]
    pub const fn never() -> Self {
        Self { rng: Rng::new(0), percent: 0, most: 1, pending: None, pendings: 0 }
    }

    /// `percent` of the operations are pending, each up to `most` times.
    #[must_use]
    pub const fn sometimes(seed: u64, percent: u8, most: usize) -> Self {
        Self { rng: Rng::new(seed), percent, most, pending: None, pendings: 0 }
    }

    /// Whether `operation`, which names its arguments too, is still pending.
    ///
    /// # Panics
    /// Where another operation is pending: the session should have offered that one again.
    pub fn is_pending(&mut self, operation: &str) -> bool {
        let left = match self.pending.take() {
            Some((pending, left)) => {
                assert_eq!(pending, operation, "another operation while one is pending");
                left
            }
            None if self.rng.chance(self.percent) => self.rng.between(1, self.most),
            None => 0,
        };
        if left > 0 {
            self.pending = Some((operation.to_owned(), left - 1));
            self.pendings += 1;
        }
        left > 0
    }

    /// Whatever is pending will not be asked for again.
    pub fn forget(&mut self) {
        self.pending = None;
    }

    /// Likewise, where it is an operation that begins so.
    pub fn forget_those(&mut self, beginning: &str) {
        self.pending.take_if(|(operation, _)| operation.starts_with(beginning));
    }

    /// Whether something is pending.
    #[must_use]
    pub const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }
}
