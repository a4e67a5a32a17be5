//! What the tasks have of the board: its time, its random numbers, and the end of a connection.

use core::future::pending;
use core::task::Poll;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::{fs, io};

use embassy_futures::select::select;
use embassy_net::tcp::TcpSocket;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer, with_timeout};
use kift_core::driver::Clock;
use kift_core::secure::{Entropy, NoEntropy, SecretKey};
use kift_core::time::Instant;

/// How long the peer may take to acknowledge the last bytes.
const HANG_UP_PATIENCE: Duration = Duration::from_secs(2);

/// One task tells another that it has come so far.
pub(crate) type Mark = Signal<NoopRawMutex, ()>;

/// The time, for a task whose port waits for nothing, or for a mark.
pub(crate) struct Time<'a>(pub(crate) Option<&'a Mark>);

impl Clock for Time<'_> {
    fn now(&self) -> Instant {
        Instant::from_millis(embassy_time::Instant::now().as_millis())
    }

    async fn until(&mut self, at: Option<Instant>) {
        let time = async {
            match at {
                Some(at) => Timer::at(embassy_time::Instant::from_millis(at.as_millis())).await,
                None => pending().await,
            }
        };
        let mark = async {
            match self.0 {
                Some(mark) => mark.wait().await,
                None => pending().await,
            }
        };
        select(time, mark).await;
    }
}

/// The system's random numbers; a real board has a source of its own.
pub(crate) struct Random;

impl Entropy for Random {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        getrandom::fill(bytes).map_err(|_| NoEntropy)
    }
}

/// The key in `file`, which is made where it is not there yet.
pub(crate) fn identity(file: &Path) -> io::Result<SecretKey> {
    match fs::read(file) {
        Ok(bytes) => match bytes.first_chunk() {
            Some(secret) if bytes.len() == secret.len() => Ok(SecretKey::from_bytes(secret)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no key")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SecretKey::generate(&mut Random).map_err(io::Error::other)?;
            let mut made =
                fs::File::options().write(true).create_new(true).mode(0o600).open(file)?;
            made.write_all(key.as_bytes())?;
            made.sync_all()?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

/// Ends a connection, so that its socket can be used again. What was written still arrives, if the
/// peer takes it soon.
pub(crate) async fn hang_up(socket: &mut TcpSocket<'_>) {
    socket.close();
    let _ = with_timeout(HANG_UP_PATIENCE, socket.flush()).await;
    socket.abort();
    let _ = with_timeout(HANG_UP_PATIENCE, socket.flush()).await;
}

/// A port that is done at once, and well.
pub(crate) fn done<T, E>(value: T) -> Poll<Result<T, E>> {
    Poll::Ready(Ok(value))
}
