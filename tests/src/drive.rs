//! Both drivers of the core, as the tests drive them, and what the asynchronous one needs of an
//! executor.

use std::cell::Cell;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use embedded_io::{Read, ReadReady, Write};
use kift_core::driver::{Async, Blocking, Clock, Step};
use kift_core::session::Perform;
use kift_core::time::Instant;

use crate::rng::Rng;

/// A driver over a stream.
pub trait Drive<T> {
    /// Drives `stream`.
    fn over(stream: T) -> Self;

    /// Does one thing for `session`; it is `now`.
    fn step<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P, now: Instant) -> Step;
}

/// A stream that comes apart into what is read and what is written.
pub trait Halves {
    /// What is read.
    type Reader: embedded_io_async::Read + Debug;
    /// What is written.
    type Writer: embedded_io_async::Write + Debug;

    /// Takes it apart.
    fn halves(self) -> (Self::Reader, Self::Writer);
}

impl<T: Read + Write> Drive<T> for Blocking<T> {
    fn over(stream: T) -> Self {
        Self::new(stream)
    }

    fn step<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P, now: Instant) -> Step {
        Self::step(self, session, port, now)
    }
}

/// The blocking driver that looks for input between frames.
#[derive(Debug)]
pub struct Looking<T: Read>(Blocking<T>);

impl<T: Read + ReadReady + Write> Drive<T> for Looking<T> {
    fn over(stream: T) -> Self {
        Self(Blocking::with_read_ready(stream))
    }

    fn step<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P, now: Instant) -> Step {
        self.0.step(session, port, now)
    }
}

/// The asynchronous driver, over the halves of a stream.
type Awaiting<T> = Async<<T as Halves>::Reader, <T as Halves>::Writer, Hand>;

fn awaiting<T: Halves>(stream: T, clock: &Hand) -> Awaiting<T> {
    let (reader, writer) = stream.halves();
    Async::new(reader, writer, clock.clone())
}

/// A clock that its owner sets, and that says until when somebody waits for it.
#[derive(Debug, Clone, Default)]
pub struct Hand {
    now: Rc<Cell<Instant>>,
    until: Rc<Cell<Option<Instant>>>,
}

impl Hand {
    /// It is `now`.
    pub fn set(&self, now: Instant) {
        self.now.set(now);
    }

    /// When whoever waited last is to be polled again, if he is to be.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.until.get()
    }
}

impl Clock for Hand {
    fn now(&self) -> Instant {
        self.now.get()
    }

    async fn until(&mut self, at: Option<Instant>) {
        poll_fn(|_| {
            self.until.set(at);
            if at.is_some_and(|at| self.now.get() >= at) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Takes note of being woken, and wakes a thread.
#[derive(Debug)]
pub struct Bell {
    rung: AtomicBool,
    thread: Thread,
}

impl Bell {
    /// For this thread.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(false), thread: thread::current() })
    }

    /// Whether it rang since this was asked last.
    #[must_use]
    pub fn has_rung(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// The asynchronous driver on an executor that never waits: a future that would is dropped, and the
/// next step makes another.
#[derive(Debug)]
pub struct Polled<T: Halves> {
    driver: Awaiting<T>,
    clock: Hand,
}

impl<T: Halves> Drive<T> for Polled<T> {
    fn over(stream: T) -> Self {
        let clock = Hand::default();
        Self { driver: awaiting(stream, &clock), clock }
    }

    fn step<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P, now: Instant) -> Step {
        self.clock.set(now);
        step_while(&mut self.driver, session, port, Bell::has_rung)
    }
}

/// The asynchronous driver on an executor that sleeps until it is woken.
#[derive(Debug)]
pub struct Awaited<T: Halves> {
    driver: Awaiting<T>,
    clock: Hand,
}

impl<T: Halves> Drive<T> for Awaited<T> {
    fn over(stream: T) -> Self {
        let clock = Hand::default();
        Self { driver: awaiting(stream, &clock), clock }
    }

    fn step<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P, now: Instant) -> Step {
        self.clock.set(now);
        step_while(&mut self.driver, session, port, |bell| {
            sleep(bell);
            true
        })
    }
}

/// The same, but every now and then a future that waits is dropped, asleep or woken; the next step
/// makes another.
#[derive(Debug)]
pub struct Dropped<T: Halves> {
    driver: Awaiting<T>,
    clock: Hand,
    rng: Rng,
}

impl<T: Halves> Drive<T> for Dropped<T> {
    fn over(stream: T) -> Self {
        let clock = Hand::default();
        Self { driver: awaiting(stream, &clock), clock, rng: Rng::new(1) }
    }

    fn step<S: Perform<P>, P>(&mut self, session: &mut S, port: &mut P, now: Instant) -> Step {
        self.clock.set(now);
        let rng = &mut self.rng;
        step_while(&mut self.driver, session, port, |bell| {
            !rng.chance(40) && {
                sleep(bell);
                !rng.chance(30)
            }
        })
    }
}

/// One step. Wherever its future waits, `goes_on` says whether it is polled again, or dropped.
fn step_while<R, W, S: Perform<P>, P>(
    driver: &mut Async<R, W, Hand>,
    session: &mut S,
    port: &mut P,
    mut goes_on: impl FnMut(&Bell) -> bool,
) -> Step
where
    R: embedded_io_async::Read,
    W: embedded_io_async::Write,
{
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    let mut step = pin!(driver.step(session, port));
    loop {
        match step.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(step) => return step,
            Poll::Pending if goes_on(&bell) => {}
            Poll::Pending => return Step::Waited,
        }
    }
}

/// Sleeps until `bell` rings. Nobody here has anything to do at a time of his own: where it does not
/// ring, a test that waits for this one says so.
fn sleep(bell: &Bell) {
    while !bell.has_rung() {
        thread::park_timeout(Duration::from_secs(60));
    }
}
