//! What the bare-metal boards have in common.
//!
//! | module | is |
//! | --- | --- |
//! | `chip` | registers, interrupts that only wake, and how an image ends that cannot go on |
//! | `clock` | [`Clock`]: the time, by a counter of the chip's |
//! | `machine` | [`Machine`]: what a board has to bring |
//! | `mission` | what the device is told at its start, as words |
//! | `life` | [`run`]: one life of the device, from its boot to its exit code |
//! | `memory` | how much of the stack was used |
//!
//! What is unsafe here is in `chip` and `memory`.
//!
//! A board in QEMU is told what to do by semihosting, and says by it how that went. A real board
//! has these words in its configuration, and its seed from a random source.

#![no_std]
#![deny(unsafe_code)]

mod chip;
mod clock;
mod life;
mod machine;
mod memory;
mod mission;

#[doc(hidden)]
pub use chip::exit;
pub use chip::{Line, Register, wake_by};
pub use clock::Clock;
pub use life::{BUFFER, Memory, run};
pub use machine::Machine;
