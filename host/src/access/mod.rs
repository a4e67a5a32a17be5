//! Who may do what on a server.
//!
//! | module | does |
//! | --- | --- |
//! | `accounts` | what a running server asks |
//! | `users`, `keys`, `token` | the files, an entry a line |
//! | `options`, `rights`, `network` | what stands in an entry |
//! | `grant` | what of it holds for one session |
//! | `password` | hashes, and how many are computed at once |
//! | `backoff` | how long a password waits after wrong ones |
//! | `first` | the user that a server makes for its owner |
//! | `watched`, `lines` | files that change, and files that people edit |
//!
//! The store knows nothing of this: it gets a directory and bounds.

mod accounts;
mod backoff;
mod first;
mod grant;
pub mod keys;
mod lines;
mod network;
mod options;
mod password;
mod rights;
pub mod token;
pub mod users;
mod watched;

pub use accounts::{Accounts, Entry};
pub use first::{first_user, login_name};
pub use grant::Grant;
pub use network::Network;
pub use options::{Auth, Options};
pub use password::{Hash, LEN_MAX as PASSWORD_LEN_MAX, check as check_password};
pub use rights::Rights;
