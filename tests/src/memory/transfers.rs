//! Files in runs, and tickets: what the stores of one session's links have in common.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kift_core::Tree;
use kift_core::wire::{Code, Digest, Run, RunLen, Ticket, TransferId};

use super::OwnedPut;

/// Shared by the stores of the links of a session.
#[derive(Debug, Clone, Default)]
pub struct Transfers(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    tickets: BTreeSet<[u8; 16]>,
    made: u8,
    uploads: HashMap<TransferId, Upload>,
    sources: HashMap<TransferId, String>,
}

/// An upload in runs.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) path: String,
    pub(super) put: OwnedPut,
    pub(super) data: Vec<u8>,
    runs: RunLen,
    values: BTreeMap<u32, Digest>,
}

impl Upload {
    pub(super) fn new(path: String, put: OwnedPut, runs: RunLen) -> Self {
        let data = vec![0; put.size.unwrap_or(0) as usize];
        Self { path, put, data, runs, values: BTreeMap::new() }
    }

    /// The file, if it is whole and has this root.
    fn finish(&self, size: u64, root: Digest) -> Result<(), Code> {
        let mut tree = Tree::new();
        for number in 0.. {
            let Some(run) = self.runs.run(number, self.data.len() as u64) else { break };
            tree.push(*self.values.get(&run.first).ok_or(Code::SizeMismatch)?);
        }
        if size != self.data.len() as u64 {
            Err(Code::SizeMismatch)
        } else if tree.root() != Some(root) {
            Err(Code::HashMismatch)
        } else {
            assert_eq!(root.0, *blake3::hash(&self.data).as_bytes(), "the runs are not the file");
            Ok(())
        }
    }
}

impl Transfers {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no transfer is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let inner = self.inner();
        inner.uploads.is_empty() && inner.sources.is_empty()
    }

    pub(super) fn ticket(&self) -> Ticket {
        let mut inner = self.inner();
        inner.made += 1;
        let ticket = [inner.made; 16];
        inner.tickets.insert(ticket);
        Ticket(ticket)
    }

    pub(super) fn attach(&self, ticket: Ticket) -> Result<(), Code> {
        if self.inner().tickets.remove(&ticket.0) { Ok(()) } else { Err(Code::Denied) }
    }

    pub(super) fn begin(&self, transfer: TransferId, upload: Upload) {
        self.inner().uploads.insert(transfer, upload);
    }

    /// Whether `run` is one of the upload's.
    pub(super) fn check(&self, transfer: TransferId, run: Run) -> Result<(), Code> {
        let inner = self.inner();
        let upload = inner.uploads.get(&transfer).ok_or(Code::NotFound)?;
        let chunks = upload.runs.bytes().unwrap_or(1) / 1024;
        let number = u64::from(run.first) / chunks;
        let known = upload.runs.run(number as u32, upload.data.len() as u64);
        if known == Some(run) { Ok(()) } else { Err(Code::BadRange) }
    }

    /// A run came, and has this value. False where the upload is not there any more.
    pub(super) fn store(&self, transfer: TransferId, run: Run, data: &[u8], value: Digest) -> bool {
        let mut inner = self.inner();
        let Some(upload) = inner.uploads.get_mut(&transfer) else { return false };
        let at = run.offset() as usize;
        upload.data[at..at + data.len()].copy_from_slice(data);
        upload.values.insert(run.first, value);
        true
    }

    /// Takes the upload, which must be whole.
    pub(super) fn take(&self, id: TransferId, size: u64, root: Digest) -> Result<Upload, Code> {
        let upload = self.inner().uploads.remove(&id).ok_or(Code::NotFound)?;
        upload.finish(size, root).map(|()| upload)
    }

    pub(super) fn open(&self, transfer: TransferId, path: &str) {
        self.inner().sources.insert(transfer, path.to_owned());
    }

    pub(super) fn source(&self, transfer: TransferId) -> Result<String, Code> {
        self.inner().sources.get(&transfer).cloned().ok_or(Code::NotFound)
    }

    pub(super) fn release(&self, transfer: TransferId) -> Result<(), Code> {
        let mut inner = self.inner();
        let was_there =
            inner.uploads.remove(&transfer).is_some() | inner.sources.remove(&transfer).is_some();
        if was_there { Ok(()) } else { Err(Code::NotFound) }
    }
}

/// The value of `data` as a run, by BLAKE3's own means.
#[must_use]
pub fn value(run: Run, data: &[u8]) -> Digest {
    use blake3::hazmat::HasherExt as _;
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(run.offset()).update(data);
    Digest(hasher.finalize_non_root())
}
