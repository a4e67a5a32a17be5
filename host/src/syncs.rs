//! The syncs of one file.

use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// Does them one at a time, and remembers the first that failed.
///
/// The system tells of each failure once, and takes what it could not write for written then: a sync that
/// comes later, or at the same time, succeeds and says nothing about it.
#[derive(Debug, Default)]
pub(crate) struct Syncs(Mutex<Option<Errno>>);

impl Syncs {
    /// Does `sync`, unless one has failed before.
    ///
    /// # Errors
    /// Its, or that of the one that failed.
    pub(crate) fn run(&self, sync: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *failed {
            Some(errno) => Err(errno),
            None => sync().inspect_err(|errno| *failed = Some(*errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_once_has_failed() {
        let syncs = Syncs::default();
        assert_eq!(syncs.run(|| Ok(())), Ok(()));
        assert_eq!(syncs.run(|| Err(Errno::IO)), Err(Errno::IO));
        assert_eq!(syncs.run(|| panic!("not again")), Err(Errno::IO));
    }
}
