//! The program `kift-firmware-sim`.

fn main() {}
