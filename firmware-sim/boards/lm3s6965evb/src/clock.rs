//! The time, by the watchdog, which counts down and is not let to bite.

use cortex_m::peripheral::SYST;
use embedded_hal::delay::DelayNs;
use kift_board::Clock;

use crate::chip::WATCHDOG;

/// Of the processor and all else, after a reset: the watchdog comes around every five minutes.
const HZ: u32 = 12_500_000;

/// The bit of the watchdog's control that has it count.
const COUNT: u32 = 1;

/// Starts the watchdog.
pub(crate) fn start(syst: SYST) -> Clock {
    WATCHDOG::LOAD.write(u32::MAX);
    WATCHDOG::CONTROL.write(COUNT);
    Clock::start(syst, HZ, WATCHDOG::VALUE, HZ)
}

/// Waits by the watchdog.
pub(crate) struct Delay;

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        let ticks = ns.div_ceil(1_000_000_000 / HZ);
        let start = WATCHDOG::VALUE.read();
        while start.wrapping_sub(WATCHDOG::VALUE.read()) < ticks {}
    }
}
