//! TCP by smoltcp.
//!
//! | module | is |
//! | --- | --- |
//! | `phy` | Ethernet frames between smoltcp and a board: [`Frames`] |
//! | `flows` | counts what TCP had to send twice (feature `retransmits`) |
//! | `sockets` | who uses which of the sockets |
//! | `stack` | [`Stack`]: addresses, DHCP, time |
//! | `nal` | dialling and accepting: `embedded_nal::{TcpClientStack, TcpFullStack}` |
//! | `stream` | [`Connection`]: `embedded_io::{Read, Write, ReadReady}` |
//!
//! Nothing here waits. A call moves what can be moved between the caller and a socket's buffers, and
//! [`Stack::poll`] moves it between the buffers and the wire: a task is a loop of both, and sleeps
//! only when neither had anything to do.

#[cfg(feature = "retransmits")]
mod flows;
mod nal;
mod phy;
mod sockets;
mod stack;
mod stream;
#[cfg(test)]
mod tests;

pub use nal::{Error, Socket};
pub use phy::{Counters, FRAME_LEN, Frames};
#[cfg(feature = "ipv6")]
pub use smoltcp::wire::Ipv6Cidr;
pub use smoltcp::wire::{IpCidr, Ipv4Cidr};
pub use sockets::Peaks;
pub use stack::{Address, Config, Memory, Stack};
pub use stream::{Connection, ConnectionError};
