//! The files of the device, in RAM: a capture and a log, which are there from the start, and an image,
//! once it was fetched.
//!
//! What is in RAM is gone with the power, so nobody may store anything here who would be told that it
//! is durable: the shelf is read-only to its clients. `kift-firmware-sim` has a store on flash.

use core::cell::{Cell, RefCell};
use core::task::Poll;

use kift_core::Hasher;
use kift_core::secure::{Peer, PublicKey};
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Store};
use kift_core::wire::{Code, Digest, Entry, EntryKind, Meta, Path, Put, Space};

use crate::board::{Mark, done};

/// The names, in byte order.
const NAMES: [&str; 3] = ["capture.bin", "device.log", "image.bin"];

/// Where they are in [`NAMES`].
const CAPTURE: usize = 0;
pub(crate) const LOG: usize = 1;
pub(crate) const IMAGE: usize = 2;

const CAPTURE_LEN: usize = 512 << 10;
const LOG_LEN: usize = 128 << 10;
const IMAGE_LEN_MAX: usize = 256 << 10;

/// The files.
pub(crate) struct Shelf {
    capture: [u8; CAPTURE_LEN],
    log: [u8; LOG_LEN],
    image: [u8; IMAGE_LEN_MAX],
    /// Bytes of the image, once it is whole.
    image_len: Option<usize>,
}

impl Shelf {
    /// Nothing was captured yet, nor logged.
    pub(crate) const fn new() -> Self {
        Self {
            capture: [0; CAPTURE_LEN],
            log: [0; LOG_LEN],
            image: [0; IMAGE_LEN_MAX],
            image_len: None,
        }
    }

    /// Captures something, and logs it.
    pub(crate) fn fill(&mut self) {
        let mut sample = 1_u32;
        for byte in &mut self.capture {
            sample = sample.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (sample >> 24) as u8;
        }
        for (number, line) in self.log.chunks_exact_mut(32).enumerate() {
            let text = b"captured block 00000 of the wave";
            line.copy_from_slice(text);
            let mut left = number;
            for digit in line[15..20].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
            line[31] = b'\n';
        }
    }

    /// What a file holds; none where there is none.
    pub(crate) fn contents(&self, file: usize) -> Option<&[u8]> {
        match file {
            CAPTURE => Some(&self.capture),
            LOG => Some(&self.log),
            IMAGE => self.image.get(..self.image_len?),
            _ => None,
        }
    }

    /// Reads from a file, from byte `at` on.
    pub(crate) fn read(&self, file: usize, at: u64, buf: &mut [u8]) -> Result<usize, Code> {
        let contents = self.contents(file).ok_or(Code::NotFound)?;
        let rest = usize::try_from(at).ok().and_then(|at| contents.get(at..)).unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    /// Writes to the image, which is not there before [`finish_image`](Self::finish_image).
    pub(crate) fn write_image(&mut self, at: u64, data: &[u8]) -> Result<(), Code> {
        self.image_len = None;
        let at = usize::try_from(at).map_err(|_| Code::TooLarge)?;
        let end = at.checked_add(data.len()).ok_or(Code::TooLarge)?;
        self.image.get_mut(at..end).ok_or(Code::TooLarge)?.copy_from_slice(data);
        Ok(())
    }

    /// The image is whole.
    pub(crate) fn finish_image(&mut self, size: u64) {
        self.image_len = usize::try_from(size).ok();
    }

    /// The files that are there, with their contents.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        NAMES.iter().enumerate().filter_map(|(file, name)| Some((*name, self.contents(file)?)))
    }

    /// The BLAKE3 of some contents.
    pub(crate) fn root(contents: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(contents);
        hasher.digest()
    }

    fn meta(&self, file: usize) -> Option<Meta> {
        let size = self.contents(file)?.len() as u64;
        Some(Meta { kind: EntryKind::File, size, modified: None })
    }

    fn find(&self, path: Path<'_>) -> Result<(usize, Meta), Code> {
        let file = NAMES.iter().position(|name| *name == path.as_str()).ok_or(Code::NotFound)?;
        Ok((file, self.meta(file).ok_or(Code::NotFound)?))
    }
}

/// How far the two tasks are with each other. There would be nothing to see if one were done before
/// the other begins, so the errand begins once somebody is served, and the second half of a capture
/// waits until the errand's data flow.
pub(crate) struct Meeting {
    /// Somebody is served.
    pub(crate) serving: Mark,
    /// The errand's data flow, or never will.
    pub(crate) flowing: Mark,
    /// Whether they do, or never will.
    pub(crate) has_flowed: Cell<bool>,
    /// Whether the errand is over.
    pub(crate) is_over: Cell<bool>,
    /// Bytes that were served while the errand's data flowed.
    pub(crate) served_meanwhile: Cell<u64>,
}

impl Meeting {
    pub(crate) const fn new() -> Self {
        Self {
            serving: Mark::new(),
            flowing: Mark::new(),
            has_flowed: Cell::new(false),
            is_over: Cell::new(false),
            served_meanwhile: Cell::new(0),
        }
    }

    /// The errand's data flow, or never will.
    pub(crate) fn flow(&self) {
        if !self.has_flowed.replace(true) {
            self.flowing.signal(());
        }
    }
}

/// The shelf, as one client sees it.
pub(crate) struct Served<'a> {
    shelf: &'a RefCell<Shelf>,
    meeting: &'a Meeting,
    client: PublicKey,
    open: Option<usize>,
    /// The next file of a listing.
    next: usize,
}

impl<'a> Served<'a> {
    /// For the one who has the key `client`.
    pub(crate) const fn new(
        shelf: &'a RefCell<Shelf>,
        meeting: &'a Meeting,
        client: PublicKey,
    ) -> Self {
        Self { shelf, meeting, client, open: None, next: 0 }
    }
}

/// Nothing is stored here.
fn refused<T>() -> Outcome<T> {
    Poll::Ready(Err(Code::ReadOnly))
}

impl Files for Served<'_> {
    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        Poll::Ready(if peer.key == self.client { Ok(()) } else { Err(Code::Denied) })
    }

    fn read(&mut self, _: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let Some(file) = self.open else { return Poll::Ready(Err(Code::Internal)) };
        self.meeting.serving.signal(());
        let flowed = self.meeting.has_flowed.get();
        if file == CAPTURE && at >= CAPTURE_LEN as u64 / 2 && !flowed {
            return Poll::Pending;
        }
        let read = self.shelf.borrow().read(file, at, buf);
        if let Ok(len) = read
            && flowed
            && !self.meeting.is_over.get()
        {
            let served = &self.meeting.served_meanwhile;
            served.set(served.get() + len as u64);
        }
        Poll::Ready(read)
    }

    fn write(&mut self, _: RequestId, _: u64, _: &[u8]) -> Outcome<()> {
        refused()
    }

    fn commit(&mut self, _: RequestId, _: u64, _: Digest) -> Outcome<u32> {
        refused()
    }

    fn abort(&mut self, _: RequestId) {}
}

impl Store for Served<'_> {
    fn begin(&mut self, _: RequestId, _: Path<'_>, _: &Put<'_>) -> Outcome<Begun> {
        refused()
    }

    fn open(&mut self, _: RequestId, path: Path<'_>) -> Outcome<Meta> {
        if path == Path::ROOT {
            return Poll::Ready(Err(Code::IsDirectory));
        }
        let (file, meta) = match self.shelf.borrow().find(path) {
            Ok(found) => found,
            Err(code) => return Poll::Ready(Err(code)),
        };
        self.open = Some(file);
        done(meta)
    }

    fn close(&mut self, _: RequestId) {
        self.open = None;
    }

    fn stat(&mut self, _: RequestId, path: Path<'_>) -> Outcome<Meta> {
        if path == Path::ROOT {
            return done(Meta { kind: EntryKind::Directory, size: 0, modified: None });
        }
        Poll::Ready(self.shelf.borrow().find(path).map(|(_, meta)| meta))
    }

    fn open_directory(&mut self, _: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        if path != Path::ROOT {
            return Poll::Ready(self.shelf.borrow().find(path).and(Err(Code::NotDirectory)));
        }
        self.next = NAMES.iter().filter(|name| **name <= after).count();
        done(())
    }

    fn read_directory(&mut self, _: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        let shelf = self.shelf.borrow();
        while let Some(name) = NAMES.get(self.next) {
            if let Some(meta) = shelf.meta(self.next)
                && !page.push(&Entry { name, meta })
            {
                return done(true);
            }
            self.next += 1;
        }
        done(false)
    }

    fn close_directory(&mut self, _: RequestId) -> u64 {
        0
    }

    fn delete(&mut self, _: RequestId, _: Path<'_>) -> Outcome<()> {
        refused()
    }

    fn rename(&mut self, _: RequestId, _: Path<'_>, _: Path<'_>, _: bool) -> Outcome<()> {
        refused()
    }

    fn make_directory(&mut self, _: RequestId, _: Path<'_>) -> Outcome<()> {
        refused()
    }

    fn space(&mut self, _: RequestId) -> Outcome<Space> {
        let total = (CAPTURE_LEN + LOG_LEN + IMAGE_LEN_MAX) as u64;
        done(Space { free: 0, total, file_size_max: 0 })
    }
}
