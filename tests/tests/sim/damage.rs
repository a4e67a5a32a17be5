//! Every byte of a session is damaged in turn: what is stored or told is right all the same.

use crate::{Pair, SEALED};
use kift_core::session::{Error, Reply};
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::rng::{Case, contents};

/// Bytes of a plain link's first flight, the one record without a checksum: a changed minor version
/// or a further suite in it are no faults.
const FIRST_FLIGHT_LEN: u64 = 12;

/// Bytes of the grants that may come behind the goodbye.
const LAST_GRANTS_LEN: u64 = if SEALED { 160 } else { 100 };

fn session(up: bool, damage: Option<(u64, u8)>) -> (Pair, [usize; 4]) {
    let mut pair = Pair::new(Options::small(1, 2), Memory::default());
    pair.store.put("there", contents(1100, 2));
    let wire = if up { &mut pair.up } else { &mut pair.down };
    wire.damage = damage;
    let put = pair.submit(Job::put("new", contents(1300, 1)));
    let get = pair.submit(Job::get("there"));
    let list = pair.submit(Job::list(""));
    let goodbye = pair.submit(Job::Goodbye);
    pair.drive_to_end();
    (pair, [put, get, list, goodbye])
}

fn damage_everywhere(up: bool) {
    let (whole, _) = session(up, None);
    let total = if up { whole.up.sent } else { whole.down.sent };
    assert_eq!(whole.closed(), [Some(Ok(())), Some(Ok(()))]);
    let mut noticed = 0;
    for at in 0..total {
        for bits in [0x01, 0x80, 0xff] {
            let _case = Case(format!("up {up}, byte {at} of {total}, {bits:#x}"));
            let (pair, [put, get, list, goodbye]) = session(up, Some((at, bits)));
            pair.store.assert_closed();
            pair.app.assert_closed();
            let [asked, served] = pair.closed().map(|closed| closed.expect("over"));
            match if up { served } else { asked } {
                Err(Error::PeerMisbehaved(_) | Error::TimedOut) => noticed += 1,
                // The damaged frame was so long that the other end gave up first.
                Err(Error::PeerClosed(_) | Error::Disconnected) => {}
                Err(Error::Closed(_)) => unreachable!("nobody did"),
                // Nothing, or something that came behind the goodbye.
                Ok(()) => {
                    let unprotected = !SEALED && at < FIRST_FLIGHT_LEN;
                    assert!(unprotected || (up && at + LAST_GRANTS_LEN > total));
                }
            }
            assert!(pair.store.get("new").is_none_or(|data| data == contents(1300, 1)));
            assert!(pair.store.get("there") == Some(&contents(1100, 2)));
            let stored = pair.store.get("new").is_some();
            if let Some(Ok(Reply::Stored { .. })) = pair.result(put) {
                assert!(stored, "a false success");
            }
            if let Some(Ok(Reply::Got { .. })) = pair.result(get) {
                assert!(pair.app.got[&pair.id(get)] == contents(1100, 2));
            }
            if let Some(Ok(Reply::Listed { entries, .. })) = pair.result(list) {
                assert_eq!(entries, pair.app.entries[&pair.id(list)].len() as u64);
            }
            assert_eq!(asked.is_ok(), pair.result(goodbye).is_some());
        }
    }
    assert!(noticed > 2 * total, "{noticed} of {total}");
}

#[test]
fn on_the_way_there() {
    damage_everywhere(true);
}

#[test]
fn on_the_way_back() {
    damage_everywhere(false);
}
