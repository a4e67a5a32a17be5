//! A whole device that sends its log and fetches an image, over sealed links.

#![no_std]
#![no_main]

mod asks;
mod bare;
mod board;
mod keys;

use keys::{Links, links};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    asks::run();
    loop {}
}
