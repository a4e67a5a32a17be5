//! A file's root from the values of its runs. `core/PROTOCOL.md`, section 7.5.

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};
use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::wire::{CHUNK, Digest, FILE_SIZE_MAX, RunLen};

/// Levels of the tree above runs of the shortest length.
const LEVELS: usize = (FILE_SIZE_MAX / CHUNK as u64).ilog2() as usize - RunLen::MIN.0 as usize + 1;

/// Merges the values of runs, in their order.
///
/// In BLAKE3's tree a left child is a whole subtree of 2^n chunks. So, of n runs that came, there
/// remains one value for each bit of n that is set; the last two are merged only once it is known
/// whether they are the root.
///
/// It can be kept, to go on with a file: whoever reads it back asks whether it [is
/// sound](Self::is_sound).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    stack: Vec<[u8; 32], LEVELS>,
    runs: u32,
}

impl Tree {
    /// Of no runs.
    #[must_use]
    pub const fn new() -> Self {
        Self { stack: Vec::new(), runs: 0 }
    }

    /// Runs so far.
    #[must_use]
    pub const fn runs(&self) -> u32 {
        self.runs
    }

    /// Whether it has as many values as its runs come to: others were not made here.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        // The last push merged nothing that it could have, but what came of longer runs was whole. The last
        // two are always apart.
        let least = (self.runs.count_ones() as usize).max(self.runs.min(2) as usize);
        let most = self.runs.saturating_sub(1).count_ones() as usize + usize::from(self.runs > 0);
        (least..=most).contains(&self.stack.len())
    }

    /// The same where its runs, two or more and each of `len` in whole, are counted by the shortest.
    #[must_use]
    pub fn of_runs_of(self, len: RunLen) -> Self {
        let levels = u32::from(len.0.saturating_sub(RunLen::MIN.0));
        Self { runs: self.runs.checked_shl(levels).unwrap_or(u32::MAX), ..self }
    }

    /// Takes the value of the next run. More than the largest file has of the shortest have no place.
    pub fn push(&mut self, value: Digest) {
        while self.stack.len() > self.runs.count_ones() as usize {
            self.merge();
        }
        self.runs = self.runs.saturating_add(1);
        let has_room = self.stack.push(value.0).is_ok();
        debug_assert!(has_room, "more runs than a file has");
    }

    /// The root of the file whose runs all came; none where there were fewer than two.
    #[must_use]
    pub fn root(mut self) -> Option<Digest> {
        while self.stack.len() > 2 {
            self.merge();
        }
        let (right, left) = (self.stack.pop()?, self.stack.pop()?);
        Some(Digest(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()))
    }

    fn merge(&mut self) {
        if let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
            // There is room: two were taken.
            let _ = self.stack.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::transfer::Hasher;
    use proptest::prelude::*;
    use std::vec::Vec as Bytes;

    /// The root by runs of `len` bytes, which is a power of two of chunks.
    fn by_runs(data: &[u8], len: usize) -> Option<Digest> {
        let mut tree = Tree::new();
        let mut hasher = Hasher::new();
        for (number, run) in data.chunks(len).enumerate() {
            hasher.begin_run((number * len) as u64);
            hasher.update(run);
            tree.push(hasher.digest());
        }
        tree.root()
    }

    fn contents(len: usize) -> Bytes<u8> {
        (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
    }

    #[test]
    fn every_count_of_runs_up_to_seventy() {
        for runs in 2..70 {
            for tail in [1, 1023, 1024, 1025, 2048] {
                let data = contents((runs - 1) * 2048 + tail);
                let whole = Digest(*blake3::hash(&data).as_bytes());
                assert_eq!(by_runs(&data, 2048), Some(whole), "{runs} runs, {tail} in the last");
            }
        }
    }

    #[test]
    fn what_was_not_made_here_is_not_sound() {
        let mut tree = Tree::new();
        for runs in 0..1000 {
            assert!(tree.is_sound(), "{runs}");
            tree.push(Digest([0; 32]));
        }
        assert!(!Tree { runs: 0, ..tree.clone() }.is_sound());
        assert!(!Tree { runs: u32::MAX, ..tree }.is_sound());
    }

    #[test]
    fn longer_runs_are_gone_on_behind_with_shorter_ones() {
        for k in 1..4 {
            let len = 1024 << k;
            for runs in 2..20 {
                let data = contents(runs * len + 5000);
                let value = |at: usize, len: usize| {
                    let mut hasher = Hasher::new();
                    hasher.begin_run(at as u64);
                    hasher.update(&data[at..data.len().min(at + len)]);
                    hasher.digest()
                };
                let mut tree = Tree::new();
                (0..runs).for_each(|run| tree.push(value(run * len, len)));
                let levels = RunLen(RunLen::MIN.0 + k);
                let mut tree = tree.of_runs_of(levels);
                assert!(tree.is_sound() && tree.runs() as usize == runs << k);
                let prefix = Digest(*blake3::hash(&data[..runs * len]).as_bytes());
                assert_eq!(tree.clone().root(), Some(prefix), "{runs} runs of 2^{k} chunks");
                for at in (runs * len..data.len()).step_by(1024) {
                    tree.push(value(at, 1024));
                    assert!(tree.is_sound());
                }
                let whole = Digest(*blake3::hash(&data).as_bytes());
                assert_eq!(tree.root(), Some(whole), "{runs} runs of 2^{k} chunks");
            }
        }
    }

    #[test]
    fn one_run_is_no_tree() {
        assert_eq!(by_runs(&contents(2048), 2048), None);
        assert_eq!(Tree::new().root(), None);
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_whole(k in 0u32..6, size in 1usize..300_000) {
            let (data, len) = (contents(size), 1024usize << k);
            let whole = (size > len).then(|| Digest(*blake3::hash(&data).as_bytes()));
            prop_assert_eq!(by_runs(&data, len), whole);
        }
    }
}
