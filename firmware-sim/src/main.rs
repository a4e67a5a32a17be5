//! The program `kift-firmware-sim`.

use std::process::ExitCode;

use kift_firmware_sim::board;

#[global_allocator]
static HEAP: board::heap::Counted = board::heap::Counted;

fn main() -> ExitCode {
    board::cli::run()
}
