//! Answers that wait for one another: small files that come in a row are made durable together.

use super::{Responder, Task};
use crate::secure::Security;
use crate::storage::{RequestId, Settled, Store};
use crate::wire::{Answer, Ask, Code, Digest, Kind, Request};
use core::task::Poll;
use heapless::Deque;

/// Answers that wait, at most.
const OWED_MAX: usize = 16;

/// The answers that a responder owes for what came before the request that it is at.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// In the order asked. Why a request failed, or none for an upload that was set aside.
    waiting: Deque<(RequestId, Option<Code>), OWED_MAX>,
    /// How many of them are to be sent before anything else is done.
    due: usize,
    /// The upload that the store was last asked to set aside.
    offered: RequestId,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The request that is to be answered first.
    pub(super) fn first(&self) -> Option<RequestId> {
        self.waiting.front().map(|(id, _)| *id)
    }

    /// Keeps an answer until those before it are sent; false where there are none. Where there are,
    /// nothing is done but uploads, and so it can only be that one failed.
    pub(super) fn keep(&mut self, id: RequestId, answer: &Answer) -> bool {
        let Answer::Failed(code) = *answer else { return false };
        !self.is_empty() && self.waiting.push_back((id, Some(code))).is_ok()
    }

    fn pop(&mut self) {
        self.waiting.pop_front();
        self.due = self.due.saturating_sub(1);
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Security> Responder<B, S> {
    /// Whether answers are owed that have to be sent before anything else is done: because nothing else
    /// can be, or has to come behind them.
    pub(super) fn must_settle(&self) -> bool {
        if self.owed.is_empty() {
            return false;
        }
        let is_due = self.owed.due > 0 || self.owed.waiting.is_full();
        is_due
            || match self.task {
                Task::Idle => self.shutting_down || !self.may_join(),
                // Whoever sends may wait for an answer.
                Task::Receive { .. } => self.link.front().is_none(),
                _ => false,
            }
    }

    /// Whether the frame in front leaves the answers that are owed as they are: its own joins them.
    fn may_join(&self) -> bool {
        self.link.front().is_some_and(|front| match front.header.kind {
            Kind::Request => matches!(
                Request::decode(front.payload),
                Ok(Request::Put(put)) if put.ask == Ask::Now
            ),
            // Discarded, or the end of the session.
            _ => true,
        })
    }

    /// Has the upload set aside, if more has come behind it.
    pub(super) fn set_aside<P: Store>(
        &mut self,
        id: RequestId,
        size: u64,
        root: Digest,
        port: &mut P,
    ) -> bool {
        // Asked once: afterwards its commit is under way.
        let is_new = core::mem::replace(&mut self.owed.offered, id) != id;
        if !is_new || self.link.front().is_none() {
            return false;
        }
        if !port.set_aside(id, size, root) {
            return false;
        }
        // There is room: what is full is settled first.
        let kept = self.owed.waiting.push_back((id, None)).is_ok();
        debug_assert!(kept, "it was not full");
        self.task = Task::Idle;
        true
    }

    /// Sends the first of the answers that are owed.
    pub(super) fn settle<P: Store>(&mut self, port: &mut P) -> Poll<()> {
        let Some(&(id, failed)) = self.owed.waiting.front() else { return Poll::Ready(()) };
        if self.owed.due == 0 {
            self.owed.due = self.owed.waiting.len();
        }
        let answer = match failed {
            Some(code) => Answer::Failed(code),
            None => match port.settle(id) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Settled { size, root, suffix })) => {
                    Answer::Stored { size, root, suffix }
                }
                Poll::Ready(Err(code)) => Answer::Failed(code),
            },
        };
        self.owed.pop();
        self.answer_now(id, &answer);
        Poll::Ready(())
    }

    /// The session is over: what is being settled is settled, and the rest is dropped.
    pub(super) fn wind_up<P: Store>(&mut self, port: &mut P) -> Poll<()> {
        match self.owed.waiting.front() {
            Some(&(id, None)) if self.owed.due > 0 && port.settle(id).is_pending() => {
                return Poll::Pending;
            }
            Some(_) if self.owed.due > 0 => self.owed.pop(),
            _ => self.owed = Owed::default(),
        }
        Poll::Ready(())
    }
}
