//! Small uploads that are made durable together.
//!
//! Each is stored just as it would be alone; but they are at it at once, and what each waits for is the same
//! for all: that the file system writes down what was changed until then.

use std::collections::VecDeque;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use kift_core::storage::RequestId;
use kift_core::wire::{Code, Conflict, Digest};

use super::upload::Upload;

/// Bytes of an upload that is small.
const SMALL_MAX: u64 = 256 << 10;

/// What takes no longer than this is not worth a thread.
const QUICK: Duration = Duration::from_micros(100);

/// A thread's stack: it makes a few system calls.
const STACK_LEN: usize = 128 << 10;

/// Uploads that are whole and wait for their names, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Aside(VecDeque<Whole>);

/// One of them.
#[derive(Debug)]
pub(super) struct Whole {
    request: RequestId,
    pub(super) upload: Box<Upload>,
    pub(super) size: u64,
    pub(super) root: Digest,
    /// What came of it, once that is known.
    pub(super) result: Option<Result<u32, Code>>,
}

impl Aside {
    /// Whether `upload` of `size` bytes may join: only if nothing comes of the order in which they are stored.
    pub(super) fn takes(&self, upload: &Upload, size: u64) -> bool {
        let is_other = |whole: &Whole| whole.upload.path != upload.path;
        size <= SMALL_MAX
            && upload.conflict != Conflict::KeepBoth
            && !upload.folds_case()
            && self.0.iter().all(is_other)
    }

    pub(super) fn push(
        &mut self,
        request: RequestId,
        upload: Box<Upload>,
        size: u64,
        root: Digest,
    ) {
        self.0.push_back(Whole { request, upload, size, root, result: None });
    }

    /// The first, which is that of `request` and has a result now. Stores all that have none.
    pub(super) fn settle(&mut self, request: RequestId) -> Poll<Option<Whole>> {
        if self.0.front().is_some_and(|first| first.result.is_none()) {
            self.store();
        }
        match self.0.pop_front() {
            Some(first) if first.request == request && first.result.is_none() => {
                self.0.push_front(first);
                Poll::Pending
            }
            first => Poll::Ready(first.filter(|first| first.request == request)),
        }
    }

    fn store(&mut self) {
        let mut rest = self.0.iter_mut().filter(|whole| whole.result.is_none());
        let began = Instant::now();
        if let Some(first) = rest.next() {
            first.store();
        }
        if began.elapsed() < QUICK {
            return rest.for_each(Whole::store);
        }
        thread::scope(|scope| {
            for whole in rest {
                let thread = thread::Builder::new().name("kift commit".to_owned());
                // What finds no thread has no result, and is stored when it is asked for.
                let _ = thread.stack_size(STACK_LEN).spawn_scoped(scope, || whole.store());
            }
        });
    }
}

impl Whole {
    fn store(&mut self) {
        if let Poll::Ready(result) = self.upload.commit(self.size, self.root) {
            self.result = Some(result);
        }
    }
}
