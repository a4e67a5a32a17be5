//! What the user wants moved, and how.

use kift_core::wire::Conflict;

use super::Filter;

/// When a file is not moved because it is at its destination already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) enum Skip {
    /// It is moved all the same.
    #[default]
    Never,
    /// Size and time of last modification are equal.
    Time,
    /// Size and BLAKE3 are equal.
    Checksum,
}

/// How files are to be moved.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Choices {
    /// Directories are moved with all that is in them.
    pub(in crate::cli) recursive: bool,
    /// What to do where a name is taken.
    pub(in crate::cli) conflict: Conflict,
    /// What of a directory is moved.
    pub(in crate::cli) filter: Filter,
    /// What need not be moved.
    pub(in crate::cli) skip: Skip,
    /// Only say what would be done.
    pub(in crate::cli) dry_run: bool,
}
