//! A store on a flash that holds anything: it mounts or says why not, and then does what it is asked or
//! says why not, and has it after the next mount too.

#![no_main]

use arbitrary::{Result, Unstructured};
use kift_core::storage::{Files as _, Store as _};
use kift_core::wire::{Code, Conflict, Path};
use kift_firmware_sim::board::nor::{Nor, Times};
use kift_firmware_sim::flash::{Handle, MountError, Store};
use kift_fuzz::any_image;
use kift_tests::flash::{REQUEST, complete, delete, list, make_directory, put, rename, space};
use kift_tests::rng::contents;
use libfuzzer_sys::fuzz_target;

type Device<'a> = Store<&'a mut Nor, 1>;
type Port<'s, 'n> = Handle<'s, &'n mut Nor, 1>;

const NAMES: [&str; 8] = ["a", "b", "folder", "folder/b", "folder/new", "new", "日本語", "a/b"];

/// What is stored at last.
const LAST: &str = "the last";

fuzz_target!(|input: &[u8]| {
    let mut u = Unstructured::new(input);
    let _ = check(&mut u);
});

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    let (image, changes) = any_image(u)?;
    let polls = u.int_in_range(0..=2)?;
    let mut nor = Nor::from_image(&image, Times::polls(polls));
    let mut device = match Device::mount(&mut nor) {
        Ok(device) => device,
        Err(error) => {
            let is_untouched = nor.image() == image;
            assert!(is_untouched || error != MountError::Foreign, "a stranger's flash was changed");
            check_format(&mut nor);
            return Ok(());
        }
    };
    // Where the input ends, so does the use of the store.
    let _ = use_it(&mut device, u);
    let (before, stored) = finish(&mut device);
    drop(device);
    // What only a fault of the flash can have done may come out later; but nothing is made up.
    let mut device = match Device::mount(&mut nor) {
        Ok(device) => device,
        Err(error) if changes > 0 && error != MountError::Geometry => return Ok(()),
        Err(error) => panic!("it does not mount again: {error}"),
    };
    let port = &mut device.handle(0);
    let got = get(port, LAST);
    let is_kept = got == Ok(contents(5000, 1));
    assert!(is_kept || stored.is_err() || changes > 0 && got.is_err(), "lost what was stored");
    assert!(changes > 0 || root(port) == before, "other files than before");
    Ok(())
}

/// A flash that is no store becomes one.
fn check_format(nor: &mut Nor) {
    Store::<_, 1>::format(&mut *nor).expect("a format");
    let mut device = Device::mount(nor).expect("it mounts");
    let (_, stored) = finish(&mut device);
    assert_eq!(stored, Ok(0));
}

fn use_it(device: &mut Device<'_>, u: &mut Unstructured<'_>) -> Result<()> {
    let port = &mut device.handle(0);
    while !u.is_empty() {
        let name = *u.choose(&NAMES)?;
        let done = match u.int_in_range(0..=6)? {
            0 | 1 => {
                let data = contents(*u.choose(&[0, 1, 4096, 5000, 30_000])?, 2);
                let conflict = *u.choose(&[Conflict::Replace, Conflict::KeepBoth])?;
                let stored = put(port, name, &data, conflict);
                if stored == Ok(0) {
                    let got = get(port, name);
                    assert!(got.as_ref() == Ok(&data), "{name}: {:?}", got.map(|got| got.len()));
                }
                stored.map(drop)
            }
            2 => get(port, name).map(drop),
            3 => delete(port, name),
            4 => rename(port, name, u.choose(&NAMES)?, u.arbitrary()?),
            5 => make_directory(port, name),
            _ => list(port, name, "", 1024).map(drop),
        };
        assert_ne!(done, Err(Code::Internal));
    }
    Ok(())
}

/// The names and sizes in the root.
type Root = std::result::Result<Vec<(String, u64)>, Code>;

/// Stores a last file, and gives what is there then.
fn finish(device: &mut Device<'_>) -> (Root, std::result::Result<u32, Code>) {
    let port = &mut device.handle(0);
    let room = space(port).expect("room");
    assert!(room.free <= room.total);
    let stored = put(port, LAST, &contents(5000, 1), Conflict::Replace);
    if stored.is_ok() {
        let got = get(port, LAST);
        assert!(got == Ok(contents(5000, 1)), "{:?}", got.map(|got| got.len()));
    }
    assert_ne!(stored, Err(Code::Internal));
    (root(port), stored)
}

fn root(port: &mut Port<'_, '_>) -> Root {
    let entries = list(port, "", "", 1024)?;
    Ok(entries.into_iter().map(|(name, meta)| (name, meta.size)).collect())
}

/// The contents of a file, as a session sends them: what is shorter than it should be changed.
fn get(port: &mut Port<'_, '_>, name: &str) -> std::result::Result<Vec<u8>, Code> {
    let place = Path::new(name)?;
    let meta = complete(|| port.open(REQUEST, place))?;
    let mut data = Vec::new();
    let mut buf = [0; 1024];
    let read = loop {
        let left = meta.size.saturating_sub(data.len() as u64).min(1024) as usize;
        match complete(|| port.read(REQUEST, data.len() as u64, &mut buf[..left])) {
            Ok(_) if left == 0 => break Ok(data),
            Ok(n) if n < left => break Err(Code::Changed),
            Ok(n) => data.extend_from_slice(&buf[..n]),
            Err(code) => break Err(code),
        }
    };
    port.close(REQUEST);
    read
}
