//! A device that only asks, over plain links.

#![no_std]
#![no_main]

mod ask;
mod bare;
mod plain;
mod world;

use plain::{Link, link};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        ask::ask();
    }
}
