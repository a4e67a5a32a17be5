//! Moving files: what `put`, `get` and `sync` do, and the shell, the menu and `receive` too.
//!
//! A [`Mover`] works on a client that is connected and logged in already. What it is told to move
//! it queues, so that one session's requests follow each other without waiting; at the end it either
//! says goodbye behind the last of them or waits until all are answered.
//!
//! | module | does |
//! | --- | --- |
//! | `choices` | what the user wants moved, and how |
//! | `filter` | `--include` and `--exclude` |
//! | `tree` | what is in a directory, here or there |
//! | `mover` | requests under way, and what came of them |
//! | `outgoing` | sends |
//! | `incoming` | fetches |
//! | `account` | what was moved, what was not, and why |
//! | `put`, `get`, `sync`, `cat` | the commands |

mod account;
mod cat;
mod choices;
mod filter;
mod get;
mod incoming;
mod mover;
mod outgoing;
mod put;
mod sync;
mod tree;

pub(super) use choices::{Choices, Skip};
pub(super) use filter::Filter;
pub(super) use incoming::Destination;
pub(super) use mover::Mover;
pub(super) use outgoing::Target;

pub(super) use cat::run as cat;
pub(super) use get::run as get;
pub(super) use put::run as put;
pub(super) use sync::run as sync;
