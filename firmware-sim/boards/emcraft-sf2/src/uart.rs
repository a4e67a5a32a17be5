//! The console: MMUART 0.

use crate::chip::UART0;

/// Bits of the line's state.
const RECEIVED: u32 = 1;
const CAN_SEND: u32 = 1 << 5;

/// Shows a text.
pub(crate) fn print(text: &str) {
    for byte in text.bytes() {
        while UART0::LSR.read() & CAN_SEND == 0 {}
        UART0::DATA.write(byte.into());
    }
}

/// Whether somebody pressed a key.
pub(crate) fn is_key_pressed() -> bool {
    UART0::LSR.read() & RECEIVED != 0
}
