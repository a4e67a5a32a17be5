//! A client of a real server that sends whatever it is told to.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};

use kift_core::secure::SecretKey;
use kift_core::wire::{Answer, Code, Hello, Kind, PREFIX_LEN, Password, Request, Role, Signal};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use snow::{HandshakeState, TransportState};

use crate::machine::{PATIENCE, wait_until};
use crate::raw::{Frame, first_flight, frames, hello, next_record};
use crate::serving::Listens;
use crate::snow::{begin, encoded, handshake_record, opened, sealed, written};

/// Where clients come from unless a test says otherwise.
pub const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A connection to a server.
#[derive(Debug)]
pub struct Dial {
    /// The socket, for what is no frame.
    pub stream: TcpStream,
    /// The number of the request sent last.
    pub last: u16,
    /// Chunks that the server has room for, all told; known on a plain link.
    pub credit: u64,
    /// What seals frames on a sealed link.
    transport: Option<TransportState>,
}

impl Dial {
    /// Connects, and says nothing.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn silent(server: &impl Listens) -> Self {
        Self::silent_from(HERE, server)
    }

    /// The same from an address of the test's choice, such as any in 127.0.0.0/8.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn silent_from(address: Ipv4Addr, server: &impl Listens) -> Self {
        let stream = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&stream, &SocketAddrV4::new(address, 0)).expect("an address of ours");
        connect(&stream, &SocketAddrV4::new(HERE, server.port())).expect("a connection");
        let stream = TcpStream::from(stream);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, last: 0, credit: 0, transport: None }
    }

    /// Connects from `address`, and makes a sealed link as whoever has `key`.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn sealed_from(address: Ipv4Addr, server: &impl Listens, key: &SecretKey) -> Self {
        Self::knock(address, server, key).expect("a welcome")
    }

    /// The same, where the server may have no room: none then.
    ///
    /// # Panics
    /// Where anything else fails.
    #[must_use]
    #[track_caller]
    pub fn knock(address: Ipv4Addr, server: &impl Listens, key: &SecretKey) -> Option<Self> {
        let (mut dial, mut noise) = Self::greeted(address, server, key)?;
        let hello = encoded(&hello(Role::Requester));
        dial.send(&handshake_record(&written(|out| noise.write_message(&hello, out))));
        dial.transport = Some(noise.into_transport_mode().expect("over"));
        Some(dial)
    }

    /// Connects from `address`, and says nothing after the server's welcome; none where it has no
    /// room.
    ///
    /// # Panics
    /// Where anything else fails.
    #[must_use]
    #[track_caller]
    pub fn greeted(
        address: Ipv4Addr,
        server: &impl Listens,
        key: &SecretKey,
    ) -> Option<(Self, HandshakeState)> {
        let mut dial = Self::silent_from(address, server);
        let mut clear = first_flight(1, 1 << 1, 0);
        clear[0] += 32;
        let noise = begin("Noise_XX_25519_ChaChaPoly_SHA256", key, &clear, 1);
        let mut noise = noise.build_initiator().expect("all that it needs");
        let first = written(|out| noise.write_message(&[], out));
        dial.stream.write_all(&[&clear[..], &first].concat()).ok()?;
        let reply = dial.record()?;
        let no_room = first_flight(1, 0, Code::TooManySessions.into());
        if reply == no_room {
            return None;
        }
        assert_eq!(reply[PREFIX_LEN..12], *b"KIFT\x01\x00\x01\x00", "a welcome");
        written(|out| noise.read_message(&reply[12..], out));
        Some((dial, noise))
    }

    /// The same from the usual address.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn sealed(server: &impl Listens, key: &SecretKey) -> Self {
        Self::sealed_from(HERE, server, key)
    }

    /// Connects and exchanges hellos.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn open(server: &impl Listens) -> Self {
        Self::try_open(server).expect("a welcome")
    }

    /// The same, where the server may have no room: none then.
    ///
    /// # Panics
    /// Where anything else fails.
    #[must_use]
    #[track_caller]
    pub fn try_open(server: &impl Listens) -> Option<Self> {
        let mut dial = Self::silent(server);
        let flight = [first_flight(1, 1, 0), Frame::hello(&hello(Role::Requester)).bytes()];
        dial.stream.write_all(&flight.concat()).ok()?;
        let reply = dial.record()?;
        if reply == first_flight(1, 0, Code::TooManySessions.into()) {
            return None;
        }
        assert_eq!(reply[PREFIX_LEN..], *b"KIFT\x01\x00\x00\x00", "a welcome");
        let frame = dial.frame().expect("a hello");
        assert_eq!(frame.kind, Kind::Hello);
        dial.credit = Hello::decode(&frame.payload).expect("a hello").credit;
        Some(dial)
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// Where the server takes none.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
    }

    /// Sends a frame.
    #[track_caller]
    pub fn tell(&mut self, frame: &Frame) {
        let bytes = match &mut self.transport {
            Some(transport) => sealed(transport, frame),
            None => frame.bytes(),
        };
        self.send(&bytes);
    }

    /// Sends a request and gives its number.
    #[track_caller]
    pub fn request(&mut self, request: &Request<'_>) -> u16 {
        self.last = self.last.wrapping_add(1);
        self.tell(&Frame::request(self.last, request));
        self.last
    }

    /// Logs in.
    ///
    /// # Panics
    /// Where the password is none.
    #[track_caller]
    pub fn login(&mut self, user: &str, password: &str) -> Answer {
        let password = Password::new(password).expect("a password");
        self.ask(&Request::Login { user, password })
    }

    /// Sends a request and gives its answer.
    ///
    /// # Panics
    /// Where what comes is none.
    #[track_caller]
    pub fn ask(&mut self, request: &Request<'_>) -> Answer {
        let number = self.request(request);
        self.answer(number)
    }

    /// The answer to request `number`. Signals that come before it are left out.
    ///
    /// # Panics
    /// Where something else comes.
    #[track_caller]
    pub fn answer(&mut self, number: u16) -> Answer {
        loop {
            let frame = self.frame().expect("the link is open");
            match frame.as_answer() {
                Some(answer) => {
                    assert_eq!(frame.request, number);
                    return answer;
                }
                None => assert_eq!(frame.kind, Kind::Signal, "{frame:?}"),
            }
        }
    }

    /// The next frame; none where the server closed the connection.
    ///
    /// # Panics
    /// Where what comes is none.
    #[track_caller]
    pub fn frame(&mut self) -> Option<Frame> {
        let record = self.record()?;
        Some(match &mut self.transport {
            Some(transport) => opened(transport, &record),
            None => frames(&record).pop().expect("a plain frame"),
        })
    }

    /// The server closed the link, and said why.
    ///
    /// # Panics
    /// Where it did not close it, or not so.
    #[track_caller]
    pub fn closed(&mut self) -> Code {
        loop {
            let frame = self.frame().expect("a word before the end");
            if let Some(Signal::Abort(code)) = frame.as_signal() {
                assert!(self.rest().is_empty());
                return code;
            }
        }
    }

    /// All that still comes.
    ///
    /// # Panics
    /// Where the server does not close the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if !is_end(error.kind()) => panic!("no end: {error}"),
            _ => bytes,
        }
    }

    /// Closes the connection, and waits until the server's system knows that.
    ///
    /// # Panics
    /// Where it never does.
    #[track_caller]
    pub fn hang_up(self) {
        let port = |address: io::Result<SocketAddr>| address.expect("an address").port();
        let ends = [port(self.stream.peer_addr()), port(self.stream.local_addr())];
        // A child that another test is just starting has the socket too, until it is another program.
        self.stream.shutdown(Shutdown::Both).expect("a connection");
        drop(self);
        wait_until("the server's system knows", || !is_established(ends));
    }

    /// The next record, whatever it is; none where the server closed the connection.
    ///
    /// # Panics
    /// Where what comes is none.
    #[track_caller]
    pub fn record(&mut self) -> Option<Vec<u8>> {
        match next_record(&mut self.stream) {
            Err(error) if is_end(error.kind()) => None,
            record => record.expect("all of a record"),
        }
    }
}

/// Whether there is a connection between two ports of this machine, as the first one's end has it.
fn is_established([here, there]: [u16; 2]) -> bool {
    let connections = fs::read_to_string("/proc/net/tcp").expect("a list of connections");
    connections.lines().any(|line| {
        // The line's number, this end, that end, the state: 1 for an open connection.
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        let is_at = |field: &str, port: u16| field.ends_with(&format!(":{port:04X}"));
        is_at(fields[1], here) && is_at(fields[2], there) && fields[3] == "01"
    })
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}
