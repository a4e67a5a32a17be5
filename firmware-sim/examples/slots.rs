//! Firmware in two slots, with a way back: `cargo run -p kift-firmware-sim --example slots`.
//!
//! A new image is uploaded as the file [`UPDATE`], as any file is: it appears whole or not at all. What
//! boots next is said by one small file, [`BOOT`], which is replaced at once too. So wherever the power goes,
//! the old image boots or the new one, and a new one that does not say within a few boots that it
//! is well gives way to the old.
//!
//! ```text
//! kift put firmware.bin DEVICE/update
//! boot file   { good: a }            { good: a, staged }         { good: a, trial: b, 3 }    { good: b }
//! files       a, update  ──────────▶ a, update ───────▶ a, b ──▶ a, b ──────────────────────▶ a, b
//!                        it is whole            rename          each boot takes a try;  it is well
//! ```
//!
//! What is here runs in a boot loader and in the firmware, over the same store that serves the upload. A
//! boot loader copies the image from the store to where the processor runs it.

use std::process::ExitCode;
use std::task::Poll;

use kift_core::Hasher;
use kift_core::storage::{Begun, Files as _, Outcome, RequestId, Store as _};
use kift_core::wire::{Ask, CHUNK, Code, Conflict, Path, Put, TransferId};
use kift_firmware_sim::board::nor::{BLOCK_LEN, Nor, Times};
use kift_firmware_sim::flash::{Flash, Store};
use serde::{Deserialize, Serialize};

/// Where a new image is uploaded.
const UPDATE: &str = "update";

/// What boots next.
const BOOT: &str = "boot";

/// Boots in which a new image has to say that it is well.
const TRIES: u8 = 3;

/// What an image begins with, before its version.
const MAGIC: [u8; 4] = *b"DEMO";

/// The store's own requests have a number of their own.
const REQUEST: RequestId = RequestId(0);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Slot {
    A,
    B,
}

impl Slot {
    const fn name(self) -> &'static str {
        match self {
            Self::A => "slot-a",
            Self::B => "slot-b",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The contents of the boot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    /// What has said that it is well.
    good: Slot,
    /// An image waits as [`UPDATE`], or was just renamed.
    staged: bool,
    /// So many times the other slot is to be tried yet.
    tries: u8,
}

/// The slots of a device.
struct Slots<'s, F: Flash> {
    store: &'s mut Store<F, 1>,
}

impl<F: Flash> Slots<'_, F> {
    /// What the boot loader does: chooses the image that runs now, and gives its version.
    ///
    /// # Errors
    /// The store's. The next boot goes on.
    fn boot(&mut self) -> Result<u32, Code> {
        let mut boot = self.boot_file()?;
        if boot.staged {
            // It may have been renamed before the power went.
            if self.exists(UPDATE)? {
                self.rename(UPDATE, boot.good.other().name())?;
            }
            boot = Boot { staged: false, tries: TRIES, ..boot };
            self.set_boot_file(boot)?;
        }
        if boot.tries > 0 {
            // Before it runs: who hangs at once has had this try.
            boot.tries -= 1;
            self.set_boot_file(boot)?;
            if let Ok(version) = self.version(boot.good.other().name()) {
                return Ok(version);
            }
        }
        self.version(boot.good.name())
    }

    /// What the firmware says when it is well: it stays.
    ///
    /// # Errors
    /// The store's.
    fn confirm(&mut self, running: u32) -> Result<(), Code> {
        let boot = self.boot_file()?;
        let other = boot.good.other();
        if self.version(boot.good.name())? != running && self.version(other.name())? == running {
            self.set_boot_file(Boot { good: other, staged: false, tries: 0 })?;
        }
        Ok(())
    }

    /// What the firmware does where an upload has come: an image that is one boots next time.
    ///
    /// # Errors
    /// [`Code::Malformed`] where it is none; it is removed. The store's.
    fn stage(&mut self) -> Result<(), Code> {
        if self.version(UPDATE).is_err() {
            wait(|| self.store.handle(0).delete(REQUEST, Path::named(UPDATE)?))?;
            return Err(Code::Malformed);
        }
        let boot = self.boot_file()?;
        self.set_boot_file(Boot { staged: true, tries: 0, ..boot })
    }

    /// The version of the image in the file `name`, all of which is what was once stored.
    fn version(&mut self, name: &str) -> Result<u32, Code> {
        let (mut hasher, mut head, mut at) = (Hasher::new(), [0; 8], 0);
        let path = Path::named(name)?;
        let root = wait(|| self.store.info(path))?.root;
        self.read(name, |piece| {
            for (to, byte) in head.iter_mut().skip(at).zip(piece) {
                *to = *byte;
            }
            at += piece.len();
            hasher.update(piece);
        })?;
        let [magic @ .., a, b, c, d] = head;
        let is_whole = hasher.digest() == root && magic == MAGIC;
        if is_whole { Ok(u32::from_le_bytes([a, b, c, d])) } else { Err(Code::HashMismatch) }
    }

    fn boot_file(&mut self) -> Result<Boot, Code> {
        let mut bytes = [0; 8];
        self.read(BOOT, |piece| {
            bytes.iter_mut().zip(piece).for_each(|(to, byte)| *to = *byte);
        })?;
        postcard::from_bytes(&bytes).map_err(|_| Code::Io)
    }

    fn set_boot_file(&mut self, boot: Boot) -> Result<(), Code> {
        let mut buf = [0; 8];
        let bytes = postcard::to_slice(&boot, &mut buf).map_err(|_| Code::Internal)?;
        upload(self.store, BOOT, bytes)
    }

    fn exists(&mut self, name: &str) -> Result<bool, Code> {
        match wait(|| self.store.handle(0).stat(REQUEST, Path::named(name)?)) {
            Ok(_) => Ok(true),
            Err(Code::NotFound) => Ok(false),
            Err(code) => Err(code),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Code> {
        wait(|| self.store.handle(0).rename(REQUEST, Path::named(from)?, Path::named(to)?, true))
    }

    fn read(&mut self, name: &str, mut tell: impl FnMut(&[u8])) -> Result<(), Code> {
        let size = wait(|| self.store.handle(0).open(REQUEST, Path::named(name)?))?.size;
        let (mut at, mut buf) = (0, [0; 256]);
        let read = loop {
            let left = usize::try_from(size - at).unwrap_or(usize::MAX).min(buf.len());
            match wait(|| self.store.handle(0).read(REQUEST, at, &mut buf[..left])) {
                Ok(0) => break Ok(()),
                Ok(len) => {
                    tell(&buf[..len]);
                    at += len as u64;
                }
                Err(code) => break Err(code),
            }
        };
        self.store.handle(0).close(REQUEST);
        read
    }
}

/// Offers an operation until the flash is done with it. A device that does other things meanwhile goes
/// on with these instead.
fn wait<T>(mut operation: impl FnMut() -> Outcome<T>) -> Result<T, Code> {
    loop {
        if let Poll::Ready(result) = operation() {
            return result;
        }
    }
}

/// What a session does with an upload.
fn upload<F: Flash>(store: &mut Store<F, 1>, name: &str, data: &[u8]) -> Result<(), Code> {
    let mut hasher = Hasher::new();
    hasher.update(data);
    let root = hasher.digest();
    let mut transfer = [0; 16];
    transfer.copy_from_slice(&root.0[..16]);
    let put = Put {
        path: name,
        transfer: TransferId(transfer),
        size: Some(data.len() as u64),
        modified: None,
        conflict: Conflict::Replace,
        ask: if data.len() > CHUNK { Ask::Ready } else { Ask::Now },
    };
    let from = match wait(|| store.handle(0).begin(REQUEST, Path::named(name)?, &put))? {
        Begun::Stored { .. } => return Ok(()),
        Begun::Resumed(chunks) => chunks as usize * CHUNK,
        Begun::Fresh => 0,
    };
    let mut at = from;
    for chunk in data[from..].chunks(CHUNK) {
        wait(|| store.handle(0).write(REQUEST, at as u64, chunk))
            .inspect_err(|_| store.handle(0).abort(REQUEST))?;
        at += chunk.len();
    }
    wait(|| store.handle(0).commit(REQUEST, data.len() as u64, root)).map(drop)
}

/// An image of that version.
fn image(version: u32) -> Vec<u8> {
    let mut image = [&MAGIC[..], &version.to_le_bytes()].concat();
    image.extend((0..60_000_u32).flat_map(|n| (n * version).to_le_bytes()).take(60_000));
    image
}

type Device<'n> = Store<&'n mut Nor, 1>;

/// A device as it leaves the factory, with version 1.
fn factory() -> Result<Nor, Code> {
    let mut nor = Nor::blank(80 * BLOCK_LEN as u32, Times::NONE);
    Device::format(&mut nor).map_err(|_| Code::Io)?;
    let mut store = Device::mount(&mut nor).map_err(|_| Code::Io)?;
    upload(&mut store, Slot::A.name(), &image(1))?;
    Slots { store: &mut store }.set_boot_file(Boot { good: Slot::A, staged: false, tries: 0 })?;
    drop(store);
    Ok(nor)
}

/// A boot: the power comes, the boot loader chooses. None where the power went again.
fn boot(nor: &mut Nor) -> Option<u32> {
    let mut store = Device::mount(nor).ok()?;
    Slots { store: &mut store }.boot().ok()
}

/// An update to `version`: the upload, and what the firmware makes of it.
fn update(nor: &mut Nor, version: u32) -> Result<(), Code> {
    let mut store = Device::mount(nor).map_err(|_| Code::Io)?;
    upload(&mut store, UPDATE, &image(version))?;
    Slots { store: &mut store }.stage()
}

fn confirm(nor: &mut Nor, running: u32) -> Result<(), Code> {
    let mut store = Device::mount(nor).map_err(|_| Code::Io)?;
    Slots { store: &mut store }.confirm(running)
}

/// The power goes in the `nth` operation of an update from version 1 to 2, or of the boots and the
/// confirmation after it. Gives what boots then, or why that is wrong.
fn cut(nor: &mut Nor, nth: u64) -> Result<u32, String> {
    nor.cut_after(nth, nth);
    let told = update(nor, 2);
    let said_well = told.is_ok() && boot(nor) == Some(2) && confirm(nor, 2).is_ok();
    nor.power_on();
    let first = boot(nor).ok_or("nothing boots")?;
    if said_well && first != 2 {
        return Err(format!("it was confirmed, and {first} boots"));
    }
    if told.is_ok() && first != 2 {
        return Err(format!("it was staged, and {first} boots"));
    }
    // Nobody says that it is well: at last it is the one that did.
    let last = (0..=TRIES).filter_map(|_| boot(nor)).last().ok_or("nothing boots any more")?;
    let good = if said_well { 2 } else { 1 };
    let is_good = last == good || (!said_well && first == 2 && last == 2);
    if is_good { Ok(first) } else { Err(format!("at last {last} boots")) }
}

fn main() -> ExitCode {
    match tell() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("slots: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn tell() -> Result<(), String> {
    let failed = |code: Code| code.to_string();
    let mut nor = factory().map_err(failed)?;
    println!("from the factory: version {:?} boots", boot(&mut nor));
    update(&mut nor, 2).map_err(failed)?;
    let running = boot(&mut nor).ok_or("nothing boots")?;
    println!("uploaded and staged version 2: version {running} boots, on trial");
    confirm(&mut nor, running).map_err(failed)?;
    println!("it says that it is well: version {:?} boots", boot(&mut nor));
    update(&mut nor, 3).map_err(failed)?;
    let boots: Vec<_> = (0..5).map(|_| boot(&mut nor)).collect();
    println!("uploaded version 3, which hangs: {boots:?} boot, one after the other");
    let mut counts = [0; 2];
    let whole = factory().map_err(failed)?;
    let operations = {
        let mut nor = Nor::from_image(whole.image(), Times::NONE);
        update(&mut nor, 2).map_err(failed)?;
        let running = boot(&mut nor).ok_or("nothing boots")?;
        confirm(&mut nor, running).map_err(failed)?;
        nor.operations()
    };
    for nth in 1..=operations {
        let mut nor = Nor::from_image(whole.image(), Times::NONE);
        let version = cut(&mut nor, nth).map_err(|problem| format!("cut at {nth}: {problem}"))?;
        counts[version as usize - 1] += 1;
    }
    let [old, new] = counts;
    println!(
        "the power cut in each of {operations} operations: {old} boot version 1, {new} version 2"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_old_image_boots_or_the_new_one() {
        super::tell().unwrap();
    }
}
