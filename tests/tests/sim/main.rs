//! The core's two state machines, joined by a simulated link or faced with a peer that the test
//! plays.

mod blocking;
mod cut;
mod damage;
mod deadlines;
mod deadlock;
mod driver;
mod ending;
mod get;
mod hostile;
mod list;
mod order;
mod pending;
mod pipeline;
mod put;
mod room;
mod round_trip;
mod simple;
mod stop;
