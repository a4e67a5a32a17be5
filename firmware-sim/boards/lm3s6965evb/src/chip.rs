//! The chip: its registers. All of the board's unsafe code is here.
//!
//! From Texas Instruments' data sheet of the LM3S6965. What QEMU has no need of, the pins of the
//! controllers and their clocks, is left as it is after a reset.

#![allow(unsafe_code)]

use kift_board::registers;

registers! {
    WATCHDOG at 0x4000_0000: LOAD 0x000, VALUE 0x004, CONTROL 0x008;
    GPIO_D at 0x4000_7000: PIN_0 0x004, DIRECTION 0x400;
    SSI0 at 0x4000_8000: CONTROL_0 0x00, CONTROL_1 0x04, DATA 0x08, STATUS 0x0c, PRESCALE 0x10;
    UART0 at 0x4000_c000: DATA 0x00, FLAGS 0x18;
    MAC at 0x4004_8000: STATE 0x00, MASK 0x04, RX_CONTROL 0x08, TX_CONTROL 0x0c, DATA 0x10,
        ADDRESS_0 0x14, ADDRESS_1 0x18, THRESHOLD 0x1c, FRAMES 0x34, TX_REQUEST 0x38;
}

kift_board::image!(crate::uart::print);
