//! What the device's tasks need of the board that they run on.

use core::fmt;
use core::net::SocketAddr;
use core::task::Poll;
use core::time::Duration;

use kift_core::session::Error;
use kift_core::storage::Outcome;
use kift_core::time::Instant;
use kift_core::wire::Code;

/// How long a task that waits for the flash sleeps before it asks again.
pub(super) const FLASH_TICK: Duration = Duration::from_millis(1);

/// The board, as a task sees it.
///
/// A task owns the processor, so it is the task that gives the network its turns. A real board
/// sleeps until an interrupt there.
pub trait Platform {
    /// The time.
    fn now(&self) -> Instant;

    /// Gives the network a turn, then sleeps until a frame comes, the network wants another turn,
    /// or it is `until`, whichever is first.
    fn turn(&self, until: Instant);

    /// Whether the task is to come to an end.
    fn is_stopping(&self) -> bool;

    /// Something happened that whoever watches the device may want to know.
    fn tell(&self, notice: Notice);
}

/// What a device tells whoever watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Peers can connect to this port.
    Listening(u16),
    /// A peer connected, and is served.
    Connected(SocketAddr),
    /// Its session is over.
    Ended(SocketAddr, Result<(), Error>),
    /// It had the token: it is known from now on.
    Paired(SocketAddr),
    /// A peer connected and was told to come later.
    Refused(SocketAddr),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening(port) => write!(f, "listening on port {port}"),
            Self::Connected(peer) => write!(f, "{} connected", Shown(peer)),
            Self::Ended(peer, Ok(())) => write!(f, "{} session ended", Shown(peer)),
            Self::Ended(peer, Err(error)) => {
                write!(f, "{} session ended: {error}", Shown(peer))
            }
            Self::Paired(peer) => {
                write!(f, "{} paired: the device knows its key now", Shown(peer))
            }
            Self::Refused(peer) => write!(f, "{} refused: too many sessions", Shown(peer)),
        }
    }
}

/// An address, as texts have it. Where there is no IPv6, nor is there what it takes to show one.
struct Shown<'a>(&'a SocketAddr);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V4(address) => write!(f, "{address}"),
            #[cfg(feature = "ipv6")]
            SocketAddr::V6(address) => write!(f, "{address}"),
            #[cfg(not(feature = "ipv6"))]
            SocketAddr::V6(_) => Ok(()),
        }
    }
}

/// Offers an operation on the store until it is no longer pending, for tasks that have nothing else
/// to do meanwhile.
pub(super) fn settle<T>(
    board: &impl Platform,
    mut operation: impl FnMut() -> Outcome<T>,
) -> Result<T, Code> {
    loop {
        match operation() {
            Poll::Ready(result) => return result,
            Poll::Pending => board.turn(board.now().after(FLASH_TICK)),
        }
    }
}
