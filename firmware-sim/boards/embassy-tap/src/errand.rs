//! The files of the device, as the errand sees them: it sends the log, and fetches the image.

use core::cell::RefCell;
use core::task::Poll;

use kift_core::secure::{Peer, PublicKey};
use kift_core::session::{Event, Failure, Reply};
use kift_core::storage::{Files, Outcome, RequestId};
use kift_core::wire::{Ask, Code, Conflict, Digest, Put, Request, TransferId};

use crate::board::done;
use crate::shelf::{LOG, Meeting, Shelf};

/// The requests of the errand, which are the first of its session.
const SEND: RequestId = RequestId(1);
const FETCH: RequestId = RequestId(2);

/// What came of a request.
type Result = core::result::Result<Reply, Failure>;

/// The errand: its files, and what came of it.
pub(crate) struct Errand<'a> {
    shelf: &'a RefCell<Shelf>,
    meeting: &'a Meeting,
    server: PublicKey,
    transfer: TransferId,
    /// What came of sending the log.
    pub(crate) sent: Option<Result>,
    /// What came of fetching the image.
    pub(crate) fetched: Option<Result>,
}

impl<'a> Errand<'a> {
    /// With the server that has the key `server`. The upload is called `transfer`.
    pub(crate) const fn new(
        shelf: &'a RefCell<Shelf>,
        meeting: &'a Meeting,
        server: PublicKey,
        transfer: TransferId,
    ) -> Self {
        Self { shelf, meeting, server, transfer, sent: None, fetched: None }
    }

    /// The request behind so many others; none where that was all.
    pub(crate) fn request(&self, number: u32) -> Option<Request<'static>> {
        match RequestId(number + 1) {
            SEND => Some(Request::Put(Put {
                path: "device.log",
                transfer: self.transfer,
                size: self.shelf.borrow().contents(LOG).map(|log| log.len() as u64),
                modified: None,
                conflict: Conflict::Replace,
                ask: Ask::Now,
            })),
            FETCH => Some(Request::Get { path: "image.bin", first: 0, count: None }),
            RequestId(3) => Some(Request::Goodbye),
            _ => None,
        }
    }
}

impl Files for Errand<'_> {
    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        Poll::Ready(if peer.key == self.server { Ok(()) } else { Err(Code::Denied) })
    }

    fn read(&mut self, _: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        self.meeting.flow();
        Poll::Ready(self.shelf.borrow().read(LOG, at, buf))
    }

    fn write(&mut self, _: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        Poll::Ready(self.shelf.borrow_mut().write_image(at, data))
    }

    fn commit(&mut self, _: RequestId, size: u64, _: Digest) -> Outcome<u32> {
        self.shelf.borrow_mut().finish_image(size);
        done(0)
    }

    fn abort(&mut self, _: RequestId) {}

    fn handle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Done { request: SEND, result } => self.sent = Some(result),
            Event::Done { request: FETCH, result } => self.fetched = Some(result),
            _ => {}
        }
    }
}
