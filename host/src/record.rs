//! A small file that is written again and again, and always holds one whole record.
//!
//! It has two halves, which are written in turn, each with a number and a hash: a power cut in the
//! middle of one leaves the other.

use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fdatasync, fsync, openat};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a half. The fields of all records are bounded.
const HALF: usize = 4096;

/// Bytes before the record: its number, its length and its hash.
const PREFIX: usize = 8 + 4 + 32;

/// The file, of records `T`.
#[derive(Debug)]
pub(crate) struct Record<T> {
    file: OwnedFd,
    /// Of the half that was written last.
    number: u64,
    of: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Record<T> {
    /// Makes the file `name` in `dir`, durably, with nothing in it.
    pub(crate) fn create(dir: impl AsFd, name: &str) -> Result<Self, Errno> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(&dir, name, flags, Mode::RUSR | Mode::WUSR))?;
        retry_on_intr(|| fsync(&dir))?;
        Ok(Self { file, number: 0, of: PhantomData })
    }

    /// Opens the file `name` in `dir`, and gives what was written last.
    pub(crate) fn open(dir: impl AsFd, name: &str) -> Result<Option<(Self, T)>, Errno> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(&dir, name, flags, Mode::empty()))?;
        let mut last: Option<(u64, T)> = None;
        for half in 0..2_u64 {
            let mut buf = vec![0; HALF];
            let mut len = 0;
            while let Some(rest) = buf.get_mut(len..).filter(|rest| !rest.is_empty()) {
                let at = half * HALF as u64 + len as u64;
                match retry_on_intr(|| pread(&file, &mut *rest, at))? {
                    0 => break,
                    n => len += n,
                }
            }
            if let Some(read) = decode(&buf[..len])
                && last.as_ref().is_none_or(|last| read.0 > last.0)
            {
                last = Some(read);
            }
        }
        Ok(last.map(|(number, record)| (Self { file, number, of: PhantomData }, record)))
    }

    /// Writes the half that was not written last, durably. What it speaks of has to be durable already.
    pub(crate) fn write(&mut self, record: &T) -> Result<(), Errno> {
        let number = self.number + 1;
        let half = encode(number, record).ok_or(Errno::NAMETOOLONG)?;
        write_all(&self.file, number % 2 * HALF as u64, &half)?;
        retry_on_intr(|| fdatasync(&self.file))?;
        self.number = number;
        Ok(())
    }
}

fn encode(number: u64, record: &impl Serialize) -> Option<Vec<u8>> {
    let mut half = vec![0; HALF];
    let (prefix, rest) = half.split_at_mut(PREFIX);
    let len = postcard::to_slice(record, rest).ok()?.len();
    prefix[..8].copy_from_slice(&number.to_le_bytes());
    prefix[8..12].copy_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
    let hash = hash(&prefix[..12], &rest[..len]);
    prefix[12..].copy_from_slice(&hash);
    half.truncate(PREFIX + len);
    Some(half)
}

fn decode<T: DeserializeOwned>(half: &[u8]) -> Option<(u64, T)> {
    let (prefix, rest) = half.split_at_checked(PREFIX)?;
    let number = u64::from_le_bytes(prefix[..8].try_into().ok()?);
    let len = u32::from_le_bytes(prefix[8..12].try_into().ok()?);
    let record = rest.get(..usize::try_from(len).ok()?)?;
    if number == 0 || prefix[12..] != hash(&prefix[..12], record) {
        return None;
    }
    Some((number, postcard::from_bytes(record).ok()?))
}

fn hash(prefix: &[u8], record: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(prefix).update(record).finalize().as_bytes()
}

/// One system call, but for a file system that takes less.
pub(crate) fn write_all(file: impl AsFd, mut at: u64, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        let n = retry_on_intr(|| pwrite(&file, data, at))?;
        if n == 0 {
            return Err(Errno::IO);
        }
        at = at.saturating_add(n as u64);
        data = data.get(n..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::ftruncate;

    fn reopened(dir: &OwnedFd) -> Option<Vec<u8>> {
        Record::open(dir, "record").unwrap().map(|(_, last)| last)
    }

    #[test]
    fn the_last_whole_half_counts() {
        let place = tempfile::tempdir().unwrap();
        let dir = OwnedFd::from(std::fs::File::open(place.path()).unwrap());
        let mut record = Record::create(&dir, "record").unwrap();
        assert_eq!(reopened(&dir), None);
        for value in [vec![1; 7], vec![2; 3000], vec![5; 100]] {
            record.write(&value).unwrap();
            assert_eq!(reopened(&dir), Some(value));
        }
        // The next one is torn at every byte.
        let half = encode(4, &vec![6_u8; 100]).unwrap();
        for len in 0..half.len() {
            write_all(&record.file, 0, &half[..len]).unwrap();
            assert_eq!(reopened(&dir), Some(vec![5; 100]), "{len} bytes");
            write_all(&record.file, 0, &[0xff; HALF]).unwrap();
        }
        write_all(&record.file, 0, &half).unwrap();
        assert_eq!(reopened(&dir), Some(vec![6; 100]));
        ftruncate(&record.file, 100).unwrap();
        assert_eq!(reopened(&dir), None);
        assert_eq!(record.write(&vec![0; HALF]), Err(Errno::NAMETOOLONG));
    }
}
