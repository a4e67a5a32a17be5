//! A client that can be made to stop anywhere.

use kift_core::wire::{Answer, CHUNK, Code, Put, Request, Signal};
use kift_tests::dial::Dial;
use kift_tests::raw::Frame;
use kift_tests::serving::Server;

/// Chunks that go in one frame, at most.
const BATCH: u64 = 32;

/// A session, which may end before an upload does.
pub(crate) struct Session {
    dial: Dial,
    /// Chunks that were sent.
    sent: u64,
    /// Chunks of the upload under way that were told to be durable.
    pub(crate) durable: u32,
}

impl Session {
    pub(crate) fn new(server: &Server) -> Self {
        Self { dial: Dial::open(server), sent: 0, durable: 0 }
    }

    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Result<Answer, Code> {
        match self.dial.ask(request) {
            Answer::Failed(code) => Err(code),
            answer => Ok(answer),
        }
    }

    /// Takes a frame that is no answer.
    fn hear(&mut self, frame: &Frame) {
        match frame.as_signal() {
            Some(Signal::Credit(credit)) => self.dial.credit = credit,
            Some(Signal::Progress { durable, .. }) => self.durable = self.durable.max(durable),
            _ => panic!("{frame:?}"),
        }
    }

    /// Sends `data` from chunk `from` on.
    pub(crate) fn send(&mut self, data: &[u8], from: u32) {
        let (mut index, mut rest) = (from, &data[from as usize * CHUNK..]);
        while !rest.is_empty() {
            while self.sent == self.dial.credit {
                let frame = self.dial.frame().expect("the link is open");
                self.hear(&frame);
            }
            let chunks = (self.dial.credit - self.sent).min(BATCH);
            let (now, more) = rest.split_at((chunks as usize * CHUNK).min(rest.len()));
            self.dial.tell(&Frame::data(self.dial.last, index, now));
            let chunks = now.len().div_ceil(CHUNK);
            (index, rest) = (index + chunks as u32, more);
            self.sent += chunks as u64;
        }
    }

    /// The answer to the request that was sent last.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            let frame = self.dial.frame().expect("the link is open");
            match frame.as_answer() {
                Some(answer) => return answer,
                None => self.hear(&frame),
            }
        }
    }

    /// From which chunk on the server wants it.
    ///
    /// # Errors
    /// Another answer, as that it was stored.
    pub(crate) fn begin(&mut self, put: &Put<'_>) -> Result<u32, Answer> {
        self.dial.request(&Request::Put(*put));
        match self.answer() {
            Answer::Ready { from, .. } => Ok(from),
            answer => Err(answer),
        }
    }

    /// Sends `files`, none larger than a frame, so that the server has all at hand.
    pub(crate) fn send_together(&mut self, files: &[(Put<'_>, Vec<u8>)]) {
        let mut bytes = Vec::new();
        for (put, data) in files {
            self.dial.last += 1;
            let number = self.dial.last;
            bytes.extend(Frame::request(number, &Request::Put(*put)).bytes());
            bytes.extend(Frame::data(number, 0, data).bytes());
            bytes.extend(Frame::end(number, data).bytes());
            self.sent += data.len().div_ceil(CHUNK) as u64;
        }
        self.dial.send(&bytes);
    }

    /// All of `data` was sent.
    pub(crate) fn end(&mut self, data: &[u8]) {
        self.dial.tell(&Frame::end(self.dial.last, data));
    }
}
