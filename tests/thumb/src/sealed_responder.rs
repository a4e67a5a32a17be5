//! A device that only serves, over sealed links.

#![no_std]
#![no_main]

mod bare;
mod sealed;
mod serve;
mod world;

use sealed::{Link, link};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        serve::serve();
    }
}
