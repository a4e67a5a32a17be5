//! The flash as the device has it: shared with the board, which looks at it while it works.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embedded_storage::nor_flash::{ErrorType, MultiwriteNorFlash, NorFlash, ReadNorFlash};

use crate::board::nor::{Error, Nor};
use crate::flash::Flash;

/// A flash that several lives of a device have, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Chip {
    nor: Arc<Mutex<Nor>>,
    /// The power is off.
    is_off: Arc<AtomicBool>,
    /// The operation in which the power is to be cut, and how it tears; taken when it is armed.
    cut: Arc<Mutex<Option<(u64, u64)>>>,
}

impl Chip {
    /// A flash whose power is cut once it is armed, in the operation and torn in the manner that
    /// `cut` gives.
    pub(super) fn new(nor: Nor, cut: Option<(u64, u64)>) -> Self {
        let nor = Arc::new(Mutex::new(nor));
        Self { nor, is_off: Arc::default(), cut: Arc::new(Mutex::new(cut)) }
    }

    /// Counts the operations up to the cut from now on, the first time that it is called.
    pub(super) fn arm(&self) {
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((nth, seed)) = cut {
            self.nor().cut_after(nth, seed);
        }
    }

    pub(super) fn nor(&self) -> MutexGuard<'_, Nor> {
        self.nor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the power was cut.
    pub(super) fn is_off(&self) -> bool {
        self.is_off.load(Ordering::Relaxed)
    }

    pub(super) fn power_on(&self) {
        self.nor().power_on();
        self.is_off.store(false, Ordering::Relaxed);
    }

    fn with<T>(&self, operation: impl FnOnce(&mut Nor) -> Result<T, Error>) -> Result<T, Error> {
        let result = operation(&mut self.nor());
        if matches!(result, Err(Error::PowerCut)) {
            self.is_off.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl ErrorType for Chip {
    type Error = Error;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = Nor::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.with(|nor| nor.read(offset, bytes))
    }

    fn capacity(&self) -> usize {
        self.nor().capacity()
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = Nor::WRITE_SIZE;
    const ERASE_SIZE: usize = Nor::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        self.with(|nor| nor.erase(from, to))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.with(|nor| nor.write(offset, bytes))
    }
}

impl MultiwriteNorFlash for Chip {}

impl Flash for Chip {
    fn begin_erase(&mut self, offset: u32) -> Result<(), Error> {
        self.with(|nor| nor.begin_erase(offset))
    }

    fn is_busy(&mut self) -> Result<bool, Error> {
        self.with(Nor::is_busy)
    }
}
