//! A session whose peer is the input, and what the session may say to it.

use std::task::Poll;

use arbitrary::{Result, Unstructured};
use kift_core::crc32c;
use kift_core::session::{Action, Error, Perform};
use kift_core::time::Instant;
use kift_core::wire::{CHUNK, HEADER_LEN, Header, Hello, Kind, PREFIX_LEN, Prefix, Record};

/// More than any session does before it waits.
const POLLS_MAX: usize = 50_000;

/// A session and a link to it, on which the input is all that comes.
#[derive(Debug)]
pub struct Drive<S, P> {
    /// The session.
    pub session: S,
    /// Its port.
    pub port: P,
    /// How it ended.
    pub closed: Option<std::result::Result<(), Error>>,
    /// All that it sent.
    pub sent: Vec<u8>,
    /// Milliseconds.
    now: u64,
    /// Bytes that the transport gives and takes at once.
    piece: usize,
    /// Bytes that it takes before it blocks.
    room: usize,
}

impl<S: Perform<P>, P> Drive<S, P> {
    /// A session that was not driven yet, on a link that takes and gives whatever there is.
    pub const fn new(session: S, port: P) -> Self {
        let (piece, room) = (usize::MAX, usize::MAX);
        Self { session, port, closed: None, sent: Vec::new(), now: 0, piece, room }
    }

    /// What may happen on any link: 0, bytes that are anything, and so may grant anything, which
    /// `credit` then says; 1, time passes; 2, another transport.
    ///
    /// # Errors
    /// The input ends.
    pub fn trouble(&mut self, which: u8, credit: &mut u64, u: &mut Unstructured<'_>) -> Result<()> {
        match which {
            0 => {
                *credit = u64::MAX;
                let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
                self.feed(u.bytes(len)?);
            }
            1 => {
                self.now += u64::from(u.arbitrary::<u16>()?);
                self.drain();
            }
            _ => self.change_transport(u)?,
        }
        Ok(())
    }

    /// Other pieces, or a transport that blocks.
    ///
    /// # Errors
    /// The input ends.
    pub fn change_transport(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.piece = *u.choose(&[1, 3, 13, 100, 1052, usize::MAX])?;
        self.room = *u.choose(&[0, 5, 200, 2000, usize::MAX, usize::MAX, usize::MAX])?;
        Ok(())
    }

    /// Gives the session `bytes`. What it does not take is lost, which only an end that says nothing
    /// more does to it.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.drain();
        let mut patience = 100;
        while !bytes.is_empty() && self.closed.is_none() && patience > 0 {
            let slice = self.session.recv_slice();
            let n = slice.len().min(bytes.len()).min(self.piece);
            slice[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.session.recv_advance(n);
            if n == 0 {
                // A pending operation is offered again.
                patience -= 1;
                self.now += 10;
            }
            self.drain();
        }
    }

    /// Nothing more comes, for ever.
    ///
    /// # Panics
    /// Where the session does not end.
    pub fn finish(&mut self) {
        self.session.recv_end();
        for _ in 0..POLLS_MAX {
            self.drain();
            if self.closed.is_some() {
                return;
            }
            self.now += 1000;
        }
        panic!("it never ends");
    }

    /// Drives until there is nothing to do now.
    ///
    /// # Panics
    /// Where there is always something.
    pub fn drain(&mut self) {
        if self.closed.is_some() {
            return;
        }
        for _ in 0..POLLS_MAX {
            match self.session.poll(Instant::from_millis(self.now)) {
                Action::Send(bytes) => {
                    assert!(!bytes.is_empty());
                    let n = bytes.len().min(self.piece).min(self.room);
                    self.sent.extend_from_slice(&bytes[..n]);
                    self.room -= if self.room == usize::MAX { 0 } else { n };
                    self.session.sent(n);
                    if n == 0 {
                        return;
                    }
                }
                Action::Perform => {
                    if self.session.perform(&mut self.port) == Poll::Pending {
                        self.now += 10;
                    }
                }
                Action::Wait(until) => {
                    assert!(until.is_none_or(|until| until > Instant::from_millis(self.now)));
                    return;
                }
                Action::Closed(result) => {
                    self.closed = Some(result);
                    return;
                }
            }
        }
        panic!("it never waits");
    }

    /// Whether all that was sent on this plain link are frames that keep to what the peer said, and
    /// to their order. The peer has granted as many chunks as `granted`, or as its hello has it.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn check_sent(&self, hello: Option<Hello>, granted: u64) {
        let (batch, credit) = hello.map_or((0, 0), |hello| (hello.batch, hello.credit));
        let credit = credit.max(granted);
        let (mut rest, mut spent, mut last) = (&self.sent[..], 0, (0, 0, 0));
        while let Ok(Some(prefix)) = Prefix::parse(rest).map_err(|()| panic!("no prefix")) {
            let Some((frame, behind)) = rest.split_at_checked(PREFIX_LEN + usize::from(prefix.len))
            else {
                break;
            };
            rest = behind;
            if prefix.record == Record::Handshake {
                continue;
            }
            let (body, crc) = frame.split_at(frame.len() - 4);
            assert_eq!(crc32c(body).to_le_bytes(), crc);
            let Header { kind, request, index } = Header::parse(body).expect("a header");
            let payload = &body[HEADER_LEN..];
            if !matches!(kind, Kind::Data | Kind::Page) {
                assert!((1..=CHUNK).contains(&payload.len()));
                continue;
            }
            assert!((1..=usize::from(batch) * CHUNK).contains(&payload.len()));
            spent += payload.len().div_ceil(CHUNK) as u64;
            assert!(spent <= credit, "{spent} chunks were sent where {credit} were granted");
            if kind == Kind::Data {
                let (of, next, len) = last;
                assert!(of != request || (index == next && len % CHUNK == 0), "data with a gap");
                // Behind the last chunk that there may be none follows.
                let next = index.wrapping_add(payload.len().div_ceil(CHUNK) as u32);
                last = (request, next, payload.len());
            }
        }
    }
}
