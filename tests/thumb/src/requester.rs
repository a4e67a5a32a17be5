//! A device that only asks.

#![no_std]
#![no_main]

mod ask;
mod bare;
mod world;

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        ask::ask();
    }
}
