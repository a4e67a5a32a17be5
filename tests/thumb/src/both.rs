//! A device that asks and serves, one session each, over plain links.

#![no_std]
#![no_main]

mod ask;
mod bare;
mod blocking;
mod plain;
mod serve;
mod world;

use blocking::{driver, step};
use plain::{Link, link};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        ask::ask();
        serve::serve();
    }
}
