//! The drivers over streams that keep to their contract: calls return within a tick, or wait and may
//! be dropped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use kift_core::driver::{Async, Blocking, Step};
use kift_core::session::{
    BuffersTooSmall, Config, Error, Perform, Requester, Responder, Side, Timeouts,
};
use kift_core::time::Instant;
use kift_core::wire::{Close, Code, Kind, Role, Signal};
use kift_tests::app::{App, Job};
use kift_tests::busy::Busy;
use kift_tests::drive::{Bell, Drive, Halves, Hand, Looking, Polled};
use kift_tests::memory::Memory;
use kift_tests::raw::{Frame, first_flight, frames, hello};
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

/// A half of a stream that is awaited: what has timed out there is waited for here, and may be dropped.
#[derive(Debug)]
struct Part(Rc<RefCell<Ticking>>);

impl ErrorType for Part {
    type Error = ErrorKind;
}

impl embedded_io_async::Read for Part {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| match self.0.borrow_mut().read(buf) {
            Err(ErrorKind::TimedOut) => Poll::Pending,
            result => Poll::Ready(result),
        })
        .await
    }
}

impl embedded_io_async::Write for Part {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| match self.0.borrow_mut().write(buf) {
            Ok(0) | Err(ErrorKind::TimedOut) => Poll::Pending,
            result => Poll::Ready(result),
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Halves for Ticking {
    type Reader = Part;
    type Writer = Part;

    fn halves(self) -> (Part, Part) {
        let stream = Rc::new(RefCell::new(self));
        (Part(Rc::clone(&stream)), Part(stream))
    }
}

/// A requester with its jobs, and its responder.
struct Session<D> {
    requester: Requester<Vec<u8>, 8>,
    app: App,
    asks: D,
    jobs: VecDeque<Job>,
    responder: Responder<Vec<u8>>,
    store: Memory,
    serves: D,
    ended: [Option<Result<(), Error>>; 2],
}

impl<D: Drive<Ticking>> Session<D> {
    fn new(capacity: usize, seed: u64) -> Self {
        let (here, there) = joined(capacity, seed);
        let config = |side| Config::small(side, 1 + seed % 4);
        let buffer = || vec![0; 1052 + 500 * (seed as usize % 5)];
        let data = contents(4000, seed);
        let jobs = [Job::put("a", data), Job::get("a"), Job::list(""), Job::stat("a", true)];
        let (mut app, mut store) = (App::default(), Memory::default());
        app.busy = Busy::sometimes(seed, [0, 30][seed as usize % 2], 20);
        store.busy = Busy::sometimes(seed, [30, 0][seed as usize % 2], 20);
        Self {
            requester: Requester::new(buffer(), buffer(), &config(Side::Dialler)).expect("room"),
            app,
            asks: D::over(here),
            jobs: jobs.into_iter().chain([Job::Goodbye]).collect(),
            responder: Responder::new(buffer(), buffer(), &config(Side::Listener)).expect("room"),
            store,
            serves: D::over(there),
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

fn several_sessions_on_one_thread<D: Drive<Ticking>>() {
    for seed in 0..20 {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let mut sessions: Vec<Session<D>> =
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

/// The test's end of a stream.
struct Peer(Ticking);

impl Peer {
    fn say(&self, bytes: &[u8]) {
        self.0.output.borrow_mut().bytes.extend(bytes);
    }

    fn tell(&self, frame: &Frame) {
        self.say(&frame.bytes());
    }

    /// Reads all that there is.
    fn hear(&self) -> Vec<u8> {
        self.0.input.borrow_mut().bytes.drain(..).collect()
    }
}

/// A session that is driven against the test.
struct Driven<D, S, P> {
    session: S,
    port: P,
    driver: D,
    peer: Peer,
    breaks_after: Rc<Cell<usize>>,
    /// Milliseconds.
    now: u64,
}

impl<D: Drive<Ticking>, S: Perform<P>, P> Driven<D, S, P> {
    /// A session whose stream holds `capacity` bytes each way. The peer has said what it says at
    /// first.
    fn new(session: S, port: P, role: Role, capacity: usize) -> Self {
        let (here, there) = joined(capacity, 1);
        let (breaks_after, peer) = (Rc::clone(&here.breaks_after), Peer(there));
        peer.say(&first_flight(1, u8::from(role == Role::Requester), 0));
        peer.tell(&Frame::hello(&hello(role)));
        Self { session, port, driver: D::over(here), peer, breaks_after, now: 0 }
    }

    /// Does one thing; where there is none, a tenth of a second goes by.
    fn step(&mut self) -> Option<Result<(), Error>> {
        let now = Instant::from_millis(self.now);
        match self.driver.step(&mut self.session, &mut self.port, now) {
            Step::Moved => {}
            Step::Waited => self.now += 100,
            Step::Closed(result) => return Some(result),
        }
        assert!(self.now < 1_000_000, "never ends");
        None
    }

    fn run(&mut self) -> Result<(), Error> {
        loop {
            if let Some(result) = self.step() {
                return result;
            }
        }
    }
}

type Asking<D> = Driven<D, Requester<Vec<u8>, 8>, App>;
type Serving<D> = Driven<D, Responder<Vec<u8>>, Memory>;

fn asking<D: Drive<Ticking>>(capacity: usize) -> Asking<D> {
    let config = Config::small(Side::Dialler, 4);
    let session = Requester::new(vec![0; 1052], vec![0; 1052], &config).expect("room");
    let mut asking = Asking::<D>::new(session, App::default(), Role::Responder, capacity);
    while asking.port.hello.is_none() {
        assert_eq!(asking.step(), None);
    }
    asking
}

/// One that is asked for a large file.
fn serving<D: Drive<Ticking>>(capacity: usize) -> Serving<D> {
    let config = Config::small(Side::Listener, 4);
    let session = Responder::new(vec![0; 1052], vec![0; 1052], &config).expect("room");
    let mut store = Memory::default();
    store.put("a", contents(1_000_000, 1));
    let serving = Serving::new(session, store, Role::Requester, capacity);
    serving.peer.tell(&Frame::request(1, &Job::get("a").request()));
    serving
}

fn a_stream_that_takes_no_more_may_still_say_why<D: Drive<Ticking>>() {
    let mut asking = asking::<D>(100_000);
    let job = Job::put("a", contents(5000, 1));
    let id = asking.session.request(&job.request()).expect("sent");
    asking.port.accepted(id, &job);
    // The peer said why it goes, and its socket takes nothing more.
    asking.peer.tell(&Frame::signal(0, Signal::Abort(Code::ShuttingDown)));
    asking.breaks_after.set(500);
    asking.peer.0.output.borrow_mut().closed = true;
    assert_eq!(asking.run(), Err(Error::PeerClosed(Code::ShuttingDown)));
}

fn a_peer_that_says_nothing<D: Drive<Ticking>>() {
    let mut asking = asking::<D>(100_000);
    asking.session.request(&Job::stat("a", false).request()).expect("sent");
    let (stall, from) = (Timeouts::DEFAULT.stall.as_millis() as u64, asking.now);
    assert_eq!(asking.run(), Err(Error::TimedOut));
    assert!((stall..stall + 1000).contains(&(asking.now - from)), "{}", asking.now);
}

fn a_peer_that_reads_nothing<D: Drive<Ticking>>() {
    let mut serving = serving::<D>(700);
    assert_eq!(serving.run(), Err(Error::TimedOut));
    // The reason does not go out either, and is not waited for without end.
    let Timeouts { stall, linger, .. } = Timeouts::DEFAULT;
    let most = (stall + linger).as_millis() as u64;
    assert!((stall.as_millis() as u64..most + 2000).contains(&serving.now), "{}", serving.now);
    serving.port.assert_closed();
}

fn an_abort_in_the_middle_is_told<D: Drive<Ticking>>() {
    let mut serving = serving::<D>(700);
    let mut heard = Vec::new();
    while heard.len() < 10_000 {
        assert_eq!(serving.step(), None);
        heard.extend(serving.peer.hear());
    }
    serving.session.abort(Code::ShuttingDown);
    let ended = loop {
        if let Some(result) = serving.step() {
            break result;
        }
        heard.extend(serving.peer.hear());
    };
    heard.extend(serving.peer.hear());
    assert_eq!(ended, Err(Error::Closed(Code::ShuttingDown)));
    let last = frames(&heard).pop().and_then(|frame| frame.as_signal());
    assert_eq!(last, Some(Signal::Abort(Code::ShuttingDown)));
    serving.port.assert_closed();
}

fn a_stop_is_noticed_between_frames<D: Drive<Ticking>>() {
    // The stream takes all that it is given: nothing but the look between frames finds it.
    let mut serving = serving::<D>(10_000_000);
    while serving.peer.0.input.borrow().bytes.len() < 100_000 {
        assert_eq!(serving.step(), None);
    }
    serving.peer.tell(&Frame::signal(1, Signal::Stop));
    let before = serving.peer.0.input.borrow().bytes.len();
    serving.peer.tell(&Frame::request(2, &Job::Goodbye.request()));
    assert_eq!(serving.run(), Ok(()));
    let heard = serving.peer.hear();
    assert!(heard.len() < before + 3 * 1052, "{before}, then {}", heard.len());
    let reset =
        frames(&heard).into_iter().find(|frame| frame.kind == Kind::Close).expect("a close");
    assert_eq!(Close::decode(&reset.payload), Ok(Close::Reset(Code::Cancelled)));
}

/// The same scenarios by each driver; the last of them only by one that looks for input.
macro_rules! by {
    ($($name:ident: $driver:ty, [$($scenario:ident)*];)*) => {$(
        mod $name {
            use super::*;

            $(
                #[test]
                fn $scenario() {
                    super::$scenario::<$driver>();
                }
            )*
        }
    )*};
}

by! {
    blocking: Blocking<Ticking>, [
        several_sessions_on_one_thread
        a_stream_that_takes_no_more_may_still_say_why
        a_peer_that_says_nothing
        a_peer_that_reads_nothing
        an_abort_in_the_middle_is_told
    ];
    looking: Looking<Ticking>, [
        several_sessions_on_one_thread
        a_stream_that_takes_no_more_may_still_say_why
        a_peer_that_says_nothing
        a_peer_that_reads_nothing
        an_abort_in_the_middle_is_told
        a_stop_is_noticed_between_frames
    ];
    polled: Polled<Ticking>, [
        several_sessions_on_one_thread
        a_stream_that_takes_no_more_may_still_say_why
        a_peer_that_says_nothing
        a_peer_that_reads_nothing
        an_abort_in_the_middle_is_told
        a_stop_is_noticed_between_frames
    ];
}

/// Runs `session` on the asynchronous driver and an executor that polls only what was woken, or whose
/// time has come, with `patience` for more than that. Gives how it ended, if it did, and when.
fn alone<S: Perform<P>, P>(
    stream: Ticking,
    session: &mut S,
    port: &mut P,
    patience: u64,
) -> (Option<Result<(), Error>>, u64) {
    let (clock, bell) = (Hand::default(), Bell::new());
    let waker = Waker::from(Arc::clone(&bell));
    let (reader, writer) = stream.halves();
    let mut driver = Async::new(reader, writer, clock.clone());
    let mut run = pin!(driver.run(session, port));
    let mut now = 0;
    for _ in 0..10_000 {
        clock.set(Instant::from_millis(now));
        match run.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return (Some(result), now),
            Poll::Pending if bell.has_rung() => {}
            Poll::Pending => match clock.until() {
                Some(until) if until.as_millis() <= patience => now = until.as_millis(),
                _ => return (None, now),
            },
        }
    }
    panic!("it never sleeps");
}

#[test]
fn the_clock_wakes_the_asynchronous_driver_for_each_deadline() {
    let stall = Timeouts::DEFAULT.stall.as_millis() as u64;
    // A peer that says nothing from the start.
    let session = || {
        let config = Config::small(Side::Listener, 4);
        Responder::new(vec![0; 1052], vec![0; 1052], &config).expect("room")
    };
    let (here, there) = joined(700, 1);
    let (ended, at) = alone(here, &mut session(), &mut Memory::default(), u64::MAX);
    assert_eq!((ended, at), (Some(Err(Error::TimedOut)), 10_000));
    drop(there);
    // One that reads nothing, so that a write waits all the time.
    let (here, there) = joined(700, 1);
    let peer = Peer(there);
    peer.say(&first_flight(1, 1, 0));
    peer.tell(&Frame::hello(&hello(Role::Requester)));
    peer.tell(&Frame::request(1, &Job::get("a").request()));
    let mut store = Memory::default();
    store.put("a", contents(100_000, 1));
    let (ended, at) = alone(here, &mut session(), &mut store, u64::MAX);
    assert_eq!(ended, Some(Err(Error::TimedOut)));
    assert!((stall..stall + 4000).contains(&at), "{at}");
}

#[test]
fn the_asynchronous_driver_sleeps_while_the_port_is_pending_and_the_peer_gone() {
    let (here, there) = joined(100_000, 1);
    let config = Config::small(Side::Listener, 4);
    let mut session = Responder::new(vec![0; 1052], vec![0; 1052], &config).expect("room");
    let peer = Peer(there);
    peer.say(&first_flight(1, 1, 0));
    peer.tell(&Frame::hello(&hello(Role::Requester)));
    peer.tell(&Frame::request(1, &Job::stat("a", false).request()));
    drop(peer);
    let mut store = Memory::default();
    store.busy = Busy::sometimes(1, 100, 1_000_000);
    assert_eq!(alone(here, &mut session, &mut store, 0), (None, 0));
    assert!(store.busy.has_pending());
}

#[test]
fn buffers_that_are_too_small() {
    let config = Config::small(Side::Dialler, 1);
    for (rx, tx, fits) in [(1052, 1052, true), (1051, 4000, false), (4000, 1051, false)] {
        let session = Responder::new(vec![0; rx], vec![0; tx], &config).map(|_| ());
        assert_eq!(session, if fits { Ok(()) } else { Err(BuffersTooSmall) });
    }
}
