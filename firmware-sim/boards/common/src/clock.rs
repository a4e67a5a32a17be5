//! The time: a counter of the chip's, and SysTick, which wakes the processor.

use core::cell::Cell;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, SCB, SYST};
use kift_core::time::Instant;

use crate::chip::{Line, Register};

/// The time since the start. It is to be asked for before the counter has come around.
pub struct Clock {
    counter: Register,
    per_ms: u32,
    /// What the counter showed when it was last looked at.
    last: Cell<u32>,
    /// Its ticks since the start.
    ticks: Cell<u64>,
}

impl Clock {
    /// The time by `counter`, which counts down from `u32::MAX`, over and over, `counter_hz` times a
    /// second. Starts SysTick, whose processor has `core_hz`; no interrupt is taken from now on.
    #[must_use]
    pub fn start(mut syst: SYST, core_hz: u32, counter: Register, counter_hz: u32) -> Self {
        // SysTick only wakes: nobody handles it.
        cortex_m::interrupt::disable();
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(core_hz / 1000 - 1);
        syst.clear_current();
        syst.enable_interrupt();
        syst.enable_counter();
        let (last, per_ms) = (Cell::new(counter.read()), counter_hz / 1000);
        Self { counter, per_ms, last, ticks: Cell::new(0) }
    }

    /// The time.
    // Asked for everywhere.
    #[inline(never)]
    #[must_use]
    pub fn now(&self) -> Instant {
        let value = self.counter.read();
        let passed = self.last.replace(value).wrapping_sub(value);
        let ticks = self.ticks.get() + u64::from(passed);
        self.ticks.set(ticks);
        Instant::from_millis(ticks / u64::from(self.per_ms))
    }

    /// Sleeps until the millisecond is over, or the interrupt `line` comes, neither of which is
    /// taken.
    pub fn doze(&self, line: Line) {
        cortex_m::asm::wfi();
        SCB::clear_pendst();
        NVIC::unpend(line);
    }
}
