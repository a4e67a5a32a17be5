//! Random numbers for a device that has no source of them but a seed in its flash.
//!
//! ```text
//! seed ──"next"──> the seed of the next boot, which is stored before anything else is done
//!   └────"now"───> key ──"number"──> 32 bytes that are given away
//!                   └────"key"─────> the next key
//! ```
//! Every arrow is BLAKE3 keyed with what it comes from, so nobody goes back along one: who learns a
//! key knows nothing of the numbers before it. No two boots have a key in common, since a seed is on
//! the flash no more, as far as a mount can tell, when its key is first used.
//!
//! A board with a random source of its own takes that in the place of this, or for the seed.

use blake3::Hasher;
use kift_core::secure::{Entropy, NoEntropy};

/// Random numbers of one boot.
pub struct Random {
    key: [u8; 32],
}

impl Random {
    /// The numbers of a boot whose seed is `seed`, and the seed of the next boot.
    ///
    /// Nothing is to be asked of the former before the latter is on stable storage.
    ///
    /// # Errors
    /// [`NoEntropy`] where the seed is one byte repeated, as in flash that was never written.
    pub fn begin(seed: &[u8; 32]) -> Result<(Self, [u8; 32]), NoEntropy> {
        let [first, rest @ ..] = seed;
        if rest.iter().all(|byte| byte == first) {
            return Err(NoEntropy);
        }
        Ok((Self { key: derive(seed, b"now") }, derive(seed, b"next")))
    }
}

impl core::fmt::Debug for Random {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Random")
    }
}

impl Entropy for Random {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        for piece in bytes.chunks_mut(32) {
            let number = derive(&self.key, b"number");
            self.key = derive(&self.key, b"key");
            piece.iter_mut().zip(number).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}

fn derive(key: &[u8; 32], what: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new_keyed(key);
    hasher.update(what);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::format;

    #[test]
    fn no_number_comes_twice_in_many_boots() {
        let mut seed = *b"what came from a random source..";
        let mut seen = BTreeSet::from([seed]);
        for _ in 0..50 {
            let (mut random, next) = Random::begin(&seed).unwrap();
            let mut numbers = [0; 4 * 32];
            random.fill(&mut numbers[..40]).unwrap();
            random.fill(&mut numbers[64..]).unwrap();
            let (pieces, _) = numbers.as_chunks::<32>();
            for number in pieces.iter().chain([&next, &random.key]) {
                assert!(seen.insert(*number), "{number:x?}");
            }
            seed = next;
        }
    }

    #[test]
    fn flash_that_was_never_written_is_no_seed() {
        for byte in [0, 0xff, 7] {
            assert!(Random::begin(&[byte; 32]).is_err());
        }
    }

    #[test]
    fn what_it_comes_from_is_not_shown() {
        let (random, _) = Random::begin(b"what came from a random source..").unwrap();
        assert_eq!(format!("{random:?}"), "Random");
    }
}
