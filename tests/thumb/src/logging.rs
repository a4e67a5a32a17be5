//! A device that asks and serves over sealed links, and shows what its sessions log.

#![no_std]
#![no_main]

mod ask;
mod bare;
mod blocking;
mod sealed;
mod serve;
mod world;

use core::fmt::{self, Write as _};
use core::hint::black_box;

use blocking::{driver, step};
use sealed::{Link, link};

/// Takes text.
struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        black_box(text);
        Ok(())
    }
}

impl log::Log for Console {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = write!(Console, "{}", record.args());
    }

    fn flush(&self) {}
}

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    let _ = log::set_logger(&Console);
    log::set_max_level(log::LevelFilter::Trace);
    loop {
        ask::ask();
        serve::serve();
    }
}
