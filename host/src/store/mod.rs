//! Where a server keeps its files: one directory, and nothing outside it.
//!
//! [`Root`] is the served directory, or a home in it, and shared by connections. [`Session`] is one
//! connection's use of it, and fills the port [`Store`](kift_core::storage::Store).
//!
//! | module | does |
//! | --- | --- |
//! | `root` | takes the directory, and gives homes in it |
//! | `workshop` | the reserved `.kift/`: its lock, and what an earlier run left there |
//! | `beneath` | finds paths under the root without ever leaving it, and says what is served |
//! | `upload` | a file on its way in: partial, sync, rename into place |
//! | `partial` | its bytes until it has a name, which may outlive its session |
//! | `checkpoint` | what is known of these, on disk |
//! | `aside` | small files in a row, which are made durable together |
//! | `attempts` | what became of uploads, by their transfer ids |
//! | `background` | waits for a slow sync without keeping the session from its peer |
//! | `presence` | since when its sender is there, and whether it still is |
//! | `source` | a file on its way out |
//! | `transfers` | files in runs, which several links send or fetch |
//! | `snapshot` | a directory being listed |
//! | `change` | delete, rename, make a directory |
//! | `ledger` | how much lies in a home and is on its way there |
//! | `count` | finds that out |
//! | `session` | the port, and the log |
//! | `reason` | the system's errors as reasons for the peer |
//!
//! What the rest relies on:
//!
//! - A path is looked up for every operation: the home from the root's descriptor, and the path
//!   from the home's, out of which the kernel lets it lead nowhere. Nothing keeps a descriptor of a
//!   directory for later: it might have been renamed, moved or removed since, and an upload would
//!   then appear elsewhere than its sender is told.
//! - Whatever is neither a directory nor a regular file with one link is not served, under no
//!   operation; the option for hard links relaxes the second half.
//! - A name is changed, and what that means for quotas is written down, under one lock.
//! - "Done" means that it survives a power cut: contents are synced before a name is given to them,
//!   and the directory after.

mod aside;
mod attempts;
mod beneath;
mod change;
mod checkpoint;
mod count;
mod ledger;
mod partial;
mod presence;
mod reason;
mod root;
mod session;
mod snapshot;
mod source;
mod transfers;
mod upload;
mod workshop;

#[cfg(test)]
mod tests;

pub(crate) use presence::Presence;
pub use root::{Bounds, Options, Root};
pub use session::Session;
pub(crate) use transfers::Transfers;
