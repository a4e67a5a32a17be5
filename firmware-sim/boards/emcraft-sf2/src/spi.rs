//! The SPI controller, as a master with one slave.

use crate::chip::SPI0;

/// Bits of CONTROL. The slave is selected while frames are counted down.
const ENABLE: u32 = 1;
const MASTER: u32 = 1 << 1;
const SELECT_THROUGHOUT: u32 = 1 << 26;
const BIG_FIFO: u32 = 1 << 29;

/// The bit of STATUS that says that nothing was received.
const RX_EMPTY: u32 = 1 << 6;

/// Frames that fit the controller's buffers.
const FIFO_LEN: usize = 32;

/// Sends `command` and then `data`, and puts into `data` what comes back meanwhile. Together they
/// have at most 65,535 bytes.
pub(crate) fn transfer(command: &[u8], data: Data<'_>) {
    let frames = (command.len() + data.len()) as u32;
    SPI0::CONTROL.write(0);
    SPI0::DATA_FRAME_SIZE.write(8);
    SPI0::CONTROL.write(ENABLE | MASTER | SELECT_THROUGHOUT | BIG_FIFO | frames << 8);
    for piece in command.chunks(FIFO_LEN) {
        piece.iter().for_each(|byte| SPI0::TX_DATA.write((*byte).into()));
        piece.iter().for_each(|_| _ = received());
    }
    match data {
        Data::None => {}
        Data::Out(bytes) => {
            for piece in bytes.chunks(FIFO_LEN) {
                piece.iter().for_each(|byte| SPI0::TX_DATA.write((*byte).into()));
                piece.iter().for_each(|_| _ = received());
            }
        }
        Data::In(bytes) => {
            for piece in bytes.chunks_mut(FIFO_LEN) {
                piece.iter().for_each(|_| SPI0::TX_DATA.write(0));
                piece.iter_mut().for_each(|byte| *byte = received());
            }
        }
    }
}

/// What follows a command.
pub(crate) enum Data<'a> {
    /// Nothing.
    None,
    /// Bytes to the slave.
    Out(&'a [u8]),
    /// Bytes from it.
    In(&'a mut [u8]),
}

impl Data<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Out(bytes) => bytes.len(),
            Self::In(bytes) => bytes.len(),
        }
    }
}

fn received() -> u8 {
    while SPI0::STATUS.read() & RX_EMPTY != 0 {}
    SPI0::RX_DATA.read() as u8
}
