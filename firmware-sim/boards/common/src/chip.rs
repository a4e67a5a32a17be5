//! What the boards' chips are alike in: registers, interrupts that only wake, and how an image ends
//! that cannot go on.

#![allow(unsafe_code)]

use core::ptr;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
#[doc(hidden)]
pub use semihosting::process::exit;

/// A register of 32 bits.
#[derive(Clone, Copy)]
pub struct Register(usize);

impl Register {
    /// The register at `address`.
    ///
    /// # Safety
    /// There is one, which may be read and written at any time. To write to it has the chip write to
    /// no memory, unless whoever has it sees to where.
    #[must_use]
    pub const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    /// What it holds.
    #[must_use]
    pub fn read(self) -> u32 {
        // SAFETY: whoever made this says that it may be.
        unsafe { ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    /// Writes to it.
    pub fn write(self, value: u32) {
        // SAFETY: whoever made this says that it may be.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}

/// Registers of a chip, in a module each block. To be called where unsafe code is: each is as
/// [`Register::at`] wants it.
#[macro_export]
macro_rules! registers {
    ($($block:ident at $base:literal: $($name:ident $offset:literal),*;)*) => {
        $(#[allow(non_snake_case)]
        pub(crate) mod $block {
            use $crate::Register;
            // SAFETY: whoever lists them has looked them up.
            $(pub(crate) const $name: Register = unsafe { Register::at($base + $offset) };)*
        })*
    };
}

/// The line of an interrupt.
#[derive(Clone, Copy)]
pub struct Line(pub u16);

// SAFETY: it is the number of a line, and nothing else here is.
unsafe impl InterruptNumber for Line {
    fn number(self) -> u16 {
        self.0
    }
}

/// Has an interrupt wake the processor, which takes none.
pub fn wake_by(line: Line) {
    cortex_m::interrupt::disable();
    // SAFETY: interrupts are off and stay so, and there are no handlers.
    unsafe { NVIC::unmask(line) };
}

/// What an image has to have: its vectors, and what it shows by `$print` where it cannot go on.
#[macro_export]
macro_rules! image {
    ($print:path) => {
        /// The vectors of interrupts. None is taken, so there need not be one for each.
        // SAFETY: it is the name and the place that the runtime asks for.
        #[unsafe(link_section = ".vector_table.interrupts")]
        #[unsafe(no_mangle)]
        static __INTERRUPTS: [usize; 1] = [0];

        #[cortex_m_rt::exception]
        unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
            $print("device: fault\n");
            $crate::exit(102)
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $print("device: panic\n");
            $crate::exit(101)
        }
    };
}
