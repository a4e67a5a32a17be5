//! Instructions, by a timer of the chip: with QEMU's `-icount` it goes on by as much for each of them.

use core::ptr;

// Of the SmartFusion2: see `firmware-sim/boards/emcraft-sf2`.
const VALUE: *mut u32 = ptr::without_provenance_mut(0x4000_4000);
const LOAD: *mut u32 = ptr::without_provenance_mut(0x4000_4004);
const CONTROL: *mut u32 = ptr::without_provenance_mut(0x4000_400c);

/// Instructions of a loop whose length is known.
const KNOWN: u32 = 1 << 20;

/// Counts instructions.
pub struct Clock {
    /// Ticks of the timer that `KNOWN` instructions took.
    ticks: u64,
}

impl Clock {
    /// Starts the timer, and has it tell how long an instruction takes.
    pub fn start() -> Self {
        // SAFETY: these are registers of the timer, which nothing else uses.
        unsafe {
            LOAD.write_volatile(u32::MAX);
            CONTROL.write_volatile(1);
        }
        let begun = ticks();
        // Two instructions a round, which it counts as two cycles.
        cortex_m::asm::delay(KNOWN);
        Self { ticks: since(begun).into() }
    }

    /// The instructions that took so many ticks.
    pub const fn instructions(&self, ticks: u64) -> u64 {
        ticks * KNOWN as u64 / self.ticks
    }
}

/// What the timer shows. It counts down.
pub fn ticks() -> u32 {
    // SAFETY: the register may be read at any time.
    unsafe { VALUE.read_volatile() }
}

/// The ticks since the timer showed `begun`.
pub fn since(begun: u32) -> u32 {
    begun.wrapping_sub(ticks())
}
