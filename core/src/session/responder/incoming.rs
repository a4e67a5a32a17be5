//! What a responder makes of the frames that come.

use super::{Purpose, Responder, Task};
use crate::secure::Security;
use crate::session::link::misbehaved;
use crate::session::{Error, Event};
use crate::storage::RequestId;
use crate::trace;
use crate::transfer::{Fault, Receiver};
use crate::wire::{Answer, Close, Code, DecodeError, Header, Kind, Request, Signal};

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Security> Responder<B, S> {
    pub(super) fn handle_signal(&mut self, request: u16, signal: Signal) {
        match signal {
            Signal::Progress { received, durable } => {
                let request = self.full_id(request);
                self.notice = Some(Event::Progress { request, received, durable });
            }
            Signal::Stop => self.handle_stop(request),
            Signal::Abort(code) => self.link.fail(Error::PeerClosed(code)),
            // Whoever keeps an upload waiting for its source says so.
            Signal::Working { .. } => {
                if matches!(self.task, Task::Receive { id, .. } if id.low() == request) {
                    self.link.refresh();
                }
            }
            // The link has dealt with it.
            Signal::Credit(_) => {
                self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
            }
        }
    }

    /// The requester wants no more of a request: the one under way, one that waits in the queue, or
    /// one that is over. A request in front keeps the mark until what it began can be stopped: see
    /// [`perform`](Perform::perform).
    pub(super) fn handle_stop(&mut self, request: u16) {
        self.link.stop_queued(request);
        let stops = |id: RequestId| id.low() == request;
        let cancelled = Close::Reset(Code::Cancelled);
        match self.task {
            Task::Receive { id, .. } if stops(id) => {
                self.discarding = true;
                self.task = Task::Abort { id, code: Code::Cancelled };
            }
            Task::Send { id, .. } if stops(id) => {
                self.task = Task::Finish { id, close: Ok(cancelled) };
            }
            Task::Hash { id, purpose: Purpose::Prefix(_), .. } if stops(id) => {
                self.link.pop();
                self.discarding = true;
                self.task = Task::Abort { id, code: Code::Cancelled };
            }
            Task::Hash { id, .. } if stops(id) => {
                self.link.pop();
                self.discarding = true;
                self.task = Task::Finish { id, close: Err(Code::Cancelled) };
            }
            Task::List { id, entries } if stops(id) => {
                self.task = Task::EndList { id, entries, failed: Some(Code::Cancelled) };
            }
            _ => {}
        }
    }

    /// The number of the request that a frame with these low bits belongs to: a recent one.
    pub(super) fn full_id(&self, low: u16) -> RequestId {
        let back = self.last.low().wrapping_sub(low);
        RequestId(self.last.0.wrapping_sub(u32::from(back)))
    }

    /// Acts on the first frame of the queue where its turn has come, and says whether it did.
    pub(super) fn handle_front(&mut self) -> bool {
        // Whatever comes of it, its answer has room.
        if !self.link.has_room_for_answer() {
            return false;
        }
        match self.task {
            #[cfg(feature = "host")]
            Task::Idle if self.must_settle() => false,
            Task::Idle if self.shutting_down => {
                self.link.fail(Error::Closed(Code::ShuttingDown));
                false
            }
            Task::Idle => self.take_request(),
            Task::Receive { id, receiver } => self.take_data(id, receiver),
            _ => false,
        }
    }

    pub(super) fn take_request(&mut self) -> bool {
        let Some(front) = self.link.front() else { return false };
        let request = front.header.request;
        match front.header.kind {
            Kind::Request => {}
            Kind::Data | Kind::Close if self.discarding && request == self.last.low() => {
                self.discarding = front.header.kind == Kind::Data;
                self.link.pop();
                return true;
            }
            _ => {
                self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
                return false;
            }
        }
        let id = RequestId(self.last.0.wrapping_add(1));
        if request != id.low() {
            self.link.fail(Error::PeerMisbehaved(Code::OutOfOrder));
            return false;
        }
        self.last = id;
        self.discarding = false;
        let request = Request::decode(front.payload);
        trace::debug!("request {}: {}", id, request.as_ref().map_or("?", Request::verb));
        let verdict = match request {
            Err(DecodeError::Unknown) => Err(Code::Unsupported),
            Err(error @ DecodeError::Malformed) => {
                self.link.wipe();
                self.link.fail(misbehaved(error));
                return false;
            }
            Ok(Request::Goodbye) => {
                self.link.pop();
                self.answer(id, &Answer::Done);
                self.link.end();
                return true;
            }
            // Whatever is said on a plain link, anybody may have said.
            Ok(Request::Login { .. }) if !self.link.is_sealed() => Err(Code::Unsupported),
            Ok(_) if front.stopped => Err(Code::Cancelled),
            Ok(request) => request.paths().map(|_| ()),
        };
        match verdict {
            Ok(()) => {
                self.task = Task::Request(id);
                // However long the session was idle.
                self.link.refresh();
            }
            Err(code) => {
                // It may be an upload, or something newer with a stream of its own.
                self.discarding = true;
                self.link.wipe();
                self.link.pop();
                self.answer(id, &Answer::Failed(code));
            }
        }
        true
    }

    pub(super) fn take_data(&mut self, id: RequestId, receiver: Receiver) -> bool {
        let Some(front) = self.link.front() else { return false };
        let Header { kind, request, index } = front.header;
        let verdict = match kind {
            _ if request != id.low() => Err(Fault::Link(Code::OutOfOrder)),
            Kind::Data => match receiver.check(index, front.payload.len()) {
                // It stays in front until the port has taken it.
                Ok(()) => return false,
                Err(fault) => Err(fault),
            },
            Kind::Close => match Close::decode(front.payload) {
                Ok(Close::End { size, root }) => {
                    receiver.finish(size, root, &self.hasher).map_err(Fault::Request).map(|()| {
                        self.task = Task::Commit { id, size, root };
                    })
                }
                Ok(Close::Reset(_)) => Err(Fault::Request(Code::Cancelled)),
                Err(error) => {
                    self.link.fail(misbehaved(error));
                    return false;
                }
            },
            _ => Err(Fault::Link(Code::OutOfOrder)),
        };
        match verdict {
            Ok(()) => {}
            Err(Fault::Request(code)) => {
                self.discarding = kind == Kind::Data;
                self.task = Task::Abort { id, code };
            }
            Err(Fault::Link(code)) => {
                self.link.fail(Error::PeerMisbehaved(code));
                return false;
            }
        }
        self.link.pop();
        true
    }

    /// Whether data that were found in order wait in front.
    pub(super) fn has_data(&self) -> bool {
        self.link.front().is_some_and(|front| front.header.kind == Kind::Data)
    }

    /// The request under way, if it is still in front and was stopped since its turn came.
    pub(super) fn stopped_in_front(&self) -> Option<RequestId> {
        let stopped = self.link.front().is_some_and(|front| front.stopped);
        match self.task {
            Task::Request(id) | Task::Begin(id) | Task::Open { id, .. } if stopped => Some(id),
            _ => None,
        }
    }

    /// The request under way.
    pub(super) fn current(&self) -> Option<RequestId> {
        match self.task {
            #[cfg(feature = "host")]
            Task::Idle => self.owed.first(),
            #[cfg(not(feature = "host"))]
            Task::Idle => None,
            Task::Request(id)
            | Task::Begin(id)
            | Task::Receive { id, .. }
            | Task::Commit { id, .. }
            | Task::Abort { id, .. }
            | Task::Send { id, .. }
            | Task::Finish { id, .. }
            | Task::List { id, .. }
            | Task::EndList { id, .. }
            | Task::Open { id, .. }
            | Task::Hash { id, .. } => Some(id),
        }
    }
}
