//! The blocking driver over streams that keep to its contract: calls return within a tick.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use kift_core::driver::{Blocking, Step};
use kift_core::session::{BuffersTooSmall, Config, Error, Requester, Responder, Side};
use kift_core::time::Instant;
use kift_core::wire::Code;
use kift_tests::app::{App, Job};
use kift_tests::memory::Memory;
use kift_tests::raw::{Frame, first_flight, hello};
use kift_tests::rng::{Case, Rng, contents};

/// One direction: bytes, and whether the writer is gone.
#[derive(Debug, Default)]
struct Half {
    bytes: VecDeque<u8>,
    closed: bool,
}

/// A stream whose calls never wait: what cannot be done now has timed out.
#[derive(Debug)]
struct Ticking {
    input: Rc<RefCell<Half>>,
    output: Rc<RefCell<Half>>,
    capacity: usize,
    rng: Rng,
    /// Bytes until writing fails for good.
    breaks_after: Rc<Cell<usize>>,
}

fn joined(capacity: usize, seed: u64) -> (Ticking, Ticking) {
    let (up, down) = (Rc::<RefCell<Half>>::default(), Rc::<RefCell<Half>>::default());
    let end = |input: &Rc<RefCell<Half>>, output: &Rc<RefCell<Half>>, seed| Ticking {
        input: Rc::clone(input),
        output: Rc::clone(output),
        capacity,
        rng: Rng::new(seed),
        breaks_after: Rc::new(Cell::new(usize::MAX)),
    };
    (end(&down, &up, seed), end(&up, &down, seed + 1))
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.output.borrow_mut().closed = true;
    }
}

impl ErrorType for Ticking {
    type Error = ErrorKind;
}

impl Read for Ticking {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!buf.is_empty(), "a read of nothing would look like the end");
        let mut half = self.input.borrow_mut();
        if self.rng.chance(10) {
            return Err(ErrorKind::Interrupted);
        }
        if half.bytes.is_empty() {
            return if half.closed { Ok(0) } else { Err(ErrorKind::TimedOut) };
        }
        let n = self.rng.between(1, half.bytes.len().min(buf.len()));
        for (to, byte) in buf.iter_mut().zip(half.bytes.drain(..n)) {
            *to = byte;
        }
        Ok(n)
    }
}

impl ReadReady for Ticking {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        let half = self.input.borrow();
        Ok(half.closed || !half.bytes.is_empty())
    }
}

impl Write for Ticking {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        assert!(!buf.is_empty());
        if self.breaks_after.get() == 0 {
            return Err(ErrorKind::BrokenPipe);
        }
        let mut half = self.output.borrow_mut();
        let room = (self.capacity - half.bytes.len()).min(buf.len()).min(self.breaks_after.get());
        if room == 0 {
            return if self.rng.chance(50) { Ok(0) } else { Err(ErrorKind::TimedOut) };
        }
        let n = self.rng.between(1, room);
        self.breaks_after.set(self.breaks_after.get() - n);
        half.bytes.extend(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

fn driver(stream: Ticking, read_ready: bool) -> Blocking<Ticking> {
    if read_ready { Blocking::with_read_ready(stream) } else { Blocking::new(stream) }
}

/// A requester with its jobs, and its responder.
struct Session {
    requester: Requester<Vec<u8>, 8>,
    app: App,
    asks: Blocking<Ticking>,
    jobs: VecDeque<Job>,
    responder: Responder<Vec<u8>>,
    store: Memory,
    serves: Blocking<Ticking>,
    ended: [Option<Result<(), Error>>; 2],
}

impl Session {
    fn new(capacity: usize, seed: u64) -> Self {
        let (here, there) = joined(capacity, seed);
        let config = |side| Config::small(side, 1 + seed % 4);
        let buffer = || vec![0; 1052 + 500 * (seed as usize % 5)];
        let data = contents(4000, seed);
        let jobs = [Job::put("a", data), Job::get("a"), Job::list(""), Job::stat("a", true)];
        Self {
            requester: Requester::new(buffer(), buffer(), &config(Side::Dialler)).expect("room"),
            app: App::default(),
            asks: driver(here, seed.is_multiple_of(2)),
            jobs: jobs.into_iter().chain([Job::Goodbye]).collect(),
            responder: Responder::new(buffer(), buffer(), &config(Side::Listener)).expect("room"),
            store: Memory::default(),
            serves: driver(there, seed.is_multiple_of(3)),
            ended: [None, None],
        }
    }

    /// One step of one end.
    fn step(&mut self, which: usize, now: Instant) {
        if self.ended[which].is_some() {
            return;
        }
        if let Some(job) = self.jobs.front()
            && let Ok(id) = self.requester.request(&job.request())
        {
            self.app.accepted(id, job);
            self.jobs.pop_front();
        }
        let step = if which == 0 {
            self.asks.step(&mut self.requester, &mut self.app, now)
        } else {
            self.serves.step(&mut self.responder, &mut self.store, now)
        };
        if let Step::Closed(result) = step {
            self.ended[which] = Some(result);
        }
    }
}

#[test]
fn several_sessions_on_one_thread() {
    for seed in 0..20 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let mut sessions: Vec<_> =
            (0..4).map(|n| Session::new([1, 40, 512, 5000][n as usize], seed * 4 + n)).collect();
        let mut now = 0;
        while sessions.iter().any(|session| session.ended.contains(&None)) {
            now += 1;
            assert!(now < 200_000, "never ends");
            // A step never waits, so time passes slowly.
            let at = Instant::from_millis(now / 100);
            let which = rng.below(2);
            sessions.iter_mut().for_each(|session| session.step(which, at));
        }
        for (n, session) in sessions.iter().enumerate() {
            assert_eq!(session.ended, [Some(Ok(())), Some(Ok(()))]);
            assert!(
                session.app.results.values().all(Result::is_ok) && session.app.results.len() == 5
            );
            assert!(session.store.get("a") == Some(&contents(4000, seed * 4 + n as u64)));
        }
    }
}

#[test]
fn a_stream_that_takes_no_more_may_still_say_why() {
    let (here, there) = joined(100_000, 1);
    let config = Config::small(Side::Dialler, 4);
    let mut session = Requester::<_, 8>::new(vec![0; 1052], vec![0; 1052], &config).expect("room");
    let mut app = App::default();
    let breaks_after = Rc::clone(&here.breaks_after);
    let mut driver = Blocking::new(here);
    let say = |bytes: &[u8]| there.output.borrow_mut().bytes.extend(bytes);
    say(&first_flight(1, 0, 0));
    say(&Frame::hello(&hello(kift_core::wire::Role::Responder)).bytes());
    while app.hello.is_none() {
        let _ = driver.step(&mut session, &mut app, Instant::default());
    }
    let job = Job::put("a", contents(5000, 1));
    let id = session.request(&job.request()).expect("sent");
    app.accepted(id, &job);
    // The peer said why it goes, and its socket takes nothing more.
    say(&Frame::signal(0, kift_core::wire::Signal::Abort(Code::ShuttingDown)).bytes());
    breaks_after.set(500);
    drop(there);
    let ended = driver.run(&mut session, &mut app, Instant::default);
    assert_eq!(ended, Err(Error::PeerClosed(Code::ShuttingDown)));
}

#[test]
fn buffers_that_are_too_small() {
    let config = Config::small(Side::Dialler, 1);
    for (rx, tx, fits) in [(1052, 1052, true), (1051, 4000, false), (4000, 1051, false)] {
        let session = Responder::new(vec![0; rx], vec![0; tx], &config).map(|_| ());
        assert_eq!(session, if fits { Ok(()) } else { Err(BuffersTooSmall) });
    }
}
