//! kift on the Stellaris LM3S6965 evaluation board: see `firmware-sim/boards/README.md`.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod chip;
mod clock;
mod mac;
mod ssi;
mod uart;

use cortex_m_rt::entry;
use kift_board::{Clock, Machine, Memory};
use kift_core::time::Instant;
use kift_firmware_sim::card::{MountError, Store};

use mac::Mac;
use ssi::Card;

/// The board.
struct Kit {
    clock: Clock,
}

impl Machine for Kit {
    type Frames = Mac;
    type Disk = Store<Card, 1>;
    type DiskError = MountError;

    fn frames(&self, mac: [u8; 6]) -> Mac {
        Mac::new(mac)
    }

    fn mount(&self) -> Result<Self::Disk, MountError> {
        Store::mount(ssi::card())
    }

    fn is_blank(error: &MountError) -> bool {
        *error == MountError::Blank
    }

    fn format(&self) -> Result<(), MountError> {
        Store::<_, 1>::prepare(ssi::card())
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn doze(&self) {
        self.clock.doze(mac::LINE);
    }

    fn print(&self, text: &str) {
        uart::print(text);
    }

    fn is_key_pressed(&self) -> bool {
        uart::is_key_pressed()
    }
}

static MEMORY: Memory<Kit> = Memory::<Kit>::new();

#[entry]
fn main() -> ! {
    let Some(peripherals) = cortex_m::Peripherals::take() else { unreachable!("at the start") };
    let kit = Kit { clock: clock::start(peripherals.SYST) };
    kift_board::run(&kit, &MEMORY)
}
