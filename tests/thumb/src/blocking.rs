//! Sessions over a stream whose calls block.

use kift_core::driver::{Blocking, Step};
use kift_core::session::Perform;

use crate::world::{Port, Stream, now};

pub type Driver = Blocking<Stream>;

pub fn driver() -> Driver {
    Blocking::with_read_ready(Stream)
}

pub fn step(driver: &mut Driver, session: &mut impl Perform<Port>) -> Step {
    driver.step(session, &mut Port, now())
}
