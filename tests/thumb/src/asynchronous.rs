//! A device that asks and serves, one session each, over sealed links, by the asynchronous driver.

#![no_std]
#![no_main]

mod ask;
mod awaiting;
mod bare;
mod sealed;
mod serve;
mod world;

use awaiting::{driver, step};
use sealed::{Link, link};

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        ask::ask();
        serve::serve();
    }
}
