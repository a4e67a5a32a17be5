//! What any image has: a register, and an answer to panics.

use core::hint::black_box;
use core::panic::PanicInfo;
use core::ptr;

const REGISTER: *mut u32 = ptr::without_provenance_mut(0x4000_0000);

/// Some number: whatever the register holds, which the optimiser cannot know.
pub fn any() -> u32 {
    // SAFETY: the image never runs; on a board this is a word of the peripheral region.
    unsafe { REGISTER.read_volatile() }
}

/// Some text of any length.
pub fn any_text() -> &'static str {
    black_box("text")
}

// Not inlined, so that whatever calls it is found.
#[panic_handler]
#[inline(never)]
fn panic(_: &PanicInfo<'_>) -> ! {
    #[cfg(feature = "proof")]
    {
        unsafe extern "C" {
            safe fn kift_a_panic_can_be_reached() -> !;
        }
        kift_a_panic_can_be_reached()
    }
    #[cfg(not(feature = "proof"))]
    loop {}
}
