//! What a machine must remember: its key, and whom it knows.
//!
//! A directory of small text files, a line an entry, with `#` before comments. Whoever may write
//! there decides who gets in, and whoever may read the secret ones can pass for this machine. So
//! directory and files are looked at before they are trusted, and what is loose or damaged is
//! refused: a new key in place of an unreadable one would look like an attack to every client.
//!
//! A file is replaced as a whole, and is on stable storage when the call returns. Who changes a
//! file by what stands in it holds the directory's lock meanwhile, against other processes too.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use kift_core::secure::{Base64, SecretKey};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, lstat, open};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::directory;
use crate::secure::SystemRandom;

const KEY: &str = "key";
const LOCK: &str = "lock";

/// Files that only their owner may read.
const SECRET: [&str; 3] = [KEY, "token", "users"];

/// Bytes of the largest file that is read. Tens of thousands of users fit.
const FILE_LEN_MAX: u64 = 16 << 20;

/// The directory, which was found to be safe when it was opened.
#[derive(Debug, Clone)]
pub struct State {
    path: PathBuf,
}

/// The directory while nobody else changes anything in it.
#[derive(Debug)]
pub struct Locked<'a> {
    state: &'a State,
    _lock: OwnedFd,
}

/// By what a file is known to be another one than before, or to have been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl State {
    /// Opens the directory, and makes it where it is absent: `path`, else `kift` in the user's
    /// directory for state, by the XDG's rules.
    ///
    /// # Errors
    /// It cannot be made, is no directory, is another user's, or others may write there. The message
    /// names it and says what to do.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => default_path()?,
        };
        let shown = path.display();
        directory::make(&path, 0o700)
            .with_context(|| format!("cannot make the directory {shown}"))?;
        let path = fs::canonicalize(&path).with_context(|| format!("cannot open {shown}"))?;
        let shown = path.display();
        let stat = lstat(&path).with_context(|| format!("cannot open {shown}"))?;
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            bail!("{shown} is not a directory\nname one that kift can keep its keys in");
        }
        check_owner(&path, &stat)?;
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            bail!(
                "others than its owner may write in {shown}, and so decide who gets in: \
                 run `chmod go-w {shown}`, after a look at what is in it"
            );
        }
        Ok(Self { path })
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file `name` is, whether or not it is there.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// This machine's key; none where none was made yet.
    ///
    /// # Errors
    /// The file is loose, damaged, or cannot be read. It is never replaced by itself.
    pub fn key(&self) -> Result<Option<SecretKey>> {
        let Some(text) = self.read(KEY)? else { return Ok(None) };
        let mut lines = entries(&text).map(|(_, line)| line);
        let secret = match (lines.next(), lines.next()) {
            (Some(line), None) => Base64::parse(line).ok().map(Zeroizing::new),
            _ => None,
        };
        match secret {
            Some(secret) => Ok(Some(SecretKey::from_bytes(&secret))),
            None => Err(anyhow!(
                "{} is damaged, it holds no key: put a copy of it back, or make a new key by \
                 `kift key gen --replace`, which everyone who knows the old one must be told",
                self.file(KEY).display()
            )),
        }
    }

    /// This machine's key, and whether it was made just now.
    ///
    /// # Errors
    /// As for [`key`](Self::key); or it cannot be written, or there is no randomness.
    pub fn key_or_new(&self) -> Result<(SecretKey, bool)> {
        // Most do not change anything, and need no lock.
        if let Some(key) = self.key()? {
            return Ok((key, false));
        }
        let locked = self.lock()?;
        match self.key()? {
            Some(key) => Ok((key, false)),
            None => Ok((locked.make_key()?, true)),
        }
    }

    /// A new key for this machine, also in place of another one if that is to be `replace`d.
    ///
    /// # Errors
    /// There is a key and it is to be kept, the new one cannot be written, or there is no randomness.
    pub fn new_key(&self, replace: bool) -> Result<SecretKey> {
        let locked = self.lock()?;
        if !replace && self.stamp(KEY)?.is_some() {
            bail!(
                "{} is there already: use it, or give --replace, after which everyone who knows the \
                 old key must be told the new one",
                self.file(KEY).display()
            );
        }
        locked.make_key()
    }

    /// What stands in the file `name`; none where there is no such file.
    ///
    /// # Errors
    /// It is not a regular file, is another user's, is open to others, is not text or is larger than
    /// 16 MiB, or the system fails.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>> {
        Ok(self.read_stamped(name)?.map(|(text, _)| text))
    }

    /// As [`read`](Self::read), with the stamp that the file had just before.
    pub(crate) fn read_stamped(&self, name: &str) -> Result<Option<(Zeroizing<String>, Stamp)>> {
        let path = self.file(name);
        let shown = path.display();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| open(&path, flags, Mode::empty())) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => bail!("{shown} is a link: put the file itself there"),
            Err(error) => return Err(error).with_context(|| format!("cannot open {shown}")),
        };
        let stat = fstat(&file).with_context(|| format!("cannot open {shown}"))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            bail!("{shown} is not a regular file: remove it");
        }
        check_owner(&path, &stat)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        if SECRET.contains(&name) && mode.intersects(Mode::RWXG | Mode::RWXO) {
            bail!("{shown} is secret, and open to others than its owner\nrun `chmod 600 {shown}`");
        }
        if mode.intersects(Mode::WGRP | Mode::WOTH) {
            bail!("others than its owner may write to {shown}\nrun `chmod go-w {shown}`");
        }
        let stamp = Stamp::of(&stat);
        if stamp.len > FILE_LEN_MAX {
            bail!("{shown} has {} bytes, more than the {FILE_LEN_MAX} that are read", stamp.len);
        }
        // Room beforehand: text that grew would leave copies behind in memory.
        let room = usize::try_from(stamp.len).unwrap_or(0) + 64;
        let mut text = Zeroizing::new(String::with_capacity(room));
        File::from(file)
            .take(FILE_LEN_MAX)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {shown}"))?;
        Ok(Some((text, stamp)))
    }

    /// The stamp that the file `name` has now; none where there is no such file.
    pub(crate) fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        let path = self.file(name);
        match lstat(&path) {
            Ok(stat) => Ok(Some(Stamp::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
        }
    }

    /// Makes `text` the whole of the file `name`, which only its owner may read.
    ///
    /// # Errors
    /// It cannot be written; what was there is still there.
    pub fn replace(&self, name: &str, text: &str) -> Result<()> {
        self.lock()?.replace(name, text)
    }

    /// Puts `line` at the end of the file `name`.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn append(&self, name: &str, line: &str) -> Result<()> {
        self.lock()?.append(name, line)
    }

    /// Waits until nobody else changes anything, and keeps it so.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn lock(&self) -> Result<Locked<'_>> {
        let path = self.file(LOCK);
        let context = || format!("cannot lock {}", path.display());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let lock = retry_on_intr(|| open(&path, flags, mode)).with_context(context)?;
        retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive)).with_context(context)?;
        Ok(Locked { state: self, _lock: lock })
    }
}

impl Locked<'_> {
    /// The directory.
    #[must_use]
    pub const fn state(&self) -> &State {
        self.state
    }

    /// As [`State::read`].
    ///
    /// # Errors
    /// As [`State::read`].
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>> {
        self.state.read(name)
    }

    /// As [`State::replace`].
    ///
    /// # Errors
    /// As [`State::replace`].
    pub fn replace(&self, name: &str, text: &str) -> Result<()> {
        let path = self.state.file(name);
        let new = self.state.file(&format!("{name}.new"));
        self.write(&path, &new, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn write(&self, path: &Path, new: &Path, text: &str) -> io::Result<()> {
        // One that a power cut left behind.
        absent_is_fine(fs::remove_file(new))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(retry_on_intr(|| open(new, flags, Mode::RUSR | Mode::WUSR))?);
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, path)?;
        directory::sync(&self.state.path)
    }

    /// As [`State::append`].
    ///
    /// # Errors
    /// As [`State::append`].
    pub fn append(&self, name: &str, line: &str) -> Result<()> {
        let text = self.read(name)?.unwrap_or_default();
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        self.replace(name, &Zeroizing::new(format!("{}{newline}{line}\n", *text)))
    }

    /// Removes the file `name`, if it is there.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.state.file(name);
        absent_is_fine(fs::remove_file(&path))
            .and_then(|()| directory::sync(&self.state.path))
            .with_context(|| format!("cannot remove {}", path.display()))
    }

    fn make_key(&self) -> Result<SecretKey> {
        let key = SecretKey::generate(&mut SystemRandom)?;
        let text = Zeroizing::new(format!(
            "# The secret key of this machine. Who has it can pass for this machine.\n{}\n",
            Base64(key.as_bytes())
        ));
        self.replace(KEY, &text)?;
        Ok(key)
    }
}

impl Stamp {
    #[expect(clippy::unnecessary_cast, reason = "the types differ between architectures")]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            len: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    /// Seconds since 1970 at which the file was last changed in any way.
    pub(crate) const fn changed_s(&self) -> i64 {
        self.changed.0
    }
}

/// The lines that are neither empty nor comments, with their numbers.
pub(crate) fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn default_path() -> Result<PathBuf> {
    // One that is not absolute counts for nothing, as the specification has it.
    let given = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    given
        .or_else(|| home().map(|home| home.join(".local/state")))
        .map(|dir| dir.join("kift"))
        .context("there is no home directory to keep keys in: say by --state where they are to be")
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn check_owner(path: &Path, stat: &Stat) -> Result<()> {
    let us = geteuid().as_raw();
    if stat.st_uid != us && stat.st_uid != 0 {
        bail!(
            "{} belongs to user {} and not to {us}, who runs kift\nrun kift as its owner, or name \
             another directory by --state",
            path.display(),
            stat.st_uid
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
