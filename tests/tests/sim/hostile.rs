//! Hostile peers: whatever comes, nothing panics, everything ends, and the store commits nothing
//! that was not verified (it asserts that itself: see `kift_tests::memory`).

use crate::Pair;
use kift_core::session::{Config, Requester, Responder, Side};
use kift_core::wire::{
    Answer, Ask, Close, Code, Conflict, Entry, Header, Hello, Kind, Meta, Password, Path, Prefix,
    Put, Request, Role, Run, RunLen, Signal, Space, Ticket, Timestamp, TransferId, suffixed,
};
use kift_tests::app::{App, Job, Source};
use kift_tests::busy::Busy;
use kift_tests::memory::{Memory, Transfers};
use kift_tests::options::Options;
use kift_tests::raw::{Frame, Held, digest, first_flight, frames, hello};
use kift_tests::rng::{Case, Rng, contents};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

fn files() -> Memory {
    let mut store = Memory::default();
    store.put("file", contents(5000, 1));
    store.put("folder/a", "a");
    store.directories.insert("folder".to_owned());
    store.transfers = Some(Transfers::default());
    store.status = Some("{}\n".to_owned());
    store
}

fn responder(side: Side) -> Held<Responder<Vec<u8>>, Memory> {
    let session = Responder::new(vec![0; 2100], vec![0; 1052], &Config::small(side, 3));
    Held::new(session.expect("room"), files())
}

fn requester(side: Side) -> Held<Requester<Vec<u8>, 16>, App> {
    let session = Requester::new(vec![0; 1052], vec![0; 2100], &Config::small(side, 3));
    Held::new(session.expect("room"), App::default())
}

/// Sends everything that a requester can ask for, as far as it goes.
fn ask_all(held: &mut Held<Requester<Vec<u8>, 16>, App>, rng: &mut Rng) {
    for _ in 0..4 {
        let run = Run { first: 1024, size: 1500 };
        let job = match rng.below(11) {
            0 => Job::put("a", contents(rng.below(4000), 1)),
            1 => Job::put("a", contents(3000, 1)).asking(Ask::Time),
            2 => Job::get("file"),
            3 => Job::list(""),
            4 => Job::stat("file", true),
            5 => Job::Space,
            6 => Job::Ticket,
            7 => Job::GetRun { run },
            8 => Job::PutRun { run, source: Source { data: contents(2 << 20, 1), fails: None } },
            9 => Job::Commit { size: 1500, root: digest(&[]) },
            _ => Job::Delete { path: "file".to_owned() },
        };
        if let Ok(id) = held.session.request(&job.request()) {
            held.port.accepted(id, &job);
            if rng.chance(20) {
                let _ = held.session.stop(id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoders_take_anything(bytes in vec(any::<u8>(), 0..600)) {
        let _ = (Prefix::parse(&bytes), Header::parse(&bytes), Close::decode(&bytes));
        let _ = (Hello::decode(&bytes), Signal::decode(&bytes), Entry::decode(&bytes));
        let mut buf = [0; 2048];
        if let Ok(request) = Request::decode(&bytes) {
            let _ = request.paths();
            let len = request.encode(&mut buf).expect("room");
            prop_assert_eq!(Request::decode(&buf[..len]), Ok(request));
        }
        if let Ok(answer) = Answer::decode(&bytes) {
            let len = answer.encode(&mut buf).expect("room");
            prop_assert_eq!(Answer::decode(&buf[..len]), Ok(answer));
        }
    }

    #[test]
    fn paths_and_suffixes(path in ".{0,300}", suffix in any::<u32>()) {
        if let Ok(path) = Path::new(&path) {
            prop_assert!(path.components().all(|name| Path::named(name).is_ok()));
            let (folder, name) = path.split();
            prop_assert!(Path::new(folder.as_str()).is_ok());
            if !path.is_root() {
                let suffixed = suffixed(name, suffix);
                prop_assert!(Path::named(&suffixed).is_ok_and(|path| path.split().0.is_root()));
            }
        }
    }

    #[test]
    fn the_first_bytes_may_be_any(bytes in vec(any::<u8>(), 0..200), listens: bool) {
        let side = if listens { Side::Listener } else { Side::Dialler };
        let mut held = responder(side);
        held.feed(&bytes);
        held.hang_up(&[]);
        prop_assert!(held.closed.is_some_and(|result| result.is_err()));
        let mut held = requester(side);
        held.feed(&bytes);
        held.hang_up(&[]);
        prop_assert!(held.closed.is_some_and(|result| result.is_err()));
    }

    #[test]
    fn any_payloads_in_good_frames(
        all in vec((1..=7u8, 0..4u16, 0..3u32, vec(any::<u8>(), 0..60)), 1..8),
        seed: u64,
    ) {
        let kinds = [Kind::Hello, Kind::Request, Kind::Answer, Kind::Data, Kind::Page, Kind::Close, Kind::Signal];
        let all: Vec<Frame> = all
            .into_iter()
            .map(|(kind, request, index, payload)| {
                Frame { kind: kinds[usize::from(kind) - 1], request, index, payload }
            })
            .collect();
        let mut held = responder(Side::Listener);
        held.feed(&first_flight(1, 1, 0));
        held.tell(&[Frame::hello(&hello(Role::Requester))]);
        held.hang_up(&all);
        held.port.assert_closed();
        let mut held = requester(Side::Dialler);
        held.feed(&first_flight(1, 0, 0));
        held.tell(&[Frame::hello(&hello(Role::Responder))]);
        ask_all(&mut held, &mut Rng::new(seed));
        held.hang_up(&all);
        held.port.assert_closed();
    }
}

/// A session of all requests, and what each end sent.
fn transcripts() -> (Vec<u8>, Vec<u8>) {
    let mut pair = Pair::new(Options::small(1, 3), files());
    pair.up.log = Some(Vec::new());
    pair.down.log = Some(Vec::new());
    let data = contents(3000, 1);
    pair.run([
        Job::put("new", data.clone()),
        Job::put("new", data.clone()).asking(Ask::Digest(digest(&data))),
        Job::get("file"),
        Job::list(""),
        Job::stat("file", true),
        Job::put("more", contents(1500, 2)).declaring(None),
    ]);
    pair.finish();
    (pair.up.log.take().expect("logged"), pair.down.log.take().expect("logged"))
}

/// Changes a few bytes or ranges.
fn mutated(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.between(1, 4) {
        let at = rng.below(bytes.len());
        let to = (at + rng.below(60)).min(bytes.len());
        match rng.below(4) {
            0 => bytes[at] = rng.bits() as u8,
            1 => drop(bytes.drain(at..to)),
            2 => {
                let copy = bytes[at..to].to_vec();
                let there = rng.below(bytes.len());
                bytes.splice(there..there, copy);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// Drops, doubles, swaps and changes frames, whose checksums stay right.
fn shuffled(frames: &mut Vec<Frame>, rng: &mut Rng) {
    for _ in 0..rng.between(1, 3) {
        let (at, other) = (rng.below(frames.len()), rng.below(frames.len()));
        match rng.below(6) {
            0 if frames.len() > 1 => drop(frames.remove(at)),
            1 => frames.insert(other, frames[at].clone()),
            2 => frames.swap(at, other),
            3 => frames[at].request = frames[at].request.wrapping_add(rng.below(3) as u16),
            4 => frames[at].index = rng.below(4) as u32,
            _ => {
                let payload = &mut frames[at].payload;
                match payload.len() {
                    0 => payload.push(rng.bits() as u8),
                    len => payload[rng.below(len)] = rng.bits() as u8,
                }
            }
        }
    }
}

#[test]
fn a_responder_and_what_another_requester_might_have_sent() {
    let (up, _) = transcripts();
    let good = frames(&up);
    for seed in 0..2500 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let mut held = responder(Side::Listener);
        if rng.chance(20) {
            held.port.busy = Busy::sometimes(seed, 40, 3);
        }
        if seed % 2 == 0 {
            held.feed(&mutated(&up, &mut rng));
            held.hang_up(&[]);
        } else {
            let mut frames = good.clone();
            shuffled(&mut frames, &mut rng);
            held.feed(&first_flight(1, 1, 0));
            held.hang_up(&frames);
        }
        held.port.assert_closed();
        assert!(held.port.get("file") == Some(&contents(5000, 1)));
    }
}

#[test]
fn a_requester_and_what_another_responder_might_have_sent() {
    let (_, down) = transcripts();
    let good = frames(&down);
    for seed in 0..2500 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let mut held = requester(Side::Dialler);
        held.feed(&first_flight(1, 0, 0));
        held.tell(&good[..1]);
        ask_all(&mut held, &mut rng);
        if seed % 2 == 0 {
            let at = down.len() - 40 * rng.below(down.len() / 40);
            held.feed(&mutated(&down[down.len() - at..], &mut rng));
            held.hang_up(&[]);
        } else {
            let mut frames = good[1..].to_vec();
            shuffled(&mut frames, &mut rng);
            held.hang_up(&frames);
        }
        held.port.assert_closed();
    }
}

fn any_request(rng: &mut Rng, number: u16) -> Frame {
    let path = ["file", "new", "folder", "folder/b", "..", ""][rng.below(6)];
    let put = Put {
        path,
        transfer: TransferId([0; 16]),
        size: [None, Some(0), Some(1500), Some(5000), Some(u64::MAX)][rng.below(5)],
        modified: [None, Some(Timestamp(i64::MIN))][rng.below(2)],
        conflict: [Conflict::Replace, Conflict::KeepBoth, Conflict::Refuse][rng.below(3)],
        ask: [Ask::Now, Ask::Time, Ask::Digest(digest(&contents(5000, 1)))][rng.below(3)],
    };
    let password = ["", "secret"][rng.below(2)];
    let transfer = put.transfer;
    let run =
        Run { first: [0, 1024, 2048, 1][rng.below(4)], size: [0, 5, 1500, 1 << 20][rng.below(4)] };
    let request = match rng.below(19) {
        0 => Request::Stat { path, digest: rng.chance(50) },
        1 => Request::List { path, after: "a" },
        2..=5 => Request::Put(put),
        6 => Request::Get { path, first: rng.below(6) as u32, count: None },
        7 => Request::Delete { path: "new" },
        8 => Request::Rename { from: path, to: "folder/c", replace: true },
        9 => Request::Login { user: path, password: Password::new(password).expect("short") },
        10 => Request::BeginPut {
            put: Put { size: Some((1 << 20) + 1500), ..put },
            runs: RunLen([9, 10, 10, 10][rng.below(4)]),
        },
        11 | 12 => Request::PutRun { transfer, run },
        13 => Request::Commit { transfer, size: 1 << 21, root: digest(b"") },
        14 => Request::BeginGet { transfer, path },
        15 => Request::GetRun { transfer, run },
        16 => Request::Release { transfer },
        17 => Request::Attach { ticket: Ticket([rng.below(4) as u8; 16]) },
        18 => [Request::Ticket, Request::Status, Request::Shutdown][rng.below(3)],
        _ => Request::Space,
    };
    Frame::request(number, &request)
}

fn any_signal(rng: &mut Rng, number: u16) -> Frame {
    let n = rng.bits();
    let signal = match rng.below(8) {
        0 => Signal::Progress { received: n as u32, durable: 1 },
        1 => Signal::Working { done: n, total: 1 },
        2 => Signal::Credit(n),
        _ => Signal::Stop,
    };
    Frame::signal(number, signal)
}

/// Frames that are all valid, mostly in an order that is.
#[test]
fn a_responder_and_any_valid_frames() {
    for seed in 0..1500 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let mut held = responder(Side::Listener);
        held.port.busy = Busy::sometimes(seed, [0, 40][rng.below(2)], 3);
        held.feed(&first_flight(1, 1, 0));
        held.tell(&[Frame::hello(&hello(Role::Requester))]);
        let data = contents(2500, seed);
        let (mut number, mut index) = (0, 0);
        let mut frames = Vec::new();
        for _ in 0..rng.between(1, 30) {
            frames.push(match rng.below(12) {
                0..=4 => {
                    number += 1;
                    index = 0;
                    any_request(&mut rng, number)
                }
                5 | 6 => {
                    index += 1;
                    Frame::data(number, index - 1, &data[..1024])
                }
                7 => Frame::data(number, index, &data[..rng.below(1024)]),
                8 => Frame::end(number, &data[..1024]),
                9 => Frame::close(number, &Close::Reset(Code::Cancelled)),
                _ => any_signal(&mut rng, number),
            });
        }
        held.hang_up(&frames);
        held.port.assert_closed();
    }
}

fn any_answer(rng: &mut Rng, number: u16) -> Frame {
    let size = [rng.below(5000) as u64, 1500][rng.below(2)];
    let meta = Meta { kind: kift_core::wire::EntryKind::File, size, modified: None };
    Frame::answer(
        number,
        &match rng.below(11) {
            0 => Answer::Failed(Code::Unknown(200)),
            1 => Answer::Done,
            2 => Answer::Stat { meta, digest: Some(digest(&[])) },
            3 => Answer::Listed { entries: 1, skipped: 0 },
            4 => Answer::Ready { from: 0, root: digest(&[]) },
            5 => Answer::Unchanged,
            6 => Answer::Stored { size, root: digest(&[]), suffix: 1 },
            7 => Answer::Space(Space { free: 1, total: 1, file_size_max: 1 }),
            8 => Answer::Ticket(Ticket([1; 16])),
            _ => Answer::Sending { size, file_size: size, modified: None },
        },
    )
}

#[test]
fn a_requester_and_any_valid_frames() {
    for seed in 0..1500 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let mut held = requester(Side::Dialler);
        held.port.busy = Busy::sometimes(seed, [0, 40][rng.below(2)], 3);
        held.feed(&first_flight(1, 0, 0));
        held.tell(&[Frame::hello(&hello(Role::Responder))]);
        let data = contents(2500, seed);
        let mut index = 0;
        for _ in 0..rng.between(1, 30) {
            ask_all(&mut held, &mut rng);
            let number = held.port.results.len() as u16 + 1;
            let frame = match rng.below(8) {
                0..=3 => {
                    index = 0;
                    any_answer(&mut rng, number)
                }
                4 => {
                    index += 1;
                    Frame::data(number, index - 1, &data[..1024])
                }
                5 => Frame::end(number, &data[..1024]),
                6 => Frame::close(number, &Close::Reset(Code::Io)),
                _ => any_signal(&mut rng, number),
            };
            held.tell(&[frame]);
        }
        held.hang_up(&[]);
        held.port.assert_closed();
    }
}
