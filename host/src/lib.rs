//! kift on Linux.

pub mod store;
