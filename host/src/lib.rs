//! kift on Linux: server, client and command line over `kift-core`.
//!
//! | module | does |
//! | --- | --- |
//! | [`net`] | sockets as byte streams for the core's driver |
//! | [`secure`] | what a host brings to sealed links: ciphers, randomness |
//! | `background`, `record`, `checkpoints`, `together`, `directory` | what is slow, what survives a power cut, and when |
//! | [`state`] | the files in which a machine remembers its key and whom it knows |
//! | [`access`] | the users of a server: who they are, and what each may do |
//! | [`trust`] | the servers that a client has met |
//! | [`store`] | the served directory: the core's storage port on a file system |
//! | [`sandbox`] | what a server takes from itself before it serves |
//! | [`config`] | settings that are kept in files |
//! | [`offer`] | a few files for whoever may have them, and what became of each |
//! | [`server`] | a thread a session, and a guard between each and the store |
//! | [`client`] | requests, with files of this machine at their other side |
//! | [`journal`] | the uploads that were begun here, to go on with |
//! | [`remote`] | `user@host:port/path` |
//! | [`cli`] | the `kift` command |

pub mod access;
mod background;
mod checkpoints;
pub mod cli;
pub mod client;
pub mod config;
mod directory;
pub mod journal;
pub mod net;
pub mod offer;
mod record;
pub mod remote;
pub mod sandbox;
pub mod secure;
pub mod server;
pub mod state;
pub mod store;
mod syncs;
mod together;
pub mod trust;
