//! How much of the stack was used: what `paint-stack` painted and nobody has written to since.

#![allow(unsafe_code)]

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    // Of the linker script. The stack grows down from the one to the other.
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes of the stack, and of these the most that were ever in use.
pub(crate) fn stack() -> (usize, usize) {
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let words = (start.addr() - end.addr()) / size_of::<u32>();
    let mut at = end;
    for unused in 0..words {
        // SAFETY: between the two there is nothing but the stack, all of it words in RAM. What is
        // below the stack pointer belongs to nobody, and what is above is only read.
        if unsafe { at.read_volatile() } != STACK_PAINT_VALUE {
            return (words * size_of::<u32>(), (words - unused) * size_of::<u32>());
        }
        at = at.wrapping_add(1);
    }
    (words * size_of::<u32>(), 0)
}
