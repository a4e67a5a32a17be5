//! A whole device that serves the files in its flash.

#![no_std]
#![no_main]

mod bare;
mod board;

use board::{BUFFER, Board, Chip, Device, Mac, network};
use kift_core::crc32c;
use kift_core::session::Side;
use kift_core::time::Instant;
use kift_firmware_sim::device::session_config;
use kift_firmware_sim::flash::Store;

#[unsafe(no_mangle)]
static DEVICE: Device = Device::new();

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    if bare::any() == 0 {
        let _ = core::hint::black_box(Store::<Chip, 1>::format(&mut Chip));
    }
    if let Ok(device) = DEVICE.boot(Mac, Chip, &network(), Instant::default()) {
        let board = Board { stack: device.stack };
        // So that `bare` is used as it is in other images.
        let _ = core::hint::black_box(bare::any_text());
        let stats = device.serve(5438, session_config(Side::Listener, crc32c, BUFFER), &board);
        let _ = core::hint::black_box(stats);
    }
    loop {}
}
