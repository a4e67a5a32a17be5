//! Names that come and go otherwise than by uploads. Each of these is one change of the journal.

use embedded_sdmmc::BlockDevice;
use kift_core::wire::{Code, Conflict, Path};

use super::entry::{ENTRY_LEN, Entry};
use super::folder::{Found, Place};
use super::journal::Change;
use super::store::{Open, Store, Target};

impl<D: BlockDevice, const HANDLES: usize> Store<D, HANDLES> {
    /// Removes a file, or a directory that is empty.
    pub(super) fn delete(&mut self, path: Path<'_>) -> Result<(), Code> {
        let Target::Found(found) = self.resolve(path)? else { return Err(Code::Denied) };
        if found.entry.is_read_only() {
            return Err(Code::Denied);
        }
        let first = found.entry.first();
        if found.entry.is_directory() {
            let mut scan = self.card.scan(first)?;
            if self.card.next_found(&mut scan)?.is_some() {
                return Err(Code::NotEmpty);
            }
            let is_used = |open: &Open| match open {
                Open::Upload(upload) => upload.folder == first,
                Open::Directory(cursor) => cursor.folder == first,
                Open::Nothing | Open::TakenOver | Open::Source(_) => false,
            };
            if self.open.iter().any(is_used) {
                return Err(Code::Busy);
            }
        }
        let mut change = Change { freed: first, ..Change::default() };
        change.push(found.place, found.entry, found.entry.gone())?;
        if let Some((place, part)) = found.part {
            change.push(place, part, part.gone())?;
        }
        self.make(&change)
    }

    /// Gives a file or directory another name.
    pub(super) fn rename(
        &mut self,
        from: Path<'_>,
        to: Path<'_>,
        replace: bool,
    ) -> Result<(), Code> {
        let Target::Found(old) = self.resolve(from)? else { return Err(Code::BadName) };
        let (old_folder, _) = from.split();
        let old_folder = self.resolve(old_folder)?.folder()?;
        let is_directory = old.entry.is_directory();
        let outside = is_directory.then(|| old.entry.first());
        let (folder, _, name) = self.place(to, outside)?;
        let mut change = Change::default();
        let renamed = old.entry.named(name);
        let part = old.part.map(|(place, part)| (place, part, part.gone()));
        match self.card.find(folder, &name.bytes)? {
            Some(same) if same.place == old.place => {
                change.push(old.place, old.entry, renamed)?;
                if let Some((place, part, gone)) = part {
                    change.push(place, part, gone)?;
                }
                return self.make(&change);
            }
            Some(other) if other.entry.is_directory() => return Err(Code::IsDirectory),
            Some(other) => {
                let conflict = if replace { Conflict::Replace } else { Conflict::Refuse };
                may_replace(&other, conflict)?;
                if is_directory {
                    return Err(Code::NotDirectory);
                }
                change.freed = other.entry.first();
                change.push(other.place, other.entry, renamed)?;
            }
            None => {
                let (place, there) = self.vacancy(folder)?;
                change.push(place, there, renamed)?;
            }
        }
        change.push(old.place, old.entry, old.entry.gone())?;
        if let Some((place, part, gone)) = part {
            change.push(place, part, gone)?;
        }
        if is_directory && folder != old_folder {
            // Its second entry leads out of it.
            let block = self.card.volume.block(old.entry.first())?;
            let place = Place { block, at: ENTRY_LEN as u16 };
            let out = self.card.entry(place)?;
            let mut moved = out;
            moved.set_first(folder);
            change.push(place, out, moved)?;
        }
        self.make(&change)
    }

    /// Makes a directory.
    pub(super) fn make_directory(&mut self, path: Path<'_>) -> Result<(), Code> {
        let (folder, _, name) = self.place(path, None)?;
        if self.card.find(folder, &name.bytes)?.is_some() {
            return Err(Code::Exists);
        }
        let (place, there) = self.vacancy(folder)?;
        let first = match self.card.new_folder(folder) {
            Err(Code::NoSpace) if self.make_way()? => self.card.new_folder(folder)?,
            made => made?,
        };
        let mut change = Change::default();
        change.push(place, there, Entry::directory(name, first))?;
        self.make(&change)
    }
}

/// Whether a file may take the place of what is there.
pub(super) fn may_replace(found: &Found, conflict: Conflict) -> Result<(), Code> {
    match conflict {
        _ if found.entry.is_directory() => Err(Code::IsDirectory),
        // Whoever put it there knows it by another name.
        Conflict::Replace if found.is_long => Err(Code::Exists),
        Conflict::Replace if found.entry.is_read_only() => Err(Code::Denied),
        Conflict::Replace => Ok(()),
        Conflict::Refuse | Conflict::KeepBoth => Err(Code::Exists),
    }
}
