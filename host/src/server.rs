//! The server: one thread a session, a bounded number of them.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant as Clock};

use kift_core::driver::{Blocking, Step};
use kift_core::session::{Error, Responder, Side};
use kift_core::wire::Code;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{debug, info, warn};

use crate::net::{Socket, TICK, buffer, session_config, since};
use crate::store::{Root, Session};

/// Refusals that may be under way at once: a peer that does not take its refusal must not hold up
/// the next.
const REFUSALS_MAX: usize = 16;

/// Bytes of a session thread's stack. The buffers are on the heap.
const STACK_LEN: usize = 256 * 1024;

/// How a server is asked to stop, from a signal handler's flag or from another thread.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    gracefully: Arc<AtomicBool>,
    at_once: Arc<AtomicBool>,
}

impl Stop {
    /// Takes no new sessions, lets each finish the request it is at, up to the grace time.
    #[must_use]
    pub fn gracefully(&self) -> &Arc<AtomicBool> {
        &self.gracefully
    }

    /// Ends every session now.
    #[must_use]
    pub fn at_once(&self) -> &Arc<AtomicBool> {
        &self.at_once
    }

    fn is_asked(&self) -> bool {
        self.gracefully.load(Ordering::Relaxed) || self.is_urgent()
    }

    fn is_urgent(&self) -> bool {
        self.at_once.load(Ordering::Relaxed)
    }
}

/// Sessions under way.
#[derive(Debug, Default)]
struct Sessions {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Sessions {
    /// Counts one more, unless there are `max` already.
    fn enter(self: &Arc<Self>, max: usize) -> Option<Seat> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Seat(Arc::clone(self)))
    }

    /// Waits until none is left, at most for `patience`, and says how many are.
    fn wait_for_none(&self, patience: Duration) -> usize {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, _) = self
            .changed
            .wait_timeout_while(count, patience, |count| *count > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *count
    }
}

/// A session's place among those counted; given back when dropped, even by a panic.
#[derive(Debug)]
struct Seat(Arc<Sessions>);

impl Drop for Seat {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_all();
    }
}

/// A server that is bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    root: Arc<Root>,
    sessions_max: usize,
    grace: Duration,
    stop: Stop,
}

impl Server {
    /// Binds `address` to serve `root` in at most `sessions_max` sessions at once; `grace` is what
    /// running transfers get when the server is stopped.
    ///
    /// # Errors
    /// The system's, where the address cannot be bound.
    pub fn bind(
        address: SocketAddr,
        root: Arc<Root>,
        sessions_max: usize,
        grace: Duration,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, root, sessions_max, grace, stop: Stop::default() })
    }

    /// Where it listens, with the port that was taken if 0 was asked for.
    ///
    /// # Errors
    /// The system's.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// By which it can be stopped.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// The system's, where waiting for connections is not possible any more.
    pub fn serve(self) -> io::Result<()> {
        let sessions = Arc::new(Sessions::default());
        let refusals = Arc::new(AtomicUsize::new(0));
        while !self.stop.is_asked() {
            let Some((stream, peer)) = self.accept()? else { continue };
            match sessions.enter(self.sessions_max) {
                Some(seat) => self.start(stream, peer, seat),
                None => {
                    warn!(%peer, sessions = self.sessions_max, "refused: too many sessions");
                    refuse(stream, &refusals);
                }
            }
        }
        // No one connects to a server that is going away.
        drop(self.listener);
        info!("stopping");
        let asked = Clock::now();
        while sessions.wait_for_none(TICK) > 0 {
            if asked.elapsed() >= self.grace && !self.stop.is_urgent() {
                warn!("the grace time is over: ending what still runs");
                self.stop.at_once.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The next connection; none where none came within a tick, or where it went away again.
    fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let tick = Timespec::try_from(TICK).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        match poll(&mut fds, Some(&tick)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        match self.listener.accept() {
            Ok(accepted) => Ok(Some(accepted)),
            Err(error) => {
                // Out of descriptors, or a connection that was reset while it waited. Neither ends
                // the server; the first would spin without a pause.
                if error.kind() != io::ErrorKind::WouldBlock {
                    warn!(%error, "cannot accept a connection");
                    thread::sleep(Duration::from_millis(50));
                }
                Ok(None)
            }
        }
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr, seat: Seat) {
        let store = Session::new(Arc::clone(&self.root), peer.to_string());
        let stop = self.stop.clone();
        let thread = thread::Builder::new().name(format!("kift {peer}")).stack_size(STACK_LEN);
        let started = thread.spawn(move || {
            let _seat = seat;
            info!(%peer, "connected");
            match run(stream, store, &stop) {
                Ok(()) => info!(%peer, "session ended"),
                Err(End::Session(Error::Disconnected)) => info!(%peer, "connection lost"),
                Err(End::Session(error)) => warn!(%peer, %error, "session ended"),
                Err(End::Socket(error)) => warn!(%peer, %error, "session ended"),
            }
        });
        if let Err(error) = started {
            warn!(%peer, %error, "cannot start a thread for the session");
        }
    }
}

enum End {
    Socket(io::Error),
    Session(Error),
}

/// One session, from the connection to its end.
fn run(stream: TcpStream, mut store: Session, stop: &Stop) -> Result<(), End> {
    let origin = Clock::now();
    let mut driver = Blocking::with_read_ready(Socket::new(stream).map_err(End::Socket)?);
    // The buffers are far larger than a session needs at least.
    let Ok(mut responder) = Responder::new(buffer(), buffer(), &session_config(Side::Listener))
    else {
        return Err(End::Session(Error::Closed(Code::Internal)));
    };
    loop {
        if stop.is_urgent() {
            responder.abort(Code::ShuttingDown);
        } else if stop.is_asked() {
            responder.shut_down();
        }
        if let Step::Closed(result) = driver.step(&mut responder, &mut store, since(origin)) {
            drain(driver.stream().stream());
            return result.map_err(End::Session);
        }
    }
}

/// Tells a peer that there is no room for its session.
fn refuse(stream: TcpStream, refusals: &Arc<AtomicUsize>) {
    if refusals.fetch_add(1, Ordering::Relaxed) >= REFUSALS_MAX {
        refusals.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let counter = Arc::clone(refusals);
    let thread = thread::Builder::new().name("kift refusal".to_owned()).stack_size(STACK_LEN);
    let started = thread.spawn(move || {
        if let Ok(bytes) = refusal()
            && let Ok(()) = stream.set_nonblocking(false)
            && stream.set_write_timeout(Some(TICK)).is_ok()
            && io::Write::write_all(&mut &stream, &bytes).is_ok()
        {
            drain(&stream);
        }
        counter.fetch_sub(1, Ordering::Relaxed);
    });
    if let Err(error) = started {
        refusals.fetch_sub(1, Ordering::Relaxed);
        debug!(%error, "cannot start a thread for a refusal");
    }
}

/// The bytes of a refusal, made by a session that ends before it begins.
fn refusal() -> Result<Vec<u8>, kift_core::session::BuffersTooSmall> {
    use kift_core::session::{Action, Session as _};
    let small = || vec![0; 2048];
    let mut responder = Responder::new(small(), small(), &session_config(Side::Listener))?;
    responder.abort(Code::TooManySessions);
    Ok(match responder.poll(kift_core::time::Instant::default()) {
        Action::Send(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    })
}

/// Closes a connection so that what was sent last arrives: unread input would make the system
/// reset it.
fn drain(mut stream: &TcpStream) {
    let deadline = Clock::now() + Duration::from_secs(1);
    let mut sink = [0; 4096];
    if stream.shutdown(Shutdown::Write).is_err() || stream.set_read_timeout(Some(TICK)).is_err() {
        return;
    }
    while Clock::now() < deadline {
        match io::Read::read(&mut stream, &mut sink) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
