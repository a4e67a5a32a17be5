//! The one way to the flash: erases that go on by themselves, and are announced where they must be.

use core::future::pending;
use core::task::{Poll, ready};

use embedded_storage::nor_flash::{ErrorType, NorFlashError, NorFlashErrorKind};
use embedded_storage_async::nor_flash::{MultiwriteNorFlash, NorFlash, ReadNorFlash};

use super::journal::{Entry, Journal, Unfinished};
use super::{DATA_BLOCK, Flash, JOURNAL_BLOCKS, MountError, data};

/// The flash, the erase that goes on, and the journal.
#[derive(Debug)]
pub(super) struct Gate<F> {
    flash: F,
    journal: Journal,
    erasing: Erasing,
    /// The block of data whose erase failed last.
    failed: Option<u16>,
    /// Erases for which the table's operation may yet be dropped: see [`NorFlash::erase`].
    drops_left: u8,
}

/// Erases for which an operation that changes the table may be dropped.
const DROPS_MAX: u8 = 2;

/// Entries of the journal that such an operation is begun with, at least.
const ENTRIES_SPARE: u32 = 16;

#[derive(Debug, Clone, Copy)]
enum Erasing {
    Nothing,
    /// A block of data.
    Data(u16),
    /// A page of the table.
    Page(Entry),
    /// The other block of the journal.
    Journal,
}

impl<F: Flash> Gate<F> {
    /// Does what a power cut left undone.
    ///
    /// # Errors
    /// That there is no store on the flash, or that it cannot be read.
    pub(super) fn open(mut flash: F) -> Result<Self, MountError> {
        let loaded = Journal::load(&mut flash).map_err(|_| MountError::Io)?;
        let Some((journal, unfinished)) = loaded else {
            return Err(match is_blank(&mut flash) {
                Ok(true) => MountError::Blank,
                Ok(false) => MountError::Foreign,
                Err(_) => MountError::Io,
            });
        };
        match unfinished {
            Some((_, Unfinished::Format)) => return Err(MountError::Blank),
            Some((entry, Unfinished::Page(page))) => {
                erase(&mut flash, JOURNAL_BLOCKS.saturating_add(page.into()))
                    .and_then(|()| entry.strike(&mut flash))
                    .map_err(|_| MountError::Io)?;
            }
            None => {}
        }
        Ok(Self { flash, journal, erasing: Erasing::Nothing, failed: None, drops_left: 0 })
    }

    /// Erases journal and table. The entry is to be struck out when the table is begun: until then
    /// the format is not finished, and says so before anything of an earlier store is lost.
    pub(super) fn format(mut flash: F) -> Result<(Self, Entry), F::Error> {
        erase(&mut flash, 0)?;
        let mut journal = Journal::begin(&mut flash)?;
        let entry = journal.announce(&mut flash, Unfinished::Format)?;
        (1..DATA_BLOCK).try_for_each(|block| erase(&mut flash, block))?;
        Ok((Self { flash, journal, erasing: Erasing::Nothing, failed: None, drops_left: 0 }, entry))
    }

    /// Waits for the erase that goes on. To be called before anything else.
    pub(super) fn settle(&mut self) -> Poll<Result<(), F::Error>> {
        let is_busy = self.flash.is_busy();
        if let Ok(true) = is_busy {
            return Poll::Pending;
        }
        let erased = core::mem::replace(&mut self.erasing, Erasing::Nothing);
        Poll::Ready(match (is_busy, erased) {
            (Ok(_), Erasing::Nothing | Erasing::Data(_)) => Ok(()),
            (Ok(_), Erasing::Page(entry)) => entry.strike(&mut self.flash),
            (Ok(_), Erasing::Journal) => self.journal.turn(&mut self.flash),
            // Its upload will ask.
            (Err(_), Erasing::Data(block)) => {
                self.failed = Some(block);
                Ok(())
            }
            (Err(error), _) => Err(error),
        })
    }

    /// Begins to erase a block of data.
    pub(super) fn begin_erase(&mut self, block: u16) {
        self.failed = None;
        match self.flash.begin_erase(data_offset::<F>(block)) {
            Ok(()) => self.erasing = Erasing::Data(block),
            Err(_) => self.failed = Some(block),
        }
    }

    /// Whether the erase of this block of data failed.
    pub(super) fn has_failed(&self, block: u16) -> bool {
        self.failed == Some(block)
    }

    /// The flash, while nothing goes on.
    pub(super) fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// An operation that changes the table is done.
    pub(super) const fn complete(&mut self) {
        self.drops_left = DROPS_MAX;
    }

    /// Makes room in the journal for an operation that changes the table, which could not be
    /// dropped before its own erase has begun.
    pub(super) fn prepare(&mut self) -> Poll<Result<(), F::Error>> {
        ready!(self.settle())?;
        if self.journal.entries_left::<F>() >= ENTRIES_SPARE {
            return Poll::Ready(Ok(()));
        }
        self.flash.begin_erase(self.journal.other::<F>())?;
        self.erasing = Erasing::Journal;
        self.settle()
    }

    /// Begins to erase a page of the table, and announces it before.
    fn begin_page_erase(&mut self, offset: u32) -> Poll<Result<(), F::Error>> {
        if self.journal.entries_left::<F>() == 0 {
            // Only of a repair at the mount, which waits.
            erase(&mut self.flash, self.journal.other::<F>() / F::ERASE_SIZE as u32)?;
            self.journal.turn(&mut self.flash)?;
        }
        let page = (offset / F::ERASE_SIZE as u32).saturating_sub(JOURNAL_BLOCKS) as u16;
        let entry = self.journal.announce(&mut self.flash, Unfinished::Page(page))?;
        self.flash.begin_erase(offset)?;
        self.erasing = Erasing::Page(entry);
        self.settle()
    }
}

/// Erases a block, and waits.
fn erase<F: Flash>(flash: &mut F, block: u32) -> Result<(), F::Error> {
    flash.erase(offset_of::<F>(block), offset_of::<F>(block.saturating_add(1)))
}

/// Whether nothing was ever written to the table.
fn is_blank<F: Flash>(flash: &mut F) -> Result<bool, F::Error> {
    let mut piece = [0; 256];
    for offset in (offset_of::<F>(JOURNAL_BLOCKS)..offset_of::<F>(DATA_BLOCK)).step_by(piece.len())
    {
        flash.read(offset, &mut piece)?;
        if piece.iter().any(|byte| *byte != 0xff) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where a block begins.
const fn offset_of<F: Flash>(block: u32) -> u32 {
    block.saturating_mul(F::ERASE_SIZE as u32)
}

/// Where a block of data begins.
pub(super) const fn data_offset<F: Flash>(block: u16) -> u32 {
    offset_of::<F>(DATA_BLOCK.saturating_add(block as u32))
}

/// Why the table could not be read or written.
#[derive(Debug)]
pub(super) enum Failed<E> {
    /// The flash says so.
    Flash(E),
    /// What was written is not what is there.
    Different,
}

impl<E: NorFlashError> NorFlashError for Failed<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Flash(error) => error.kind(),
            Self::Different => NorFlashErrorKind::Other,
        }
    }
}

impl<F: Flash> ErrorType for Gate<F> {
    type Error = Failed<F::Error>;
}

/// As the table sees it.
impl<F: Flash> ReadNorFlash for Gate<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.flash.read(offset, bytes).map_err(Failed::Flash)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl<F: Flash> NorFlash for Gate<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    /// Erases the page at `from`: the table never erases more than one.
    ///
    /// While that goes on it does not come back, so whoever polls drops the operation and does it
    /// anew after [`settle`](Gate::settle). The table takes up where it was, since what it had
    /// written is still there, and its caches know that they may be wrong. Only of a repair it does
    /// not: dropped in the middle it begins again with the same erase. So an operation is dropped
    /// for a few erases, and then they are waited for.
    async fn erase(&mut self, from: u32, _to: u32) -> Result<(), Self::Error> {
        match self.begin_page_erase(from) {
            Poll::Ready(result) => return result.map_err(Failed::Flash),
            Poll::Pending => {}
        }
        if let Some(left) = self.drops_left.checked_sub(1) {
            self.drops_left = left;
            return pending().await;
        }
        loop {
            match self.settle() {
                Poll::Ready(result) => return result.map_err(Failed::Flash),
                Poll::Pending => core::hint::spin_loop(),
            }
        }
    }

    /// Reads back what it has written: where a bit did not become what it should, the table would
    /// take an item for stored that is none.
    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        match data::program(&mut self.flash, offset, bytes) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failed::Different),
            Err(error) => Err(Failed::Flash(error)),
        }
    }
}

impl<F: Flash> MultiwriteNorFlash for Gate<F> {}
