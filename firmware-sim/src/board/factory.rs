//! What happens to a device before it leaves the factory: its flash is formatted, and it is given a
//! seed for its random numbers.
//!
//! Here the seed comes from the system that the simulator runs on. A real one comes from the random
//! source of whatever fills the device's flash, or of the device itself, and is no other device's.

use anyhow::{Context as _, Result};
use rustix::rand::{GetRandomFlags, getrandom};

use super::nor::Nor;
use crate::device::seal::Keys;
use crate::disk::Vault as _;
use crate::flash::{Store, wait};

/// Makes an empty store of a flash, and with a seed the device's key too.
///
/// # Errors
/// The flash's, or that the system has no random numbers.
pub fn format(nor: &mut Nor, with_seed: bool) -> Result<()> {
    Store::<_, 1>::format(&mut *nor)?;
    if with_seed {
        let mut store = Store::<_, 1>::mount(nor)?;
        let seed = random()?;
        wait(|| store.set_seed(&seed))?;
        Keys::open(&mut store, None)?;
    }
    Ok(())
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    // It gives all of so few bytes, once the system has any.
    getrandom(&mut bytes, GetRandomFlags::empty()).context("the system gives no random numbers")?;
    Ok(bytes)
}
