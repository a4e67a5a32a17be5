//! A whole device that serves.

use core::hint::black_box;

use kift_core::crc32c;
use kift_core::session::Side;
use kift_core::time::Instant;
use kift_firmware_sim::device::session_config;
use kift_firmware_sim::flash::Store;

use crate::bare;
use crate::board::{BUFFER, Board, Chip, Device, Mac, network};

#[unsafe(no_mangle)]
static DEVICE: Device = Device::new();

/// Serves until it is to stop.
pub fn run() {
    if bare::any() == 0 {
        let _ = black_box(Store::<Chip, 1>::format(Chip));
    }
    let Ok(device) = DEVICE.boot(Mac, Chip, &network(), Instant::default()) else { return };
    let Some(links) = crate::links(device.store) else { return };
    let board = Board { stack: device.stack };
    // So that `bare` is used as it is in other images.
    let _ = black_box(bare::any_text());
    let config = session_config(Side::Listener, crc32c, BUFFER);
    let _ = black_box(device.serve(5438, config, links, &board));
}
