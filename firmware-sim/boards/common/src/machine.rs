//! What a board has to bring.

use core::fmt;

use kift_core::time::Instant;
use kift_firmware_sim::disk::Disk;
use kift_firmware_sim::net::Frames;

/// A board: its clock, its console, its network interface and its disk.
pub trait Machine {
    /// What carries Ethernet frames.
    type Frames: Frames + 'static;

    /// What files are kept on.
    type Disk: Disk + 'static;

    /// Why the disk cannot be used.
    type DiskError: fmt::Display;

    /// The network interface, with this address of its own.
    fn frames(&self, mac: [u8; 6]) -> Self::Frames;

    /// The disk.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn mount(&self) -> Result<Self::Disk, Self::DiskError>;

    /// Whether that is because it is blank.
    fn is_blank(error: &Self::DiskError) -> bool;

    /// Makes an empty disk, in the place of whatever there is.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn format(&self) -> Result<(), Self::DiskError>;

    /// The time since the start.
    fn now(&self) -> Instant;

    /// Sleeps for a millisecond, or until a frame comes.
    fn doze(&self);

    /// Shows a text.
    fn print(&self, text: &str);

    /// Whether somebody pressed a key.
    fn is_key_pressed(&self) -> bool;
}

/// The console of a board.
pub(crate) struct Console<'a, M>(pub(crate) &'a M);

impl<M: Machine> Console<'_, M> {
    /// Shows a line.
    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) {
        // A console takes everything.
        let _ = fmt::Write::write_fmt(self, text);
        self.0.print("\n");
    }
}

impl<M: Machine> fmt::Write for Console<'_, M> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.print(text);
        Ok(())
    }
}
