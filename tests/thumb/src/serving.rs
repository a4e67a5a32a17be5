//! A whole device that serves the files in its flash, over plain links.

#![no_std]
#![no_main]

mod bare;
mod board;
mod plain_links;
mod serves;

use plain_links::{Links, links};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    serves::run();
    loop {}
}
