//! A device that asks and serves, one session each, over sealed links.

#![no_std]
#![no_main]

mod ask;
mod bare;
mod blocking;
mod sealed;
mod serve;
mod world;

use blocking::{driver, step};
use sealed::{Link, link};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        ask::ask();
        serve::serve();
    }
}
