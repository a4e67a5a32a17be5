//! How much of the stack was used: what was painted and nobody has written to since. The runtime
//! paints it at the start (`paint-stack`).

#![allow(unsafe_code)]

use cortex_m::register::msp;
use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    // Of the linker script. The stack grows down from the one to the other.
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes below the stack pointer that are left alone.
const MARGIN: usize = 64;

/// Bytes of the stack.
pub(crate) fn stack_len() -> usize {
    (&raw const _stack_start).addr() - (&raw const _stack_end).addr()
}

/// Bytes of the stack that were in use at most since it was painted.
pub(crate) fn stack_used() -> usize {
    let end = &raw const _stack_end;
    let words = stack_len() / size_of::<u32>();
    let is_paint = |word: &usize| {
        // SAFETY: so many words from there on there is nothing but the stack, all of it RAM. What
        // is below the stack pointer belongs to nobody, and what is above is only read.
        unsafe { end.wrapping_add(*word).read_volatile() == STACK_PAINT_VALUE }
    };
    let unused = (0..words).take_while(is_paint).count();
    (words - unused) * size_of::<u32>()
}

/// Paints what is not in use.
#[inline(never)]
pub(crate) fn repaint_stack() {
    let end = (&raw const _stack_end).cast_mut();
    let unused = (msp::read() as usize).saturating_sub(end.addr() + MARGIN) / size_of::<u32>();
    for word in 0..unused {
        // SAFETY: it is the stack's, and below the stack pointer, so nobody has anything there: this
        // function calls none while it paints but what is inlined, and interrupts are not taken.
        unsafe { end.wrapping_add(word).write_volatile(STACK_PAINT_VALUE) }
    }
}
