//! The links of a device that has no ciphers.

use kift_core::crc32c;
use kift_firmware_sim::device::seal::PlainLinks;
use kift_firmware_sim::flash::Store;

use crate::board::Chip;

pub type Links = PlainLinks;

pub fn links(_: &mut Store<Chip, 1>) -> Option<Links> {
    Some(PlainLinks(crc32c))
}
