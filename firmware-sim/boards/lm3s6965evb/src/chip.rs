//! The chip: its registers. All of the board's unsafe code is here.
//!
//! From Texas Instruments' data sheet of the LM3S6965. What QEMU has no need of, the pins of the
//! controllers and their clocks, is left as it is after a reset.

#![allow(unsafe_code)]

use core::panic::PanicInfo;
use core::ptr;

use cortex_m::peripheral::NVIC;
use cortex_m_rt::{ExceptionFrame, exception};
use semihosting::process::exit;

/// A register of 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Register(usize);

macro_rules! registers {
    ($($block:ident at $base:literal: $($name:ident $offset:literal),*;)*) => {
        $(#[allow(non_snake_case)]
        pub(crate) mod $block {
            use super::Register;
            $(pub(crate) const $name: Register = Register($base + $offset);)*
        })*
    };
}

registers! {
    WATCHDOG at 0x4000_0000: LOAD 0x000, VALUE 0x004, CONTROL 0x008;
    GPIO_D at 0x4000_7000: PIN_0 0x004, DIRECTION 0x400;
    SSI0 at 0x4000_8000: CONTROL_0 0x00, CONTROL_1 0x04, DATA 0x08, STATUS 0x0c, PRESCALE 0x10;
    UART0 at 0x4000_c000: DATA 0x00, FLAGS 0x18;
    MAC at 0x4004_8000: STATE 0x00, MASK 0x04, RX_CONTROL 0x08, TX_CONTROL 0x0c, DATA 0x10,
        ADDRESS_0 0x14, ADDRESS_1 0x18, THRESHOLD 0x1c, FRAMES 0x34, TX_REQUEST 0x38;
}

impl Register {
    pub(crate) fn read(self) -> u32 {
        // SAFETY: each is one of the registers above, which may be read at any time.
        unsafe { ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    pub(crate) fn write(self, value: u32) {
        // SAFETY: each is one of the registers above, and none of them has the chip write to memory.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}

/// The line of an interrupt.
#[derive(Clone, Copy)]
pub(crate) struct Line(pub(crate) u16);

// SAFETY: it is the number of a line, and nothing else here is.
unsafe impl cortex_m::interrupt::InterruptNumber for Line {
    fn number(self) -> u16 {
        self.0
    }
}

/// Has an interrupt wake the processor, which takes none.
pub(crate) fn wake_by(line: Line) {
    cortex_m::interrupt::disable();
    // SAFETY: interrupts are off and stay so, and there are no handlers.
    unsafe { NVIC::unmask(line) };
}

/// The vectors of interrupts. None is taken, so there need not be one for each.
// SAFETY: it is the name and the place that the runtime asks for.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [usize; 1] = [0];

#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    crate::uart::print("device: fault\n");
    exit(102)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    crate::uart::print("device: panic\n");
    exit(101)
}
