//! What the tests share: a store and an application in memory, a simulated link between two ends,
//! a peer that sends whatever it is told to, pipes that block, and the real programs.

pub mod app;
pub mod asking;
pub mod busy;
pub mod card;
pub mod device;
pub mod dial;
pub mod disk;
pub mod drive;
pub mod end;
pub mod estate;
pub mod files;
pub mod flash;
pub mod hold;
pub mod impostor;
pub mod kit;
pub mod link;
pub mod lossy;
pub mod machine;
pub mod memory;
pub mod options;
pub mod pair;
pub mod peer;
pub mod pipe;
pub mod proxy;
pub mod raw;
pub mod rng;
pub mod sealed;
pub mod serving;
pub mod snow;
pub mod stage;
pub mod step;
pub mod terminal;
pub mod world;
