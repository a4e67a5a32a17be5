//! A client of a real server that sends whatever it is told to.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use kift_core::wire::{Answer, Kind, PREFIX_LEN, Request, Role};

use crate::machine::PATIENCE;
use crate::raw::{Frame, first_flight, frames, hello, next_record};
use crate::serving::Server;

/// A connection to a server.
#[derive(Debug)]
pub struct Dial {
    /// The socket, for what is no frame.
    pub stream: TcpStream,
    /// The number of the request sent last.
    pub last: u16,
}

impl Dial {
    /// Connects, and says nothing.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn silent(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, last: 0 }
    }

    /// Connects and exchanges hellos.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn open(server: &Server) -> Self {
        let mut dial = Self::silent(server);
        dial.send(&first_flight(1, 1, 0));
        dial.send(&Frame::hello(&hello(Role::Requester)).bytes());
        let flight = dial.record().expect("a first flight");
        assert_eq!(flight[PREFIX_LEN..], *b"KIFT\x01\x00\x00\x00", "a welcome");
        assert_eq!(dial.frame().map(|frame| frame.kind), Some(Kind::Hello));
        dial
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// Where the server takes none.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
    }

    /// Sends a request and gives its number.
    #[track_caller]
    pub fn request(&mut self, request: &Request<'_>) -> u16 {
        self.last = self.last.wrapping_add(1);
        self.send(&Frame::request(self.last, request).bytes());
        self.last
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
        Some(frames(&record).pop().expect("a plain frame"))
    }

    /// All that still comes.
    ///
    /// # Panics
    /// Where the server does not close the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("no end: {error}"),
            _ => bytes,
        }
    }

    /// The next record, whatever it is; none where the server closed the connection.
    ///
    /// # Panics
    /// Where what comes is none.
    #[track_caller]
    pub fn record(&mut self) -> Option<Vec<u8>> {
        next_record(&mut self.stream).expect("all of a record")
    }
}
