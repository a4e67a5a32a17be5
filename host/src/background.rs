//! Work that may take longer than a session may keep its peer waiting.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::task::Poll;
use std::thread;
use std::time::Duration;

/// Enough for a password's hash; nothing is used of it that is not needed.
const STACK_LEN: usize = 256 * 1024;

/// Something that a thread of its own does. To drop it is to not care for the result: the thread
/// ends by itself.
#[derive(Debug)]
pub(crate) struct Background<T>(Receiver<T>);

impl<T: Send + 'static> Background<T> {
    /// Starts `work`.
    ///
    /// # Errors
    /// The system has no thread to spare.
    pub(crate) fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (result, receiver) = sync_channel(1);
        thread::Builder::new().name("kift work".into()).stack_size(STACK_LEN).spawn(move || {
            // Nobody may be waiting any more.
            let _ = result.send(work());
        })?;
        Ok(Self(receiver))
    }

    /// The result, as soon as it is there; pending after `at_most`. None if the work panicked.
    pub(crate) fn wait(&self, at_most: Duration) -> Poll<Option<T>> {
        match self.0.recv_timeout(at_most) {
            Ok(result) => Poll::Ready(Some(result)),
            Err(RecvTimeoutError::Timeout) => Poll::Pending,
            Err(RecvTimeoutError::Disconnected) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_pending_until_the_work_is_done() {
        let (go, wait) = sync_channel::<()>(0);
        let work = Background::start(move || wait.recv().is_ok()).unwrap();
        assert_eq!(work.wait(Duration::from_millis(10)), Poll::Pending);
        go.send(()).unwrap();
        assert_eq!(work.wait(Duration::from_secs(60)), Poll::Ready(Some(true)));
    }

    #[test]
    fn a_panic_is_no_result() {
        let work = Background::<u32>::start(|| panic!("on purpose")).unwrap();
        assert_eq!(work.wait(Duration::from_secs(60)), Poll::Ready(None));
    }
}
