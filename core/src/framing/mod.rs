//! A byte stream and whole frames, in any fragmentation. Implements section 3 of
//! `core/PROTOCOL.md`.
//!
//! [`Deframer`] gathers incoming bytes in one buffer and shows whole frames in place; [`Outbox`]
//! builds outgoing frames in another, back to back, so that one write sends many.

mod deframer;
mod outbox;

pub(crate) use deframer::{Deframer, Front};
pub(crate) use outbox::Outbox;
