//! A disk where programs find it: a file system of the kernel's, whose every operation comes here.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BackgroundSession, BsdFileFlags, Config, FileAttr, FileHandle, FileType,
    Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use tempfile::TempDir;

use super::{Contents, Disk, Node, Number, State};

/// How long the kernel may remember what it was told: not at all, so that it asks.
const REMEMBERED: Duration = Duration::ZERO;

/// Bytes of a block, of which the disk counts its room.
const BLOCK: u64 = 512;

/// A disk, mounted until this is dropped.
#[derive(Debug)]
pub struct Mount {
    // Unmounted before the directory goes.
    session: Option<BackgroundSession>,
    place: TempDir,
}

impl Mount {
    /// Mounts `disk` on a directory of its own.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn new(disk: &Disk) -> io::Result<Self> {
        let place = tempfile::tempdir()?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("kift-tests".into())];
        let session = fuser::spawn_mount(Served(disk.clone()), place.path(), &config)?;
        Ok(Self { session: Some(session), place })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

/// Why no disk can be mounted here, if so.
pub fn why_no_mount() -> Option<&'static str> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let why = WHY.get_or_init(|| {
        Mount::new(&Disk::default()).err().map(|error| format!("a FUSE file system: {error}"))
    });
    why.as_deref()
}

struct Served(Disk);

fn failed(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}

impl State {
    fn attributes(&self, number: Number) -> Result<FileAttr, Errno> {
        let node = self.node(number)?;
        let (kind, size) = match &node.contents {
            Contents::File(data) => (FileType::RegularFile, data.len() as u64),
            Contents::Folder(_) => (FileType::Directory, 0),
        };
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(BLOCK),
            atime: node.modified,
            mtime: node.modified,
            ctime: node.modified,
            crtime: node.modified,
            kind,
            perm: node.mode,
            nlink: node.links,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        })
    }
}

impl Served {
    /// Answers with what is known of the node that `find` gives.
    fn tell(&self, reply: ReplyEntry, find: impl FnOnce(&mut State) -> Result<Number, Errno>) {
        let mut state = self.0.state();
        match find(&mut state).and_then(|number| state.attributes(number)) {
            Ok(attributes) => reply.entry(&REMEMBERED, &attributes, Generation(0)),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn change(&self, reply: ReplyEmpty, change: impl FnOnce(&mut State) -> Result<(), Errno>) {
        match change(&mut self.0.state()) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(failed(error)),
        }
    }
}

const fn permissions(mode: u32, umask: u32) -> u16 {
    (mode & !umask & 0o7777) as u16
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.tell(reply, |state| state.lookup(parent.0, name));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.state().attributes(ino.0) {
            Ok(attributes) => reply.attr(&REMEMBERED, &attributes),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.0.state();
        let change = |state: &mut State| {
            if let Some(mode) = mode {
                state.set_mode(ino.0, permissions(mode, 0))?;
            }
            if let Some(size) = size {
                state.truncate(ino.0, size as usize)?;
            }
            match modified {
                Some(TimeOrNow::SpecificTime(time)) => state.set_modified(ino.0, time)?,
                Some(TimeOrNow::Now) => state.set_modified(ino.0, SystemTime::now())?,
                None => {}
            }
            state.attributes(ino.0)
        };
        match change(&mut state) {
            Ok(attributes) => reply.attr(&REMEMBERED, &attributes),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = Node::folder(permissions(mode, umask));
        self.tell(reply, |state| state.make(parent.0, name, made));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.change(reply, |state| state.unlink(parent.0, name, false));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.change(reply, |state| state.unlink(parent.0, name, true));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.intersects(RenameFlags::all().difference(RenameFlags::RENAME_NOREPLACE)) {
            return reply.error(failed(Errno::INVAL));
        }
        let replaces = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        self.change(reply, |state| {
            state.rename((parent.0, name), (new_parent.0, new_name), replaces)
        });
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.0.state().node(ino.0) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.0.state();
        let made = state.make(parent.0, name, Node::file(permissions(mode, umask)));
        match made.and_then(|number| state.attributes(number)) {
            Ok(attributes) => reply.created(
                &REMEMBERED,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.state().node(ino.0).and_then(Node::data) {
            Ok(data) => {
                let rest = data.get(offset as usize..).unwrap_or_default();
                reply.data(&rest[..rest.len().min(size as usize)]);
            }
            Err(error) => reply.error(failed(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.state().write(ino.0, offset as usize, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(failed(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.change(reply, |state| state.sync(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.change(reply, |state| state.sync(ino.0));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.0.state();
        let entries = match state.node(ino.0).and_then(Node::entries) {
            Ok(entries) => entries,
            Err(error) => return reply.error(failed(error)),
        };
        // Numbers are never used again, so they say where to go on.
        let mut entries: Vec<_> = entries.iter().filter(|(_, number)| **number > offset).collect();
        entries.sort_by_key(|(_, number)| **number);
        for (name, number) in entries {
            let kind = match state.nodes.get(number).is_some_and(Node::is_folder) {
                true => FileType::Directory,
                false => FileType::RegularFile,
            };
            if reply.add(INodeNo(*number), *number, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.0.state();
        let total = state.faults.capacity.unwrap_or(1 << 40);
        let (blocks, free) = (total / BLOCK, total.saturating_sub(state.used()) / BLOCK);
        reply.statfs(blocks, free, free, 1 << 20, 1 << 19, BLOCK as u32, 255, BLOCK as u32);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }
}
