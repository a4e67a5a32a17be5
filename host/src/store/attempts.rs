//! What became of uploads, by their transfer ids: so that what is durable of one is not sent again, and
//! one whose answer was lost is not stored twice.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use kift_core::Tree;
use kift_core::storage::Outcome;
use kift_core::wire::{Code, Path, TransferId};
use tracing::{info, warn};

use crate::record::Record;

use super::change::sync;
use super::checkpoint::{Asked, Checkpoint, Placing, now};
use super::partial::{Partial, Rest, remove};
use super::presence::Presence;
use super::root::Root;
use super::workshop::{Workshop, mark_name};

/// Seconds for which an outcome is remembered.
const STORED_AGE_MAX: u64 = 24 * 60 * 60;

/// Outcomes that are remembered.
const STORED_MAX: usize = 4096;

/// Seconds for which a rest is kept.
const REST_AGE_MAX: u64 = 7 * 24 * 60 * 60;

/// Rests that are kept.
const RESTS_MAX: usize = 256;

/// Of the file system, one part goes into rests.
const RESTS_SHARE: u64 = 4;

/// From one look for what is too old to the next.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Whose, and which.
type Key = (Box<str>, TransferId);

/// The uploads of a served directory.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    attempts: HashMap<Key, Attempt>,
    swept: Option<Instant>,
}

/// An upload.
#[derive(Debug)]
enum Attempt {
    /// Somebody is at it, or was when their link died.
    Open(Arc<Partial>),
    /// Nobody is, and this is left.
    Left { asked: Asked, rest: Rest, bytes: u64, age: Age },
    /// It has its name.
    Stored { asked: Asked, outcome: Placing, stem: Option<String>, age: Age },
}

/// How old something is. While a server runs it goes by a clock that does not jump.
#[derive(Debug, Clone, Copy)]
struct Age {
    /// Seconds, then.
    was: u64,
    at: Instant,
}

impl Age {
    fn new(seconds: u64) -> Self {
        Self { was: seconds, at: Instant::now() }
    }

    fn seconds(self) -> u64 {
        self.was.saturating_add(self.at.elapsed().as_secs())
    }
}

/// What there is of an earlier attempt.
#[derive(Debug)]
pub(super) enum Earlier {
    Nothing,
    /// A partial, the turn, and what is durable.
    Rest(Arc<Partial>, u64, Box<Tree>),
    Stored(Placing),
}

/// A rest, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) transfer: TransferId,
    /// Beneath the served directory.
    pub(super) path: Box<str>,
    /// Bytes that are there.
    pub(super) durable: u64,
    /// Bytes of all of it, where known.
    pub(super) size: Option<u64>,
    /// Seconds since it was left.
    pub(super) age: u64,
}

impl Attempts {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds what an earlier run left, removes what nobody can go on with, and says how much of each
    /// there is.
    ///
    /// # Errors
    /// The reserved directory cannot be read.
    pub(super) fn load(&self, root: &Arc<Root>, workshop: &Workshop) -> Result<(u64, u64), Code> {
        let (mut kept, mut removed) = (0, 0);
        let mut synced = BTreeSet::new();
        let failed = super::reason::reason;
        for stem in workshop.stems().map_err(failed)? {
            let has_part = workshop.has_part(&stem).map_err(failed)?;
            let read = Record::open(&workshop.dir, &mark_name(&stem));
            let attempt = match read.ok().flatten() {
                Some((_, last)) if Checkpoint::is_sound(&last) => {
                    Self::attempt(root, stem.clone(), last, has_part, &mut synced)
                }
                _ => None,
            };
            match attempt {
                Some((key, attempt)) => {
                    kept += u64::from(has_part);
                    self.known().attempts.insert(key, attempt);
                }
                None => {
                    removed += u64::from(has_part);
                    remove(workshop, &stem);
                }
            }
        }
        self.sweep(root, workshop);
        Ok((kept, removed))
    }

    /// What an earlier run left of an upload.
    fn attempt(
        root: &Arc<Root>,
        stem: String,
        last: Checkpoint,
        has_part: bool,
        synced: &mut BTreeSet<Box<str>>,
    ) -> Option<(Key, Attempt)> {
        let (bytes, age) = (last.bytes(), Age::new(now().saturating_sub(last.since)));
        let asked = last.asked;
        let key = (asked.owner.clone(), asked.transfer);
        match last.placing {
            Some(outcome) if !has_part => {
                // Who gave it its name may not have lived to make that durable.
                let path = Path::new(&asked.path).ok()?;
                let (folder, _) = root.locate(path).ok()?;
                if synced.insert(path.split().0.as_str().into()) {
                    sync(&folder, path).ok()?;
                }
                Some((key, Attempt::Stored { asked, outcome, stem: Some(stem), age }))
            }
            _ if has_part && bytes > 0 => {
                let mut reservation = root.reservation(Path::new(&asked.path).ok()?);
                // Without a quota of its own this root never refuses.
                let _ = root.reserve(&mut reservation, bytes);
                let rest = Rest { stem, reservation };
                Some((key, Attempt::Left { asked, rest, bytes, age }))
            }
            _ => None,
        }
    }

    /// What an earlier attempt at just what is `asked` came to, if it was stored.
    pub(super) fn outcome(&self, asked: &Asked) -> Option<Placing> {
        match self.known().attempts.get(&(asked.owner.clone(), asked.transfer)) {
            Some(Attempt::Stored { asked: before, outcome, .. }) if before == asked => {
                Some(*outcome)
            }
            _ => None,
        }
    }

    /// Takes over what there is of an earlier attempt at just what is `asked`, if that is wanted. Otherwise
    /// nobody goes on with it. Pending while that attempt comes to its end.
    ///
    /// # Errors
    /// [`Code::Superseded`] where it is that of one who came later.
    pub(super) fn earlier(
        &self,
        root: &Arc<Root>,
        asked: &Asked,
        is_wanted: bool,
        sender: &Presence,
    ) -> Outcome<Earlier> {
        let key = (asked.owner.clone(), asked.transfer);
        let mut known = self.known();
        let earlier = match known.attempts.remove(&key) {
            Some(Attempt::Open(partial)) => match partial.take_over(sender) {
                Poll::Ready(Ok((turn, tree))) if is_wanted && partial.asked() == *asked => {
                    Earlier::Rest(partial, turn, Box::new(tree))
                }
                // Its own session learns that at its next step.
                Poll::Ready(Ok(_)) => Earlier::Nothing,
                other => {
                    known.attempts.insert(key, Attempt::Open(partial));
                    return other.map_ok(|_| Earlier::Nothing);
                }
            },
            Some(Attempt::Left { asked: before, rest, .. }) if is_wanted && before == *asked => {
                match Partial::reopen(root, rest, sender) {
                    Some(partial) => {
                        let tree = partial.tree();
                        Earlier::Rest(Arc::new(partial), 0, Box::new(tree))
                    }
                    None => Earlier::Nothing,
                }
            }
            Some(Attempt::Left { rest, .. }) => {
                if let Ok(workshop) = root.workshop() {
                    remove(workshop, &rest.stem);
                }
                Earlier::Nothing
            }
            Some(Attempt::Stored { asked: before, outcome, stem, age }) => {
                let is_it = is_wanted && before == *asked;
                known.attempts.insert(key, Attempt::Stored { asked: before, outcome, stem, age });
                let earlier = if is_it { Earlier::Stored(outcome) } else { Earlier::Nothing };
                return Poll::Ready(Ok(earlier));
            }
            None => Earlier::Nothing,
        };
        if let Earlier::Rest(partial, ..) = &earlier {
            known.attempts.insert(key, Attempt::Open(Arc::clone(partial)));
        }
        Poll::Ready(Ok(earlier))
    }

    /// Somebody begins with `partial`; not if another attempt came in between, which is wanted if this
    /// `resumes`.
    pub(super) fn begin(&self, partial: &Arc<Partial>, resumes: bool) -> bool {
        let asked = partial.asked();
        let key = (asked.owner.clone(), asked.transfer);
        let mut known = self.known();
        match known.attempts.get(&key) {
            None => {}
            Some(Attempt::Stored { asked: before, .. }) if !resumes || *before != asked => {}
            Some(_) => return false,
        }
        known.attempts.insert(key, Attempt::Open(Arc::clone(partial)));
        true
    }

    /// Nobody is at `partial` any more if it is this one's turn, and nothing of it is wanted.
    pub(super) fn drop(&self, partial: &Arc<Partial>, turn: u64) {
        let asked = partial.asked();
        let key = (asked.owner, asked.transfer);
        // Nobody takes over meanwhile.
        let mut known = self.known();
        if !partial.has_turn(turn) {
            return;
        }
        if matches!(known.attempts.get(&key), Some(Attempt::Open(open)) if Arc::ptr_eq(open, partial))
        {
            known.attempts.remove(&key);
        }
    }

    /// Nobody is at an upload any more, and `rest` is left of it.
    pub(super) fn leave(&self, root: &Root, asked: Asked, rest: Rest, bytes: u64) {
        let key = (asked.owner.clone(), asked.transfer);
        let left = Attempt::Left { asked, rest, bytes, age: Age::new(0) };
        self.known().attempts.insert(key, left);
        if let Ok(workshop) = root.workshop() {
            self.sweep(root, workshop);
        }
    }

    /// An upload has its name; `stem` names what says so on disk.
    pub(super) fn stored(&self, root: &Root, asked: Asked, outcome: Placing, stem: Option<String>) {
        let key = (asked.owner.clone(), asked.transfer);
        let is_due = {
            let mut known = self.known();
            let stored = Attempt::Stored { asked, outcome, stem, age: Age::new(0) };
            known.attempts.insert(key, stored);
            let is_recent = |at: Instant| at.elapsed() <= SWEEP_EVERY;
            known.attempts.len() > 2 * STORED_MAX || !known.swept.is_some_and(is_recent)
        };
        if is_due && let Ok(workshop) = root.workshop() {
            self.sweep(root, workshop);
        }
    }

    /// The rests of `owner`.
    pub(super) fn shown(&self, owner: &str) -> Vec<Shown> {
        let known = self.known();
        let rests = known.attempts.values().filter_map(|attempt| match attempt {
            Attempt::Left { asked, bytes, age, .. } if *asked.owner == *owner => Some(Shown {
                transfer: asked.transfer,
                path: asked.path.clone(),
                durable: *bytes,
                size: asked.size,
                age: age.seconds(),
            }),
            _ => None,
        });
        let mut rests: Vec<Shown> = rests.collect();
        rests.sort_by(|a, b| (&a.path, a.transfer.0).cmp(&(&b.path, b.transfer.0)));
        rests
    }

    /// Removes the rest of an upload of `owner`.
    pub(super) fn discard(
        &self,
        root: &Root,
        owner: &str,
        transfer: TransferId,
    ) -> Result<(), Code> {
        let workshop = root.workshop()?;
        let key = (owner.into(), transfer);
        let mut known = self.known();
        match known.attempts.remove(&key) {
            Some(Attempt::Left { rest, .. }) => {
                remove(workshop, &rest.stem);
                Ok(())
            }
            Some(other) => {
                known.attempts.insert(key, other);
                Err(Code::NotFound)
            }
            None => Err(Code::NotFound),
        }
    }

    /// Removes what is too old, and the oldest of what is too much.
    fn sweep(&self, root: &Root, workshop: &Workshop) {
        let budget = root.room().ok().flatten().map_or(u64::MAX, |room| room.total / RESTS_SHARE);
        let mut known = self.known();
        known.swept = Some(Instant::now());
        let mut stored: Vec<(u64, Key)> = Vec::new();
        let mut rests: Vec<(u64, Key, u64)> = Vec::new();
        for (key, attempt) in &known.attempts {
            match attempt {
                Attempt::Open(_) => {}
                Attempt::Left { bytes, age, .. } => {
                    rests.push((age.seconds(), key.clone(), *bytes));
                }
                Attempt::Stored { age, .. } => stored.push((age.seconds(), key.clone())),
            }
        }
        // The youngest first.
        stored.sort_by_key(|(age, _)| *age);
        rests.sort_by_key(|(age, ..)| *age);
        let old = stored.into_iter().enumerate();
        let old = old.filter(|(at, (age, _))| *at >= STORED_MAX || *age > STORED_AGE_MAX);
        let mut gone: Vec<Key> = old.map(|(_, (_, key))| key).collect();
        let mut sum = 0_u64;
        for (at, (age, key, bytes)) in rests.into_iter().enumerate() {
            sum = sum.saturating_add(bytes);
            if at >= RESTS_MAX || age > REST_AGE_MAX || sum > budget {
                gone.push(key);
            }
        }
        for key in gone {
            match known.attempts.remove(&key) {
                Some(Attempt::Left { asked, rest, bytes, .. }) => {
                    info!(path = %asked.path, bytes, "the rest of an upload was kept long enough");
                    remove(workshop, &rest.stem);
                }
                Some(Attempt::Stored { stem: Some(stem), .. }) => remove(workshop, &stem),
                Some(Attempt::Open(_) | Attempt::Stored { .. }) | None => {}
            }
        }
    }
}

impl Root {
    /// Finds what an earlier run left in the reserved directory.
    pub(super) fn load_attempts(self: &Arc<Self>) -> Result<(), Code> {
        let Ok(workshop) = self.workshop() else { return Ok(()) };
        let (kept, removed) = self.served.attempts.load(self, workshop)?;
        if kept > 0 {
            info!(root = ?self.path(), kept, "uploads that were interrupted can go on");
        }
        if removed > 0 {
            warn!(root = ?self.path(), removed, "removed partial uploads that an earlier run left");
        }
        Ok(())
    }
}
