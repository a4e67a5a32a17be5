//! Who uses which of the sockets.
//!
//! A socket's buffers are most of what a connection costs, so there are few, and none is idle for
//! long. One that is free listens, if anything does; one whose owner has left says goodbye to its
//! peer in its own time, but gives way where it is needed and has had [`LINGER`].

use core::net::SocketAddr;
use core::time::Duration;

use kift_core::time::Instant;
use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::socket::AnySocket as _;
use smoltcp::socket::tcp::{
    CongestionControl, ListenError, SendError, Socket, SocketBuffer, State,
};

/// How often an idle peer is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long a peer may be silent, when it has been asked or has data to acknowledge, before it is
/// taken for vanished. One that only takes no data is asked ever more rarely, and has 50 s.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection that is being closed keeps a socket that is wanted: time enough to send
/// its end a second time.
const LINGER: Duration = Duration::from_secs(2);

/// The most that the buffers of a socket ever held, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peaks {
    /// Of what was received and not yet read.
    pub rx: usize,
    /// Of what was written and not yet acknowledged.
    pub tx: usize,
}

/// What a socket is in use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Nothing.
    Free,
    /// A connection of the application's.
    Held,
    /// A connection to come on this port, or one that waits to be accepted.
    Listening(u16),
    /// A connection that the application left at this time.
    Closing(Instant),
}

/// What is kept of a socket beside smoltcp's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    of: Use,
    peaks: Peaks,
}

impl Entry {
    pub(super) const NEW: Self = Self { of: Use::Free, peaks: Peaks { rx: 0, tx: 0 } };
}

/// How gladly a socket is given to another use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// Nothing is lost.
    Free,
    /// There is one less that listens.
    Spare,
    /// A peer that does not answer, or does not leave, is left at last. The oldest goes first.
    Lingering(Instant),
}

impl Claim {
    fn on(entry: &Entry, socket: &Socket<'_>, now: Instant) -> Option<Self> {
        match (entry.of, socket.state()) {
            (Use::Free, _) | (Use::Closing(_), State::TimeWait) => Some(Self::Free),
            (Use::Listening(_), State::Listen) => Some(Self::Spare),
            (Use::Closing(since), _) if now >= since.after(LINGER) => Some(Self::Lingering(since)),
            _ => None,
        }
    }
}

/// The TCP sockets of a stack. In the set they come first, in the order of their entries.
#[derive(Debug)]
pub(super) struct Sockets<'m> {
    pub(super) set: SocketSet<'m>,
    entries: &'m mut [Entry],
}

impl<'m> Sockets<'m> {
    /// Sockets over `buffers`, with an entry and a slot for each; there may be more slots.
    pub(super) fn new<const BUFFER: usize>(
        slots: &'m mut [SocketStorage<'m>],
        buffers: &'m mut [[[u8; BUFFER]; 2]],
        entries: &'m mut [Entry],
    ) -> Self {
        let mut set = SocketSet::new(slots);
        for [rx, tx] in buffers {
            let mut socket =
                Socket::new(SocketBuffer::new(&mut rx[..]), SocketBuffer::new(&mut tx[..]));
            // Otherwise the end of what is written waits for the peer's delayed acknowledgement.
            socket.set_nagle_enabled(false);
            socket.set_ack_delay(None);
            socket.set_keep_alive(Some(KEEP_ALIVE.into()));
            socket.set_timeout(Some(TIMEOUT.into()));
            set.add(socket);
        }
        Self { set, entries }
    }

    fn each(&mut self) -> impl Iterator<Item = (&mut Entry, &mut Socket<'m>)> {
        let sockets = self.set.iter_mut().filter_map(|(_, socket)| Socket::downcast_mut(socket));
        self.entries.iter_mut().zip(sockets)
    }

    /// The socket at `index`.
    pub(super) fn get(&mut self, index: usize) -> Option<&mut Socket<'m>> {
        self.each().nth(index).map(|(_, socket)| socket)
    }

    /// What the buffers of the socket at `index` held at most.
    pub(super) fn peaks(&self, index: usize) -> Option<Peaks> {
        self.entries.get(index).map(|entry| entry.peaks)
    }

    /// Takes a socket for a connection that the application makes.
    pub(super) fn take(&mut self, now: Instant) -> Option<usize> {
        self.claim(Use::Held, now, |_| true)
    }

    /// Has the socket at `index`, which was taken, listen on `port`.
    pub(super) fn begin_listen(&mut self, index: usize, port: u16) -> Result<(), ListenError> {
        let (entry, socket) = self.each().nth(index).ok_or(ListenError::InvalidState)?;
        socket.listen(port)?;
        entry.of = Use::Listening(port);
        Ok(())
    }

    /// Has every socket that is free listen on `port`, and at least one.
    pub(super) fn listen(&mut self, port: u16, now: Instant) {
        let listening = Use::Listening(port);
        while self.claim(listening, now, |claim| claim == Claim::Free).is_some() {}
        if !self.entries.iter().any(|entry| entry.of == listening) {
            self.claim(listening, now, |_| true);
        }
    }

    /// Takes a connection that has come on `port`.
    pub(super) fn accept(&mut self, port: u16) -> Option<(usize, SocketAddr)> {
        self.each().enumerate().find_map(|(index, (entry, socket))| {
            let remote = socket.remote_endpoint()?;
            let is_pending = matches!(socket.state(), State::Closed | State::SynReceived);
            if entry.of != Use::Listening(port) || is_pending {
                return None;
            }
            entry.of = Use::Held;
            Some((index, remote.into()))
        })
    }

    /// Writes what fits of `data` to the socket at `index`.
    pub(super) fn send(&mut self, index: usize, data: &[u8]) -> Result<usize, SendError> {
        let (entry, socket) = self.each().nth(index).ok_or(SendError::InvalidState)?;
        let len = socket.send_slice(data)?;
        entry.peaks.tx = entry.peaks.tx.max(socket.send_queue());
        Ok(len)
    }

    /// Leaves the connection at `index`. What was written is still sent.
    pub(super) fn close(&mut self, index: usize, now: Instant) {
        if let Some((entry, socket)) = self.each().nth(index) {
            socket.close();
            entry.of = Use::Closing(now);
        }
    }

    /// Listens on `port` no more, and resets what has come there and was not accepted.
    pub(super) fn close_listener(&mut self, port: u16, now: Instant) {
        for (entry, socket) in self.each().filter(|(entry, _)| entry.of == Use::Listening(port)) {
            socket.abort();
            entry.of = Use::Closing(now);
        }
    }

    /// Looks after the sockets once frames have come and gone.
    pub(super) fn sweep(&mut self) {
        for (entry, socket) in self.each() {
            entry.peaks.rx = entry.peaks.rx.max(socket.recv_queue());
            let is_over = socket.state() == State::Closed && socket.remote_endpoint().is_none();
            match entry.of {
                Use::Closing(_) if is_over => entry.of = Use::Free,
                // Nobody reads it any more, and the peer could not finish while it lies there.
                Use::Closing(_) => {
                    while socket.recv(|data| (data.len(), data.len())).unwrap_or(0) > 0 {}
                }
                // The peer left, or was lost, before it was accepted.
                Use::Listening(port) if is_over => {
                    // It was listening on this port before, so it can.
                    let _ = socket.listen(port);
                }
                Use::Free | Use::Held | Use::Listening(_) => {}
            }
        }
    }

    /// Puts the socket that is given most gladly to the use `of`, if `may` it.
    fn claim(&mut self, of: Use, now: Instant, may: impl Fn(Claim) -> bool) -> Option<usize> {
        let claims = self
            .each()
            .enumerate()
            .filter_map(|(index, (entry, socket))| Some((Claim::on(entry, socket, now)?, index)));
        let (claim, index) = claims.min()?;
        let (entry, socket) = self.each().nth(index)?;
        if !may(claim) {
            return None;
        }
        socket.abort();
        // What it learnt of its last peer's link is not true of the next.
        socket.set_congestion_control(CongestionControl::Reno);
        if let Use::Listening(port) = of {
            socket.listen(port).ok()?;
        }
        entry.of = of;
        Some(index)
    }
}
