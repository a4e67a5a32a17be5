//! A whole device that serves.

use core::hint::black_box;

use kift_core::time::Instant;
use kift_firmware_sim::flash::Store;

use crate::bare;
use crate::board::{Board, Chip, Device, Mac, network};

#[unsafe(no_mangle)]
static DEVICE: Device = Device::new();

/// Serves until it is to stop.
pub fn run() {
    if bare::any() == 0 {
        let _ = black_box(Store::<Chip, 1>::format(Chip));
    }
    let mount = || Store::mount(Chip);
    let Ok(device) = DEVICE.boot(Mac, mount, &network(), Instant::default()) else { return };
    let Some(links) = crate::links(device.disk) else { return };
    let board = Board { stack: device.stack };
    // So that `bare` is used as it is in other images.
    let _ = black_box(bare::any_text());
    let _ = black_box(device.serve(5438, links, &board));
}
