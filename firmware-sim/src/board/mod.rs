//! A model of the board, on Linux.

pub mod cli;
pub mod factory;
pub mod heap;
pub mod link;
pub mod netns;
pub mod nor;
pub mod pcap;
mod report;
mod rng;
mod run;
mod sys;
pub mod tap;
#[cfg(test)]
mod tests;
