//! The SPI controller, as a master with one slave.

use crate::chip::SPI0;

/// Bits of CONTROL. The slave is selected while frames are counted down.
const ENABLE: u32 = 1;
const MASTER: u32 = 1 << 1;
const SELECT_THROUGHOUT: u32 = 1 << 26;
const BIG_FIFO: u32 = 1 << 29;

/// The bit of STATUS that says that nothing was received.
const RX_EMPTY: u32 = 1 << 6;

/// Sends `command` and then `data`, or puts into `data` what comes behind the command. Together they
/// have at most 65,535 bytes.
pub(crate) fn transfer(command: &[u8], data: Data<'_>) {
    let frames = (command.len() + data.len()) as u32;
    SPI0::CONTROL.write(0);
    SPI0::DATA_FRAME_SIZE.write(8);
    SPI0::CONTROL.write(ENABLE | MASTER | SELECT_THROUGHOUT | BIG_FIFO | frames << 8);
    command.iter().for_each(|byte| _ = exchange(*byte));
    match data {
        Data::Out(bytes) => bytes.iter().for_each(|byte| _ = exchange(*byte)),
        Data::In(bytes) => bytes.iter_mut().for_each(|byte| *byte = exchange(0)),
    }
}

/// Sends a byte, and gives the one that comes meanwhile.
fn exchange(byte: u8) -> u8 {
    SPI0::TX_DATA.write(byte.into());
    while SPI0::STATUS.read() & RX_EMPTY != 0 {}
    SPI0::RX_DATA.read() as u8
}

/// What follows a command.
pub(crate) enum Data<'a> {
    /// Bytes to the slave.
    Out(&'a [u8]),
    /// Bytes from it.
    In(&'a mut [u8]),
}

impl Data<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::Out(bytes) => bytes.len(),
            Self::In(bytes) => bytes.len(),
        }
    }
}
