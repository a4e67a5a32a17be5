//! What the run came to.

use super::life::{Account, World};
use super::machine::Machine;
use crate::board::report::Bytes;

pub(super) fn print(world: &World, machine: &Machine, account: &Account) {
    let screen = world.screen;
    let seconds = world.origin.elapsed().as_secs_f64();
    let counters = world.seen().counters;
    let rate = (counters.bytes_in + counters.bytes_out) as f64 / seconds;
    screen.line(format_args!(
        "network: {} in {} frames received, {} in {} frames sent, {} sent again, {} dropped; \
         {}/s over {seconds:.1} s",
        Bytes(counters.bytes_in),
        counters.frames_in,
        Bytes(counters.bytes_out),
        counters.frames_out,
        counters.retransmits,
        counters.dropped,
        Bytes(rate as u64)
    ));
    if let Some(cable) = &*world.plug.cable() {
        let harm = cable.inner().harm();
        screen.line(format_args!(
            "wire: {} frames lost, {} damaged, {} too many for its queue",
            harm.lost, harm.corrupted, harm.overflowed
        ));
    }
    if let Some(stats) = account.served {
        screen.line(format_args!(
            "sessions: {}, of which {} did not end well; {} refused",
            stats.sessions, stats.failed, stats.refused
        ));
    }
    let nor = world.chip.nor();
    let stats = nor.stats();
    let most = nor.wear().iter().enumerate().max_by_key(|(_, erases)| **erases);
    let (block, erases) = most.map_or((0, 0), |(block, erases)| (block, *erases));
    screen.line(format_args!(
        "flash: {} erases and {} programs of {}; block {block} is the most worn, erased {erases} \
         times since the image was made",
        stats.erases,
        stats.programs,
        Bytes(stats.bytes_programmed)
    ));
    screen.line(format_args!(
        "buffers: at most {} of {} bytes received and {} to be sent waited",
        account.peaks.rx, machine.buffer, account.peaks.tx
    ));
    screen.line(format_args!("memory: {} bytes, all static", machine.ram));
    screen.line(format_args!("heap after boot: {} allocations", account.allocations));
}
