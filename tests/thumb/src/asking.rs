//! A whole device that sends its log and fetches an image, over plain links.

#![no_std]
#![no_main]

mod asks;
mod bare;
mod board;
mod plain_links;

use plain_links::{Links, links};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    asks::run();
    loop {}
}
