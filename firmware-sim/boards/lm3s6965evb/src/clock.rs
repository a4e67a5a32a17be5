//! The time: the watchdog, which counts down and is not let to bite, and SysTick, which wakes the
//! processor.

use core::cell::Cell;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, SCB, SYST};
use embedded_hal::delay::DelayNs;
use kift_core::time::Instant;

use crate::chip::{Line, WATCHDOG};

/// Of the processor and all else, after a reset.
const HZ: u32 = 12_500_000;

/// The bit of the watchdog's control that has it count.
const COUNT: u32 = 1;

/// The time since the start. It is to be asked for every five minutes, at least, before the watchdog
/// has come around.
pub(crate) struct Clock {
    /// What it showed when it was last looked at.
    last: Cell<u32>,
    /// Its ticks since the start.
    ticks: Cell<u64>,
}

impl Clock {
    /// Starts the watchdog, and SysTick.
    pub(crate) fn start(mut syst: SYST) -> Self {
        // SysTick only wakes: nobody handles it.
        cortex_m::interrupt::disable();
        WATCHDOG::LOAD.write(u32::MAX);
        WATCHDOG::CONTROL.write(COUNT);
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(HZ / 1000 - 1);
        syst.clear_current();
        syst.enable_interrupt();
        syst.enable_counter();
        Self { last: Cell::new(WATCHDOG::VALUE.read()), ticks: Cell::new(0) }
    }

    pub(crate) fn now(&self) -> Instant {
        let value = WATCHDOG::VALUE.read();
        let passed = self.last.replace(value).wrapping_sub(value);
        let ticks = self.ticks.get() + u64::from(passed);
        self.ticks.set(ticks);
        Instant::from_millis(ticks / u64::from(HZ / 1000))
    }

    /// Sleeps until the millisecond is over, or the interrupt `line` comes, neither of which is
    /// taken.
    pub(crate) fn doze(&self, line: Line) {
        cortex_m::asm::wfi();
        SCB::clear_pendst();
        NVIC::unpend(line);
    }
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
