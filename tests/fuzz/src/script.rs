//! What comes of the operations on a port.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::task::Poll;

use kift_core::storage::{Outcome, RequestId};
use kift_core::wire::Code;

/// What comes of each operation in turn: pending, failed or done. When it is at its end, all is done
/// at once, so that every session ends.
#[derive(Debug)]
pub struct Script {
    bytes: Vec<u8>,
    at: usize,
    /// What is to be offered again.
    pending: Option<Operation>,
}

/// An operation on a port, by which it is known when it is offered again.
#[derive(Debug, PartialEq, Eq)]
struct Operation {
    name: &'static str,
    request: RequestId,
    /// A hash of its arguments.
    arguments: u64,
}

impl Script {
    /// A byte an operation.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0, pending: None }
    }

    /// What comes of an operation: where it is done, a number below 32.
    ///
    /// # Panics
    /// Where another one is pending: the session should have offered that one again.
    pub fn ask(
        &mut self,
        name: &'static str,
        request: RequestId,
        arguments: impl Hash,
    ) -> Outcome<u8> {
        let mut hasher = DefaultHasher::new();
        arguments.hash(&mut hasher);
        let operation = Operation { name, request, arguments: hasher.finish() };
        if let Some(pending) = self.pending.take() {
            assert_eq!(pending, operation, "another operation while one is pending");
        }
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        match byte & 7 {
            6 => {
                self.pending = Some(operation);
                Poll::Pending
            }
            7 => Poll::Ready(Err(Code::from(byte >> 3))),
            _ => Poll::Ready(Ok(byte >> 3)),
        }
    }

    /// Whatever is pending is not offered again.
    pub fn forget(&mut self) {
        self.pending = None;
    }

    /// The request is over: its operation is not offered again, if it is that which is pending.
    pub fn forget_those_of(&mut self, request: RequestId) {
        self.pending.take_if(|pending| pending.request == request);
    }

    /// # Panics
    /// Where something is pending.
    pub fn assert_nothing_pending(&self) {
        assert_eq!(self.pending, None, "left pending");
    }
}
