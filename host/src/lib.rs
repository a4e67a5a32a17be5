//! kift on Linux: server, client and command line over `kift-core`.
//!
//! | module | does |
//! | --- | --- |
//! | [`access`] | who may do what on a server
//! | [`net`] | sockets as byte streams for the core's driver |
//! | [`secure`] | what a host brings to sealed links: ciphers, randomness
//! | [`store`] | the served directory: the core's storage port on a file system |
//! | [`server`] | a thread a session |
//! | [`client`] | requests, with files of this machine at their other side |
//! | [`remote`] | `host:port/path` |
//! | [`state`] | the files in which a machine remembers its key and whom it knows |
//! | [`cli`] | the `kift` command |

pub mod access;
pub mod cli;
pub mod client;
pub mod net;
pub mod remote;
pub mod secure;
pub mod server;
pub mod state;
pub mod store;
