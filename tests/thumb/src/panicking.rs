//! Proof of the proof: this image can panic, so it must not link.

#![no_std]
#![no_main]

mod bare;

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    loop {
        core::hint::black_box(bare::any_text().as_bytes()[bare::any() as usize]);
    }
}
