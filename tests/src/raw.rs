//! A peer that sends whatever it is told to.

use std::io::{self, Read};
use std::task::Poll;

use kift_core::crc32c;
use kift_core::session::{Action, Config, Error, Perform, Requester, Responder, Side};
use kift_core::time::Instant;
use kift_core::wire::{
    Answer, Close, Digest, HEADER_LEN, Header, Hello, Kind, PREFIX_LEN, Prefix, Record, Request,
    Role, Signal,
};

use crate::app::App;
use crate::memory::Memory;

/// A frame of a plain link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// The low bits of its request's number.
    pub request: u16,
    /// The first chunk's number.
    pub index: u32,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame without chunks.
    #[must_use]
    pub fn new(kind: Kind, request: u16, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, request, index: 0, payload: payload.into() }
    }

    /// A request.
    #[must_use]
    pub fn request(number: u16, request: &Request<'_>) -> Self {
        Self::new(Kind::Request, number, encoded(|buf| request.encode(buf)))
    }

    /// An answer.
    #[must_use]
    pub fn answer(number: u16, answer: &Answer) -> Self {
        Self::new(Kind::Answer, number, encoded(|buf| answer.encode(buf)))
    }

    /// A signal.
    #[must_use]
    pub fn signal(number: u16, signal: Signal) -> Self {
        Self::new(Kind::Signal, number, encoded(|buf| signal.encode(buf)))
    }

    /// The close of a stream.
    #[must_use]
    pub fn close(number: u16, close: &Close) -> Self {
        Self::new(Kind::Close, number, encoded(|buf| close.encode(buf)))
    }

    /// The close of a stream of `data`.
    #[must_use]
    pub fn end(number: u16, data: &[u8]) -> Self {
        Self::close(number, &Close::End { size: data.len() as u64, root: digest(data) })
    }

    /// Chunks of a file.
    #[must_use]
    pub fn data(number: u16, index: u32, payload: &[u8]) -> Self {
        Self { kind: Kind::Data, request: number, index, payload: payload.to_vec() }
    }

    /// A hello.
    #[must_use]
    pub fn hello(hello: &Hello) -> Self {
        Self::new(Kind::Hello, 0, encoded(|buf| hello.encode(buf)))
    }

    /// The frame as it travels.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = vec![0; HEADER_LEN];
        let &Self { kind, request, index, .. } = self;
        Header { kind, request, index }.emit(&mut frame);
        frame.extend_from_slice(&self.payload);
        sealed(frame)
    }

    /// The answer that the frame carries.
    #[must_use]
    pub fn as_answer(&self) -> Option<Answer> {
        (self.kind == Kind::Answer).then(|| Answer::decode(&self.payload).expect("an answer"))
    }

    /// The signal that the frame carries.
    #[must_use]
    pub fn as_signal(&self) -> Option<Signal> {
        (self.kind == Kind::Signal).then(|| Signal::decode(&self.payload).expect("a signal"))
    }
}

/// Writes prefix and checksum around a header and payload.
#[must_use]
pub fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let len = (frame.len() - PREFIX_LEN + 4) as u16;
    Prefix { len, record: Record::Plain }.emit(&mut frame);
    let crc = crc32c(&frame).to_le_bytes();
    frame.extend_from_slice(&crc);
    frame
}

fn encoded(encode: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut buf = vec![0; 2048];
    let len = encode(&mut buf).expect("room");
    buf.truncate(len);
    buf
}

/// The BLAKE3 of `data`.
#[must_use]
pub fn digest(data: &[u8]) -> Digest {
    Digest(*blake3::hash(data).as_bytes())
}

/// A first flight: what a dialler offers (`suites` 1), or a listener replies (`suites` 0).
#[must_use]
pub fn first_flight(major: u8, suites: u8, reason: u8) -> Vec<u8> {
    let mut record = vec![0; PREFIX_LEN];
    Prefix { len: 8, record: Record::Handshake }.emit(&mut record);
    record.extend_from_slice(b"KIFT");
    record.extend_from_slice(&[major, 0, suites, reason]);
    record
}

/// What a generous peer says of itself.
#[must_use]
pub const fn hello(role: Role) -> Hello {
    Hello {
        role,
        batch: 32,
        credit: 1 << 20,
        reply_room: 1 << 20,
        requests_max: 1024,
        path_len_max: 480,
        name_len_max: 255,
    }
}

/// The frames in what an end sent, its first flight left out.
///
/// # Panics
/// Where the bytes are no frames.
#[must_use]
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for frame in records(bytes) {
        if frame[2] == Record::Plain as u8 {
            let (body, crc) = frame.split_at(frame.len() - 4);
            assert_eq!(crc32c(body).to_le_bytes(), crc);
            let Header { kind, request, index } = Header::parse(body).expect("a header");
            let payload = body[HEADER_LEN..].to_vec();
            frames.push(Frame { kind, request, index, payload });
        }
    }
    frames
}

/// The records in what an end sent, whatever they are.
///
/// # Panics
/// Where the bytes are no records.
#[must_use]
pub fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let prefix = Prefix::parse(bytes).expect("a prefix").expect("all of it");
        let (record, rest) = bytes.split_at(PREFIX_LEN + usize::from(prefix.len));
        bytes = rest;
        records.push(record.to_vec());
    }
    records
}

/// The next record of a stream; none where it ends before one begins.
///
/// # Errors
/// The stream's, also where it ends within a record.
///
/// # Panics
/// Where what comes begins no record.
pub fn next_record(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut record = vec![0; PREFIX_LEN];
    let first = from.read(&mut record)?;
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(&mut record[first..])?;
    let prefix = Prefix::parse(&record).expect("a prefix").expect("all of it");
    record.resize(PREFIX_LEN + usize::from(prefix.len), 0);
    from.read_exact(&mut record[PREFIX_LEN..])?;
    Ok(Some(record))
}

/// A session whose peer is the test.
#[derive(Debug)]
pub struct Held<S, P> {
    /// The session.
    pub session: S,
    /// Its port.
    pub port: P,
    /// Milliseconds.
    pub now: u64,
    /// How it ended.
    pub closed: Option<Result<(), Error>>,
    sent: Vec<u8>,
}

impl Held<Responder<Vec<u8>>, Memory> {
    /// A listening responder that serves `store`, hellos exchanged.
    ///
    /// # Panics
    /// Where the hellos are not exchanged.
    #[must_use]
    pub fn responder(config: &Config, buffer: usize, store: Memory) -> Self {
        let session = Responder::new(vec![0; buffer], vec![0; buffer], config).expect("room");
        let mut held = Self::new(session, store);
        held.feed(&first_flight(1, 1, 0));
        let hellos = held.feed(&Frame::hello(&hello(Role::Requester)).bytes());
        assert!(hellos.is_empty() && held.closed.is_none());
        held
    }

    /// A small one.
    #[must_use]
    pub fn small_responder(store: Memory) -> Self {
        Self::responder(&Config::small(Side::Listener, 8), 4096, store)
    }
}

impl Held<Requester<Vec<u8>, 64>, App> {
    /// A dialling requester, hellos exchanged.
    ///
    /// # Panics
    /// Where the hellos are not exchanged.
    #[must_use]
    pub fn small_requester() -> Self {
        let mut config = Config::small(Side::Dialler, 8);
        config.reply_room = 4096;
        let session = Requester::new(vec![0; 4096], vec![0; 4096], &config).expect("room");
        let mut held = Self::new(session, App::default());
        held.feed(&first_flight(1, 0, 0));
        held.feed(&Frame::hello(&hello(Role::Responder)).bytes());
        assert!(held.port.hello.is_some() && held.closed.is_none());
        held
    }
}

impl<S, P> Held<S, P> {
    /// A session that was not driven yet.
    pub const fn new(session: S, port: P) -> Self {
        Self { session, port, now: 0, closed: None, sent: Vec::new() }
    }
}

impl<S: Perform<P>, P> Held<S, P> {
    /// Gives the session `bytes`, drives it until it waits, and gives the frames that it sent.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Frame> {
        frames(&self.exchange(bytes))
    }

    /// As [`feed`](Self::feed), but gives the bytes.
    pub fn exchange(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        self.drain();
        while !bytes.is_empty() && self.closed.is_none() {
            let slice = self.session.recv_slice();
            let n = slice.len().min(bytes.len());
            slice[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.session.recv_advance(n);
            self.drain();
            if n == 0 {
                // It takes no more now: a pending operation is offered again.
                self.now += 10;
            }
        }
        std::mem::take(&mut self.sent)
    }

    /// Sends `frames`, one after the other.
    pub fn tell(&mut self, frames: &[Frame]) -> Vec<Frame> {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        self.feed(&bytes)
    }

    /// Sends `frames` and then nothing more for ever: drives until the session is over.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn hang_up(&mut self, frames: &[Frame]) -> Vec<Frame> {
        let mut heard = self.tell(frames);
        self.session.recv_end();
        for _ in 0..100_000 {
            if self.closed.is_some() {
                break;
            }
            self.drain();
            self.now += 10;
        }
        assert!(self.closed.is_some(), "it never ends");
        heard.extend(self::frames(&std::mem::take(&mut self.sent)));
        heard
    }

    fn drain(&mut self) {
        // A bound, so that an endless loop is a failure and not a test that hangs.
        for _ in 0..10_000_000 {
            match self.session.poll(Instant::from_millis(self.now)) {
                Action::Send(bytes) => {
                    let n = bytes.len();
                    self.sent.extend_from_slice(bytes);
                    self.session.sent(n);
                }
                Action::Perform => {
                    if self.session.perform(&mut self.port) == Poll::Pending {
                        self.now += 10;
                    }
                }
                Action::Wait(_) => return,
                Action::Closed(result) => {
                    self.closed = Some(result);
                    return;
                }
            }
        }
        panic!("the session never waits");
    }
}
