//! The console: UART 0.

use crate::chip::UART0;

/// Bits of the flags.
const RX_EMPTY: u32 = 1 << 4;
const TX_FULL: u32 = 1 << 5;

/// Shows a text.
pub(crate) fn print(text: &str) {
    for byte in text.bytes() {
        while UART0::FLAGS.read() & TX_FULL != 0 {}
        UART0::DATA.write(byte.into());
    }
}

/// Whether somebody pressed a key.
pub(crate) fn is_key_pressed() -> bool {
    UART0::FLAGS.read() & RX_EMPTY == 0
}
