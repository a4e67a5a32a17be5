//! A device that only serves, over plain links.

#![no_std]
#![no_main]

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
        serve::serve();
    }
}
