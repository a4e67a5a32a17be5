//! Files in runs: what the links of one session have in common.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kift_core::Tree;
use kift_core::wire::{Code, Digest, Run, RunLen, TransferId};

use super::source::Source;
use super::upload::{Upload, Writer};

/// Files that a session may have in runs at once.
const TRANSFERS_MAX: usize = 64;

/// The files in runs of a session. They go with its control link.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    open: Mutex<HashMap<TransferId, Transfer>>,
    is_over: AtomicBool,
}

#[derive(Debug)]
enum Transfer {
    Up(Arc<InRuns>),
    Down(Source),
}

/// An upload whose runs come on any link.
#[derive(Debug)]
pub(super) struct InRuns {
    pub(super) path: Box<str>,
    /// What the runs are written to, by many at once.
    writer: Writer,
    size: u64,
    len: RunLen,
    /// None once it is committed or dropped.
    upload: Mutex<Option<Upload>>,
    runs: Mutex<Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    /// By the number of their first chunk.
    progress: HashMap<u32, Progress>,
    /// How many from the first on are stored and of full length, and their values.
    prefix: (u32, Tree),
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
enum Progress {
    /// Some link writes it.
    Open,
    /// It is whole, and has this value.
    Stored(Digest),
}

impl Transfers {
    /// The control link has ended: nothing is begun or gone on with any more.
    /// What came of uploads from their first run on may be gone on with. Gives where those were to go.
    pub(crate) fn end(&self) -> Vec<Box<str>> {
        self.is_over.store(true, Ordering::Release);
        let open = std::mem::take(&mut *self.lock());
        let kept = open.into_values().filter_map(|transfer| match transfer {
            Transfer::Up(upload) => upload.suspend().then(|| upload.path.clone()),
            Transfer::Down(_) => None,
        });
        kept.collect()
    }

    /// Whether the control link has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TransferId, Transfer>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, id: TransferId, transfer: Transfer) -> Result<(), Code> {
        let mut open = self.lock();
        // Looked at under the lock, so that nothing comes behind `end`.
        if self.is_over() {
            return Err(Code::Cancelled);
        }
        if open.contains_key(&id) {
            return Err(Code::Busy);
        }
        if open.len() >= TRANSFERS_MAX {
            return Err(Code::TooMany);
        }
        open.insert(id, transfer);
        Ok(())
    }

    pub(super) fn begin(
        &self,
        id: TransferId,
        upload: Upload,
        size: u64,
        len: RunLen,
    ) -> Result<(), Code> {
        let (path, writer) = (upload.path.clone(), upload.writer());
        let (upload, runs) = (Mutex::new(Some(upload)), Mutex::default());
        let in_runs = InRuns { path, writer, size, len, upload, runs };
        self.insert(id, Transfer::Up(Arc::new(in_runs)))
    }

    pub(super) fn upload(&self, id: TransferId) -> Result<Arc<InRuns>, Code> {
        match self.lock().get(&id) {
            Some(Transfer::Up(upload)) => Ok(Arc::clone(upload)),
            _ => Err(Code::NotFound),
        }
    }

    /// What a file is called.
    pub(super) fn path(&self, id: TransferId) -> Option<Box<str>> {
        Some(match self.lock().get(&id)? {
            Transfer::Up(upload) => upload.path.clone(),
            Transfer::Down(source) => source.path.clone(),
        })
    }

    /// Takes an upload out, to be committed, if it is whole and has this size and root. If not it is
    /// dropped.
    pub(super) fn take(&self, id: TransferId, size: u64, root: Digest) -> Result<Upload, Code> {
        let in_runs = self.upload(id)?;
        self.lock().remove(&id);
        in_runs.finish(size, root)
    }

    pub(super) fn open(&self, id: TransferId, source: Source) -> Result<(), Code> {
        self.insert(id, Transfer::Down(source))
    }

    pub(super) fn source(&self, id: TransferId) -> Result<Source, Code> {
        match self.lock().get(&id) {
            Some(Transfer::Down(source)) => Ok(source.for_run()),
            _ => Err(Code::NotFound),
        }
    }

    /// Drops an upload, or closes a source and gives it.
    pub(super) fn release(&self, id: TransferId) -> Result<Option<Source>, Code> {
        match self.lock().remove(&id) {
            Some(Transfer::Up(_)) => Ok(None),
            Some(Transfer::Down(source)) => Ok(Some(source)),
            None => Err(Code::NotFound),
        }
    }
}

impl InRuns {
    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Always taken behind the runs, if both are.
    fn upload(&self) -> MutexGuard<'_, Option<Upload>> {
        self.upload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves what came to a later attempt, if that is anything.
    fn suspend(&self) -> bool {
        let upload = self.upload().take();
        upload.is_some_and(|upload| upload.suspend() > 0)
    }

    /// A run is stored. Those from the first on may have a checkpoint.
    fn store(&self, run: Run, value: Digest) {
        let mut runs = self.runs();
        let Runs { progress, prefix: (count, tree) } = &mut *runs;
        progress.insert(run.first, Progress::Stored(value));
        let before = *count;
        while let Some(next) = self.len.run(*count, self.size)
            && self.len.bytes() == Some(next.size)
            && let Some(Progress::Stored(value)) = progress.get(&next.first)
        {
            tree.push(*value);
            *count += 1;
        }
        // A single one has no value of its own.
        if *count > before.max(1)
            && let Some(upload) = &mut *self.upload()
            // Otherwise the next run is told.
            && upload.look().is_ok()
        {
            upload.mark(&tree.clone().of_runs_of(self.len));
        }
    }

    /// A link is to write `run`, which nobody else does meanwhile.
    fn open(&self, run: Run) -> Result<(), Code> {
        let chunks = self.len.bytes().map_or(1, |len| len / 1024);
        let number = u32::try_from(u64::from(run.first) / chunks).map_err(|_| Code::BadRange)?;
        if self.len.run(number, self.size) != Some(run) {
            return Err(Code::BadRange);
        }
        let mut runs = self.runs();
        if matches!(runs.progress.get(&run.first), Some(Progress::Open)) {
            return Err(Code::Busy);
        }
        // Under the lock of the runs: what is being committed is not written to any more.
        let mut upload = self.upload();
        let upload = upload.as_mut().ok_or(Code::NotFound)?;
        upload.look()?;
        if number < runs.prefix.0 {
            // Another link had it stored and was lost before its peer knew. It may be another now.
            upload.unmark()?;
            runs.prefix = (0, Tree::new());
        }
        runs.progress.insert(run.first, Progress::Open);
        Ok(())
    }

    /// The upload, if all of it came.
    fn finish(&self, size: u64, root: Digest) -> Result<Upload, Code> {
        // Taken first: whatever speaks against it, it is dropped.
        let mut upload = self.upload().take().ok_or(Code::NotFound)?;
        let runs = self.runs();
        let mut tree = Tree::new();
        for number in 0.. {
            let Some(run) = self.len.run(number, self.size) else { break };
            match runs.progress.get(&run.first) {
                Some(Progress::Stored(value)) => tree.push(*value),
                Some(Progress::Open) => return Err(Code::Busy),
                None => return Err(Code::SizeMismatch),
            }
        }
        if size != self.size {
            return Err(Code::SizeMismatch);
        }
        if tree.root() != Some(root) {
            return Err(Code::HashMismatch);
        }
        upload.written_elsewhere(size);
        Ok(upload)
    }
}

/// A run that a link writes. Dropped before [`store`](Self::store) it has to come again.
#[derive(Debug)]
pub(super) struct OpenRun {
    pub(super) of: Arc<InRuns>,
    run: Run,
    pub(super) at: u64,
    is_stored: bool,
}

impl OpenRun {
    pub(super) fn begin(of: Arc<InRuns>, run: Run) -> Result<Self, Code> {
        of.open(run)?;
        Ok(Self { of, run, at: run.offset(), is_stored: false })
    }

    /// Takes the next bytes, which begin at byte `at` of the file.
    pub(super) fn write(&mut self, at: u64, data: &[u8]) -> Result<(), Code> {
        let end = at.saturating_add(data.len() as u64);
        if at != self.at || end > self.run.offset().saturating_add(self.run.size) {
            return Err(Code::Internal);
        }
        // Zeros too: something else may have been here.
        self.of.writer.write(at, data)?;
        self.at = end;
        Ok(())
    }

    /// The run is whole and verified.
    pub(super) fn store(mut self, value: Digest) {
        self.of.store(self.run, value);
        self.is_stored = true;
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        if !self.is_stored {
            self.of.runs().progress.remove(&self.run.first);
        }
    }
}
