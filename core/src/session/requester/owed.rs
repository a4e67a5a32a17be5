//! Downloads whose ends wait for one another: small files that come in a row are made durable together.

use super::{Download, Requester};
use crate::secure::Security;
use crate::session::{Event, Failure, Reply};
use crate::storage::{Files, RequestId, Settled};
use crate::wire::{Answer, Digest, Kind};
use core::task::Poll;
use heapless::Deque;

/// Downloads that wait, at most.
const OWED_MAX: usize = 16;

/// The downloads that were set aside.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// In the order asked.
    waiting: Deque<RequestId, OWED_MAX>,
    /// How many of them are to be settled before anything else is done.
    due: usize,
    /// The download that the port was last asked to set aside.
    offered: RequestId,
}

impl Owed {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize, S: Security> Requester<B, N, S> {
    /// Whether downloads have to be settled before anything else is done: because nothing else can be,
    /// or something else would end before them.
    pub(super) fn must_settle(&self) -> bool {
        self.owes() && (self.owed.due > 0 || self.owed.waiting.is_full() || !self.may_join())
    }

    /// Whether the frame in front is a download's. One that does not join is told behind those that wait.
    fn may_join(&self) -> bool {
        self.link.front().is_some_and(|front| match front.header.kind {
            Kind::Data => true,
            Kind::Close => matches!(self.download, Download::Receiving { .. }),
            Kind::Answer => matches!(Answer::decode(front.payload), Ok(Answer::Sending { .. })),
            _ => false,
        })
    }

    /// Has the download set aside, if others wait or more has come behind it.
    pub(super) fn set_aside<P: Files>(
        &mut self,
        id: RequestId,
        size: u64,
        root: Digest,
        port: &mut P,
    ) -> bool {
        // Asked once: afterwards its commit is under way.
        let is_new = core::mem::replace(&mut self.owed.offered, id) != id;
        let is_alone = self.link.front().is_none() && !self.owes();
        if !is_new || is_alone || self.owed.waiting.is_full() {
            return false;
        }
        if !port.set_aside(id, size, root) {
            return false;
        }
        let kept = self.owed.waiting.push_back(id).is_ok();
        debug_assert!(kept, "it was not full");
        true
    }

    /// Settles the first of those that wait.
    pub(super) fn settle<P: Files>(&mut self, port: &mut P) -> Poll<()> {
        let Some(&id) = self.owed.waiting.front() else { return Poll::Ready(()) };
        if self.owed.due == 0 {
            self.owed.due = self.owed.waiting.len();
        }
        let result = match port.settle(id) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Settled { size, root, suffix })) => {
                self.send_receipt(id, size);
                Ok(Reply::Got { size, root, suffix })
            }
            Poll::Ready(Err(code)) => Err(Failure::Local(code)),
        };
        self.owed.waiting.pop_front();
        self.owed.due -= 1;
        self.note(id, result);
        port.handle_event(Event::Done { request: id, result });
        Poll::Ready(())
    }
}
