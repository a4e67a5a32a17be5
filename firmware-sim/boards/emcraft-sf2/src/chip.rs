//! The chip: its registers, and the memory that its Ethernet controller reads and writes by itself.
//! All of the board's unsafe code is here.
//!
//! From Microsemi's UG0331, SmartFusion2 Microcontroller Subsystem User Guide. Clocks, resets and
//! pins are as the boot firmware of the kit leaves them.

#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::sync::atomic::{Ordering, fence};

use kift_board::{Register, registers};

registers! {
    UART0 at 0x4000_0000: DATA 0x00, LSR 0x14;
    SPI0 at 0x4000_1000: CONTROL 0x00, DATA_FRAME_SIZE 0x04, STATUS 0x08, RX_DATA 0x10, TX_DATA 0x14;
    TIMER1 at 0x4000_4000: VALUE 0x00, LOAD 0x04, CONTROL 0x0c;
    EMAC at 0x4004_1000: CFG1 0x000, CFG2 0x004, MAX_FRAME 0x010, STA1 0x040, STA2 0x044,
        DMA_TX_CTL 0x180, DMA_RX_CTL 0x18c, DMA_RX_STATUS 0x194, DMA_IRQ_MASK 0x198;
}

/// Where the DMA begins. To write there would let it write anywhere, so it is not for others.
// SAFETY: they are registers, and what is written to them here is the address of one of `PLACES`.
const DMA_TX_DESC: Register = unsafe { Register::at(0x4004_1184) };
// SAFETY: as above.
const DMA_RX_DESC: Register = unsafe { Register::at(0x4004_1190) };

/// Frames that may come before they are taken. With more the controller waits, and what comes then
/// is lost.
const RX_FRAMES: usize = 8;

/// Bytes of a frame's place: the longest of Ethernet, and a multiple of a word.
const PLACE_LEN: usize = 1536;

/// The bit of a descriptor's size that says that the place has nothing in it.
const EMPTY: u32 = 1 << 31;

/// The bits of a descriptor's size that are one.
const SIZE: u32 = 0x7ff;

/// What tells the controller of a place, as it wants it.
#[repr(C)]
struct Descriptor {
    address: u32,
    size: u32,
    next: u32,
}

#[repr(C, align(4))]
struct Place {
    descriptor: Descriptor,
    bytes: [u8; PLACE_LEN],
}

impl Place {
    const NEW: Self =
        Self { descriptor: Descriptor { address: 0, size: 0, next: 0 }, bytes: [0; PLACE_LEN] };
}

/// The places of received frames, in a ring, and one for a frame that is sent.
struct Places(UnsafeCell<[Place; RX_FRAMES + 1]>);

// SAFETY: there is one processor, which takes no interrupts, and the functions below call nobody
// while they touch it.
unsafe impl Sync for Places {}

static PLACES: Places = Places(UnsafeCell::new([Place::NEW; RX_FRAMES + 1]));

/// The number of the place of frames that are sent.
const TX: usize = RX_FRAMES;

fn place(number: usize) -> *mut Place {
    debug_assert!(number <= RX_FRAMES);
    PLACES.0.get().cast::<Place>().wrapping_add(number)
}

fn set(number: usize, next: usize, size: u32) {
    let place = place(number);
    let address = |pointer: *mut u8| pointer.expose_provenance() as u32;
    // SAFETY: the place is one of `PLACES`. The controller does not look at it before it is told.
    unsafe {
        let bytes = &raw mut (*place).bytes;
        let descriptor = Descriptor {
            address: address(bytes.cast()),
            size,
            next: address(self::place(next).cast()),
        };
        (&raw mut (*place).descriptor).write_volatile(descriptor);
    }
}

fn size_of_place(number: usize) -> u32 {
    // SAFETY: the place is one of `PLACES`.
    let size = unsafe { (&raw const (*place(number)).descriptor.size).read_volatile() };
    fence(Ordering::SeqCst);
    size
}

/// The frames that have come, in their order.
pub(crate) struct Received {
    /// The place of the next.
    next: usize,
}

impl Received {
    /// An empty ring. To be called while the controller is off.
    pub(crate) fn begin() -> Self {
        for number in 0..RX_FRAMES {
            set(number, (number + 1) % RX_FRAMES, EMPTY);
        }
        set(TX, TX, EMPTY);
        let this = Self { next: 0 };
        this.resume();
        this
    }

    /// Has the controller go on, where it has found no place, from the next that is looked at: all
    /// are empty.
    fn resume(&self) {
        fence(Ordering::SeqCst);
        DMA_RX_DESC.write(place(self.next).expose_provenance() as u32);
        EMAC::DMA_RX_CTL.write(1);
    }

    /// Puts the next frame into `buf`, and gives its length.
    pub(crate) fn take(&mut self, buf: &mut [u8]) -> Option<usize> {
        let size = size_of_place(self.next);
        if size & EMPTY != 0 {
            if EMAC::DMA_RX_CTL.read() & 1 == 0 {
                self.resume();
            }
            return None;
        }
        let len = (size & SIZE) as usize;
        let len = len.min(PLACE_LEN).min(buf.len());
        // SAFETY: the place is one of `PLACES`, has so many bytes, and is the processor's until it
        // is empty again.
        unsafe {
            let bytes = (&raw const (*place(self.next)).bytes).cast::<u8>();
            bytes.copy_to_nonoverlapping(buf.as_mut_ptr(), len);
        }
        fence(Ordering::SeqCst);
        set(self.next, (self.next + 1) % RX_FRAMES, EMPTY);
        self.next = (self.next + 1) % RX_FRAMES;
        Some(len)
    }
}

/// Hands `frame` to the controller, unless it is too long or the one before is still on its way.
pub(crate) fn transmit(frame: &[u8]) -> bool {
    if frame.len() > PLACE_LEN || size_of_place(TX) & EMPTY == 0 {
        return false;
    }
    // SAFETY: the place has room for it, and is the processor's while it is empty.
    unsafe {
        let bytes = (&raw mut (*place(TX)).bytes).cast::<u8>();
        bytes.copy_from_nonoverlapping(frame.as_ptr(), frame.len());
    }
    // The next is the same, which is empty when this one was sent: there it ends.
    set(TX, TX, frame.len() as u32);
    fence(Ordering::SeqCst);
    DMA_TX_DESC.write(place(TX).expose_provenance() as u32);
    EMAC::DMA_TX_CTL.write(1);
    true
}

kift_board::image!(crate::uart::print);
