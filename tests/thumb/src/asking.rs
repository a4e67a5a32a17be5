//! A whole device that sends its log and fetches an image.

#![no_std]
#![no_main]

mod bare;
mod board;

use core::hint::black_box;
use core::net::SocketAddr;

use board::{BUFFER, Board, Chip, Device, Mac, network};
use kift_core::crc32c;
use kift_core::session::Side;
use kift_core::time::Instant;
use kift_core::wire::TransferId;
use kift_firmware_sim::device::ask::Errand;
use kift_firmware_sim::device::session_config;
use kift_firmware_sim::flash::Store;

#[unsafe(no_mangle)]
static DEVICE: Device = Device::new();

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    if bare::any() == 0 {
        let _ = black_box(Store::<Chip, 1>::format(&mut Chip));
    }
    if let Ok(device) = DEVICE.boot(Mac, Chip, &network(), Instant::default()) {
        let board = Board { stack: device.stack };
        let stack = device.stack;
        let (runner, store) = device.into_runner(session_config(Side::Dialler, crc32c, BUFFER));
        let (local, remote) = (bare::any_text(), bare::any_text());
        let server = black_box(SocketAddr::from(([192, 168, 69, 1], 5438)));
        for errand in [Errand::Push { local, remote }, Errand::Fetch { remote, local }] {
            let transfer = TransferId(black_box([0; 16]));
            let done = runner.run(&errand, transfer, stack, server, &mut store.handle(0), &board);
            let _ = black_box(done.is_ok());
        }
    }
    loop {}
}
