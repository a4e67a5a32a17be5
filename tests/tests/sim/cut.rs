//! The link is cut, at every byte in turn: nothing is stored by half, and nobody is told otherwise.

use crate::Pair;
use kift_core::session::{Error, Reply};
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::rng::{Case, contents};

fn pair(put: &[u8], ask: bool) -> (Pair, usize, usize) {
    let mut options = Options::small(1, 2);
    options.latency_max = 2;
    let mut pair = Pair::new(options, Memory::default());
    pair.store.put("there", contents(2100, 2));
    let job = Job::put("new", put);
    let put = pair.submit(if ask { job.asking(kift_core::wire::Ask::Time) } else { job });
    let get = pair.submit(Job::get("there"));
    pair.submit(Job::Goodbye);
    (pair, put, get)
}

fn cut_everywhere(ask: bool, up: bool) {
    let data = contents(2500, 1);
    let (mut whole, ..) = pair(&data, ask);
    whole.drive_to_end();
    let mut stored = 0;
    let total = if up { whole.up.sent } else { whole.down.sent };
    for cut in 0..total {
        let _case = Case(format!("ask {ask}, up {up}, cut at {cut} of {total}"));
        let (mut pair, put, get) = pair(&data, ask);
        let wire = if up { &mut pair.up } else { &mut pair.down };
        wire.cut_at = Some(cut);
        pair.drive_to_end();
        pair.store.assert_closed();
        pair.app.assert_closed();
        let [asked, served] = pair.closed();
        // The end behind the cut cannot be content, unless it heard all it wanted: the goodbye
        // travels before the grants of the download that is asked for ahead of it.
        let behind = if up { served } else { asked };
        match behind {
            Some(Ok(())) => assert!(up && asked == Some(Ok(()))),
            other => assert_eq!(other, Some(Err(Error::Disconnected))),
        }
        assert!(pair.store.get("new").is_none_or(|there| there == data), "stored by half");
        stored += usize::from(pair.store.get("new").is_some());
        match pair.result(put) {
            Some(Ok(Reply::Stored { .. })) => assert!(pair.store.get("new").is_some()),
            other => assert_eq!(other, None),
        }
        match pair.result(get) {
            Some(Ok(Reply::Got { .. })) => {
                assert!(pair.app.got[&pair.id(get)] == contents(2100, 2));
            }
            other => assert_eq!(other, None),
        }
    }
    assert!(stored > 0 && stored < total as usize);
}

#[test]
fn on_the_way_there() {
    cut_everywhere(false, true);
    cut_everywhere(true, true);
}

#[test]
fn on_the_way_back() {
    cut_everywhere(false, false);
    cut_everywhere(true, false);
}
