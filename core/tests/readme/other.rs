// What the two ends in `core/README.md` are tested against: a stream in memory, and the other end.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

use embedded_io::{ErrorKind, ErrorType, Read, Write};
use kift_core::driver::{Blocking, Step};
use kift_core::secure::{Entropy, NoEntropy, Noise, Peer, PublicKey, SecretKey};
use kift_core::session::{Config, Event, Failure, Reply, Requester, Responder, Side};
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Store};
use kift_core::time::Instant;
use kift_core::wire::{Code, Digest, Meta, Path, Put, Request, Space};

/// How long a call waits for bytes.
const TICK: Duration = Duration::from_millis(20);

/// Bytes on their way, at most: fewer than a frame, so that writes are partial.
const PIPE_LEN: usize = 700;

/// One direction.
#[derive(Default)]
struct Pipe {
    state: Mutex<(VecDeque<u8>, bool)>,
    changed: Condvar,
}

/// One end of a stream in memory, which the other end sees closed when it is dropped.
pub(crate) struct End {
    from: Arc<Pipe>,
    to: Arc<Pipe>,
}

/// Both ends.
pub(crate) fn stream() -> (End, End) {
    let (one, two) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    (End { from: one.clone(), to: two.clone() }, End { from: two, to: one })
}

impl Drop for End {
    fn drop(&mut self) {
        for pipe in [&self.from, &self.to] {
            pipe.state.lock().unwrap().1 = true;
            pipe.changed.notify_all();
        }
    }
}

impl ErrorType for End {
    type Error = ErrorKind;
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let state = self.from.state.lock().unwrap();
        let nothing = |state: &mut (VecDeque<u8>, bool)| state.0.is_empty() && !state.1;
        let (mut state, timeout) =
            self.from.changed.wait_timeout_while(state, TICK, nothing).unwrap();
        if timeout.timed_out() {
            return Err(ErrorKind::TimedOut);
        }
        let len = buf.len().min(state.0.len());
        for (to, byte) in buf.iter_mut().zip(state.0.drain(..len)) {
            *to = byte;
        }
        self.from.changed.notify_all();
        Ok(len)
    }
}

impl Write for End {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let state = self.to.state.lock().unwrap();
        let full = |state: &mut (VecDeque<u8>, bool)| state.0.len() >= PIPE_LEN && !state.1;
        let (mut state, timeout) = self.to.changed.wait_timeout_while(state, TICK, full).unwrap();
        if timeout.timed_out() {
            return Err(ErrorKind::TimedOut);
        }
        if state.1 {
            return Err(ErrorKind::BrokenPipe);
        }
        let len = buf.len().min(PIPE_LEN - state.0.len());
        state.0.extend(&buf[..len]);
        self.to.changed.notify_all();
        Ok(len)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// Numbers that anybody can foresee: for a test.
pub(crate) struct Seed(pub(crate) u8);

impl Entropy for Seed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_mul(5).wrapping_add(7);
        }
        Ok(())
    }
}

/// The keys of the board, of the other end, and of a stranger.
pub(crate) fn keys() -> [SecretKey; 3] {
    [1, 2, 3].map(|number| SecretKey::from_bytes(&[number; 32]))
}

/// Milliseconds since the first call.
pub(crate) fn now() -> Instant {
    static BEGUN: OnceLock<std::time::Instant> = OnceLock::new();
    Instant::from_millis(BEGUN.get_or_init(std::time::Instant::now).elapsed().as_millis() as u64)
}

/// A log of several chunks, the last of which is not whole.
pub(crate) fn log() -> Vec<u8> {
    (0..200).flat_map(|line| format!("{line:>6} ms: nothing happened\n").into_bytes()).collect()
}

/// Takes what the board stores, as the one who has the key `own`.
pub(crate) fn store(stream: End, own: &SecretKey, board: PublicKey) -> Other {
    let link = <Noise>::new(own.clone(), None, &mut Seed(4)).unwrap();
    let config = Config::small(Side::Listener, 2);
    let mut session = Responder::with_security([0; 1052], [0; 1052], &config, link).unwrap();
    let mut found = Other::new(board);
    let _ = Blocking::new(stream).run(&mut session, &mut found, now);
    found
}

/// Fetches `paths` from the board, as the one who has the key `own`.
pub(crate) fn fetch(stream: End, own: &SecretKey, board: PublicKey, paths: &[&str]) -> Other {
    let link = <Noise>::new(own.clone(), None, &mut Seed(5)).unwrap();
    let config = Config::small(Side::Dialler, 2);
    let mut session =
        Requester::<_, 4, _>::with_security([0; 1052], [0; 1052], &config, link).unwrap();
    let (mut driver, mut found, mut asked) = (Blocking::new(stream), Other::new(board), 0);
    loop {
        let request = match paths.get(asked) {
            Some(path) => Request::Get { path, first: 0, count: None },
            None => Request::Goodbye,
        };
        // The goodbye once, since there is nothing behind it.
        asked += usize::from(asked <= paths.len() && session.request(&request).is_ok());
        if let Step::Closed(_) = driver.step(&mut session, &mut found, now()) {
            found.results.truncate(paths.len());
            return found;
        }
    }
}

/// The files of the other end.
pub(crate) struct Other {
    board: PublicKey,
    contents: Vec<u8>,
    /// Where the board stores something.
    pub(crate) path: Option<String>,
    /// What was stored or fetched, once it is whole.
    pub(crate) whole: Option<Vec<u8>>,
    /// What requests came to.
    pub(crate) results: Vec<Result<Reply, Failure>>,
}

impl Other {
    pub(crate) fn new(board: PublicKey) -> Self {
        Self { board, contents: Vec::new(), path: None, whole: None, results: Vec::new() }
    }
}

fn refused<T>() -> Outcome<T> {
    Poll::Ready(Err(Code::Denied))
}

impl Files for Other {
    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        if peer.key == self.board { Poll::Ready(Ok(())) } else { refused() }
    }

    fn read(&mut self, _: RequestId, _: u64, _: &mut [u8]) -> Outcome<usize> {
        refused()
    }

    fn write(&mut self, _: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        assert_eq!(at, self.contents.len() as u64);
        self.contents.extend_from_slice(data);
        Poll::Ready(Ok(()))
    }

    fn commit(&mut self, _: RequestId, size: u64, _: Digest) -> Outcome<u32> {
        assert_eq!(size, self.contents.len() as u64);
        self.whole = Some(take(&mut self.contents));
        Poll::Ready(Ok(0))
    }

    fn abort(&mut self, _: RequestId) {
        self.contents.clear();
    }

    fn handle_event(&mut self, event: Event<'_>) {
        if let Event::Done { result, .. } = event {
            self.results.push(result);
        }
    }
}

impl Store for Other {
    fn begin(&mut self, _: RequestId, path: Path<'_>, _: &Put<'_>) -> Outcome<Begun> {
        self.path = Some(path.as_str().to_owned());
        Poll::Ready(Ok(Begun::Fresh))
    }

    fn open(&mut self, _: RequestId, _: Path<'_>) -> Outcome<Meta> {
        refused()
    }

    fn close(&mut self, _: RequestId) {}

    fn stat(&mut self, _: RequestId, _: Path<'_>) -> Outcome<Meta> {
        refused()
    }

    fn open_directory(&mut self, _: RequestId, _: Path<'_>, _: &str) -> Outcome<()> {
        refused()
    }

    fn read_directory(&mut self, _: RequestId, _: &mut Page<'_>) -> Outcome<bool> {
        refused()
    }

    fn close_directory(&mut self, _: RequestId) -> u64 {
        0
    }

    fn delete(&mut self, _: RequestId, _: Path<'_>) -> Outcome<()> {
        refused()
    }

    fn rename(&mut self, _: RequestId, _: Path<'_>, _: Path<'_>, _: bool) -> Outcome<()> {
        refused()
    }

    fn make_directory(&mut self, _: RequestId, _: Path<'_>) -> Outcome<()> {
        refused()
    }

    fn space(&mut self, _: RequestId) -> Outcome<Space> {
        refused()
    }
}
