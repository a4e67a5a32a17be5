//! The storage port of one session or task.

use core::task::{Poll, ready};

use heapless::String;
use kift_core::secure::Peer;
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Store as Port};
use kift_core::wire::{
    Ask, CHUNK, Code, Conflict, Digest, Entry, EntryKind, Meta, Path, Put, Space as Room,
    Timestamp, suffixed,
};

use super::data;
use super::gate::data_offset;
use super::record::{Body, Extent, Extents, File, NAME_LEN_MAX, ROOT, Record, Slot};
use super::rest::Origin;
use super::space::count;
use super::store::{Cursor, Open, Source, Store, hash_of};
use super::upload::{Block, Keeping, Upload};
use super::{FILES_MAX, Flash};
use crate::disk::Vault as _;

/// The storage port of one session or task, which has at most one thing open.
#[derive(Debug)]
pub struct Handle<'s, F: Flash, const HANDLES: usize> {
    store: &'s mut Store<F, HANDLES>,
    number: usize,
}

impl<'s, F: Flash, const HANDLES: usize> Handle<'s, F, HANDLES> {
    pub(super) const fn new(store: &'s mut Store<F, HANDLES>, number: usize) -> Self {
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
    fn check_place(&mut self, parent: Slot, name: &str, conflict: Conflict) -> Outcome<()> {
        let Some(found) = ready!(self.store.find(parent, name))? else {
            return Poll::Ready(self.store.free_slot().map(drop));
        };
        Poll::Ready(match conflict {
            Conflict::KeepBoth => self.store.free_slot().map(drop),
            _ if self.store.is_directory(found) => Err(Code::IsDirectory),
            Conflict::Refuse => Err(Code::Exists),
            Conflict::Replace => Ok(()),
        })
    }

    /// What came of an earlier attempt that was stored as `name` or one that is made of it.
    fn earlier(&mut self, of: &Origin, name: &str) -> Outcome<Option<Begun>> {
        let Some(slot) = ready!(self.store.stored_by(of.transfer))? else {
            return Poll::Ready(Ok(None));
        };
        let record = ready!(self.store.record(slot))?;
        let is_it = |suffix: &u32| *suffixed(name, *suffix) == *record.name;
        let suffix = (0..=FILES_MAX as u32).find(is_it).filter(|_| record.parent == of.parent);
        Poll::Ready(Ok(match (suffix, record.body) {
            (Some(suffix), Body::File(File { size, root, .. })) => {
                Some(Begun::Stored { size: size.into(), root, suffix })
            }
            _ => None,
        }))
    }

    /// Takes the blocks for an upload. The rests of others give way to it.
    fn claim(&mut self, extents: &mut Extents, size: Option<u64>) -> Outcome<()> {
        loop {
            match self.store.claim(extents, size) {
                Err(Code::NoSpace) if ready!(self.store.make_way())? => {}
                claimed => return Poll::Ready(claimed),
            }
        }
    }

    fn commit_upload(&mut self, upload: &Upload, size: u64, root: Digest) -> Outcome<u32> {
        if u64::from(upload.written) != size {
            return Poll::Ready(Err(Code::SizeMismatch));
        }
        if !self.store.is_directory(upload.parent) {
            return Poll::Ready(Err(Code::NotFound));
        }
        for suffix in 0..=FILES_MAX as u32 {
            let name = suffixed(&upload.name, suffix);
            if name.len() > NAME_LEN_MAX {
                return Poll::Ready(Err(Code::NameTooLong));
            }
            let slot = match (ready!(self.store.find(upload.parent, &name))?, upload.conflict) {
                (None, _) => self.store.free_slot()?,
                (Some(_), Conflict::KeepBoth) => continue,
                (Some(slot), _) if self.store.is_directory(slot) => {
                    return Poll::Ready(Err(Code::IsDirectory));
                }
                (Some(slot), Conflict::Replace) => slot,
                (Some(_), Conflict::Refuse) => return Poll::Ready(Err(Code::Exists)),
            };
            let file = File {
                size: upload.written,
                root,
                transfer: upload.of.transfer,
                extents: upload.extents.clone(),
            };
            let record = Record {
                parent: upload.parent,
                name: &name,
                generation: 0,
                moved_from: None,
                modified: upload.modified,
                body: Body::File(file),
            };
            return self.store.put_record(slot, record).map_ok(|()| suffix);
        }
        Poll::Ready(Err(Code::TooMany))
    }

    /// The entry of a directory whose name comes next, with its name.
    fn next_entry(
        &mut self,
        parent: Slot,
        after: &str,
    ) -> Outcome<Option<(String<NAME_LEN_MAX>, Meta)>> {
        let mut next: Option<(String<NAME_LEN_MAX>, Meta)> = None;
        for slot in 0..FILES_MAX as Slot {
            if self.store.known(slot).is_none_or(|known| known.parent != parent) {
                continue;
            }
            let record = ready!(self.store.record(slot))?;
            let is_next = next.as_ref().is_none_or(|(name, _)| record.name < name.as_str());
            if record.name > after && is_next {
                let name = String::try_from(record.name).map_err(|_| Code::Io)?;
                next = Some((name, record.meta()));
            }
        }
        Poll::Ready(Ok(next))
    }

    /// Whether `slot` is `folder`, or in it at any depth.
    fn is_within(&self, mut slot: Slot, folder: Slot) -> bool {
        for _ in 0..=FILES_MAX {
            if slot == folder {
                return true;
            }
            match self.store.known(slot) {
                Some(known) => slot = known.parent,
                None => return false,
            }
        }
        true
    }
}

impl<F: Flash, const HANDLES: usize> Files for Handle<'_, F, HANDLES> {
    fn read(&mut self, _: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let Store { table, open, .. } = &mut *self.store;
        let (extents, size) = match open.get(self.number) {
            Some(Open::Source(source)) => (&source.extents, source.size),
            Some(Open::Upload(upload)) => (&upload.extents, upload.written),
            _ => return Poll::Ready(Err(Code::Internal)),
        };
        let gate = ready!(table.gate())?;
        let mut at = u32::try_from(at).unwrap_or(u32::MAX);
        let mut filled = 0;
        while let Some((offset, len)) = piece::<F>(extents, size, at)
            && let Some(free) = buf.get_mut(filled..).filter(|free| !free.is_empty())
        {
            let (piece, _) = free.split_at_mut(free.len().min(len));
            data::read(gate.flash(), offset, piece).map_err(|_| Code::Io)?;
            at = at.saturating_add(piece.len() as u32);
            filled = filled.saturating_add(piece.len());
        }
        Poll::Ready(Ok(filled))
    }

    fn write(&mut self, _: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        let at = u32::try_from(at).map_err(|_| Code::TooLarge)?;
        loop {
            let Store { table, space, open, .. } = &mut *self.store;
            let upload = match open.get_mut(self.number) {
                Some(Open::Upload(upload)) => upload,
                Some(Open::TakenOver) => return Poll::Ready(Err(Code::Superseded)),
                _ => return Poll::Ready(Err(Code::Internal)),
            };
            match ready!(upload.write(table, space, at, data)) {
                Err(Code::NoSpace) if ready!(self.store.make_way())? => {}
                written => {
                    written?;
                    return self.store.checkpoint(self.number);
                }
            }
        }
    }

    fn commit(&mut self, _: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        let mut upload = match self.open_as(Open::Nothing) {
            Open::Upload(upload) => upload,
            Open::TakenOver => return Poll::Ready(Err(Code::Superseded)),
            _ => return Poll::Ready(Err(Code::Internal)),
        };
        let blocks = upload.written.div_ceil(F::ERASE_SIZE as u32);
        self.store.space.truncate(&mut upload.extents, blocks as u16);
        let outcome = self.commit_upload(&upload, size, root);
        match outcome {
            Poll::Pending => _ = self.open_as(Open::Upload(upload)),
            Poll::Ready(Err(_)) => self.store.throw_away(&mut upload),
            Poll::Ready(Ok(_)) => self.store.became_file(&upload),
        }
        outcome
    }

    fn abort(&mut self, _: RequestId) {
        match self.open_as(Open::Nothing) {
            Open::Upload(mut upload) => self.store.throw_away(&mut upload),
            Open::TakenOver => {}
            // What is open is not what was begun: `abort` also comes where nothing was.
            other => _ = self.open_as(other),
        }
    }

    fn suspend(&mut self, request: RequestId) {
        match self.open_as(Open::Nothing) {
            Open::Upload(mut upload) => self.store.put_aside(&mut upload),
            other => {
                self.open_as(other);
                self.abort(request);
            }
        }
    }

    fn durable(&mut self, _: RequestId) -> u32 {
        match self.store.open.get(self.number) {
            Some(Open::Upload(upload)) => {
                u32::from(upload.durable).saturating_mul((F::ERASE_SIZE / CHUNK) as u32)
            }
            _ => 0,
        }
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        self.store.admit(peer)
    }
}

impl<F: Flash, const HANDLES: usize> Port for Handle<'_, F, HANDLES> {
    fn begin(&mut self, request: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        self.check()?;
        let (parent, name) = ready!(self.store.place(path))?;
        let of = Origin { transfer: put.transfer, parent, hash: hash_of(name) };
        let goes_on = put.ask != Ask::Now;
        if goes_on && let Some(begun) = ready!(self.earlier(&of, name))? {
            return Poll::Ready(Ok(begun));
        }
        self.store.take_over(&of);
        if !goes_on {
            ready!(self.store.forget_rest(&of))?;
        }
        ready!(self.store.clear_leftover())?;
        ready!(self.check_place(parent, name, put.conflict))?;
        let name = String::try_from(name).map_err(|_| Code::NameTooLong)?;
        let rest = ready!(self.store.take_up(&of))?;
        let keeping = rest.as_ref().map_or(Keeping::NotYet, |(place, _)| Keeping::At(*place));
        let mut extents = rest.map(|(_, extents)| extents).unwrap_or_default();
        let durable = count(&extents);
        let claimed = self.claim(&mut extents, put.size);
        let mut upload = Upload {
            parent,
            name,
            conflict: put.conflict,
            modified: put.modified,
            written: u32::from(durable).saturating_mul(F::ERASE_SIZE as u32),
            extents,
            block: Block::None,
            of,
            keeping,
            durable,
            is_recorded: false,
        };
        if !matches!(claimed, Poll::Ready(Ok(()))) {
            self.store.put_aside(&mut upload);
            ready!(claimed)?;
        }
        self.open_as(Open::Upload(upload));
        let chunks = self.durable(request);
        Poll::Ready(Ok(if chunks > 0 { Begun::Resumed(chunks) } else { Begun::Fresh }))
    }

    fn open(&mut self, _: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.check()?;
        let slot = ready!(self.store.resolve(path))?;
        let (file, modified) = ready!(self.store.file(slot))?;
        let meta = Meta { kind: EntryKind::File, size: file.size.into(), modified };
        let source = Source { size: file.size, extents: file.extents, is_orphan: false };
        self.open_as(Open::Source(source));
        Poll::Ready(Ok(meta))
    }

    fn close(&mut self, _: RequestId) {
        if let Open::Source(source) = self.open_as(Open::Nothing)
            && source.is_orphan
        {
            self.store.release(&source.extents);
        }
    }

    fn stat(&mut self, _: RequestId, path: Path<'_>) -> Outcome<Meta> {
        let slot = ready!(self.store.resolve(path))?;
        if slot == ROOT {
            return Poll::Ready(Ok(Meta { kind: EntryKind::Directory, size: 0, modified: None }));
        }
        self.store.record(slot).map_ok(|record| record.meta())
    }

    fn open_directory(&mut self, _: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        self.check()?;
        let slot = ready!(self.store.resolve(path))?;
        if !self.store.is_directory(slot) {
            return Poll::Ready(Err(Code::NotDirectory));
        }
        // What a name that is longer than any here begins with comes before it too.
        let mut short = String::new();
        for character in after.chars() {
            if short.push(character).is_err() {
                break;
            }
        }
        self.open_as(Open::Directory(Cursor { slot, after: short }));
        Poll::Ready(Ok(()))
    }

    fn read_directory(&mut self, _: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        let Open::Directory(mut cursor) = self.open_as(Open::Nothing) else {
            return Poll::Ready(Err(Code::Internal));
        };
        let outcome = loop {
            match self.next_entry(cursor.slot, &cursor.after) {
                Poll::Ready(Ok(Some((name, meta)))) => {
                    if !page.push(&Entry { name: &name, meta }) {
                        break Poll::Ready(Ok(true));
                    }
                    cursor.after = name;
                }
                Poll::Ready(Ok(None)) => break Poll::Ready(Ok(false)),
                Poll::Ready(Err(code)) => break Poll::Ready(Err(code)),
                // What is on the page is told; the rest comes on the next.
                Poll::Pending if !page.is_empty() => break Poll::Ready(Ok(true)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.open_as(Open::Directory(cursor));
        outcome
    }

    fn close_directory(&mut self, _: RequestId) -> u64 {
        self.open_as(Open::Nothing);
        0
    }

    fn delete(&mut self, _: RequestId, path: Path<'_>) -> Outcome<()> {
        let slot = ready!(self.store.resolve(path))?;
        if slot == ROOT {
            return Poll::Ready(Err(Code::Denied));
        }
        if self.store.index.iter().flatten().any(|known| known.parent == slot) {
            return Poll::Ready(Err(Code::NotEmpty));
        }
        let is_used = |open: &Open| match open {
            Open::Upload(upload) => upload.parent == slot,
            Open::Directory(cursor) => cursor.slot == slot,
            Open::Nothing | Open::TakenOver | Open::Source(_) => false,
        };
        if self.store.open.iter().any(is_used) {
            return Poll::Ready(Err(Code::Busy));
        }
        self.store.remove_record(slot)
    }

    fn rename(&mut self, _: RequestId, from: Path<'_>, to: Path<'_>, replace: bool) -> Outcome<()> {
        let old = ready!(self.store.resolve(from))?;
        let (parent, name) = ready!(self.store.place(to))?;
        let new = match ready!(self.store.find(parent, name))? {
            Some(same) if same == old => return Poll::Ready(Ok(())),
            Some(other) if self.store.is_directory(other) => {
                return Poll::Ready(Err(Code::IsDirectory));
            }
            Some(_) if !replace => return Poll::Ready(Err(Code::Exists)),
            Some(_) if self.store.is_directory(old) => {
                return Poll::Ready(Err(Code::NotDirectory));
            }
            Some(other) => other,
            None => old,
        };
        if old == ROOT || self.is_within(parent, old) {
            return Poll::Ready(Err(Code::BadName));
        }
        let record = ready!(self.store.record(old))?;
        let (modified, body) = (record.modified, record.body);
        let moved_from = (new != old).then_some(old);
        let record = Record { parent, name, generation: 0, moved_from, modified, body };
        ready!(self.store.put_record(new, record))?;
        if new != old {
            self.store.leave(old);
        }
        Poll::Ready(Ok(()))
    }

    fn make_directory(&mut self, _: RequestId, path: Path<'_>) -> Outcome<()> {
        let (parent, name) = ready!(self.store.place(path))?;
        if ready!(self.store.find(parent, name))?.is_some() {
            return Poll::Ready(Err(Code::Exists));
        }
        let slot = self.store.free_slot()?;
        let (generation, moved_from, modified, body) = (0, None, None, Body::Directory);
        let record = Record { parent, name, generation, moved_from, modified, body };
        self.store.put_record(slot, record)
    }

    fn space(&mut self, _: RequestId) -> Outcome<Room> {
        Poll::Ready(Ok(self.store.room()))
    }
}

/// Where byte `at` of a file is, and how many follow it there.
fn piece<F: Flash>(extents: &Extents, size: u32, at: u32) -> Option<(u32, usize)> {
    let block_len = F::ERASE_SIZE as u32;
    let left = size.checked_sub(at).filter(|left| *left > 0)?;
    let mut before = 0_u32;
    for Extent { start, len } in extents {
        let len = u32::from(*len).saturating_mul(block_len);
        match at.checked_sub(before) {
            Some(within) if within < len => {
                let offset = data_offset::<F>(*start).saturating_add(within);
                return Some((offset, len.saturating_sub(within).min(left) as usize));
            }
            _ => before = before.saturating_add(len),
        }
    }
    None
}
