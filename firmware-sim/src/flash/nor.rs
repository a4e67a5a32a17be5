//! What the store asks of a flash.

use embedded_storage::nor_flash::{ErrorType, MultiwriteNorFlash, NorFlash, ReadNorFlash};

/// NOR flash that can erase while the processor does something else.
///
/// Erasing a block takes tens of milliseconds. A store on such a flash says that it is pending
/// meanwhile, so that the network is still served. A flash that only knows how to wait becomes one
/// by [`Blocking`].
///
/// Reads and writes are done when they return. They come only while the flash is not busy, and are
/// of any length, so an implementation splits writes at its own page boundaries.
pub trait Flash: MultiwriteNorFlash {
    /// Begins to erase the block of `ERASE_SIZE` bytes at `offset`, and may return before that is
    /// done.
    ///
    /// # Errors
    /// The flash's own.
    fn begin_erase(&mut self, offset: u32) -> Result<(), Self::Error>;

    /// Whether an erase goes on.
    ///
    /// # Errors
    /// That the erase failed, told once; or that the flash could not be asked.
    fn is_busy(&mut self) -> Result<bool, Self::Error>;
}

impl<F: Flash> Flash for &mut F {
    fn begin_erase(&mut self, offset: u32) -> Result<(), Self::Error> {
        F::begin_erase(self, offset)
    }

    fn is_busy(&mut self) -> Result<bool, Self::Error> {
        F::is_busy(self)
    }
}

/// A flash whose erases block.
#[derive(Debug)]
pub struct Blocking<F>(pub F);

impl<F: ErrorType> ErrorType for Blocking<F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> ReadNorFlash for Blocking<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<F: NorFlash> NorFlash for Blocking<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write(offset, bytes)
    }
}

impl<F: MultiwriteNorFlash> MultiwriteNorFlash for Blocking<F> {}

impl<F: MultiwriteNorFlash> Flash for Blocking<F> {
    fn begin_erase(&mut self, offset: u32) -> Result<(), Self::Error> {
        self.0.erase(offset, offset.saturating_add(F::ERASE_SIZE as u32))
    }

    fn is_busy(&mut self) -> Result<bool, Self::Error> {
        Ok(false)
    }
}
