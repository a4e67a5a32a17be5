//! What a host brings to sealed links: ring's ciphers, and the system's randomness.

mod ring;

pub use self::ring::Ring;

use kift_core::secure::{Entropy, NoEntropy, Noise};
use rustix::rand::{GetRandomFlags, getrandom};

/// A host's end of a link.
pub type HostNoise = Noise<Ring>;

/// The system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Entropy for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::empty()) {
                Ok(n) if n > 0 => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => return Err(NoEntropy),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        let mut two = [[0; 32]; 2];
        for bytes in &mut two {
            SystemRandom.fill(bytes).unwrap();
        }
        assert_ne!(two[0], two[1]);
    }
}
