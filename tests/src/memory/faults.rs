//! What a store in memory is told to do wrong, and what it did.

use std::collections::BTreeMap;

use kift_core::wire::Code;

/// What goes wrong, by path.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// `begin` is refused.
    pub begin: BTreeMap<String, Code>,
    /// The nth write, counted from 0, fails.
    pub write: BTreeMap<String, (usize, Code)>,
    /// `commit` fails.
    pub commit: BTreeMap<String, Code>,
    /// Reading from this byte on fails.
    pub read: BTreeMap<String, (u64, Code)>,
    /// The file turns out to end here, although `open` says more.
    pub shrink: BTreeMap<String, u64>,
    /// Reading the directory fails after this many entries.
    pub directory: BTreeMap<String, (usize, Code)>,
}

/// How often what was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Uploads begun.
    pub begun: usize,
    /// Uploads committed, and commits that failed.
    pub committed: usize,
    /// Uploads set aside.
    pub set_aside: usize,
    /// Uploads aborted after they were begun.
    pub aborted: usize,
    /// Sources opened.
    pub opened: usize,
    /// Sources closed.
    pub closed: usize,
    /// Bytes read.
    pub read: u64,
}
