//! The SPI controller, with the SD card's socket, which is selected for good: its other slave is the
//! display.

use core::convert::Infallible;

use embedded_hal::delay::DelayNs as _;
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};
use embedded_sdmmc::SdCard;

use crate::chip::{GPIO_D, SSI0};
use crate::clock::Delay;

/// The card as a store has it.
pub(crate) type Card = SdCard<Socket, Delay>;

/// Frames of eight bits.
const CONTROL_0: u32 = 7;

/// The bit of CONTROL_1 that switches the controller on.
const ON: u32 = 1 << 1;

/// A quarter of the clock, which is slow enough for a card that does not know its speed yet, at the
/// rate that `CONTROL_0` divides it by.
const PRESCALE: u32 = 4;

/// The bit of STATUS that says that something was received.
const RECEIVED: u32 = 1 << 2;

/// The first byte of the command that asks what voltages a card has.
const READ_OCR: u8 = 0x40 | 58;

/// What goes before the data of a block.
const DATA_TOKEN: u8 = 0xfe;

/// The state of a card that begins to work.
const IDLE: u8 = 1;

/// The socket.
pub(crate) struct Socket {
    /// A card's answer to `READ_OCR` is awaited.
    is_asked: bool,
}

/// The card in the socket. It is asked who it is when it is first used.
pub(crate) fn card() -> Card {
    SSI0::CONTROL_1.write(0);
    SSI0::CONTROL_0.write(CONTROL_0);
    SSI0::PRESCALE.write(PRESCALE);
    SSI0::CONTROL_1.write(ON);
    GPIO_D::DIRECTION.write(1);
    // A card that was just given power hears this while it is not selected.
    GPIO_D::PIN_0.write(1);
    Delay.delay_ms(1);
    (0..10).for_each(|_| _ = exchange(0xff));
    GPIO_D::PIN_0.write(0);
    SdCard::new(Socket { is_asked: false }, Delay)
}

/// Sends a byte, and gives what came meanwhile.
fn exchange(byte: u8) -> u8 {
    SSI0::DATA.write(byte.into());
    while SSI0::STATUS.read() & RECEIVED == 0 {}
    SSI0::DATA.read() as u8
}

impl Socket {
    fn send(&mut self, bytes: &[u8]) {
        match bytes {
            // One is waited for behind an answer, which QEMU's card does not do without.
            [DATA_TOKEN] => _ = exchange(0xff),
            [READ_OCR, ..] if bytes.len() == 6 => self.is_asked = true,
            _ => {}
        }
    }

    fn receive(&mut self, byte: u8) -> u8 {
        let is_answer = self.is_asked && byte != 0xff;
        self.is_asked &= !is_answer;
        // QEMU's card says here for ever that it begins.
        if is_answer && byte == IDLE { 0 } else { byte }
    }
}

impl ErrorType for Socket {
    type Error = Infallible;
}

impl SpiDevice for Socket {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        for operation in operations {
            match operation {
                Operation::Read(bytes) => {
                    bytes.iter_mut().for_each(|byte| *byte = self.receive(exchange(0xff)));
                }
                Operation::Write(bytes) => {
                    self.send(bytes);
                    bytes.iter().for_each(|byte| _ = exchange(*byte));
                }
                Operation::Transfer(to, from) => {
                    self.send(from);
                    let rest = to.len().saturating_sub(from.len());
                    let bytes = from.iter().copied().chain((0..rest).map(|_| 0xff));
                    let mut places = to.iter_mut();
                    for byte in bytes {
                        let came = self.receive(exchange(byte));
                        if let Some(place) = places.next() {
                            *place = came;
                        }
                    }
                }
                Operation::TransferInPlace(bytes) => {
                    bytes.iter_mut().for_each(|byte| *byte = self.receive(exchange(*byte)));
                }
                Operation::DelayNs(ns) => Delay.delay_ns(*ns),
            }
        }
        Ok(())
    }
}
