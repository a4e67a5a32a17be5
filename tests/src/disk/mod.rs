//! A disk that loses what was not synced.
//!
//! Programs use it through a [`Mount`]. It notes every operation, and from any prefix of these it makes
//! the tree that a power cut at that moment may have left: what was synced is there; of the rest each
//! write may be there, or not, or some of its sectors, and each change of a directory may be there or not.

mod mount;
mod wreck;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::io::Errno;

pub use mount::{Mount, why_no_mount};
pub use wreck::{Luck, Wreck};

/// The number of a file or directory, never used again.
type Number = u64;

/// The directory in which everything is.
const ROOT: Number = 1;

/// What was done, as far as a power cut can undo it.
#[derive(Debug, Clone)]
enum Operation {
    Write {
        file: Number,
        at: usize,
        data: Box<[u8]>,
    },
    Truncate {
        file: Number,
        len: usize,
    },
    SetModified {
        node: Number,
        modified: SystemTime,
    },
    SetMode {
        node: Number,
        mode: u16,
    },
    Link {
        folder: Number,
        name: OsString,
        node: Number,
        is_folder: bool,
        mode: u16,
    },
    Unlink {
        folder: Number,
        name: OsString,
    },
    Rename {
        from: (Number, OsString),
        to: (Number, OsString),
        node: Number,
    },
    Sync {
        node: Number,
    },
    /// A sync that failed: what it was to make durable is not made so by a later one.
    Loss {
        node: Number,
    },
}

/// What goes wrong, and the mistakes of a program that the disk can pretend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Bytes that fit.
    pub capacity: Option<u64>,
    /// So many operations work yet, of those that change something or sync; the others fail.
    pub works_for: Option<u64>,
    /// The sync behind so many fails, once. A later one knows nothing of that.
    pub fails_sync: Option<u64>,
    /// Syncs of files do nothing, as if they had been left out.
    pub forgets_syncs: bool,
    /// What a rename would replace or make is durable before what was synced last, as if the sync came
    /// behind it.
    pub renames_first: bool,
}

#[derive(Debug, Clone)]
struct Node {
    contents: Contents,
    mode: u16,
    modified: SystemTime,
    links: u32,
}

#[derive(Debug, Clone)]
enum Contents {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, Number>),
}

/// The disk.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    nodes: BTreeMap<Number, Node>,
    /// Of the node that was made last.
    last: Number,
    /// What was there before anything in the log was done.
    base: BTreeMap<Number, Node>,
    log: Vec<Operation>,
    faults: Faults,
}

impl Default for Disk {
    fn default() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::folder(0o755))]);
        let (base, faults) = (nodes.clone(), Faults::default());
        Self(Arc::new(Mutex::new(State { nodes, last: ROOT, base, log: Vec::new(), faults })))
    }
}

impl Disk {
    /// Operations so far: a power cut can be after as many, or after fewer.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.state().log.len()
    }

    /// Syncs so far.
    #[must_use]
    pub fn syncs(&self) -> usize {
        let is_sync = |operation: &&Operation| matches!(operation, Operation::Sync { .. });
        self.state().log.iter().filter(is_sync).count()
    }

    /// Whether a sync has failed.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.state().log.iter().any(|operation| matches!(operation, Operation::Loss { .. }))
    }

    /// From now on this goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Whether it has come to the operation from which on it fails.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().faults.works_for == Some(0)
    }

    /// The power goes, and comes back. Whoever has something open here finds it gone.
    pub fn lose_power(&self, luck: Luck) {
        let Wreck(nodes) = self.cut(self.operations(), luck);
        let mut state = self.state();
        (state.base, state.nodes, state.log) = (nodes.clone(), nodes, Vec::new());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    fn new(contents: Contents, mode: u16) -> Self {
        Self { contents, mode, modified: SystemTime::now(), links: 1 }
    }

    fn folder(mode: u16) -> Self {
        Self::new(Contents::Folder(BTreeMap::new()), mode)
    }

    fn file(mode: u16) -> Self {
        Self::new(Contents::File(Vec::new()), mode)
    }

    fn is_folder(&self) -> bool {
        matches!(self.contents, Contents::Folder(_))
    }

    fn entries(&self) -> Result<&BTreeMap<OsString, Number>, Errno> {
        match &self.contents {
            Contents::Folder(entries) => Ok(entries),
            Contents::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn entries_mut(&mut self) -> Result<&mut BTreeMap<OsString, Number>, Errno> {
        match &mut self.contents {
            Contents::Folder(entries) => Ok(entries),
            Contents::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn data(&self) -> Result<&[u8], Errno> {
        match &self.contents {
            Contents::File(data) => Ok(data),
            Contents::Folder(_) => Err(Errno::ISDIR),
        }
    }

    fn data_mut(&mut self) -> Result<&mut Vec<u8>, Errno> {
        match &mut self.contents {
            Contents::File(data) => Ok(data),
            Contents::Folder(_) => Err(Errno::ISDIR),
        }
    }
}

/// Writes behind the end too: what lies between is zeros.
fn write(data: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = at + new.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[at..end].copy_from_slice(new);
}

impl State {
    fn node(&self, number: Number) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(Errno::NOENT)
    }

    fn node_mut(&mut self, number: Number) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::NOENT)
    }

    fn lookup(&self, folder: Number, name: &OsStr) -> Result<Number, Errno> {
        self.node(folder)?.entries()?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// Bytes in all files, those without a name too.
    fn used(&self) -> u64 {
        let len = |node: &Node| node.data().map_or(0, <[u8]>::len) as u64;
        self.nodes.values().filter(|node| node.links > 0).map(len).sum()
    }

    /// Counts an operation against those that work.
    fn try_to(&mut self) -> Result<(), Errno> {
        match &mut self.faults.works_for {
            None => Ok(()),
            Some(0) => Err(Errno::IO),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn has_room(&self, more: usize) -> Result<(), Errno> {
        match self.faults.capacity {
            Some(capacity) if self.used() + more as u64 > capacity => Err(Errno::NOSPC),
            _ => Ok(()),
        }
    }

    fn write(&mut self, file: Number, at: usize, data: &[u8]) -> Result<(), Errno> {
        self.try_to()?;
        let len = self.node(file)?.data()?.len();
        self.has_room((at + data.len()).saturating_sub(len))?;
        let node = self.node_mut(file)?;
        write(node.data_mut()?, at, data);
        node.modified = SystemTime::now();
        self.log.push(Operation::Write { file, at, data: data.into() });
        Ok(())
    }

    fn truncate(&mut self, file: Number, len: usize) -> Result<(), Errno> {
        self.try_to()?;
        self.node_mut(file)?.data_mut()?.resize(len, 0);
        self.log.push(Operation::Truncate { file, len });
        Ok(())
    }

    fn set_modified(&mut self, node: Number, modified: SystemTime) -> Result<(), Errno> {
        self.node_mut(node)?.modified = modified;
        self.log.push(Operation::SetModified { node, modified });
        Ok(())
    }

    fn set_mode(&mut self, node: Number, mode: u16) -> Result<(), Errno> {
        self.node_mut(node)?.mode = mode;
        self.log.push(Operation::SetMode { node, mode });
        Ok(())
    }

    fn make(&mut self, folder: Number, name: &OsStr, made: Node) -> Result<Number, Errno> {
        self.try_to()?;
        self.has_room(1)?;
        let node = self.last + 1;
        let entries = self.node_mut(folder)?.entries_mut()?;
        if entries.contains_key(name) {
            return Err(Errno::EXIST);
        }
        entries.insert(name.to_owned(), node);
        let (is_folder, mode) = (made.is_folder(), made.mode);
        self.log.push(Operation::Link { folder, name: name.to_owned(), node, is_folder, mode });
        self.nodes.insert(node, made);
        self.last = node;
        Ok(node)
    }

    fn unlink(&mut self, folder: Number, name: &OsStr, is_folder: bool) -> Result<(), Errno> {
        self.try_to()?;
        let number = self.lookup(folder, name)?;
        let node = self.node_mut(number)?;
        match (&node.contents, is_folder) {
            (Contents::File(_), true) => return Err(Errno::NOTDIR),
            (Contents::Folder(_), false) => return Err(Errno::ISDIR),
            (Contents::Folder(entries), true) if !entries.is_empty() => {
                return Err(Errno::NOTEMPTY);
            }
            _ => node.links = 0,
        }
        self.node_mut(folder)?.entries_mut()?.remove(name);
        self.log.push(Operation::Unlink { folder, name: name.to_owned() });
        Ok(())
    }

    fn rename(
        &mut self,
        from: (Number, &OsStr),
        to: (Number, &OsStr),
        replaces: bool,
    ) -> Result<(), Errno> {
        self.try_to()?;
        let moved = self.lookup(from.0, from.1)?;
        match self.lookup(to.0, to.1) {
            Ok(_) if !replaces => return Err(Errno::EXIST),
            Ok(there) if there == moved => return Ok(()),
            Ok(there) => match (&self.node(there)?.contents, self.node(moved)?.is_folder()) {
                (Contents::File(_), true) => return Err(Errno::NOTDIR),
                (Contents::Folder(_), false) => return Err(Errno::ISDIR),
                (Contents::Folder(entries), true) if !entries.is_empty() => {
                    return Err(Errno::NOTEMPTY);
                }
                _ => self.node_mut(there)?.links = 0,
            },
            Err(_) => {}
        }
        self.node_mut(from.0)?.entries_mut()?.remove(from.1);
        self.node_mut(to.0)?.entries_mut()?.insert(to.1.to_owned(), moved);
        let [from, to] = [from, to].map(|(folder, name)| (folder, name.to_owned()));
        let folder = to.0;
        let rename = Operation::Rename { from, to, node: moved };
        let is_sync_of_it =
            |operation: &Operation| matches!(operation, Operation::Sync { node } if *node == moved);
        match self.log.iter().rposition(is_sync_of_it) {
            Some(at) if self.faults.renames_first => {
                let sync = self.log.remove(at);
                self.log.extend([rename, Operation::Sync { node: folder }, sync]);
            }
            _ => self.log.push(rename),
        }
        Ok(())
    }

    fn sync(&mut self, node: Number) -> Result<(), Errno> {
        self.try_to()?;
        match &mut self.faults.fails_sync {
            None => {}
            Some(0) => {
                self.faults.fails_sync = None;
                self.log.push(Operation::Loss { node });
                return Err(Errno::IO);
            }
            Some(left) => *left -= 1,
        }
        if !self.faults.forgets_syncs || self.node(node)?.is_folder() {
            self.log.push(Operation::Sync { node });
        }
        Ok(())
    }
}
