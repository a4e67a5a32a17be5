//! The task that serves: several sessions on one thread, each stepped in turn.

use core::net::SocketAddr;
use core::time::Duration;

use embedded_io::Write as _;
use embedded_nal::{TcpClientStack as _, TcpFullStack as _};
use kift_core::driver::{Blocking, Step};
use kift_core::secure::refusal;
use kift_core::session::{Config, Responder};
use kift_core::time::Instant;
use kift_core::wire::Code;

use super::frame::{Frame, Frames};
use super::platform::{FLASH_TICK, Notice, Platform};
use super::seal::Links;
use crate::disk::Disk;
use crate::net::{self, Connection, Stack};

/// How soon a deadline of a session is noticed.
const TICK: Duration = Duration::from_millis(100);

/// How long a peer waits for a session before it is told to come later: a host that went away in
/// the middle of a transfer and comes back at once is faster than the news that it had gone.
const DOOR_PATIENCE: Duration = Duration::from_secs(1);

/// Steps of one session before the others and the network have their turns.
const STEPS_MAX: u32 = 16;

/// What a server did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Sessions that began.
    pub sessions: u32,
    /// Sessions that did not end by their goodbye.
    pub failed: u32,
    /// Connections that were told to come later.
    pub refused: u32,
}

/// Serves the files of a disk to `SESSIONS` peers at once.
///
/// Its stack has one socket more, so that a further peer is told to come later. Whoever connects has
/// a session until the handshake's deadline, whether the device knows him or not: there are never
/// more strangers than sessions.
pub struct Server<'m, F: net::Frames, L: Links, const SESSIONS: usize> {
    stack: &'m Stack<'m, F>,
    frames: &'m [Frames; SESSIONS],
    config: Config,
    links: L,
    listener: net::Socket,
    sessions: [Option<Session<'m, F, L>>; SESSIONS],
    visitor: Option<Visitor<'m, F>>,
    stats: Stats,
}

struct Session<'m, F: net::Frames, L: Links> {
    peer: SocketAddr,
    driver: Blocking<Connection<'m, 'm, F>>,
    responder: Responder<Frame<'m>, L::Link>,
}

/// A peer that waits for a session.
struct Visitor<'m, F: net::Frames> {
    peer: SocketAddr,
    connection: Connection<'m, 'm, F>,
    /// When it is told to come later.
    until: Instant,
}

impl<'m, F: net::Frames, L: Links, const SESSIONS: usize> Server<'m, F, L, SESSIONS> {
    /// Listens on `port`, for sessions over `frames` as `config` says, protected by `links`.
    ///
    /// # Errors
    /// The stack's.
    pub fn new(
        stack: &'m Stack<'m, F>,
        frames: &'m [Frames; SESSIONS],
        port: u16,
        config: Config,
        links: L,
    ) -> Result<Self, net::Error> {
        let mut nal = stack;
        let mut listener = nal.socket()?;
        nal.bind(&mut listener, port)?;
        nal.listen(&mut listener)?;
        Ok(Self {
            stack,
            frames,
            config,
            links,
            listener,
            sessions: [const { None }; SESSIONS],
            visitor: None,
            stats: Stats::default(),
        })
    }

    /// Serves until it is to stop, and then until the peers were told.
    pub fn run(&mut self, disk: &mut impl Disk, board: &impl Platform) -> Stats {
        loop {
            let is_stopping = board.is_stopping();
            if is_stopping {
                for Session { responder, .. } in self.sessions.iter_mut().flatten() {
                    responder.abort(Code::ShuttingDown);
                }
                if self.sessions.iter().all(Option::is_none) {
                    return self.stats;
                }
            } else {
                self.accept(board);
            }
            let moved = self.step(disk, board);
            board.turn(board.now().after(self.patience(moved)));
        }
    }

    /// How long nothing need be done unless a frame comes.
    fn patience(&self, moved: bool) -> Duration {
        if moved {
            Duration::ZERO
        } else if self.sessions.iter().flatten().any(|session| !session.responder.is_idle()) {
            // It may wait for the flash.
            FLASH_TICK
        } else {
            TICK
        }
    }

    /// Gives each session its turn, and says whether anything moved.
    fn step(&mut self, disk: &mut impl Disk, board: &impl Platform) -> bool {
        let mut moved = false;
        for (number, place) in self.sessions.iter_mut().enumerate() {
            for _ in 0..STEPS_MAX {
                let Some(session) = place else { break };
                let Session { peer, driver, responder } = session;
                let was_pairing = disk.is_pairing();
                let step = driver.step(responder, &mut disk.handle(number), board.now());
                if was_pairing && !disk.is_pairing() {
                    self.links.end_pairing();
                    board.tell(Notice::Paired(*peer));
                }
                match step {
                    Step::Moved => moved = true,
                    Step::Waited => break,
                    Step::Closed(result) => {
                        board.tell(Notice::Ended(*peer, result));
                        self.stats.failed =
                            self.stats.failed.saturating_add(u32::from(result.is_err()));
                        *place = None;
                        moved = true;
                    }
                }
            }
        }
        moved
    }

    /// Takes the connections that have come, each for a session if there is a place, or as soon as
    /// there is.
    fn accept(&mut self, board: &impl Platform) {
        let now = board.now();
        while let Some(visitor) = self.visitor.take().or_else(|| self.next_visitor(now)) {
            if let Err(visitor) = self.begin(visitor, board) {
                if now < visitor.until {
                    self.visitor = Some(visitor);
                    return;
                }
                self.refuse(visitor, board);
            }
        }
    }

    fn next_visitor(&mut self, now: Instant) -> Option<Visitor<'m, F>> {
        let (socket, peer) = self.stack.accept(&mut self.listener).ok()?;
        let connection = Connection::new(self.stack, socket);
        Some(Visitor { peer, connection, until: now.after(DOOR_PATIENCE) })
    }

    /// Begins a session, or gives the visitor back where there is no place.
    // A session is made on the stack, which is given back before it does anything.
    #[inline(never)]
    fn begin(
        &mut self,
        visitor: Visitor<'m, F>,
        board: &impl Platform,
    ) -> Result<(), Visitor<'m, F>> {
        let free = self.sessions.iter_mut().zip(self.frames).find(|(place, _)| place.is_none());
        let begun = free.and_then(|(place, frames)| {
            let (rx, tx) = frames.lend()?;
            let link = self.links.link().ok()?;
            Some((place, Responder::with_security(rx, tx, &self.config, link).ok()?))
        });
        let Some((place, responder)) = begun else { return Err(visitor) };
        let Visitor { peer, connection, .. } = visitor;
        *place = Some(Session { peer, driver: Blocking::with_read_ready(connection), responder });
        self.stats.sessions = self.stats.sessions.saturating_add(1);
        board.tell(Notice::Connected(peer));
        Ok(())
    }

    fn refuse(&mut self, mut visitor: Visitor<'m, F>, board: &impl Platform) {
        // It fits the buffers of a connection that is new.
        let _ = visitor.connection.write(&refusal(Code::TooManySessions));
        self.stats.refused = self.stats.refused.saturating_add(1);
        board.tell(Notice::Refused(visitor.peer));
    }
}
