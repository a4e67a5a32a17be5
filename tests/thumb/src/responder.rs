//! A device that only serves.

#![no_std]
#![no_main]

mod bare;
mod serve;
mod world;

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        serve::serve();
    }
}
