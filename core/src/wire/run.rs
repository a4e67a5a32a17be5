//! Files in runs, over several links. `core/PROTOCOL.md`, section 7.5.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::message::bytes;
use super::{CHUNK, FILE_SIZE_MAX};

/// What lets a link join the session that asked for it: whoever has it may use it, once.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket(#[serde(deserialize_with = "bytes")] pub [u8; 16]);

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// Runs that a file has at most.
pub const RUNS_MAX: u64 = 1 << 16;

/// Chunks of a run, as a power of two: all of a file have as many, but for its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLen(pub u8);

impl RunLen {
    /// The shortest: 1 MiB.
    pub const MIN: Self = Self(10);
    /// The longest: 4 GiB.
    pub const MAX: Self = Self(22);

    /// Bytes of a whole run; none where there is no such run.
    #[must_use]
    pub const fn bytes(self) -> Option<u64> {
        if self.0 >= Self::MIN.0 && self.0 <= Self::MAX.0 {
            Some((CHUNK as u64) << self.0)
        } else {
            None
        }
    }

    /// Run number `number` of a file of `size` bytes; none behind its end.
    #[must_use]
    pub fn run(self, number: u32, size: u64) -> Option<Run> {
        let whole = self.bytes()?;
        let at = whole.checked_mul(u64::from(number))?;
        let rest = size.checked_sub(at).filter(|rest| *rest > 0)?;
        Some(Run { first: u32::try_from(at / CHUNK as u64).ok()?, size: rest.min(whole) })
    }
}

/// A part of a file that is a subtree of its BLAKE3 tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its first chunk.
    pub first: u32,
    /// Its bytes.
    pub size: u64,
}

impl Run {
    /// Where in the file it begins.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.first as u64 * CHUNK as u64
    }

    /// Whether it has bytes, is inside the largest file, and is a subtree: aligned to its length.
    #[must_use]
    pub fn is_valid(self) -> bool {
        let most = (CHUNK as u64) << self.first.trailing_zeros();
        self.size > 0
            && self.size <= most
            && self.offset().saturating_add(self.size) <= FILE_SIZE_MAX
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    #[test]
    fn runs_are_subtrees_and_cover_the_file() {
        let len = RunLen(10);
        for size in [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 7 << 20, (7 << 20) + 5] {
            let runs: Vec<Run> = (0..).map_while(|number| len.run(number, size)).collect();
            assert!(runs.iter().all(|run| run.is_valid()), "{runs:?}");
            let mut end = 0;
            for run in runs {
                assert_eq!(run.offset(), end);
                end += run.size;
            }
            assert_eq!(end, size);
        }
    }

    #[test]
    fn what_is_no_subtree_is_no_run() {
        let valid = |first, size| Run { first, size }.is_valid();
        assert!(valid(0, 1) && valid(0, FILE_SIZE_MAX) && valid(1024, 1 << 20));
        assert!(valid(u32::MAX, 1024) && !valid(u32::MAX, 1025));
        assert!(!valid(0, 0) && !valid(0, FILE_SIZE_MAX + 1) && !valid(1024, (1 << 20) + 1));
        assert!(!valid(1 << 31, u64::MAX));
    }

    #[test]
    fn lengths_have_bounds() {
        assert_eq!(RunLen::MIN.bytes(), Some(1 << 20));
        assert_eq!(RunLen::MAX.bytes(), Some(4 << 30));
        assert_eq!(
            (RunLen(9).bytes(), RunLen(23).bytes(), RunLen(255).bytes()),
            (None, None, None)
        );
    }

    #[test]
    fn tickets_are_not_shown() {
        assert_eq!(std::format!("{:?}", Ticket([1; 16])), "Ticket(..)");
    }
}
