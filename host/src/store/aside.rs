//! Small uploads that are made durable together.
//!
//! Each is stored just as it would be alone; but they are at it at once, and what each waits for is the same
//! for all: that the file system writes down what was changed until then.

use std::collections::VecDeque;
use std::task::Poll;

use kift_core::storage::RequestId;
use kift_core::wire::{Code, Conflict, Digest};

use super::upload::Upload;
use crate::together::{self, SMALL_MAX};

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
            // What finds no thread has no result, and is stored when it is asked for.
            let rest = self.0.iter_mut().filter(|whole| whole.result.is_none());
            together::each(rest, Whole::store);
        }
        match self.0.pop_front() {
            Some(first) if first.request == request && first.result.is_none() => {
                self.0.push_front(first);
                Poll::Pending
            }
            first => Poll::Ready(first.filter(|first| first.request == request)),
        }
    }
}

impl Whole {
    fn store(&mut self) {
        if let Poll::Ready(result) = self.upload.commit(self.size, self.root) {
            self.result = Some(result);
        }
    }
}
