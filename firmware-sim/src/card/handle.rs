//! The storage port of one session or task.

use core::task::Poll;

use embedded_sdmmc::BlockDevice;
use heapless::{String, Vec};
use kift_core::secure::Peer;
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Store as Port};
use kift_core::wire::{
    Ask, CHUNK, Code, Conflict, Digest, Entry as Told, EntryKind, Meta, Path, Put, Space as Room,
    Timestamp, TransferId, suffixed,
};

use super::change::may_replace;
use super::entry::Entry;
use super::folder::Found;
use super::journal::{Change, Stored};
use super::name::{NAME_LEN_MAX, Name};
use super::rest::{self, State};
use super::store::{Cursor, Open, Source, Store, Target, check};
use super::upload::{Chain, Upload};
use crate::disk::Vault as _;

/// Names that are tried to keep a file beside others.
const SUFFIX_MAX: u32 = 64;

/// Entries that are found in one walk along a directory.
const BATCH: usize = 16;

/// The storage port of one session or task, which has at most one thing open.
#[derive(Debug)]
pub struct Handle<'s, D: BlockDevice, const HANDLES: usize> {
    store: &'s mut Store<D, HANDLES>,
    number: usize,
}

impl<'s, D: BlockDevice, const HANDLES: usize> Handle<'s, D, HANDLES> {
    pub(super) const fn new(store: &'s mut Store<D, HANDLES>, number: usize) -> Self {
        Self { store, number }
    }

    /// Opens `what`, and gives what was open.
    fn open_as(&mut self, what: Open) -> Open {
        match self.store.open.get_mut(self.number) {
            Some(open) => core::mem::replace(open, what),
            None => Open::Nothing,
        }
    }

    /// The upload that is open is to have this time of last modification.
    pub fn set_modified(&mut self, modified: Option<Timestamp>) {
        if let Some(Open::Upload(upload)) = self.store.open.get_mut(self.number) {
            upload.modified = modified;
        }
    }

    /// Whether another handle could do what is asked for.
    fn check(&self) -> Result<(), Code> {
        match self.store.open.get(self.number) {
            Some(Open::Nothing) => Ok(()),
            Some(_) | None => Err(Code::Internal),
        }
    }

    /// Whether an upload could be stored there now.
    fn check_place(&mut self, folder: u32, name: &Name, conflict: Conflict) -> Result<(), Code> {
        match self.store.card.find(folder, &name.bytes)? {
            Some(found) if conflict != Conflict::KeepBoth => may_replace(&found, conflict),
            _ => Ok(()),
        }
    }

    /// What came of an earlier attempt that was stored.
    fn earlier(
        &mut self,
        of: TransferId,
        folder: u32,
        asked: &str,
        name: &Name,
    ) -> Result<Option<Begun>, Code> {
        let Some((stored, entry)) = self.store.card.stored(of)? else { return Ok(None) };
        if stored.folder != folder || stored.name != name.bytes {
            return Ok(None);
        }
        let there = Name::new(&suffixed(asked, stored.suffix))?;
        let found = self.store.card.find(folder, &there.bytes)?;
        let is_it = |found: &Found| {
            (found.entry.first(), found.entry.size()) == (entry.first(), entry.size())
        };
        let Stored { root, suffix, .. } = stored;
        Ok(found.filter(is_it).map(|_| Begun::Stored { size: entry.size().into(), root, suffix }))
    }

    fn begin_upload(&mut self, path: Path<'_>, put: &Put<'_>) -> Result<Begun, Code> {
        self.check()?;
        let (folder, asked, name) = self.store.place(path, None)?;
        let stem = rest::stem(put.transfer, folder, &name.bytes);
        let goes_on = put.ask != Ask::Now;
        if goes_on && let Some(begun) = self.earlier(put.transfer, folder, asked, &name)? {
            return Ok(begun);
        }
        self.store.take_over(&stem)?;
        if !goes_on {
            self.store.forget_rest(&stem)?;
        }
        self.check_place(folder, &name, put.conflict)?;
        let size = match u32::try_from(put.size.unwrap_or(0)) {
            Ok(size) if u64::from(size) <= self.store.bytes() => size,
            _ => return Err(Code::TooLarge),
        };
        let asked = String::try_from(asked).map_err(|_| Code::NameTooLong)?;
        let slot = match self.store.rests.of(&stem) {
            Some(slot) => slot,
            None => self.store.rests.take(&mut self.store.card, stem)?,
        };
        self.store.rests.set_state(slot, State::Open);
        let rest::Slot { first, durable, .. } = self.store.rests.get(slot);
        let mut upload = Upload {
            folder,
            asked,
            name,
            transfer: put.transfer,
            conflict: put.conflict,
            modified: put.modified,
            slot,
            chain: Chain::new(first),
            clusters: 0,
            written: durable,
        };
        let claimed = upload.count(&mut self.store.card).and_then(|()| {
            loop {
                match upload.claim(&mut self.store.card, &mut self.store.rests, size) {
                    Err(Code::NoSpace) if self.store.make_way()? => {}
                    claimed => break claimed,
                }
            }
        });
        if let Err(code) = claimed {
            self.store.rests.put_aside(&mut self.store.card, slot, durable)?;
            return Err(code);
        }
        self.open_as(Open::Upload(upload));
        let chunks = durable / CHUNK as u32;
        Ok(if chunks > 0 { Begun::Resumed(chunks) } else { Begun::Fresh })
    }

    fn write_upload(&mut self, at: u64, data: &[u8]) -> Result<(), Code> {
        let at = u32::try_from(at).map_err(|_| Code::TooLarge)?;
        loop {
            let Store { card, rests, open, .. } = &mut *self.store;
            let upload = match open.get_mut(self.number) {
                Some(Open::Upload(upload)) => upload,
                Some(Open::TakenOver) => return Err(Code::Superseded),
                _ => return Err(Code::Internal),
            };
            match upload.write(card, rests, at, data) {
                Err(Code::NoSpace) if self.store.make_way()? => {}
                written => return written,
            }
        }
    }

    fn commit_upload(&mut self, upload: &mut Upload, size: u64, root: Digest) -> Result<u32, Code> {
        if u64::from(upload.written) != size {
            return Err(Code::SizeMismatch);
        }
        upload.trim(&mut self.store.card)?;
        let first = if size == 0 { 0 } else { upload.chain.first };
        for suffix in 0..=SUFFIX_MAX {
            let name = Name::new(&suffixed(&upload.asked, suffix))?;
            check(upload.folder, &name)?;
            let (place, old, freed) = match self.store.card.find(upload.folder, &name.bytes)? {
                Some(_) if upload.conflict == Conflict::KeepBoth => continue,
                Some(found) => {
                    may_replace(&found, upload.conflict)?;
                    (found.place, found.entry, found.entry.first())
                }
                None => {
                    let (place, old) = self.store.vacancy(upload.folder)?;
                    (place, old, 0)
                }
            };
            let Upload { transfer, folder, name: Name { bytes, .. }, .. } = *upload;
            let stored = Some(Stored { transfer, folder, name: bytes, root, suffix });
            let mut change = Change { stored, freed, ..Change::default() };
            change.push(place, old, Entry::file(name, first, upload.written, upload.modified))?;
            if upload.chain.first != 0 && first != 0 {
                let place = rest::place(&self.store.card, upload.slot)?;
                let entry = self.store.card.entry(place)?;
                change.push(place, entry, entry.gone())?;
            }
            self.store.make(&change)?;
            if first != 0 {
                self.store.rests.forget(upload.slot);
            } else {
                // It has no clusters, or none of those that it was given.
                let _ = self.store.rests.remove(&mut self.store.card, upload.slot);
            }
            return Ok(suffix);
        }
        Err(Code::TooMany)
    }

    /// The entries whose names come next, and how many have names that are not told.
    fn next_entries(&mut self, cursor: &Cursor) -> Result<(Batch, u64), Code> {
        let (mut next, mut skipped) = (Batch::new(), 0);
        let mut scan = self.store.card.scan(cursor.folder)?;
        while let Some(found) = self.store.card.next_found(&mut scan)? {
            let Some(name) = found.entry.name().filter(|_| !found.is_long) else {
                skipped += 1;
                continue;
            };
            let at = next.iter().position(|(other, _)| name < *other).unwrap_or(next.len());
            if name > cursor.after && at < BATCH {
                if next.is_full() {
                    next.pop();
                }
                let _ = next.insert(at, (name, found.entry.meta()));
            }
        }
        Ok((next, skipped))
    }

    fn list(&mut self, cursor: &mut Cursor, page: &mut Page<'_>) -> Result<bool, Code> {
        loop {
            let (next, skipped) = self.next_entries(cursor)?;
            cursor.skipped.get_or_insert(skipped);
            let is_last = !next.is_full();
            for (name, meta) in next {
                if !page.push(&Told { name: &name, meta }) {
                    return Ok(true);
                }
                cursor.after = name;
            }
            if is_last {
                return Ok(false);
            }
        }
    }
}

type Batch = Vec<(String<NAME_LEN_MAX>, Meta), BATCH>;

impl<D: BlockDevice, const HANDLES: usize> Files for Handle<'_, D, HANDLES> {
    fn read(&mut self, _: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let Store { card, open, .. } = &mut *self.store;
        Poll::Ready(match open.get_mut(self.number) {
            Some(Open::Source(source)) => source.chain.read(card, source.size, at, buf),
            Some(Open::Upload(upload)) => upload.chain.read(card, upload.written, at, buf),
            _ => Err(Code::Internal),
        })
    }

    fn write(&mut self, _: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        Poll::Ready(self.write_upload(at, data))
    }

    fn commit(&mut self, _: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        let mut upload = match self.open_as(Open::Nothing) {
            Open::Upload(upload) => upload,
            Open::TakenOver => return Poll::Ready(Err(Code::Superseded)),
            _ => return Poll::Ready(Err(Code::Internal)),
        };
        let outcome = self.commit_upload(&mut upload, size, root);
        if outcome.is_err() {
            let _ = self.store.rests.remove(&mut self.store.card, upload.slot);
        }
        Poll::Ready(outcome)
    }

    fn abort(&mut self, _: RequestId) {
        match self.open_as(Open::Nothing) {
            Open::Upload(upload) => {
                let _ = self.store.rests.remove(&mut self.store.card, upload.slot);
            }
            Open::TakenOver => {}
            // What is open is not what was begun: `abort` also comes where nothing was.
            other => _ = self.open_as(other),
        }
    }

    fn suspend(&mut self, request: RequestId) {
        match self.open_as(Open::Nothing) {
            Open::Upload(Upload { slot, written, .. }) => {
                let _ = self.store.rests.put_aside(&mut self.store.card, slot, written);
            }
            other => {
                self.open_as(other);
                self.abort(request);
            }
        }
    }

    fn durable(&mut self, _: RequestId) -> u32 {
        match self.store.open.get(self.number) {
            Some(Open::Upload(upload)) => self.store.rests.get(upload.slot).durable / CHUNK as u32,
            _ => 0,
        }
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        self.store.admit(peer)
    }
}

impl<D: BlockDevice, const HANDLES: usize> Port for Handle<'_, D, HANDLES> {
    fn begin(&mut self, _: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        Poll::Ready(self.begin_upload(path, put))
    }

    fn open(&mut self, _: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.check()?;
        let Found { entry, .. } = self.store.file(path)?;
        let chain = Chain::new(entry.first());
        self.open_as(Open::Source(Source { size: entry.size(), chain, is_orphan: false }));
        Poll::Ready(Ok(entry.meta()))
    }

    fn close(&mut self, _: RequestId) {
        if let Open::Source(source) = self.open_as(Open::Nothing)
            && source.is_orphan
        {
            let _ = self.store.release(source.chain.first);
        }
    }

    fn stat(&mut self, _: RequestId, path: Path<'_>) -> Outcome<Meta> {
        Poll::Ready(Ok(match self.store.resolve(path)? {
            Target::Root => Meta { kind: EntryKind::Directory, size: 0, modified: None },
            Target::Found(found) => found.entry.meta(),
        }))
    }

    fn open_directory(&mut self, _: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        self.check()?;
        let folder = self.store.resolve(path)?.folder()?;
        // What a name that is longer than any here begins with comes before it too.
        let mut short = String::new();
        for character in after.chars() {
            if short.push(character).is_err() {
                break;
            }
        }
        self.open_as(Open::Directory(Cursor { folder, after: short, skipped: None }));
        Poll::Ready(Ok(()))
    }

    fn read_directory(&mut self, _: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        let Open::Directory(mut cursor) = self.open_as(Open::Nothing) else {
            return Poll::Ready(Err(Code::Internal));
        };
        let outcome = self.list(&mut cursor, page);
        self.open_as(Open::Directory(cursor));
        Poll::Ready(outcome)
    }

    fn close_directory(&mut self, _: RequestId) -> u64 {
        match self.open_as(Open::Nothing) {
            Open::Directory(cursor) => cursor.skipped.unwrap_or(0),
            _ => 0,
        }
    }

    fn delete(&mut self, _: RequestId, path: Path<'_>) -> Outcome<()> {
        Poll::Ready(self.store.delete(path))
    }

    fn rename(&mut self, _: RequestId, from: Path<'_>, to: Path<'_>, replace: bool) -> Outcome<()> {
        Poll::Ready(self.store.rename(from, to, replace))
    }

    fn make_directory(&mut self, _: RequestId, path: Path<'_>) -> Outcome<()> {
        Poll::Ready(self.store.make_directory(path))
    }

    fn space(&mut self, _: RequestId) -> Outcome<Room> {
        match self.store.room()? {
            Some(room) => Poll::Ready(Ok(room)),
            None => Poll::Pending,
        }
    }
}
