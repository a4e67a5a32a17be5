//! What the bare-metal boards have in common.
//!
//! | module | is |
//! | --- | --- |
//! | `machine` | [`Machine`]: what a board has to bring |
//! | `mission` | what the device is told at its start, as words |
//! | `life` | [`run`]: one life of the device, from its boot to its exit code |
//! | `memory` | how much of the stack was used: all the unsafe code there is here |
//!
//! A board in QEMU is told what to do by semihosting, and says by it how that went. A real board
//! has these words in its configuration, and its seed from a random source.

#![no_std]
#![deny(unsafe_code)]

mod life;
mod machine;
mod memory;
mod mission;

pub use life::{BUFFER, Memory, run};
pub use machine::Machine;
