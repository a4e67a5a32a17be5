//! The device itself.
