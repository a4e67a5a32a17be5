//! Errands, as often as they are to be done.

use std::time::Duration;

use kift_core::wire::TransferId;

use super::chip::Chip;
use super::here::Board;
use super::life::{Failure, Kind, Rounds};
use super::plug::Plug;
use crate::device::ask::Errand;
use crate::device::seal::AnyLinks;
use crate::device::{Device, Platform as _};
use crate::flash::Store;

/// How long the device waits after the first failure of an errand, and then twice as long each time.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);

const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// How long it tries before it says that an errand failed.
const PERSEVERANCE: Duration = Duration::from_secs(60);

/// Does the errand as often as it is to be done; the first that fails is the last.
pub(super) fn run_errands<const SESSIONS: usize>(
    device: Device<Plug, Store<Chip, SESSIONS>, AnyLinks, SESSIONS>,
    rounds: &Rounds,
    board: &Board<'_>,
    links: AnyLinks,
) -> Result<(), Failure> {
    let Rounds { kind, local, remote, address, every, times } = rounds;
    let errand = match kind {
        Kind::Push => Errand::Push { local, remote },
        Kind::Fetch => Errand::Fetch { remote, local },
    };
    let screen = board.world().screen;
    let (runner, disk) = device.into_runner(links);
    let boots = disk.boots();
    for round in 1..=*times {
        let begun = board.now();
        let mut wait = BACK_OFF_MIN;
        let done = loop {
            let transfer = transfer_id(board.world().seed, boots, round);
            match runner.run(&errand, transfer, board.stack(), *address, disk, board) {
                Ok(done) => break done,
                Err(trouble)
                    if trouble.is_passing()
                        && board.now() < begun.after(PERSEVERANCE)
                        && !board.is_stopping() =>
                {
                    screen.line(format_args!("device: {trouble}; trying again"));
                    board.rest(wait);
                    wait = (wait * 2).min(BACK_OFF_MAX);
                }
                Err(trouble) => return Err(Failure::Errand(trouble)),
            }
        };
        let took = board.now().as_millis().saturating_sub(begun.as_millis());
        screen.line(format_args!(
            "device: {} {local}: {} bytes in {took} ms, BLAKE3 {}",
            if *kind == Kind::Push { "sent" } else { "fetched" },
            done.size,
            done.root
        ));
        if round < *times {
            board.rest(*every);
        }
        if board.is_stopping() {
            break;
        }
    }
    Ok(())
}

/// A name for an upload that no other of this device has.
fn transfer_id(seed: u64, boots: u32, round: u64) -> TransferId {
    let id = u128::from(seed) << 64 ^ u128::from(boots) << 32 ^ u128::from(round);
    TransferId(id.to_le_bytes())
}
