//! The scenarios of `sim` in which two ends meet, over sealed links.

#[path = "../sim/cut.rs"]
mod cut;
#[path = "../sim/damage.rs"]
mod damage;
#[path = "../sim/deadlock.rs"]
mod deadlock;
#[path = "../sim/ending.rs"]
mod ending;
#[path = "../sim/get.rs"]
mod get;
#[path = "../sim/list.rs"]
mod list;
#[path = "../sim/pending.rs"]
mod pending;
#[path = "../sim/pipeline.rs"]
mod pipeline;
#[path = "../sim/put.rs"]
mod put;
#[path = "../sim/resume.rs"]
mod resume;
#[path = "../sim/round_trip.rs"]
mod round_trip;
#[path = "../sim/simple.rs"]
mod simple;
#[path = "../sim/stop.rs"]
mod stop;

/// Links are sealed here.
type Pair = kift_tests::pair::Pair<kift_tests::sealed::SealedLinks>;

const SEALED: bool = true;
