//! Files on NOR flash that survive a power cut at any operation.

mod nor;

pub use nor::{Blocking, Flash};
