//! The time: a timer that counts down, and SysTick, which wakes the processor.

use core::cell::Cell;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use kift_core::time::Instant;

use crate::chip::TIMER1;

/// Of the processor, and of the bus that the timer is on.
const CORE_HZ: u32 = 142_000_000;
const TIMER_HZ: u32 = CORE_HZ / 2;

/// The time since the start. It is to be asked for once a minute, at least, before the timer has
/// come around.
pub(crate) struct Clock {
    /// What the timer showed when it was last looked at.
    last: Cell<u32>,
    /// Its ticks since the start.
    ticks: Cell<u64>,
}

impl Clock {
    /// Starts the timer, and SysTick.
    pub(crate) fn start(mut syst: SYST) -> Self {
        TIMER1::LOAD.write(u32::MAX);
        TIMER1::CONTROL.write(1);
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(CORE_HZ / 1000 - 1);
        syst.clear_current();
        syst.enable_interrupt();
        syst.enable_counter();
        Self { last: Cell::new(TIMER1::VALUE.read()), ticks: Cell::new(0) }
    }

    // Asked for everywhere.
    #[inline(never)]
    pub(crate) fn now(&self) -> Instant {
        let value = TIMER1::VALUE.read();
        let passed = self.last.replace(value).wrapping_sub(value);
        let ticks = self.ticks.get() + u64::from(passed);
        self.ticks.set(ticks);
        Instant::from_millis(ticks / u64::from(TIMER_HZ / 1000))
    }

    /// Sleeps until the millisecond is over, or an interrupt comes, which is not taken.
    pub(crate) fn doze(&self) {
        cortex_m::asm::wfi();
        SCB::clear_pendst();
    }
}
