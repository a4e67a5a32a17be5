//! A device that asks and serves, one session each.

#![no_std]
#![no_main]

mod ask;
mod bare;
mod serve;
mod world;

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        ask::ask();
        serve::serve();
    }
}
