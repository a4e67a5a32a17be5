//! A download's bytes until they have a name.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kift_core::Tree;
use rustix::fs::{FlockOperation, OFlags, fdatasync, flock, fsync};
use rustix::io::{Errno, retry_on_intr};
use serde::{Deserialize, Serialize};
use tempfile::TempPath;

use crate::checkpoints::Checkpoints;
use crate::directory;
use crate::record::Record;
use crate::syncs::Syncs;

/// What the hidden names end in: of the bytes, and of what is known of them.
const PART: &str = ".part";
const MARK: &str = ".mark";

/// A hidden file beside its target. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Partial {
    file: Arc<File>,
    /// None once it is to stay, or has its name.
    path: Option<TempPath>,
    /// None where nothing of it is to be left.
    kept: Option<Kept>,
}

/// What makes it one that can be gone on with.
#[derive(Debug)]
struct Kept {
    marks: Arc<Marks>,
    checkpoints: Checkpoints<io::Error>,
    /// Nothing was written since it was opened again.
    is_fresh: bool,
}

/// What is known of it, on disk.
#[derive(Debug)]
struct Marks {
    file: Arc<File>,
    syncs: Syncs,
    directory: File,
    name: String,
    origin: Box<str>,
    record: Mutex<Option<Record<Mark>>>,
    /// Chunks from which one could go on after a power cut.
    durable: AtomicU32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Which file it is a copy of.
    origin: Box<str>,
    /// The values of the MiB that are durable.
    tree: Tree,
}

impl Partial {
    /// A new one for `target`, which can be gone on with if its origin is known.
    pub(super) fn create(target: &Path, origin: Option<&str>) -> io::Result<Self> {
        if let Some(origin) = origin
            && let Some(file) = own(&hidden(target, PART), true)
        {
            file.set_len(0)?;
            return Self::kept(file, target, origin, None, Tree::new());
        }
        // Somebody else fetches the same file, or has put something into its place.
        let (file, path) = new_partial(directory::above(target))?.into_parts();
        Ok(Self { file: Arc::new(file), path: Some(path), kept: None })
    }

    /// Whether something may have been left for `target`.
    pub(super) fn is_there(target: &Path) -> bool {
        fs::symlink_metadata(hidden(target, MARK)).is_ok()
    }

    /// The one that was left for `target`, if it is a copy of `origin`.
    pub(super) fn reopen(target: &Path, origin: &str) -> Option<Self> {
        let mut file = own(&hidden(target, PART), false)?;
        let directory = File::open(directory::above(target)).ok()?;
        let (record, mark) =
            Record::<Mark>::open(&directory, &hidden_name(target, MARK)).ok().flatten()?;
        if *mark.origin != *origin || !mark.tree.is_sound() || mark.tree.runs() < 2 {
            return None;
        }
        // What is behind it may not be what it was.
        let len = u64::from(mark.tree.runs()) << 20;
        if file.metadata().ok()?.len() < len {
            return None;
        }
        file.set_len(len).ok()?;
        file.seek(io::SeekFrom::End(0)).ok()?;
        Self::kept(file, target, origin, Some(record), mark.tree).ok()
    }

    fn kept(
        file: File,
        target: &Path,
        origin: &str,
        record: Option<Record<Mark>>,
        tree: Tree,
    ) -> io::Result<Self> {
        let file = Arc::new(file);
        let marks = Marks {
            file: Arc::clone(&file),
            syncs: Syncs::default(),
            directory: File::open(directory::above(target))?,
            name: hidden_name(target, MARK),
            origin: origin.into(),
            record: Mutex::new(record),
            durable: AtomicU32::new(tree.runs() << 10),
        };
        let is_fresh = tree.runs() > 0;
        let checkpoints = Checkpoints::new(tree);
        let kept = Kept { marks: Arc::new(marks), checkpoints, is_fresh };
        let path = Some(TempPath::try_from_path(hidden(target, PART))?);
        Ok(Self { file, path, kept: Some(kept) })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// What is durable, before anything more is written.
    pub(super) fn have(&mut self) -> Option<Tree> {
        let kept = self.kept.as_ref().filter(|kept| kept.is_fresh)?;
        Some(kept.checkpoints.tree().clone())
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if let Some(kept) = &mut self.kept {
            kept.is_fresh = false;
            kept.checkpoints.look()?;
        }
        (&*self.file).write_all(data)
    }

    /// What was written has these values.
    pub(super) fn mark(&mut self, tree: &Tree) {
        if let Some(kept) = &mut self.kept
            // What failed is remembered, and told when all of it is to be made durable.
            && kept.checkpoints.look().is_ok()
        {
            let (marks, durable) = (Arc::clone(&kept.marks), kept.marks.durable());
            kept.checkpoints.written(tree, durable, move |tree| marks.make(tree));
        }
    }

    /// Makes all of it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let sync = || retry_on_intr(|| fsync(&self.file));
        match &self.kept {
            Some(kept) => Ok(kept.marks.syncs.run(sync)?),
            None => Ok(sync()?),
        }
    }

    pub(super) fn durable(&self) -> u32 {
        self.kept.as_ref().map_or(0, |kept| kept.marks.durable())
    }

    /// Leaves what is durable, if that is anything.
    pub(super) fn leave(mut self) {
        let Some(kept) = &mut self.kept else { return };
        if let Some(tree) = kept.checkpoints.settle(|| kept.marks.durable()) {
            // What was durable before remains.
            let _ = kept.marks.make(tree);
        }
        if kept.marks.durable() > 0
            && let Some(path) = self.path.take()
        {
            // It goes on without being taken away, whatever this says.
            let _ = path.keep();
        }
    }

    /// Has `place` give it its name.
    pub(super) fn place(
        mut self,
        place: impl FnOnce(TempPath) -> io::Result<u32>,
    ) -> io::Result<u32> {
        match self.path.take() {
            Some(path) => {
                let result = place(path);
                // With its name it is not to be gone on with, and without it nothing is there.
                self.forget();
                result
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn forget(&mut self) {
        if let Some(mut kept) = self.kept.take() {
            let _ = kept.checkpoints.settle(|| u32::MAX);
            kept.marks.remove();
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // The bytes go with their path.
        if self.path.is_some() {
            self.forget();
        }
    }
}

impl Marks {
    fn durable(&self) -> u32 {
        self.durable.load(Ordering::Acquire)
    }

    /// Makes what has these values durable, and says so.
    fn make(&self, tree: Tree) -> io::Result<()> {
        self.syncs.run(|| retry_on_intr(|| fdatasync(&self.file)))?;
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let record = match &mut *record {
            Some(record) => record,
            none => none.insert(Record::create(&self.directory, &self.name)?),
        };
        let chunks = tree.runs() << 10;
        record.write(&Mark { origin: self.origin.clone(), tree })?;
        self.durable.store(chunks, Ordering::Release);
        Ok(())
    }

    fn remove(&self) {
        let _ = rustix::fs::unlinkat(&self.directory, &self.name, rustix::fs::AtFlags::empty());
    }
}

/// The hidden file at `path`, for this process alone; none where somebody else has it, or where it is
/// not what this user made.
fn own(path: &Path, is_new: bool) -> Option<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .write(true)
        .create(is_new)
        // The system takes the umask off.
        .mode(0o666)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .ok()?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        // A file system without locks.
        Err(Errno::NOTSUP | Errno::NOSYS) => {}
        Err(_) => return None,
    }
    let (meta, there) = (file.metadata().ok()?, fs::symlink_metadata(path).ok()?);
    // It may have got its name, or gone, before it was locked.
    let is_same = (meta.dev(), meta.ino()) == (there.dev(), there.ino());
    let is_ours = meta.is_file() && meta.nlink() == 1 && meta.uid() == geteuid();
    (is_same && is_ours).then_some(file)
}

fn geteuid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A hidden file in `directory` that nobody else has, with the mode that a new file of the user's has.
fn new_partial(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new()
        .prefix(".kift-")
        .suffix(PART)
        // The system takes the umask off.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

/// The hidden name of `target` that ends in `end`: no longer than any name may be.
fn hidden_name(target: &Path, end: &str) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let name = target.file_name().unwrap_or_default();
    let hash = blake3::hash(name.as_bytes()).to_hex();
    format!(".kift-{}{end}", &hash[..32])
}

fn hidden(target: &Path, end: &str) -> PathBuf {
    directory::above(target).join(hidden_name(target, end))
}
