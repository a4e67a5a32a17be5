//! A responder's work on one run of a file.

use super::{Responder, Task};
use crate::secure::Security;
use crate::storage::{RequestId, Store};
use crate::transfer::{Receiver, Sender};
use crate::wire::{Answer, Code, FILE_SIZE_MAX, Meta, Run, TransferId};
use core::task::Poll;

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Security> Responder<B, S> {
    pub(super) fn begin_run<P: Store>(
        &mut self,
        id: RequestId,
        transfer: TransferId,
        run: Run,
        port: &mut P,
    ) -> Poll<()> {
        let Poll::Ready(begun) = port.begin_run(id, transfer, run) else { return Poll::Pending };
        self.link.pop();
        match begun {
            Ok(()) => {
                let receiver = Receiver::start(run.first, Some(run.size), &mut self.hasher);
                self.hasher.begin_run(run.offset());
                self.task = Task::Receive { id, receiver };
            }
            Err(code) => {
                self.discarding = true;
                self.answer(id, &Answer::Failed(code));
            }
        }
        Poll::Ready(())
    }

    /// The file is open, and what is known of it is `meta`.
    pub(super) fn start_sending_run(&mut self, id: RequestId, meta: Meta, run: Run) {
        let end = run.offset().saturating_add(run.size);
        if meta.size > FILE_SIZE_MAX || end > meta.size {
            let code = if end > meta.size { Code::BadRange } else { Code::TooLarge };
            self.task = Task::Finish { id, close: Err(code) };
            return;
        }
        let (file_size, modified) = (meta.size, meta.modified);
        self.link.queue_answer(id.low(), &Answer::Sending { size: run.size, file_size, modified });
        let sender = Sender::start(run.first, Some(run.size), &mut self.hasher);
        self.hasher.begin_run(run.offset());
        self.task = Task::Send { id, sender };
    }
}
