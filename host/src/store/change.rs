//! Changes of names: delete, rename, make a directory.

use std::os::fd::AsFd;
use std::task::{Poll, ready};

use kift_core::storage::Outcome;
use kift_core::wire::{Code, EntryKind, Path};
use rustix::fs::{
    AtFlags, Mode, RenameFlags, fsync, linkat, mkdirat, renameat, renameat_with, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use tracing::error;

use super::beneath::{Folder, is_same, size};
use super::ledger::{WEIGHT_MIN, weight};
use super::reason::reason;
use super::root::Root;

/// What a new directory's permissions are before the umask.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

impl Root {
    /// Removes a file or an empty directory.
    pub(super) fn delete(&self, path: Path<'_>) -> Outcome<()> {
        self.workshop()?;
        let change = ready!(self.change(&[path]));
        let (folder, name) = self.locate(path)?;
        let (kind, stat) = self.look(&folder, name)?.ok_or(Code::NotFound)?;
        let flags = match kind {
            EntryKind::File => AtFlags::empty(),
            EntryKind::Directory => AtFlags::REMOVEDIR,
        };
        unlinkat(&folder, name, flags).map_err(reason)?;
        change.removed(path, weight(kind, size(&stat)));
        drop(change);
        Poll::Ready(sync(&folder, path))
    }

    /// Gives what is at `from` the name `to`. With `replace` a file gives way, never a directory.
    pub(super) fn rename(&self, from: Path<'_>, to: Path<'_>, replace: bool) -> Outcome<()> {
        self.workshop()?;
        let change = ready!(self.change(&[from, to]));
        let (from_folder, from_name) = self.locate(from)?;
        let (to_folder, to_name) = self.locate(to)?;
        let (kind, stat) = self.look(&from_folder, from_name)?.ok_or(Code::NotFound)?;
        let there = self.look(&to_folder, to_name)?;
        match (&there, replace) {
            (Some(_), false) => return Poll::Ready(Err(Code::Exists)),
            (Some((EntryKind::Directory, _)), true) => return Poll::Ready(Err(Code::IsDirectory)),
            // The kernel would do nothing and call it done.
            (Some((EntryKind::File, there)), true) if is_same(&stat, there) => {
                return Poll::Ready(Err(Code::Exists));
            }
            (Some((EntryKind::File, _)), true) if kind == EntryKind::Directory => {
                return Poll::Ready(Err(Code::NotDirectory));
            }
            (Some(_) | None, _) => {}
        }
        // A directory replaces nothing: of an empty one that was made in between, the kernel would
        // let it take the place.
        if replace && kind == EntryKind::File {
            renameat(&from_folder, from_name, &to_folder, to_name).map_err(reason)?;
        } else {
            rename_new(&from_folder, from_name, &to_folder, to_name, kind).map_err(reason)?;
        }
        if let Some((kind, stat)) = there {
            change.removed(to, weight(kind, size(&stat)));
        }
        change.moved(from, to, kind, weight(kind, size(&stat)));
        drop(change);
        // The new name first: were the power cut between the two, the file would have both names
        // rather than none.
        sync(&to_folder, to)?;
        if from.split().0 != to.split().0 {
            sync(&from_folder, from)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Makes a directory.
    pub(super) fn make_directory(&self, path: Path<'_>) -> Outcome<()> {
        self.workshop()?;
        let (folder, name) = self.locate(path)?;
        // Where it is there, no quota is in the way.
        match self.look(&folder, name) {
            Ok(None) => {}
            Ok(Some(_)) | Err(Code::NotRegular) => return Poll::Ready(Err(Code::Exists)),
            Err(code) => return Poll::Ready(Err(code)),
        }
        let mut reservation = self.reservation(path);
        ready!(self.reserve(&mut reservation, WEIGHT_MIN))?;
        let change = ready!(self.change(&[path]));
        // The way there may be another by now.
        let (folder, name) = self.locate(path)?;
        mkdirat(&folder, name, DIRECTORY_MODE).map_err(reason)?;
        change.stored(path, &reservation, WEIGHT_MIN);
        drop(change);
        Poll::Ready(sync(&folder, path))
    }

    /// Makes the directories on the way to `path` that are missing, and that itself.
    pub(super) fn make_directories(&self, path: Path<'_>) -> Result<(), Code> {
        let ends = path.as_str().match_indices('/').map(|(end, _)| end);
        for end in ends.chain([path.as_str().len()]) {
            let path = Path::new(&path.as_str()[..end])?;
            match self.find(path) {
                Ok(_) => {}
                // In between, somebody else may do the same.
                Err(Code::NotFound) => match self.make_directory(path) {
                    Poll::Ready(Ok(()) | Err(Code::Exists)) => {}
                    Poll::Ready(Err(Code::ReadOnly)) => return Err(Code::NotFound),
                    Poll::Ready(Err(code)) => return Err(code),
                    // A home around this one is being counted.
                    Poll::Pending => return Err(Code::Busy),
                },
                Err(code) => return Err(code),
            }
        }
        Ok(())
    }
}

/// Renames, and never replaces: [`Errno::EXIST`].
pub(super) fn rename_new(
    from_folder: impl AsFd,
    from: &str,
    to_folder: impl AsFd,
    to: &str,
    kind: EntryKind,
) -> Result<(), Errno> {
    match renameat_with(&from_folder, from, &to_folder, to, RenameFlags::NOREPLACE) {
        // For a directory it says that it would lie in itself. Of a file it can only mean that the
        // file system (NFS, 9p) has no such call.
        Err(Errno::INVAL) if kind == EntryKind::File => link_new(from_folder, from, to_folder, to),
        result => result,
    }
}

/// The same by a second link, for file systems that cannot rename without replacing.
fn link_new(
    from_folder: impl AsFd,
    from: &str,
    to_folder: impl AsFd,
    to: &str,
) -> Result<(), Errno> {
    linkat(&from_folder, from, &to_folder, to, AtFlags::empty())?;
    unlinkat(&from_folder, from, AtFlags::empty()).inspect_err(|_| {
        // With two links it would not be served under either name.
        let _ = unlinkat(&to_folder, to, AtFlags::empty());
    })
}

/// Makes what was done to a name in `folder` durable.
///
/// # Errors
/// [`Code::Io`] and nothing else: it was done, and whether it stays so is not known. To try again
/// would not tell.
pub(super) fn sync(folder: &Folder<'_>, path: Path<'_>) -> Result<(), Code> {
    retry_on_intr(|| fsync(folder)).map_err(|error| {
        error!(path = ?path.as_str(), %error, "a change was made, but cannot be made durable");
        Code::Io
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_second_link_renames_and_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        fs::write(dir.path().join("a"), "new").unwrap();
        fs::write(dir.path().join("b"), "old").unwrap();
        assert_eq!(link_new(&fd, "a", &fd, "b"), Err(Errno::EXIST));
        assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"old");

        assert_eq!(link_new(&fd, "a", &fd, "c"), Ok(()));
        assert_eq!(fs::read(dir.path().join("c")).unwrap(), b"new");
        assert_eq!(fs::metadata(dir.path().join("c")).unwrap().nlink(), 1);
        assert!(!dir.path().join("a").exists());
    }
}
