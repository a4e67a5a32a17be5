//! The links of a device that has its keys in flash, and may pair.

use core::hint::black_box;

use kift_core::secure::Token;
use kift_firmware_sim::device::seal::Keys;
use kift_firmware_sim::flash::Store;

use crate::bare::any;
use crate::board::Chip;

pub type Links = Keys;

pub fn links(store: &mut Store<Chip, 1>) -> Option<Links> {
    let token = (any() == 0).then(|| Token(black_box([2; 32])));
    Keys::open(store, token).ok()
}
