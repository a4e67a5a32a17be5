//! The BLAKE3 of a stream.

#[cfg(feature = "host")]
use blake3::hazmat::HasherExt as _;

#[cfg(feature = "host")]
use super::Tree;
use crate::wire::Digest;
#[cfg(feature = "host")]
use crate::wire::RunLen;

/// Bytes of a part whose value is kept.
#[cfg(feature = "host")]
const PART: u64 = match RunLen::MIN.bytes() {
    Some(bytes) => bytes,
    None => unreachable!(),
};

/// The hash of one stream. A session has one: only one stream of data runs at a time.
///
/// With the feature `host` the values of whole MiB are kept apart, so that a hash can be
/// [continued](Self::continued) by whoever has [these](Self::tree), without what was hashed.
#[derive(Debug)]
pub struct Hasher {
    /// Of the part that comes.
    blake3: blake3::Hasher,
    /// The parts before it.
    #[cfg(feature = "host")]
    parts: Tree,
    /// The stream is a run, whose digest is the value of a subtree.
    #[cfg(feature = "host")]
    is_run: bool,
}

impl Hasher {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            blake3: blake3::Hasher::new(),
            #[cfg(feature = "host")]
            parts: Tree::new(),
            #[cfg(feature = "host")]
            is_run: false,
        }
    }

    /// Of a stream whose first MiB, two or more, had these values.
    #[cfg(feature = "host")]
    #[must_use]
    pub fn continued(parts: Tree) -> Self {
        let mut hasher = Self { parts, ..Self::new() };
        hasher.begin_part();
        hasher
    }

    /// The values of the MiB that are whole, but for the last one where nothing came behind it.
    #[cfg(feature = "host")]
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.parts
    }

    /// Begins the hash of a stream that is no run.
    #[inline(never)]
    pub(crate) fn reset(&mut self) {
        #[cfg(feature = "host")]
        if self.is_run || self.parts.runs() > 0 {
            // One that had an offset keeps a part of it when it is reset.
            *self = Self::new();
            return;
        }
        self.blake3.reset();
    }

    /// Begins that of a run at byte `offset`, which is valid, and so is not longer than the subtree
    /// that begins there.
    #[cfg(feature = "host")]
    pub(crate) fn begin_run(&mut self, offset: u64) {
        *self = Self::new();
        self.blake3.set_input_offset(offset);
        self.is_run = true;
    }

    #[cfg(feature = "host")]
    fn begin_part(&mut self) {
        self.blake3 = blake3::Hasher::new();
        self.blake3.set_input_offset(u64::from(self.parts.runs()).saturating_mul(PART));
    }

    /// Takes what comes next.
    // Once in a program, and not wherever it is called: flash is dear.
    #[inline(never)]
    pub fn update(&mut self, data: &[u8]) {
        #[cfg(feature = "host")]
        let data = self.end_parts(data);
        self.blake3.update(data);
    }

    /// Ends the parts behind which there is more of `data`, and gives what belongs to the one that
    /// is left.
    #[cfg(feature = "host")]
    fn end_parts<'d>(&mut self, mut data: &'d [u8]) -> &'d [u8] {
        while !self.is_run {
            let left =
                usize::try_from(PART.saturating_sub(self.blake3.count())).unwrap_or(usize::MAX);
            let Some((head, tail)) =
                data.split_at_checked(left).filter(|(_, tail)| !tail.is_empty())
            else {
                break;
            };
            self.blake3.update(head);
            self.parts.push(Digest(self.blake3.finalize_non_root()));
            self.begin_part();
            data = tail;
        }
        data
    }

    /// The digest of what came: its root, or, of a run, its value.
    #[must_use]
    #[inline(never)]
    pub fn digest(&self) -> Digest {
        #[cfg(feature = "host")]
        if self.blake3.count() > 0 && (self.is_run || self.parts.runs() > 0) {
            let value = Digest(self.blake3.finalize_non_root());
            if self.is_run {
                return value;
            }
            let mut whole = self.parts.clone();
            whole.push(value);
            return whole.root().unwrap_or(value);
        }
        #[cfg(feature = "host")]
        if let Some(root) = self.parts.clone().root() {
            return root;
        }
        Digest(*self.blake3.finalize().as_bytes())
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, feature = "host"))]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn contents(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
    }

    fn blake3(data: &[u8]) -> Digest {
        Digest(*blake3::hash(data).as_bytes())
    }

    /// Hashes in pieces of `len` bytes, and goes on from the parts alone as often as there is a new one.
    fn hash(data: &[u8], len: usize, resumes: bool) -> Digest {
        let mut hasher = Hasher::new();
        let (mut at, mut parts) = (0, 1);
        while at < data.len() {
            let piece = &data[at..(at + len).min(data.len())];
            hasher.update(piece);
            at += piece.len();
            if resumes && hasher.tree().runs() > parts {
                parts = hasher.tree().runs();
                let tree = hasher.tree().clone();
                at = parts as usize * PART as usize;
                assert_eq!(tree.clone().root(), Some(blake3(&data[..at])));
                hasher = Hasher::continued(tree);
                assert_eq!(hasher.digest(), blake3(&data[..at]));
            }
        }
        hasher.digest()
    }

    #[test]
    fn every_boundary() {
        let data = contents(5 << 20);
        for mib in 0..=5_usize {
            for len in
                [(mib << 20).saturating_sub(1), mib << 20, (mib << 20) + 1, (mib << 20) + 1024]
            {
                let Some(data) = data.get(..len) else { continue };
                for resumes in [false, true] {
                    assert_eq!(hash(data, 32 * 1024, resumes), blake3(data), "{len}, {resumes}");
                    assert_eq!(hash(data, 3 << 20, resumes), blake3(data), "{len}, {resumes}");
                }
            }
        }
    }

    #[test]
    fn a_hash_that_had_parts_or_was_a_runs_begins_anew() {
        let mut hasher = Hasher::new();
        hasher.update(&contents(3 << 20));
        hasher.reset();
        hasher.update(b"abc");
        assert_eq!(hasher.digest(), blake3(b"abc"));
        hasher.begin_run(1 << 20);
        hasher.update(&contents(1 << 20));
        hasher.reset();
        assert_eq!(hasher.digest(), blake3(b""));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_digest_is_that_of_the_whole(size in 0usize..6_000_000, len in 1usize..4_000_000) {
            let data = contents(size);
            prop_assert_eq!(hash(&data, len.max(1000), true), blake3(&data));
        }
    }
}
