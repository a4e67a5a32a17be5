//! A device that only serves, over sealed links.

#![no_std]
#![no_main]

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
        serve::serve();
    }
}
