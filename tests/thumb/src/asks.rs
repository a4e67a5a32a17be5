//! A whole device that asks.

use core::hint::black_box;
use core::net::SocketAddr;

use kift_core::time::Instant;
use kift_core::wire::TransferId;
use kift_firmware_sim::device::ask::Errand;
use kift_firmware_sim::flash::Store;

use crate::bare;
use crate::board::{Board, Chip, Device, Mac, network};

#[unsafe(no_mangle)]
static DEVICE: Device = Device::new();

/// Sends a file and fetches one.
pub fn run() {
    if bare::any() == 0 {
        let _ = black_box(Store::<Chip, 1>::format(Chip));
    }
    let mount = || Store::mount(Chip);
    let Ok(device) = DEVICE.boot(Mac, mount, &network(), Instant::default()) else { return };
    let Some(links) = crate::links(device.disk) else { return };
    let board = Board { stack: device.stack };
    let stack = device.stack;
    let (runner, disk) = device.into_runner(links);
    let (local, remote) = (bare::any_text(), bare::any_text());
    let server = black_box(SocketAddr::from(([192, 168, 69, 1], 5438)));
    for errand in [Errand::Push { local, remote }, Errand::Fetch { remote, local }] {
        let transfer = TransferId(black_box([0; 16]));
        let done = runner.run(&errand, transfer, stack, server, disk, &board);
        let _ = black_box(done.is_ok());
    }
}
