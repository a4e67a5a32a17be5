//! The time, by a timer.

use cortex_m::peripheral::SYST;
use kift_board::Clock;

use crate::chip::TIMER1;

/// Of the processor, and of the bus that the timer is on: it comes around once a minute.
const CORE_HZ: u32 = 142_000_000;
const TIMER_HZ: u32 = CORE_HZ / 2;

/// Starts the timer.
pub(crate) fn start(syst: SYST) -> Clock {
    TIMER1::LOAD.write(u32::MAX);
    TIMER1::CONTROL.write(1);
    Clock::start(syst, CORE_HZ, TIMER1::VALUE, TIMER_HZ)
}
