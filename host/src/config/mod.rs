//! Settings that are kept in files.

pub mod client;
pub mod server;
mod values;

pub use values::{Level, Listen, LogFormat, Sandbox, Span, Timeout};
