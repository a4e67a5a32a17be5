//! A whole device that serves the files in its flash, over sealed links.

#![no_std]
#![no_main]

mod bare;
mod board;
mod keys;
mod serves;

use keys::{Links, links};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    serves::run();
    loop {}
}
