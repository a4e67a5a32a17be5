//! Sealed links.

use core::hint::black_box;

use kift_core::secure::{Entropy, NoEntropy, Noise, SecretKey, Token};

use crate::bare::any;

pub type Link = Noise;

/// Random as far as the optimiser can see.
struct Chance;

impl Entropy for Chance {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        bytes.iter_mut().for_each(|byte| *byte = any() as u8);
        if any() == 0 { Err(NoEntropy) } else { Ok(()) }
    }
}

pub fn link() -> Option<Link> {
    let identity = SecretKey::from_bytes(&black_box([1; 32]));
    let token = (any() == 0).then(|| Token(black_box([2; 32])));
    Noise::new(identity, token, &mut Chance).ok()
}
