//! A device that only serves, over plain links.

#![no_std]
#![no_main]

mod bare;
mod plain;
mod serve;
mod world;

use plain::{Link, link};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        serve::serve();
    }
}
