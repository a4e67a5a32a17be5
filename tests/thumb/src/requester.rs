//! A device that only asks, over plain links.

#![no_std]
#![no_main]

mod ask;
mod bare;
mod blocking;
mod plain;
mod world;

use blocking::{driver, step};
use plain::{Link, link};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        ask::ask();
    }
}
