//! The server: one thread a session, a bounded number of them.
//!
//! | module | does |
//! | --- | --- |
//! | `seats` | counts connections, and those on which nobody is known yet |
//! | `guard` | who may do what, between a session and the store |
//! | `tickets` | lets a link join the session of another |
//! | `limits` | how much peers may take, and for how long |
//! | `registry` | who is here, what they do, and what was done |
//! | `pace` | how fast they do it |
//! | `metrics` | tells a monitoring system |

mod guard;
mod limits;
mod metrics;
mod pace;
mod registry;
mod seats;
mod tickets;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant as Clock};

use kift_core::driver::{Blocking, Step};
use kift_core::secure::{NoEntropy, SecretKey, refusal};
use kift_core::session::{Error, Responder, Side};
use kift_core::storage::Store;
use kift_core::wire::Code;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{debug, info, warn};

use crate::access::Accounts;
use crate::net::{Socket, TICK, buffer, session_config, since};
use crate::offer::Offer;
use crate::secure::{HostNoise, SystemRandom};
use crate::store::Root;
use guard::{Guard, Line};
pub use limits::{Limits, Live};
use registry::Registry;
use seats::{Seat, Seats};
use tickets::Tickets;

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

/// What is behind a door, and for whom.
#[derive(Debug, Clone)]
pub enum Behind {
    /// A directory, for whoever comes, over plain links.
    Plain(Arc<Root>),
    /// A directory, for whom the accounts know, over sealed links.
    Sealed {
        /// The directory.
        root: Arc<Root>,
        /// Who the server is.
        key: SecretKey,
        /// Whom it lets in.
        accounts: Arc<Accounts>,
    },
    /// A few files.
    Offer(Arc<Offer>),
}

/// Serves one peer.
pub(crate) trait Attendant: Store {
    /// As the log names the peer.
    fn name(&self) -> String;

    /// Whether somebody is here who may be.
    fn is_known(&self) -> bool;

    /// Why the peer must leave, if it must.
    fn verdict(&self) -> Option<Code>;
}

/// How a server serves.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How much peers may take; may change later.
    pub limits: Live,
    /// Whoever comes over a plain link may see who is here, and stop the server.
    pub plain_admin: bool,
}

/// What the sessions of a server share.
#[derive(Debug)]
struct House {
    settings: Settings,
    stop: Stop,
    registry: Arc<Registry>,
    tickets: Tickets,
}

/// A server that is bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, and what it serves there.
    doors: Vec<(TcpListener, Behind)>,
    /// Where a monitoring system asks.
    metrics: Option<TcpListener>,
    house: Arc<House>,
}

impl Server {
    /// One that has no door yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let (stop, registry) = (Stop::default(), Arc::default());
        let tickets = Tickets::default();
        let house = Arc::new(House { settings, stop, registry, tickets });
        Self { doors: Vec::new(), metrics: None, house }
    }

    /// Serves what is `behind` to those who come to `listener`.
    ///
    /// # Errors
    /// The system's, where it cannot be used.
    pub fn open_door(&mut self, listener: TcpListener, behind: Behind) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        self.doors.push((listener, behind));
        Ok(())
    }

    /// Tells whoever asks there how much was done, while the server serves.
    ///
    /// # Errors
    /// The system's, where it cannot be used.
    pub fn tell_metrics_on(&mut self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        self.metrics = Some(listener);
        Ok(())
    }

    /// By which it can be stopped.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.house.stop.clone()
    }

    /// Serves until it is stopped, and calls `pulse` now and then, with whether it is being
    /// stopped.
    ///
    /// # Errors
    /// The system's, where waiting for connections is not possible any more.
    pub fn serve(self, pulse: impl Fn(bool)) -> io::Result<()> {
        let house = &self.house;
        let (stop, limits) = (&house.stop, &house.settings.limits);
        if let Some(listener) = self.metrics {
            metrics::start(listener, Arc::clone(&house.registry), stop.clone())?;
        }
        let seats = Seats::new(limits.clone());
        let refusals = Arc::new(AtomicUsize::new(0));
        let listeners: Vec<&TcpListener> =
            self.doors.iter().map(|(listener, _)| listener).collect();
        while !stop.is_asked() {
            pulse(false);
            for at in knocked(&listeners)? {
                let (listener, behind) = &self.doors[at];
                let Some((stream, peer)) = accept(listener) else { continue };
                match seats.enter(peer.ip()) {
                    Ok(seat) => {
                        Caller { stream: Arc::new(stream), peer, seat }.enter(house, behind)
                    }
                    Err(full) => {
                        house.registry.totals.refused(full.reason());
                        warn!(%peer, "refused: {full}");
                        refuse(stream, &refusals);
                    }
                }
            }
        }
        // No one connects to a server that is going away.
        drop(self.doors);
        info!("stopping");
        pulse(true);
        let asked = Clock::now();
        while seats.wait_for_none(TICK) > 0 {
            pulse(true);
            if asked.elapsed() >= limits.get().grace && !stop.is_urgent() {
                warn!("the grace time is over: ending what still runs");
                stop.at_once.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// To which of `listeners` somebody has come; to none of them within a tick, maybe.
fn knocked(listeners: &[&TcpListener]) -> io::Result<Vec<usize>> {
    let mut fds: Vec<PollFd<'_>> =
        listeners.iter().map(|listener| PollFd::new(*listener, PollFlags::IN)).collect();
    let tick = Timespec::try_from(TICK).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
    match poll(&mut fds, Some(&tick)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
        Ok(_) => Ok((0..fds.len()).filter(|at| !fds[*at].revents().is_empty()).collect()),
        Err(errno) => Err(errno.into()),
    }
}

/// The next connection; none where it went away again.
fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept() {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            // Out of descriptors, or a connection that was reset while it waited. Neither ends the
            // server; the first would spin without a pause.
            if error.kind() != io::ErrorKind::WouldBlock {
                warn!(%error, "cannot accept a connection");
                thread::sleep(Duration::from_millis(50));
            }
            None
        }
    }
}

/// Somebody who has come.
struct Caller {
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    seat: Seat,
}

impl Caller {
    /// Starts the session.
    fn enter(self, house: &Arc<House>, behind: &Behind) {
        let guard = |root: &Arc<Root>, accounts, token| {
            let line = Line { address: self.peer, stream: Arc::clone(&self.stream) };
            Guard::new(Arc::clone(house), Arc::clone(root), line, accounts, token)
        };
        match behind {
            Behind::Plain(root) => {
                let guard = guard(root, None, None);
                self.attend(house, Ok(HostNoise::plain(crc32c::crc32c)), guard);
            }
            Behind::Sealed { root, key, accounts } => {
                let token = accounts.token();
                let noise = HostNoise::new(key.clone(), token.clone(), &mut SystemRandom);
                let guard = guard(root, Some(Arc::clone(accounts)), token);
                self.attend(house, noise, guard);
            }
            Behind::Offer(offer) => {
                let visitor = offer.show(self.peer);
                self.attend(house, offer.noise(), visitor);
            }
        }
    }

    /// Has `attendant` serve it, in a thread of its own.
    fn attend<A: Attendant + Send + 'static>(
        self,
        house: &Arc<House>,
        noise: Result<HostNoise, NoEntropy>,
        attendant: A,
    ) {
        let Self { stream, peer, seat } = self;
        let noise = match noise {
            Ok(noise) => noise,
            Err(error) => return warn!(%peer, "refused: {error}"),
        };
        let house = Arc::clone(house);
        let thread = thread::Builder::new().name(format!("kift {peer}")).stack_size(STACK_LEN);
        let started = thread.spawn(move || {
            info!(%peer, "connected");
            run(stream, noise, attendant, seat, &house);
        });
        if let Err(error) = started {
            warn!(%peer, %error, "cannot start a thread for the session");
        }
    }
}

/// One session, from the connection to its end.
fn run<A: Attendant>(
    stream: Arc<TcpStream>,
    noise: HostNoise,
    mut attendant: A,
    mut seat: Seat,
    house: &House,
) {
    let (origin, stop, totals) = (Clock::now(), &house.stop, &house.registry.totals);
    let socket = match Socket::new(stream) {
        Ok(socket) => socket,
        Err(error) => {
            return warn!(peer = attendant.name(), %error, "the connection cannot be used");
        }
    };
    let mut driver = Blocking::with_read_ready(socket);
    let limits = house.settings.limits.get();
    let mut config = session_config(Side::Listener, limits.window.max(1));
    config.timeouts = limits.timeouts(config.timeouts);
    let mut responder = Responder::with_security(buffer(), buffer(), &config, noise)
        .unwrap_or_else(|_| unreachable!("BUFFER_LEN is many chunks"));
    loop {
        if stop.is_urgent() {
            responder.abort(Code::ShuttingDown);
        } else if stop.is_asked() {
            responder.shut_down();
        }
        if let Some(code) = attendant.verdict() {
            responder.abort(code);
        }
        if let Step::Closed(result) = driver.step(&mut responder, &mut attendant, since(origin)) {
            drain(driver.stream().stream());
            let peer = attendant.name();
            // What it leaves is in order before the log says that it is over, and before its seat is
            // free: a server that stops waits for the seats.
            drop(attendant);
            match result {
                Ok(()) => {
                    totals.ended.add(1);
                    info!(peer, "session ended");
                }
                Err(Error::Disconnected) => {
                    totals.lost.add(1);
                    info!(peer, "connection lost");
                }
                Err(error) => {
                    totals.failed.add(1);
                    warn!(peer, %error, "session ended");
                }
            }
            return;
        }
        if attendant.is_known()
            && let Err(full) = seat.become_known()
        {
            totals.refused(full.reason());
            warn!(peer = attendant.name(), "refused: {full}");
            responder.abort(Code::TooManySessions);
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
        let bytes = refusal(Code::TooManySessions);
        if stream.set_nonblocking(false).is_ok()
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
