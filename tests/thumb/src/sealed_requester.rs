//! A device that only asks, over sealed links.

#![no_std]
#![no_main]

mod ask;
mod bare;
mod blocking;
mod sealed;
mod world;

use blocking::{driver, step};
use sealed::{Link, link};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        ask::ask();
    }
}
