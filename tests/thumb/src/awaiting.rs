//! Sessions over a stream whose calls are awaited.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_io_async::{Read, Write};
use kift_core::driver::{Async, Clock, Step};
use kift_core::session::Perform;
use kift_core::time::Instant;

use crate::bare::any;
use crate::world::{Broken, Port, Stream, now};

pub type Driver = Async<Stream, Stream, Time>;

pub struct Time;

/// Whenever it is ready.
async fn sometime() {
    poll_fn(|_| if any() == 0 { Poll::Pending } else { Poll::Ready(()) }).await;
}

impl Clock for Time {
    fn now(&self) -> Instant {
        now()
    }

    async fn until(&mut self, _: Option<Instant>) {
        sometime().await;
    }
}

impl Read for Stream {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Broken> {
        sometime().await;
        embedded_io::Read::read(self, buf)
    }
}

impl Write for Stream {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Broken> {
        sometime().await;
        embedded_io::Write::write(self, buf)
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

pub fn driver() -> Driver {
    Async::new(Stream, Stream, Time)
}

/// An executor, which may also drop what it has begun.
pub fn step(driver: &mut Driver, session: &mut impl Perform<Port>) -> Step {
    let mut port = Port;
    let mut step = pin!(driver.step(session, &mut port));
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match step.as_mut().poll(&mut context) {
            Poll::Ready(step) => return step,
            Poll::Pending if any() == 0 => return Step::Waited,
            Poll::Pending => {}
        }
    }
}
