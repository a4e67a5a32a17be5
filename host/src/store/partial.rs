//! An upload's bytes until they have a name: a file in `.kift/`, which may outlive its session.

use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use kift_core::Tree;
use kift_core::storage::Outcome;
use kift_core::wire::{Code, Conflict, Digest};
use rustix::fs::{AtFlags, Mode, OFlags, fdatasync, fsync, ftruncate, openat, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use tracing::{error, warn};

use crate::record::{Record, write_all};
use crate::syncs::Syncs;

use super::checkpoint::{Asked, Checkpoint, Placing, now};
use super::ledger::Reservation;
use super::presence::Presence;
use super::reason::reason;
use super::root::Root;
use super::workshop::{Workshop, mark_name, new_stem, part_name};

/// What a stored file's permissions are before the umask. The partial has them from the start:
/// nobody else can enter `.kift/`.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// The file, and beside it what is known of it, if that is worth it. Whoever has the turn writes.
pub(super) struct Partial {
    root: Arc<Root>,
    /// What the names of both begin with.
    stem: String,
    file: Arc<OwnedFd>,
    syncs: Syncs,
    state: Mutex<State>,
    /// Chunks from which an attempt could go on after a power cut.
    durable: AtomicU32,
}

struct State {
    /// Of the attempt that may write.
    turn: u64,
    /// When whoever makes it came.
    since: Instant,
    record: Option<Record<Checkpoint>>,
    checkpoint: Checkpoint,
    /// None once it is another's.
    reservation: Option<Reservation>,
    fate: Fate,
}

/// What becomes of it when nobody has it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Goes,
    Stays,
    Gone,
}

impl Partial {
    /// A new one, in which there is nothing.
    pub(super) fn create(
        root: &Arc<Root>,
        asked: Asked,
        reservation: Reservation,
        sender: &Presence,
    ) -> Result<Self, Code> {
        let dir = &root.workshop()?.dir;
        let stem = new_stem(asked.transfer);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(dir, part_name(&stem), flags, FILE_MODE));
        let file = file.map_err(|error| {
            error!(stem, %error, "cannot create a partial upload");
            match reason(error) {
                // The peer would take it for its own path.
                Code::NotFound | Code::Exists => Code::Io,
                code => code,
            }
        })?;
        let checkpoint = Checkpoint { asked, since: now(), tree: Tree::new(), placing: None };
        Ok(Self::new(root, stem, file, None, checkpoint, reservation, sender))
    }

    /// One that an earlier attempt left, cut to what is durable of it. None where that is no more what
    /// it was; it is removed.
    pub(super) fn reopen(root: &Arc<Root>, rest: Rest, sender: &Presence) -> Option<Self> {
        let workshop = root.workshop().ok()?;
        let Rest { stem, reservation } = rest;
        let opened = || -> Result<Option<_>, Errno> {
            let read = Record::open(&workshop.dir, &mark_name(&stem))?;
            let Some((record, last)) = read.filter(|(_, last)| Checkpoint::is_sound(last)) else {
                return Ok(None);
            };
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let part = part_name(&stem);
            let file = retry_on_intr(|| openat(&workshop.dir, &part, flags, Mode::empty()))?;
            // Zeros at its end may never have been written.
            retry_on_intr(|| ftruncate(&file, last.bytes()))?;
            Ok(Some((record, Checkpoint { placing: None, ..last }, file)))
        };
        match opened() {
            Ok(Some((record, checkpoint, file))) => {
                let record = Some(record);
                let new = Self::new(root, stem, file, record, checkpoint, reservation, sender);
                return Some(new);
            }
            Ok(None) => warn!(stem, "a checkpoint cannot be read, and its upload begins again"),
            Err(error) => warn!(stem, %error, "an upload cannot be gone on with, and begins again"),
        }
        remove(workshop, &stem);
        None
    }

    fn new(
        root: &Arc<Root>,
        stem: String,
        file: OwnedFd,
        record: Option<Record<Checkpoint>>,
        checkpoint: Checkpoint,
        reservation: Reservation,
        sender: &Presence,
    ) -> Self {
        let durable = AtomicU32::new(checkpoint.chunks());
        let reservation = Some(reservation);
        let (since, fate) = (sender.since, Fate::Goes);
        let state = State { turn: 0, since, record, checkpoint, reservation, fate };
        let (root, file) = (Arc::clone(root), Arc::new(file));
        let (syncs, state) = (Syncs::default(), Mutex::new(state));
        Self { root, stem, file, syncs, state, durable }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for the attempt whose turn it is.
    fn mine(&self, turn: u64) -> Result<MutexGuard<'_, State>, Code> {
        let state = self.state();
        if state.turn == turn { Ok(state) } else { Err(Code::Superseded) }
    }

    /// Whether that attempt may write, or leave it to others.
    pub(super) fn has_turn(&self, turn: u64) -> bool {
        self.mine(turn).is_ok()
    }

    /// Gives the turn to a new attempt of `sender`: no other writes any more. Gives what is durable. Pending
    /// where it has its name, or was left, and is about to be known for that.
    ///
    /// # Errors
    /// [`Code::Superseded`] where it is the turn of one who came later: what this one asked was only read
    /// later.
    pub(super) fn take_over(&self, sender: &Presence) -> Outcome<(u64, Tree)> {
        let mut state = self.state();
        if state.fate != Fate::Goes {
            return Poll::Pending;
        }
        if sender.since < state.since {
            return Poll::Ready(Err(Code::Superseded));
        }
        state.turn += 1;
        state.since = sender.since;
        Poll::Ready(Ok((state.turn, state.checkpoint.tree.clone())))
    }

    /// The values of what is durable.
    pub(super) fn tree(&self) -> Tree {
        self.state().checkpoint.tree.clone()
    }

    pub(super) fn asked(&self) -> Asked {
        self.state().checkpoint.asked.clone()
    }

    /// Chunks from which an attempt could go on after a power cut.
    pub(super) fn durable(&self) -> u32 {
        self.durable.load(Ordering::Acquire)
    }

    /// Has at least `amount` reserved.
    pub(super) fn reserve(&self, turn: u64, amount: u64) -> Outcome<()> {
        match self.mine(turn) {
            Ok(mut state) => match &mut state.reservation {
                Some(reservation) => self.root.reserve(reservation, amount),
                None => Poll::Ready(Err(Code::Superseded)),
            },
            Err(code) => Poll::Ready(Err(code)),
        }
    }

    pub(super) fn write(&self, turn: u64, at: u64, data: &[u8]) -> Result<(), Code> {
        // Under the lock: whoever takes over has written what comes after it.
        let _state = self.mine(turn)?;
        write_all(&self.file, at, data).map_err(reason)
    }

    /// Makes it durable by `sync`.
    pub(super) fn sync(
        &self,
        sync: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.syncs.run(|| sync(&self.file))
    }

    /// Makes what has these values durable, and a checkpoint of it: `tree` was written.
    pub(super) fn mark(&self, turn: u64, tree: Tree) -> Result<(), Code> {
        // Not under the lock: it takes as long as it takes.
        let synced = self.sync(|file| retry_on_intr(|| fdatasync(file)));
        synced.map_err(|error| self.unsynced(error))?;
        let mut state = self.mine(turn)?;
        state.checkpoint.tree = tree;
        self.keep(&mut state).map_err(|error| self.unsynced(error))?;
        self.durable.store(state.checkpoint.chunks(), Ordering::Release);
        Ok(())
    }

    /// What was durable is to be written over: there is no checkpoint any more.
    ///
    /// # Errors
    /// There may be one yet, and nothing may be written over.
    pub(super) fn unmark(&self, turn: u64) -> Result<(), Code> {
        let mut state = self.mine(turn)?;
        state.checkpoint.tree = Tree::new();
        self.durable.store(0, Ordering::Release);
        match state.record {
            Some(_) => self.keep(&mut state).map_err(|error| self.unsynced(error)),
            None => Ok(()),
        }
    }

    fn unsynced(&self, error: Errno) -> Code {
        error!(stem = self.stem, %error, "an upload cannot be made durable");
        reason(error)
    }

    /// Writes the checkpoint.
    fn keep(&self, state: &mut State) -> Result<(), Errno> {
        let dir = &self.root.workshop().map_err(|_| Errno::ROFS)?.dir;
        let record = match &mut state.record {
            Some(record) => record,
            none => none.insert(Record::create(dir, &mark_name(&self.stem))?),
        };
        record.write(&state.checkpoint)
    }

    /// Whether an attempt with the same id must find out what came of this one after a crash:
    /// whether the name is taken says nothing then. What replaces may do so twice, unless much would
    /// be sent again.
    fn is_announced(state: &State) -> bool {
        state.record.is_some() || state.checkpoint.asked.conflict != Conflict::Replace
    }

    /// All of it is durable and about to get its name with this suffix.
    pub(super) fn announce(
        &self,
        turn: u64,
        size: u64,
        root: Digest,
        suffix: u32,
    ) -> Result<(), Code> {
        let mut state = self.mine(turn)?;
        if !Self::is_announced(&state) {
            return Ok(());
        }
        state.checkpoint.placing = Some(Placing { size, root, suffix });
        self.keep(&mut state).map_err(|error| self.unsynced(error))
    }

    /// Has `rename` give it its name, from the one that it has in the given directory.
    ///
    /// # Errors
    /// [`Code::Superseded`], [`Code::Cancelled`] where the sender is gone, or why it cannot be renamed. It
    /// has not got the name then.
    pub(super) fn place(
        &self,
        turn: u64,
        sender: &Presence,
        rename: impl FnOnce(BorrowedFd<'_>, &str) -> Result<(), Errno>,
    ) -> Result<(), Code> {
        let dir = &self.root.workshop()?.dir;
        // Whoever is gone may have sent it again, and then another file, and both were stored. One at a time,
        // so that what this takes the place of had come while its sender was there.
        let _alone = self.root.served.placing.lock().unwrap_or_else(PoisonError::into_inner);
        // Held too: whoever took over now would write into the file.
        let mut state = self.mine(turn)?;
        if sender.is_gone() {
            return Err(Code::Cancelled);
        }
        rename(dir.as_fd(), &part_name(&self.stem)).map_err(reason)?;
        state.fate = Fate::Gone;
        Ok(())
    }

    /// It has its name, by which `store` enters it in the books. Gives the stem, if there is something
    /// on disk that says what came of it.
    pub(super) fn placed(&self, store: impl FnOnce(&Reservation)) -> Option<String> {
        let mut state = self.state();
        if let Some(reservation) = state.reservation.take() {
            store(&reservation);
        }
        state.record.is_some().then(|| self.stem.clone())
    }

    /// Leaves what is durable to a later attempt, if it is this one's turn and there is anything.
    pub(super) fn leave(&self, turn: u64) -> Option<(Asked, Rest)> {
        let mut state = self.mine(turn).ok()?;
        if self.durable() == 0 {
            return None;
        }
        // Nobody has the turn any more.
        state.turn += 1;
        state.fate = Fate::Stays;
        let rest = Rest { stem: self.stem.clone(), reservation: state.reservation.take()? };
        Some((state.checkpoint.asked.clone(), rest))
    }
}

/// What is left of an attempt.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) stem: String,
    pub(super) reservation: Reservation,
}

impl Drop for Partial {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.fate != Fate::Goes {
            return;
        }
        if let Ok(workshop) = self.root.workshop() {
            remove(workshop, &self.stem);
        }
    }
}

/// Removes a partial and what is known of it. The latter first, durably: alone it might say that the
/// partial has its name.
pub(super) fn remove(workshop: &Workshop, stem: &str) {
    let unlink = |name: &str| match unlinkat(&workshop.dir, name, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => Err(error),
        _ => Ok(()),
    };
    let removed = unlink(&mark_name(stem)).and_then(|()| match workshop.has_part(stem)? {
        true => retry_on_intr(|| fsync(&workshop.dir)).and_then(|()| unlink(&part_name(stem))),
        false => Ok(()),
    });
    if let Err(error) = removed {
        warn!(stem, %error, "cannot remove a partial upload; the next start will");
    }
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial").field("stem", &self.stem).finish_non_exhaustive()
    }
}
