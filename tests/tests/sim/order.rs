//! Frames that may not come: each closes the link with its own code. What is only unknown does not.

use kift_core::secure::refusal;
use kift_core::session::{Config, Error, Requester, Responder, Side};
use kift_core::wire::{
    Answer, Ask, Close, Code, Digest, Entry, EntryKind, HEADER_LEN, Kind, Meta, Role, Signal,
    Space, Timestamp,
};
use kift_tests::app::{App, Job};
use kift_tests::busy::Busy;
use kift_tests::memory::Memory;
use kift_tests::raw::{Frame, Held, digest, first_flight, hello, sealed};
use kift_tests::rng::contents;

fn put(number: u16, size: u64) -> Frame {
    Frame::request(number, &Job::put("a", "").declaring(Some(size)).request())
}

fn stat(number: u16) -> Frame {
    Frame::request(number, &Job::stat("", false).request())
}

/// What a responder says to `frames`, and how it ended.
fn serve(frames: &[Frame]) -> (Vec<Frame>, Option<Result<(), Error>>) {
    let mut store = Memory::default();
    store.put("there", contents(3000, 1));
    let mut held = Held::small_responder(store);
    let heard = held.tell(frames);
    assert!(held.port.get("a").is_none());
    if held.closed.is_some() {
        held.port.assert_closed();
    }
    (heard, held.closed)
}

fn closes_with(code: Code, frames: &[Frame]) {
    let (heard, closed) = serve(frames);
    assert_eq!(closed, Some(Err(Error::PeerMisbehaved(code))), "{frames:?}");
    let last = heard.last().and_then(Frame::as_signal);
    assert_eq!(last, Some(Signal::Abort(code)), "the peer was not told: {frames:?}");
}

#[test]
fn what_a_responder_does_not_take() {
    let chunk = contents(1024, 1);
    let data = |number, index| Frame::data(number, index, &chunk);
    let end = Frame::end(1, &[]);
    let page = Frame::new(Kind::Page, 1, [1, 2, 3]);
    let cases: Vec<Vec<Frame>> = vec![
        vec![data(1, 0)],
        vec![data(0, 0)],
        vec![end.clone()],
        vec![stat(2)],
        vec![stat(0)],
        vec![stat(1), stat(1)],
        vec![stat(1), stat(3)],
        vec![stat(1), data(1, 0)],
        vec![Frame::answer(1, &Answer::Done)],
        vec![stat(1), Frame::answer(1, &Answer::Done)],
        vec![page],
        vec![Frame::hello(&hello(Role::Requester))],
        vec![put(1, 3000), data(1, 1)],
        vec![put(1, 3000), data(1, 0), data(1, 0)],
        vec![put(1, 3000), data(1, 0), data(1, 2)],
        vec![put(1, 3000), data(2, 0)],
        vec![put(1, 3000), Frame::data(1, 0, &chunk[..1000]), data(1, 1)],
        vec![put(1, 3000), put(2, 3000)],
        vec![put(1, 3000), data(1, 0), stat(2)],
        vec![put(1, 3000), Frame::end(2, &[])],
        vec![put(1, 0), Frame::end(1, &[1]), Frame::end(1, &[])],
        vec![Frame::signal(0, Signal::Credit((1 << 20) - 1))],
        vec![Frame::signal(0, Signal::Credit(0))],
    ];
    for frames in cases {
        closes_with(Code::OutOfOrder, &frames);
    }
}

#[test]
fn what_a_responder_does_not_understand() {
    let raw = |kind, payload: &[u8]| Frame::new(kind, 1, payload);
    for frame in [
        raw(Kind::Request, &[]),
        raw(Kind::Request, &[0]),
        raw(Kind::Request, &[0; 1025]),
        raw(Kind::Data, &[]),
        raw(Kind::Page, &[]),
        raw(Kind::Request, &[0, 200, b'a', 0]),
        raw(Kind::Request, &[0, 1, 0xff, 0]),
        raw(Kind::Request, &[0, 1, b'a', 2]),
        raw(Kind::Request, &[7, 0]),
        raw(Kind::Signal, &[]),
        raw(Kind::Signal, &[2, 0]),
        raw(Kind::Signal, &[0]),
    ] {
        closes_with(Code::Malformed, &[frame]);
    }
    closes_with(Code::Malformed, &[put(1, 1), raw(Kind::Close, &[])]);
    closes_with(Code::Malformed, &[put(1, 1), raw(Kind::Close, &[0, 0])]);
    closes_with(Code::Incompatible, &[put(1, 1), raw(Kind::Close, &[2])]);
    closes_with(Code::Incompatible, &[raw(Kind::Signal, &[5])]);
    closes_with(Code::Incompatible, &[raw(Kind::Signal, &[200, 1])]);
}

#[test]
fn payloads_of_no_legal_length() {
    let long = |kind, len| Frame::new(kind, 1, vec![0; len]);
    for frame in [
        Frame::data(1, 0, &[]),
        long(Kind::Data, 1025), // the batch is 1
        long(Kind::Page, 0),
        long(Kind::Page, 1025),
        long(Kind::Request, 1025),
        long(Kind::Answer, 1025),
        long(Kind::Close, 1025),
        long(Kind::Signal, 1025),
    ] {
        closes_with(Code::Malformed, &[put(1, 3000), frame]);
    }
    let batch = Config { batch_max: 4, ..Config::small(Side::Listener, 8) };
    for (len, legal) in [(4096, true), (4097, false)] {
        let mut held = Held::responder(&batch, 10_000, Memory::default());
        held.tell(&[put(1, 9000), Frame::data(1, 0, &vec![0; len])]);
        assert_eq!(held.closed.is_none(), legal);
    }
}

#[test]
fn a_requester_may_say_that_its_source_is_slow() {
    let working = Frame::signal(1, Signal::Working { done: 1, total: 2 });
    let frames = [put(1, 3000), working.clone(), Frame::data(1, 0, &[0; 1024]), working];
    assert_eq!(serve(&frames).1, None);
}

#[test]
fn more_than_credit_was_granted_for() {
    let data = contents(20 << 10, 1);
    let mut frames = vec![put(1, 20 << 10)];
    frames.extend(data.chunks(1024).enumerate().map(|(n, c)| Frame::data(1, n as u32, c)));
    // The responder has granted 3 chunks, and will grant more only when it has stored some.
    let config = Config::small(Side::Listener, 3);
    let mut held = Held::responder(&config, 9000, Memory::default());
    held.port.busy = Busy::sometimes(1, 100, 1_000_000);
    held.tell(&frames[..4]);
    assert_eq!(held.closed, None);
    held.tell(&frames[4..5]);
    assert_eq!(held.closed, Some(Err(Error::PeerMisbehaved(Code::CreditExceeded))));
    // What nobody asked for costs credit too.
    let mut frames = vec![Frame::request(1, &Job::put("..", "").request())];
    frames.extend((0..100).map(|n| Frame::data(1, n, &data[..1024])));
    let (_, closed) = serve(&frames);
    assert_eq!(closed, None, "credit comes back for what is discarded");
}

#[test]
fn frames_that_are_none() {
    let feed = |bytes: &[u8]| {
        let mut held = Held::small_responder(Memory::default());
        held.feed(bytes);
        held.closed
    };
    let misbehaved = |code| Some(Err(Error::PeerMisbehaved(code)));
    let good = stat(1).bytes();
    for flags in 1..=255 {
        let mut frame = good[..good.len() - 4].to_vec();
        frame[5] = flags;
        assert_eq!(feed(&sealed(frame)), misbehaved(Code::Incompatible), "flags {flags}");
    }
    for kind in [0, 8, 9, 255] {
        let mut frame = good[..good.len() - 4].to_vec();
        frame[4] = kind;
        assert_eq!(feed(&sealed(frame)), misbehaved(Code::Incompatible), "kind {kind}");
    }
    let mut corrupt = good.clone();
    *corrupt.last_mut().unwrap() ^= 1;
    assert_eq!(feed(&corrupt), misbehaved(Code::Corrupt));
    for record in [1, 2] {
        let mut other = good.clone();
        other[2] = record;
        assert_eq!(feed(&other), misbehaved(Code::OutOfOrder), "record {record}");
    }
    for record in [0, 4, 255] {
        let mut other = good.clone();
        other[2] = record;
        assert_eq!(feed(&other), misbehaved(Code::Malformed), "record {record}");
    }
    assert_eq!(feed(&[16, 0, 3, 1]), misbehaved(Code::Malformed));
    // One byte longer than a frame of one chunk.
    let longest = HEADER_LEN + 1024 + 16;
    assert_eq!(feed(&[((longest - 4) & 255) as u8, ((longest - 4) >> 8) as u8, 3, 0]), None);
    assert_eq!(
        feed(&[((longest - 3) & 255) as u8, ((longest - 3) >> 8) as u8, 3, 0]),
        misbehaved(Code::Malformed)
    );
    for len in 0..12 {
        assert_eq!(
            feed(&[len, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            misbehaved(Code::Malformed)
        );
    }
}

#[test]
fn first_flights_and_hellos_that_do_not_fit() {
    let fresh = || {
        let config = Config::small(Side::Listener, 8);
        let session = Responder::new(vec![0; 4096], vec![0; 4096], &config);
        Held::new(session.expect("room"), Memory::default())
    };
    let misbehaved = |code| Some(Err(Error::PeerMisbehaved(code)));
    let cases = [
        (first_flight(2, 1, 0), Code::Incompatible),
        (first_flight(1, 1, 9), Code::Incompatible),
        (first_flight(1, 0, 0), Code::PlainOnly),
        (first_flight(1, 0xfe, 0), Code::PlainOnly),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Code::Malformed),
        (b"SSH-2.0-OpenSSH_9\r\n".to_vec(), Code::Malformed),
        (stat(1).bytes(), Code::OutOfOrder),
        (vec![8, 0, 1, 0, b'K', b'I', b'F', b'U', 1, 0, 1, 0], Code::Malformed),
        (vec![3, 0, 1, 0, b'K', b'I', b'F'], Code::Malformed),
        (vec![0, 0, 1, 0], Code::Malformed),
    ];
    for (flight, code) in cases {
        let mut held = fresh();
        held.feed(&flight);
        assert_eq!(held.closed, misbehaved(code), "{flight:?}");
    }
    // A later minor version and further suites are welcome, and so is a longer first flight.
    let mut held = fresh();
    let mut flight = first_flight(1, 0xff, 0);
    flight[9] = 77;
    flight[0] += 32;
    flight.extend([0; 32]);
    held.feed(&flight);
    held.tell(&[Frame::hello(&hello(Role::Requester)), stat(1)]);
    assert_eq!(held.closed, None);

    let theirs = hello(Role::Requester);
    let mut wrong = [theirs; 9];
    wrong[0].role = Role::Responder;
    wrong[1].batch = 0;
    wrong[2].batch = 33;
    wrong[3].credit = 0;
    wrong[4].reply_room = 511;
    wrong[5].requests_max = 0;
    wrong[6].requests_max = 1025;
    wrong[7].path_len_max = 481;
    wrong[8].name_len_max = 0;
    for hello in wrong {
        let mut held = fresh();
        held.feed(&first_flight(1, 1, 0));
        held.tell(&[Frame::hello(&hello)]);
        assert_eq!(held.closed, misbehaved(Code::Incompatible), "{hello:?}");
    }
    for early in [stat(1), Frame::signal(0, Signal::Credit(9)), Frame::data(1, 0, &[1])] {
        let mut held = fresh();
        held.feed(&first_flight(1, 1, 0));
        held.tell(&[early]);
        assert_eq!(held.closed, misbehaved(Code::OutOfOrder));
    }
}

#[test]
fn a_refusal_is_understood() {
    for code in [Code::TooManySessions, Code::SealedOnly, Code::Unknown(200)] {
        let config = Config::small(Side::Dialler, 8);
        let session = Requester::<_, 4>::new(vec![0; 2000], vec![0; 2000], &config).expect("room");
        let mut held = Held::new(session, App::default());
        let bytes = refusal(code);
        assert_eq!(bytes[..], first_flight(1, 0, code.into()));
        held.feed(&bytes);
        assert_eq!(held.closed, Some(Err(Error::PeerClosed(code))));
    }
}

#[test]
fn unknown_requests_are_answered_and_their_data_discarded() {
    for number in [23, 24, 127, 128, 255] {
        let payload = if number < 128 { vec![number] } else { vec![number, 1, 2, 3] };
        let unknown = |request| Frame::new(Kind::Request, request, payload.clone());
        let unsupported = |request| Frame::answer(request, &Answer::Failed(Code::Unsupported));
        let chunk = contents(1024, 1);
        let (heard, closed) = serve(&[
            unknown(1),
            stat(2),
            unknown(3),
            Frame::data(3, 0, &chunk),
            Frame::data(3, 7, &chunk),
            Frame::end(3, &[]),
            unknown(4),
            Frame::close(4, &Close::Reset(Code::Cancelled)),
            Frame::signal(4, Signal::Stop),
            stat(5),
        ]);
        assert_eq!(closed, None);
        let answers: Vec<_> =
            heard.into_iter().filter(|frame| frame.kind == Kind::Answer).collect();
        assert_eq!(answers[0], unsupported(1));
        assert_eq!(answers[2], unsupported(3));
        assert_eq!(answers[3], unsupported(4));
        assert_eq!(answers.len(), 5);
        // Their data bear their number, end with their close, or with the next request.
        closes_with(Code::OutOfOrder, &[unknown(1), Frame::data(2, 0, &[1])]);
        closes_with(Code::OutOfOrder, &[unknown(1), stat(2), Frame::data(2, 0, &[1])]);
        closes_with(Code::OutOfOrder, &[unknown(1), Frame::end(1, &[]), Frame::data(1, 0, &[1])]);
        closes_with(Code::OutOfOrder, &[unknown(1), stat(2), Frame::data(1, 0, &[1])]);
    }
}

/// What a requester that sent `jobs` makes of `frames`.
fn ask(jobs: &[Job], frames: &[Frame]) -> Held<Requester<Vec<u8>, 64>, App> {
    let mut held = Held::small_requester();
    if let [Job::Put { ask: Ask::Now, .. }] = jobs {
        // Its source gives nothing: the upload goes on for ever.
        held.port.busy = Busy::sometimes(1, 100, 1_000_000);
    }
    for job in jobs {
        let id = held.session.request(&job.request()).expect("sent");
        held.port.accepted(id, job);
        held.feed(&[]);
    }
    held.tell(frames);
    if held.closed.is_some() {
        held.port.assert_closed();
    }
    held
}

#[test]
fn what_a_requester_does_not_take() {
    let jobs = [Job::stat("a", false), Job::get("a")];
    let get = [Job::Get { path: "a".to_owned(), first: 1, count: Some(2) }];
    let put = [Job::put("a", contents(20_000, 1))];
    let answer = Frame::answer;
    let put_small = [Job::put("a", contents(100, 1))];
    let list = [Job::list("")];
    let listed = |entries| answer(1, &Answer::Listed { entries, skipped: 0 });
    let put_asks = [Job::put("a", contents(3000, 1)).asking(Ask::Time)];
    let meta = Meta { kind: EntryKind::File, size: 1, modified: Some(Timestamp(1)) };
    let stat = answer(1, &Answer::Stat { meta, digest: None });
    let sending = |size, file_size| Answer::Sending { size, file_size, modified: None };
    let ready = |from| answer(1, &Answer::Ready { from, root: digest(&[]) });
    let stored_else = answer(1, &Answer::Stored { size: 2999, root: Digest([0; 32]), suffix: 0 });
    let stored = answer(1, &Answer::Stored { size: 3000, root: Digest([0; 32]), suffix: 0 });
    let begins = answer(1, &sending(2048, 9000));
    let chunk = contents(1024, 1);
    let space = answer(1, &Answer::Space(Space { free: 0, total: 0, file_size_max: 0 }));
    let failed = answer(1, &Answer::Failed(Code::Io));
    let order = Code::OutOfOrder;
    let cases: Vec<(&[Job], Vec<Frame>, Code)> = vec![
        (&[], vec![stat.clone()], order),
        (&[], vec![Frame::data(1, 0, &chunk)], order),
        (&jobs, vec![answer(2, &sending(1, 1))], order),
        (&jobs, vec![answer(0, &Answer::Done)], order),
        (&jobs, vec![answer(1, &Answer::Done)], order),
        (&jobs, vec![space], order),
        (&jobs, vec![answer(1, &sending(1, 1))], order),
        (&jobs, vec![stored.clone()], order),
        (&jobs, vec![stat.clone(), stat.clone()], order),
        (&jobs, vec![Frame::data(1, 0, &chunk)], order),
        (&jobs, vec![Frame::end(1, &[])], order),
        (&jobs, vec![Frame::new(Kind::Page, 1, [])], Code::Malformed),
        (&jobs, vec![Frame::request(1, &Job::Space.request())], order),
        (&jobs, vec![Frame::hello(&hello(Role::Responder))], order),
        (&jobs, vec![Frame::signal(1, Signal::Stop)], order),
        (&jobs, vec![Frame::signal(0, Signal::Credit(3))], order),
        (&jobs, vec![Frame::new(Kind::Answer, 1, [10])], Code::Incompatible),
        (&jobs, vec![Frame::new(Kind::Answer, 1, [250, 7])], Code::Incompatible),
        (&jobs, vec![Frame::new(Kind::Answer, 1, [1, 0])], Code::Malformed),
        (&jobs, vec![Frame::new(Kind::Answer, 1, [])], Code::Malformed),
        (&jobs, vec![Frame::new(Kind::Signal, 1, [9])], Code::Incompatible),
        (&get, vec![Frame::data(1, 1, &chunk)], order),
        (&get, vec![Frame::end(1, &[])], order),
        (&get, vec![begins.clone(), begins.clone()], order),
        (&get, vec![begins.clone(), failed.clone()], order),
        (&get, vec![begins.clone(), Frame::data(1, 0, &chunk)], order),
        (&get, vec![begins.clone(), Frame::data(1, 2, &chunk)], order),
        (&get, vec![begins.clone(), Frame::data(1, 1, &[])], Code::Malformed),
        (&get, vec![begins.clone(), Frame::data(2, 1, &chunk)], order),
        (&get, vec![begins.clone(), Frame::new(Kind::Close, 1, [9])], Code::Incompatible),
        (&get, vec![answer(1, &sending(2048, 2048))], Code::Malformed),
        (&get, vec![answer(1, &sending(2049, 9000))], Code::Malformed),
        (&get, vec![answer(1, &sending(2047, 9000))], Code::Malformed),
        (&get, vec![answer(1, &sending(0, 1000))], Code::Malformed),
        (&get, vec![answer(1, &sending(2048, u64::MAX))], Code::Malformed),
        (&put, vec![stored.clone()], order),
        // It was sent whole, but something else is said to be stored.
        (&put_small, vec![stored.clone()], order),
        (&list, vec![listed(1)], order),
        (&put, vec![ready(0)], order),
        (&put, vec![answer(1, &Answer::Unchanged)], order),
        // Before its data: of another size, or behind its end.
        (&put_asks, vec![stored_else], order),
        (&put_asks, vec![ready(3)], Code::Malformed),
        (&put_asks, vec![ready(0), ready(0)], order),
        (&put_asks, vec![ready(0), answer(1, &Answer::Unchanged)], order),
    ];
    for (jobs, frames, code) in cases {
        let held = ask(jobs, &frames);
        assert_eq!(held.closed, Some(Err(Error::PeerMisbehaved(code))), "{jobs:?} {frames:?}");
        assert!(held.port.got.is_empty());
    }
}

#[test]
fn entries_that_are_none() {
    let list = [Job::list("")];
    let page_of = |name: &str| {
        let mut page = vec![0; 1024];
        let meta = Meta { kind: EntryKind::File, size: 1, modified: None };
        let len = Entry { name, meta }.encode(&mut page).expect("room");
        Frame::new(Kind::Page, 1, &page[..len])
    };
    let long = "x".repeat(256);
    for name in ["", ".", "..", "a/b", "/", "a\0", &long] {
        let held = ask(&list, &[page_of("good"), page_of(name)]);
        assert_eq!(held.closed, Some(Err(Error::PeerMisbehaved(Code::Malformed))), "{name:?}");
        assert!(held.port.entries.values().flatten().all(|(name, _)| name == "good"));
    }
    let held = ask(&list, &[Frame::new(Kind::Page, 1, [5])]);
    assert_eq!(held.closed, Some(Err(Error::PeerMisbehaved(Code::Malformed))));
}

#[test]
fn answers_that_do_not_add_up() {
    let data = contents(3000, 1);
    let job = Job::put("a", data.clone());
    let stored = |size, root| Frame::answer(1, &Answer::Stored { size, root, suffix: 0 });
    let root = digest(&data);
    for (answer, fits) in [(stored(3000, root), true), (stored(2999, root), false)] {
        let mut held = Held::small_requester();
        let id = held.session.request(&job.request()).expect("sent");
        held.port.accepted(id, &job);
        held.feed(&[]);
        held.tell(&[answer]);
        assert_eq!(held.closed.is_none(), fits);
        assert_eq!(held.port.results.contains_key(&id), fits);
    }
    for (entries, fits) in [(0, true), (1, false), (u64::MAX, false)] {
        let listed = Frame::answer(1, &Answer::Listed { entries, skipped: 0 });
        let held = ask(&[Job::list("")], &[listed]);
        assert_eq!(held.closed.is_none(), fits);
    }
}

#[test]
fn a_download_that_is_not_as_promised() {
    let data = contents(2500, 1);
    let begins = Frame::answer(1, &Answer::Sending { size: 2500, file_size: 2500, modified: None });
    let chunks = |data: &[u8]| -> Vec<Frame> {
        data.chunks(1024).enumerate().map(|(n, c)| Frame::data(1, n as u32, c)).collect()
    };
    let mut flipped = data.clone();
    flipped[2000] ^= 4;
    let longer = contents(3000, 1);
    let end = |size, data: &[u8]| Frame::close(1, &Close::End { size, root: digest(data) });
    let cases = [
        (flipped.clone(), end(2500, &data), Some(Code::HashMismatch)),
        (data[..2048].to_vec(), end(2500, &data), Some(Code::SizeMismatch)),
        (data[..2048].to_vec(), end(2048, &data[..2048]), Some(Code::SizeMismatch)),
        (longer.clone(), end(3000, &longer), Some(Code::SizeMismatch)),
        (longer, end(2500, &data), Some(Code::SizeMismatch)),
        (Vec::new(), end(0, &[]), Some(Code::SizeMismatch)),
        (data.clone(), end(2499, &data), Some(Code::SizeMismatch)),
        (data.clone(), Frame::close(1, &Close::Reset(Code::Io)), Some(Code::Io)),
        (data.clone(), end(2500, &data), None),
    ];
    for (n, (sent, close, code)) in cases.into_iter().enumerate() {
        let mut frames = vec![begins.clone()];
        frames.extend(chunks(&sent));
        frames.push(close);
        // The link is still good: the next request is answered.
        frames.push(Frame::answer(2, &Answer::Failed(Code::NotFound)));
        let held = ask(&[Job::get("a"), Job::stat("b", false)], &frames);
        assert_eq!(held.closed, None, "case {n}");
        let results: Vec<_> = held.port.results.values().collect();
        assert_eq!(results.len(), 2, "case {n}");
        assert_eq!(results[0].err().map(|failure| failure.code()), code, "case {n}");
        assert_eq!(held.port.got.len(), usize::from(code.is_none()));
        held.port.assert_closed();
    }
}
