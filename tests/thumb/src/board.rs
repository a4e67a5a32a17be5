//! A board of registers for a whole device: a network interface, a flash, a clock.

use core::fmt;
use core::hint::black_box;

use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use kift_core::time::Instant;
use kift_firmware_sim::device::{Memory, Notice, Platform};
use kift_firmware_sim::flash::{Flash, Store};
#[cfg(not(feature = "dhcp"))]
use kift_firmware_sim::net::Ipv4Cidr;
use kift_firmware_sim::net::{Address, Config, Frames, Stack};

use crate::bare::any;

/// Bytes of each of a connection's buffers.
const BUFFER: usize = 4096;

/// The memory of a device with one session.
pub type Device = Memory<Mac, Store<Chip, 1>, crate::Links, 1, 2, 3, BUFFER>;

/// Carries Ethernet frames.
pub struct Mac;

impl Frames for Mac {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        black_box(buf);
        match any() {
            0 => None,
            len => Some(len as usize),
        }
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        black_box(frame);
        any() == 0
    }
}

/// A flash chip.
#[derive(Debug)]
pub struct Chip;

/// Why the chip failed.
#[derive(Debug)]
pub struct Worn;

impl NorFlashError for Worn {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

fn outcome() -> Result<(), Worn> {
    if any() == 0 { Err(Worn) } else { Ok(()) }
}

impl ErrorType for Chip {
    type Error = Worn;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Worn> {
        black_box((offset, bytes));
        outcome()
    }

    fn capacity(&self) -> usize {
        any() as usize
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Worn> {
        black_box((from, to));
        outcome()
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Worn> {
        black_box((offset, bytes));
        outcome()
    }
}

impl MultiwriteNorFlash for Chip {}

impl Flash for Chip {
    fn begin_erase(&mut self, offset: u32) -> Result<(), Worn> {
        black_box(offset);
        outcome()
    }

    fn is_busy(&mut self) -> Result<bool, Worn> {
        outcome().map(|()| any() == 0)
    }
}

/// Clock and console.
pub struct Board {
    /// What the device's tasks give its turns.
    pub stack: &'static Stack<'static, Mac>,
}

impl Platform for Board {
    fn now(&self) -> Instant {
        Instant::from_millis(any().into())
    }

    fn turn(&self, until: Instant) {
        black_box((self.stack.poll(self.now()), until));
    }

    fn is_stopping(&self) -> bool {
        any() == 0
    }

    fn tell(&self, notice: Notice) {
        struct Console;
        impl fmt::Write for Console {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                black_box(text);
                Ok(())
            }
        }
        let _ = fmt::Write::write_fmt(&mut Console, format_args!("{notice}"));
    }
}

/// Any network.
pub fn network() -> Config {
    #[cfg(feature = "dhcp")]
    let address = Address::Dhcp;
    #[cfg(not(feature = "dhcp"))]
    let address = Address::Static {
        v4: Some(Ipv4Cidr::new([192, 168, 69, 2].into(), 24)),
        gateway: Some([192, 168, 69, 1].into()),
        #[cfg(feature = "ipv6")]
        v6: None,
    };
    black_box(Config { mac: [2, 0, 0, 0, 0, 1], address, seed: any().into() })
}
