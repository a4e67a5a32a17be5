//! The core's two state machines, joined by a simulated link or faced with a peer that the test
//! plays.

mod cut;
mod damage;
mod deadlines;
mod deadlock;
mod driver;
mod ending;
mod get;
mod hostile;
mod list;
mod login;
mod order;
mod pending;
mod pipeline;
mod put;
mod resume;
mod room;
mod round_trip;
mod runs;
mod sealed;
mod simple;
mod snow;
mod status;
mod stop;
mod waiting;

/// Links are plain here. `sim_sealed` runs the same scenarios over sealed ones.
type Pair = kift_tests::pair::Pair<kift_tests::sealed::PlainLinks>;

const SEALED: bool = false;
