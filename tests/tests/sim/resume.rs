//! Transfers that go on where an earlier session left them.

use crate::Pair;
use kift_core::session::{Failure, Reply};
use kift_core::wire::{Ask, CHUNK, Code, Conflict};
use kift_tests::app::Job;
use kift_tests::busy::Busy;
use kift_tests::memory::{Kept, Memory};
use kift_tests::options::Options;
use kift_tests::pair::Outcome;
use kift_tests::rng::{Case, Rng, contents};

fn keeping() -> Memory {
    let mut store = Memory::default();
    store.kept = Some(Kept::default());
    store
}

fn put(data: &[u8]) -> Job {
    Job::put("new", data).or(Conflict::KeepBoth).asking(Ask::Ready)
}

fn options(seed: u64) -> Options {
    let mut options = Options::small(seed, 2);
    options.latency_max = 2;
    options
}

/// What a session that is cut after `cut` bytes that go `up`, or down, leaves of an upload.
fn cut_put(data: &[u8], cut: u64, up: bool) -> Memory {
    let mut pair = Pair::new(options(1), keeping());
    let wire = if up { &mut pair.up } else { &mut pair.down };
    wire.cut_at = Some(cut);
    let job = pair.submit(put(data));
    pair.submit(Job::Goodbye);
    pair.drive_to_end();
    if let Some(Ok(reply)) = pair.result(job) {
        assert!(matches!(reply, Reply::Stored { suffix: 0, .. }), "{reply:?}");
    }
    // Who comes next is another peer.
    pair.store.peers.clear();
    std::mem::take(&mut pair.store)
}

/// However the link ends, the same upload once more has the same outcome, and what was durable is not
/// sent again.
#[test]
fn an_upload_goes_on_after_a_cut_at_every_byte() {
    let data = contents(6 * CHUNK + 100, 1);
    let mut whole = Pair::new(options(1), keeping());
    assert!(whole.run([put(&data)])[0].is_ok());
    whole.finish();
    let (mut resumed, mut stored) = (0, 0);
    for (up, total) in [(true, whole.up.sent), (false, whole.down.sent)] {
        for cut in 0..total {
            let _case = Case(format!("up {up}, cut at {cut} of {total}"));
            let left = cut_put(&data, cut, up);
            let (rest, was_stored) = (left.rest_len(), left.get("new").is_some());
            let mut pair = Pair::new(options(2), left);
            let results = pair.run([put(&data)]);
            assert!(matches!(results[0], Ok(Reply::Stored { suffix: 0, .. })), "{results:?}");
            pair.finish();
            assert!(pair.store.get("new") == Some(&data) && pair.store.get("new_1").is_none());
            if was_stored {
                assert!(pair.up.sent < 600, "{} bytes", pair.up.sent);
            } else {
                assert_eq!(pair.app.sent, data.len() as u64 - rest, "{rest} bytes were durable");
            }
            resumed += usize::from(rest > 0);
            stored += usize::from(was_stored);
        }
    }
    assert!(resumed > 100 && stored > 10, "{resumed}, {stored}");
}

#[test]
fn a_download_goes_on_after_a_cut_at_every_byte() {
    let data = contents(6 * CHUNK + 100, 1);
    let with = |seed| {
        let mut store = Memory::default();
        store.put("there", data.as_slice());
        Pair::new(options(seed), store)
    };
    let mut whole = with(1);
    assert!(whole.run([Job::get("there")])[0].is_ok());
    let mut resumed = 0;
    for cut in 0..whole.down.sent {
        let _case = Case(format!("cut at {cut}"));
        let mut pair = with(1);
        pair.down.cut_at = Some(cut);
        let job = pair.submit(Job::get("there"));
        pair.drive_to_end();
        let Outcome::Sent(id) = pair.outcome(job) else { continue };
        let Some(have) = pair.app.left.remove(&id).filter(|left| !left.is_empty()) else {
            continue;
        };
        let mut pair = with(2);
        let rest = (data.len() - have.len()) as u64;
        let job = pair.submit(Job::Resume { path: "there".into(), have });
        pair.drive();
        assert_eq!(pair.result(job).map(|result| result.is_ok()), Some(true));
        let id = pair.id(job);
        assert_eq!(pair.app.sending[&id], (rest, data.len() as u64));
        pair.finish();
        assert!(pair.app.got[&id] == data);
        resumed += 1;
    }
    assert!(resumed > 100, "{resumed}");
}

#[test]
fn of_another_file_nothing_is_gone_on_with() {
    let data = contents(6 * CHUNK, 1);
    let mut other = data.clone();
    other[CHUNK] ^= 1;
    let left = cut_put(&data, 4500, true);
    assert!(left.rest_len() >= 2 * CHUNK as u64, "{}", left.rest_len());
    // The sender's has changed.
    let mut pair = Pair::new(options(2), left);
    assert_eq!(pair.run([put(&other)]), [Err(Failure::Local(Code::Changed))]);
    assert!(pair.app.resumed.is_empty() && pair.store.get("new").is_none());
    assert_eq!(pair.store.rest_len(), 0, "the rest is worth nothing");
    assert!(pair.run([put(&other)])[0].is_ok());
    pair.finish();
    assert!(pair.store.get("new") == Some(&other));
    // The server's has, or has become shorter.
    let mut store = Memory::default();
    store.put("there", other);
    store.put("short", &data[..CHUNK]);
    let mut pair = Pair::new(options(3), store);
    let resume = |path: &str| Job::Resume { path: path.into(), have: data[..3 * CHUNK].to_vec() };
    let jobs = ["there", "short", "absent"].map(resume);
    let failed =
        [Code::Changed, Code::BadRange, Code::NotFound].map(|code| Err(Failure::Peer(code)));
    assert_eq!(pair.run(jobs), failed);
    pair.finish();
}

#[test]
fn what_was_stored_is_compared() {
    let data = contents(6 * CHUNK + 100, 1);
    let stored = || cut_put(&data, u64::MAX, true);
    for len in [data.len(), CHUNK, 0] {
        let mut other = data.clone();
        if let Some(byte) = other[..len].last_mut() {
            *byte ^= 1;
        }
        for busy in [0, 50] {
            let mut pair = Pair::new(options(2), stored());
            pair.app.busy = Busy::sometimes(1, busy, 3);
            let told = pair.run([put(&other), Job::stat("new", false)]);
            let is_same = other == data;
            match told[0] {
                Ok(Reply::Stored { suffix: 0, .. }) => assert!(is_same),
                result => assert!(!is_same && result == Err(Failure::Local(Code::Changed))),
            }
            assert!(matches!(told[1], Ok(Reply::Stat { .. })), "the next is answered: {told:?}");
            pair.finish();
            assert!(pair.store.get("new") == Some(&data) && pair.up.sent < 700);
        }
    }
    // The next upload waits for that: there is one hash.
    let mut pair = Pair::new(options(2), stored());
    let told = pair.run([put(&data), Job::put("other", data.clone())]);
    assert!(matches!(told[0], Ok(Reply::Stored { suffix: 0, .. })), "{told:?}");
    pair.finish();
    // The link ends before it is compared.
    let mut pair = Pair::new(options(2), stored());
    let job = pair.submit(put(&data));
    while pair.requester.uploading().is_none() || pair.down.sent < 60 {
        pair.step();
    }
    pair.down.close();
    pair.drive_to_end();
    assert!(matches!(pair.result(job), None | Some(Ok(Reply::Stored { .. }))));
}

/// What was there is all of the file.
#[test]
fn nothing_may_be_left_to_send() {
    let data = contents(4 * CHUNK, 1);
    let mut store = Memory::default();
    store.put("there", data.as_slice());
    let mut pair = Pair::new(options(1), store);
    let job = pair.submit(Job::Resume { path: "there".into(), have: data.clone() });
    pair.drive();
    assert!(matches!(pair.result(job), Some(Ok(Reply::Got { size: 4096, .. }))));
    assert!(pair.app.got[&pair.id(job)] == data);
    pair.finish();
    // An upload whose data all came, and whose end did not.
    let mut cuts = (0..).map(|cut| cut_put(&data, cut, true));
    let left = cuts.find(|left| left.rest_len() == data.len() as u64).unwrap();
    let mut pair = Pair::new(options(2), left);
    assert!(pair.run([put(&data)])[0].is_ok());
    assert_eq!(pair.app.sent, 0);
    pair.finish();
    assert!(pair.store.get("new") == Some(&data));
}

/// Sessions are begun and cut again and again, with other splits, delays and pending operations each
/// time.
#[test]
fn in_the_end_it_is_there() {
    let mut sessions = 0;
    for seed in 0..150 {
        let _case = Case(format!("seed {seed}"));
        let mut rng = Rng::new(seed);
        let data = contents(rng.below(30 * CHUNK), seed);
        let size = rng.chance(75).then_some(data.len() as u64);
        let mut store = keeping();
        for attempt in 0.. {
            sessions += 1;
            let durable = store.rest_len();
            let mut pair = Pair::new(Options::any(seed * 1000 + attempt), store);
            pair.store.busy = Busy::sometimes(seed + attempt, 30, 3);
            pair.app.busy = Busy::sometimes(seed + attempt + 1, 30, 3);
            if attempt < 20 {
                pair.down.cut_at = Some(rng.below(1500) as u64);
                pair.up.cut_at = Some(rng.below(6_000) as u64);
            }
            let job = pair.submit(put(&data).declaring(size));
            pair.submit(Job::Goodbye);
            pair.drive_to_end();
            assert!(pair.app.sent + durable <= data.len() as u64, "what was durable went again");
            let result = pair.result(job);
            store = std::mem::take(&mut pair.store);
            store.assert_closed();
            if let Some(result) = result {
                assert!(matches!(result, Ok(Reply::Stored { suffix: 0, .. })), "{result:?}");
                break;
            }
            assert!(store.files.contains_key("new") || store.rest_len() >= durable);
        }
        assert!(store.get("new") == Some(&data) && store.files.len() == 1);
    }
    assert!(sessions > 400, "{sessions}");
}
