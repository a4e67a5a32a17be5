//! kift on a constrained device.
//!
//! What a real board takes, without `std` and without allocation:
//!
//! | module | is |
//! | --- | --- |
//! | [`disk`] | what a device keeps its files and its keys on, whatever that is |
//! | [`flash`] | files on NOR flash: a [`Store`](kift_core::storage::Store) over any `NorFlash` |
//! | [`net`] | TCP by smoltcp: `embedded-nal` for dialling and accepting, `embedded-io` for sessions |
//! | [`device`] | the device itself: its memory, the task that serves and the task that asks |
//!
//! With the feature `card`, also [`card`]: files on an SD card with a FAT.
//!
//! With the feature `board` (the default), also [`board`]: a model of the hardware on Linux, which
//! the program `kift-firmware-sim` runs the device on.

#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "board")]
extern crate std;

#[cfg(feature = "board")]
pub mod board;
#[cfg(feature = "card")]
pub mod card;
pub mod device;
pub mod disk;
pub mod flash;
pub mod net;
