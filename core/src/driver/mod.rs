//! Moves bytes between a session and a byte stream.
//!
//! | driver | over | waits |
//! | --- | --- | --- |
//! | [`Blocking`] | `embedded_io::{Read, Write}` | in the stream's calls, for a tick each |
//! | `Async`, with the feature `async` | `embedded_io_async::{Read, Write}`, a half each | in futures |
//!
//! Either is a loop over its `step`, which does one thing for the session, and either asks of its
//! stream that "written" means handed to the stream's own buffers, never acknowledged, and that
//! bytes go out without a flush. A session's deadlines are looked at between steps.
//!
//! ## Blocking
//!
//! The stream is any `embedded_io::{Read, Write}` whose calls return within a tick of its own
//! choice:
//!
//! - `read` gives at least a byte, or `Ok(0)` where the peer will send nothing more, or an error of
//!   kind `TimedOut` where nothing came within the tick;
//! - `write` takes at least a byte, or gives an error of kind `TimedOut` (or `Ok(0)`) where nothing
//!   could be taken within the tick. Taking a part is normal.
//!
//! A stream that never returns forfeits the deadlines, and a port's pending operation is offered
//! again only when it does.
//!
//! ## Asynchronous
//!
//! The stream is two halves that wait for as long as it takes: `read` gives at least a byte, or
//! `Ok(0)` where the peer will send nothing more; `write` takes at least a byte. While a write waits
//! the other half is read, and both are dropped where something else comes first. So each must be
//! free of side effects on cancel: a call that was dropped before it was done has moved no byte.
//! `embedded_io_async` encourages that and does not promise it, so the stream's own documentation
//! has to. Where it does not hold, as where a DMA engine works on the caller's slice, a buffer goes
//! in between. Bytes that went missing or went twice are found, as a sealed or a checked frame that
//! does not open: they cost the link, never a file.
//!
//! That is all that can be lost. The session has every cursor, and between a call that is done and
//! the session's knowing of it nothing is awaited: a future of the driver may be dropped wherever it
//! waits, and a later one goes on, at once or after a while.

#[cfg(feature = "async")]
mod asynchronous;
mod blocking;
#[cfg(feature = "nal")]
mod nal;

#[cfg(feature = "async")]
pub use asynchronous::{Async, Clock};
pub use blocking::Blocking;
use embedded_io::ErrorKind;
#[cfg(feature = "nal")]
pub use nal::{NalError, NalStream};

use crate::session::Error;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Something moved, so that there may be more to do at once.
    Moved,
    /// Nothing moved for a tick, or until the port was done.
    Waited,
    /// The session is over.
    Closed(Result<(), Error>),
}

/// Whether a call that failed so may well succeed the next time.
fn is_transient(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::TimedOut | ErrorKind::Interrupted)
}
