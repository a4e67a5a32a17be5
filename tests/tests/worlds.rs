//! Thousands of worlds: see `kift_tests::world`. One that fails says its number, and
//! `cargo run -p kift-tests --example worlds -- chip NUMBER` runs it again, just so.

use kift_tests::disk::{Faults, why_no_mount};
use kift_tests::machine::skip;
use kift_tests::sealed::{PlainLinks, SealedLinks};
use kift_tests::world::{Chip, Counts, Host, World};

#[test]
fn of_devices() {
    let mut counts = Counts::default();
    for seed in 0..2000 {
        counts.add(match seed % 4 {
            0 => World::<_, SealedLinks>::run(Chip::new(seed), seed),
            _ => World::<_, PlainLinks>::run(Chip::new(seed), seed),
        });
    }
    eprintln!("{counts}");
    assert!(counts.resumed > 100 && counts.repeated > 10, "{counts}");
}

#[test]
fn of_hosts() {
    if let Some(why) = why_no_mount() {
        skip("of_hosts", why);
        return;
    }
    let mut counts = Counts::default();
    for seed in 0..40 {
        counts.add(World::<_, PlainLinks>::run(Host::new(Faults::default()), seed));
    }
    eprintln!("{counts}");
    assert!(counts.resumed > 2 && counts.power_cuts > 20, "{counts}");
}

#[test]
fn a_sync_that_was_left_out_is_found() {
    if let Some(why) = why_no_mount() {
        skip("a_sync_that_was_left_out_is_found", why);
        return;
    }
    let faults = Faults { forgets_syncs: true, ..Faults::default() };
    let is_over = |seed| {
        let world = || World::<_, PlainLinks>::run(Host::new(faults), seed);
        std::panic::catch_unwind(world).is_ok()
    };
    assert!(!(0..40).all(is_over), "of 40 worlds none came to harm");
}
