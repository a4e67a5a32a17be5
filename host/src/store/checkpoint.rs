//! What is known of an upload that has not got its name yet, in a record beside its partial, and when
//! that is written anew.

use std::time::{SystemTime, UNIX_EPOCH};

use kift_core::Tree;
use kift_core::wire::{Conflict, Digest, Put, RunLen, Timestamp, TransferId};
use serde::{Deserialize, Serialize};

/// An upload, as its sender asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Whose it is; empty on a plain link.
    pub(super) owner: Box<str>,
    pub(super) transfer: TransferId,
    /// Beneath the served directory.
    pub(super) path: Box<str>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Timestamp>,
    pub(super) conflict: Conflict,
}

impl Asked {
    pub(super) fn new(owner: &str, path: &str, put: &Put<'_>) -> Self {
        let Put { transfer, size, modified, conflict, .. } = *put;
        Self { owner: owner.into(), transfer, path: path.into(), size, modified, conflict }
    }
}

/// How far an upload is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) asked: Asked,
    /// When it began, in seconds since 1970.
    pub(super) since: u64,
    /// The values of the MiB that are durable.
    pub(super) tree: Tree,
    /// It is whole, and about to get its name. Where its partial is gone, it has that.
    pub(super) placing: Option<Placing>,
}

/// What an upload came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placing {
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) suffix: u32,
}

impl Checkpoint {
    /// Whether it can have been made here.
    pub(super) fn is_sound(&self) -> bool {
        self.tree.is_sound()
    }

    /// Chunks that are durable.
    pub(super) fn chunks(&self) -> u32 {
        self.tree.runs() << RunLen::MIN.0
    }

    /// Bytes that are durable.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.chunks()) * 1024
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_fits_its_record() {
        let place = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(place.path()).unwrap();
        let asked = Asked {
            owner: "a".repeat(32).into(),
            transfer: TransferId([7; 16]),
            path: "x".repeat(480).into(),
            size: Some(u64::MAX),
            modified: Some(Timestamp(-1)),
            conflict: Conflict::KeepBoth,
        };
        let mut tree = Tree::new();
        (0..(1 << 22) - 1).for_each(|at| tree.push(Digest([at as u8; 32])));
        let placing = Some(Placing { size: 1, root: Digest([1; 32]), suffix: u32::MAX });
        let largest = Checkpoint { asked, since: now(), tree, placing };
        let mut record = crate::record::Record::create(&dir, "record").unwrap();
        record.write(&largest).unwrap();
        assert_eq!(largest.bytes(), ((1 << 22) - 1) << 20);
    }
}
