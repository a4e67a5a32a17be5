//! What is left of an upload until it is stored, so that it can go on after a reset.
//!
//! Each has a place in the table with two items: a [`Rest`], which says whose it is and where its
//! blocks are, and a [`Mark`], which is small and says how many of these are whole. A mark is written
//! behind every block, a rest where the blocks change. A rest owns the blocks that it counts as whole
//! and no others.

use core::task::{Poll, ready};

use kift_core::storage::Outcome;
use kift_core::wire::{Code, TransferId};
use serde::{Deserialize, Serialize};

use super::record::{Extents, Slot};
use super::space::head;
use super::store::{MountError, Open, Store, wait};
use super::upload::{Keeping, Upload};
use super::{Flash, RESTS_MAX};

/// Bytes that must be whole before anything is kept: a small file is sent again sooner than the table
/// is written for it.
const LEN_MIN: usize = 16 << 10;

/// Blocks of them.
pub(super) const fn blocks_min<F: Flash>() -> u16 {
    (LEN_MIN.div_ceil(F::ERASE_SIZE)) as u16
}

/// In the table: an upload, and where it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rest {
    pub of: Origin,
    /// Greater than that of every item written before.
    pub generation: u32,
    /// Blocks that were whole when this was written.
    pub blocks: u16,
    /// Those, and what it had beyond them.
    pub extents: Extents,
}

/// In the table: so many blocks of the rest with this generation are whole.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Mark {
    pub generation: u32,
    pub blocks: u16,
}

/// Which upload it is. Another with the same id, to another name, is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub transfer: TransferId,
    pub parent: Slot,
    /// Of the name that was asked for.
    pub hash: u32,
}

/// What is remembered of a rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub of: Origin,
    pub generation: u32,
    pub blocks: u16,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is being written.
    Open,
    /// It waits for whoever goes on, or gives way.
    Idle,
    /// It is worth nothing: it goes before anything else is changed.
    Doomed,
    /// It became a file, whose blocks these are now: likewise.
    Stored,
}

/// The rests, by their places.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rests([Option<Known>; RESTS_MAX]);

impl Rests {
    /// Takes what the table says of `place`.
    pub(super) fn found(&mut self, place: usize, rest: &Rest) {
        let (of, generation, blocks) = (rest.of, rest.generation, rest.blocks);
        self.set(place, Some(Known { of, generation, blocks, state: State::Idle }));
    }

    /// Counts what the marks say, and gives the generations of all that is there.
    pub(super) fn count(&mut self, marks: &[Option<Mark>; RESTS_MAX]) -> Option<u32> {
        let mut last = None;
        for (known, mark) in self.0.iter_mut().zip(marks) {
            if let (Some(known), Some(mark)) = (known.as_mut(), mark)
                && known.generation == mark.generation
            {
                known.blocks = known.blocks.max(mark.blocks);
            }
            let of = known.as_ref().map(|known| known.generation);
            last = last.max(of).max(mark.map(|mark| mark.generation));
        }
        last
    }

    pub(super) fn get(&self, place: usize) -> Option<Known> {
        self.0.get(place).copied().flatten()
    }

    pub(super) fn set(&mut self, place: usize, known: Option<Known>) {
        if let Some(slot) = self.0.get_mut(place) {
            *slot = known;
        }
    }

    pub(super) fn set_state(&mut self, place: usize, state: State) {
        if let Some(Some(known)) = self.0.get_mut(place) {
            known.state = state;
        }
    }

    fn all(&self) -> impl Iterator<Item = (usize, &Known)> {
        self.0.iter().enumerate().filter_map(|(place, known)| Some((place, known.as_ref()?)))
    }

    /// The one that waits for this upload.
    pub(super) fn of(&self, of: &Origin) -> Option<(usize, Known)> {
        let mut all = self.all().map(|(place, known)| (place, *known));
        all.find(|(_, known)| known.of == *of && known.state == State::Idle)
    }

    /// A place without a rest.
    pub(super) fn free(&self) -> Option<usize> {
        self.0.iter().position(Option::is_none)
    }

    /// The one that has waited longest.
    pub(super) fn oldest(&self) -> Option<usize> {
        let idle = self.all().filter(|(_, known)| known.state == State::Idle);
        idle.min_by_key(|(_, known)| known.generation).map(|(place, _)| place)
    }

    /// Blocks that would be free if all gave way.
    pub(super) fn blocks(&self) -> u16 {
        let idle = self.all().filter(|(_, known)| known.state == State::Idle);
        idle.fold(0, |sum, (_, known)| sum.saturating_add(known.blocks))
    }
}

impl<F: Flash, const HANDLES: usize> Store<F, HANDLES> {
    /// At the mount: takes the blocks of the rests. One whose blocks are a file's became that file.
    pub(super) fn find_rests(&mut self) -> Result<(), MountError> {
        for place in 0..RESTS_MAX {
            let Some(known) = self.rests.get(place) else { continue };
            let rest = wait(|| self.table.rest(place))?;
            let is_free = rest
                .is_some_and(|rest| self.space.take_if_free(&head(&rest.extents, known.blocks)));
            if !is_free {
                self.rests.set_state(place, State::Stored);
            }
        }
        Ok(())
    }

    /// Puts down in the table what is whole of an upload, if that is enough and new.
    pub(super) fn checkpoint(&mut self, number: usize) -> Outcome<()> {
        if RESTS_MAX == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(Open::Upload(upload)) = self.open.get(number) else { return Poll::Ready(Ok(())) };
        let (of, keeping, durable) = (upload.of, upload.keeping, upload.durable);
        let blocks = upload.whole::<F>();
        if blocks <= durable || blocks < blocks_min::<F>() {
            return Poll::Ready(Ok(()));
        }
        let place = match keeping {
            Keeping::At(place) => Some(place),
            Keeping::NotYet => ready!(self.place_for_rest())?,
            Keeping::Never => return Poll::Ready(Ok(())),
        };
        let Some(Open::Upload(upload)) = self.open.get_mut(number) else {
            return Poll::Ready(Ok(()));
        };
        let Some(place) = place else {
            upload.keeping = Keeping::Never;
            return Poll::Ready(Ok(()));
        };
        if let Some(known) = self.rests.get(place).filter(|_| upload.is_recorded) {
            let mark = Mark { generation: known.generation, blocks };
            ready!(self.table.set_mark(place, mark))?;
            self.rests.set(place, Some(Known { blocks, ..known }));
        } else {
            let generation = self.generation.wrapping_add(1);
            let rest = Rest { of, generation, blocks, extents: upload.extents.clone() };
            ready!(self.table.set_rest(place, rest))?;
            self.generation = generation;
            self.rests.set(place, Some(Known { of, generation, blocks, state: State::Open }));
        }
        upload.keeping = Keeping::At(place);
        upload.is_recorded = true;
        upload.durable = blocks;
        Poll::Ready(Ok(()))
    }

    /// The session of an upload has ended: what is durable of it stays.
    pub(super) fn put_aside(&mut self, upload: &mut Upload) {
        self.part(upload, State::Idle);
    }

    /// Nobody wants an upload any more.
    pub(super) fn throw_away(&mut self, upload: &mut Upload) {
        self.part(upload, State::Doomed);
        // It goes now, or before the next change.
        let _ = self.clear_rests();
    }

    /// Gives back the blocks that are not its rest's.
    fn part(&mut self, upload: &mut Upload, state: State) {
        let kept = match upload.keeping {
            Keeping::At(place) => {
                self.rests.set_state(place, state);
                upload.durable
            }
            Keeping::NotYet | Keeping::Never => 0,
        };
        self.space.truncate(&mut upload.extents, kept);
    }

    /// An upload has become a file.
    pub(super) fn became_file(&mut self, upload: &Upload) {
        if let Keeping::At(place) = upload.keeping {
            self.rests.set_state(place, State::Stored);
            let _ = self.clear_rests();
        }
    }

    /// Takes up the rest of an upload, whose place and blocks it gives.
    pub(super) fn take_up(&mut self, of: &Origin) -> Outcome<Option<(usize, Extents)>> {
        let Some((place, known)) = self.rests.of(of) else { return Poll::Ready(Ok(None)) };
        let rest = ready!(self.table.rest(place))?.ok_or(Code::Io)?;
        self.rests.set_state(place, State::Open);
        Poll::Ready(Ok(Some((place, head(&rest.extents, known.blocks)))))
    }

    /// Whoever has this upload open loses it.
    pub(super) fn take_over(&mut self, of: &Origin) {
        let is_it = |open: &Open| matches!(open, Open::Upload(upload) if upload.of == *of);
        while let Some(open) = self.open.iter_mut().find(|open| is_it(open)) {
            if let Open::Upload(mut upload) = core::mem::replace(open, Open::TakenOver) {
                self.put_aside(&mut upload);
            }
        }
    }

    /// Nobody goes on with the rest of this upload, if there is one.
    pub(super) fn forget_rest(&mut self, of: &Origin) -> Outcome<()> {
        if let Some((place, _)) = self.rests.of(of) {
            self.rests.set_state(place, State::Doomed);
        }
        self.clear_rests()
    }

    /// Drops the rest that has waited longest, and says whether there was one.
    pub(super) fn make_way(&mut self) -> Outcome<bool> {
        let Some(place) = self.rests.oldest() else { return Poll::Ready(Ok(false)) };
        self.remove_rest(place).map_ok(|()| true)
    }

    /// A place for a further rest, which the oldest may have to leave.
    fn place_for_rest(&mut self) -> Outcome<Option<usize>> {
        ready!(self.clear_rests())?;
        if self.rests.free().is_none() {
            ready!(self.make_way())?;
        }
        Poll::Ready(Ok(self.rests.free()))
    }

    /// Removes the rests that nobody goes on with.
    pub(super) fn clear_rests(&mut self) -> Outcome<()> {
        for place in 0..RESTS_MAX {
            let state = self.rests.get(place).map(|known| known.state);
            if let Some(State::Doomed | State::Stored) = state {
                ready!(self.remove_rest(place))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn remove_rest(&mut self, place: usize) -> Outcome<()> {
        let Some(known) = self.rests.get(place) else { return Poll::Ready(Ok(())) };
        let blocks = match known.state {
            State::Stored => Extents::new(),
            _ => match ready!(self.table.rest(place))? {
                Some(rest) => head(&rest.extents, known.blocks),
                None => Extents::new(),
            },
        };
        ready!(self.table.remove_rest(place))?;
        self.space.give_back(&blocks);
        self.rests.set(place, None);
        Poll::Ready(Ok(()))
    }
}
