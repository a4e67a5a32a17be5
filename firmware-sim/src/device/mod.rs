//! The device itself: what its firmware would contain besides drivers.
//!
//! | module | is |
//! | --- | --- |
//! | `memory` | [`Memory`]: everything that the device owns, for one `static`, and its boot |
//! | [`serve`] | the task that serves several peers at once |
//! | [`ask`] | the task that dials a server, sends a file or fetches one |
//! | [`log`] | a file that the device writes itself |
//! | [`seal`] | how its links are protected: its key, and what pairing takes |
//! | `random` | [`Random`]: numbers that nobody can foresee, out of a seed in flash |
//! | `platform` | [`Platform`]: what these need of the board |
//! | `frame` | the buffers of a session |

pub mod ask;
mod frame;
pub mod log;
mod memory;
mod platform;
mod random;
pub mod seal;
pub mod serve;

pub use memory::{BootError, Device, Memory};
pub use platform::{Notice, Platform};
pub use random::Random;
