//! The store on flash, without power cuts: what it keeps, what it refuses, and how it wears.

use std::task::Poll;

use kift_core::storage::{Files as _, Store as _};
use kift_core::wire::{Code, Conflict, EntryKind, Path, Put, Timestamp};
use kift_firmware_sim::board::nor::{BLOCK_LEN, Nor, Times};
use kift_firmware_sim::flash::{FILES_MAX, MountError, NAME_LEN_MAX, Store};
use kift_tests::flash::{self, REQUEST, complete};
use kift_tests::memory::Memory;
use kift_tests::raw::digest;
use kift_tests::rng::{Case, Rng, contents};

/// Blocks of journal and table.
const OVERHEAD: usize = 10;

type Device = Store<Nor, 2>;

/// A store with room for `blocks` blocks of data.
fn device(blocks: usize, times: Times) -> Device {
    let mut nor = Nor::blank(((OVERHEAD + blocks) * BLOCK_LEN) as u32, times);
    Store::<_, 2>::format(&mut &mut nor).unwrap();
    Device::mount(nor).unwrap()
}

/// As after a reset.
fn mounted_again(mut device: Device) -> Device {
    Device::mount(Nor::from_image(device.flash().image(), Times::NONE)).unwrap()
}

fn put(device: &mut Device, name: &str, data: &[u8]) -> Result<u32, Code> {
    flash::put(&mut device.handle(0), name, data, Conflict::Replace)
}

fn get(device: &mut Device, name: &str) -> Result<Vec<u8>, Code> {
    flash::get(&mut device.handle(0), name)
}

/// Blocks that are free.
fn free(device: &mut Device) -> usize {
    flash::space(&mut device.handle(0)).unwrap().free as usize / BLOCK_LEN
}

fn path(path: &str) -> Path<'_> {
    Path::new(path).unwrap()
}

#[test]
fn keeps_what_it_is_given() {
    let mut device = device(64, Times::NONE);
    let sizes = [0, 1, 3, 1023, 1024, 4095, 4096, 4097, 50_000];
    for size in sizes {
        let name = format!("of {size}");
        let modified = (size > 0).then_some(Timestamp(size as i64 - 1000));
        let request = flash::request(&name, Some(size as u64), Conflict::Refuse);
        let (request, data) = (Put { modified, ..request }, contents(size, 1));
        assert_eq!(flash::upload(&mut device.handle(0), &request, &data), Ok(0));
    }
    let mut device = mounted_again(device);
    for size in sizes {
        let (name, data) = (format!("of {size}"), contents(size, 1));
        assert!(get(&mut device, &name).unwrap() == data);
        let meta = flash::stat(&mut device.handle(0), &name).unwrap();
        assert_eq!((meta.kind, meta.size), (EntryKind::File, size as u64));
        assert_eq!(meta.modified, (size > 0).then_some(Timestamp(size as i64 - 1000)));
        let info = complete(|| device.info(path(&name))).unwrap();
        assert_eq!((info.root, info.blocks as usize), (digest(&data), size.div_ceil(BLOCK_LEN)));
    }
    assert_eq!(device.flash().stats().violations, 0);
}

#[test]
fn counts_its_boots() {
    let mut device = device(4, Times::NONE);
    for boots in 1..5 {
        assert_eq!(device.boots(), boots);
        device = mounted_again(device);
    }
}

#[test]
fn a_flash_without_a_store_is_not_touched() {
    let mut rng = Rng::new(1);
    let len = (OVERHEAD + 4) * BLOCK_LEN;
    for (image, error) in
        [(vec![0xff; len], MountError::Blank), (rng.bytes(len), MountError::Foreign)]
    {
        let mut nor = Nor::from_image(&image, Times::NONE);
        assert_eq!(Store::<_, 2>::mount(&mut nor).err(), Some(error));
        assert!(nor.operations() == 0 && nor.image() == image);
    }
    let mut small = Nor::blank((OVERHEAD * BLOCK_LEN) as u32, Times::NONE);
    assert_eq!(Store::<_, 2>::format(&mut &mut small), Err(MountError::Geometry));
    assert_eq!(Store::<_, 2>::mount(&mut small).err(), Some(MountError::Geometry));
}

/// The same operations on this store and on the one that the tests of the core use, with erases
/// that take their time and resets in between.
#[test]
fn does_what_the_store_in_memory_does() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut device = device(200, Times::polls(seed as u32 % 3));
        let mut memory = Memory::default();
        for turn in 0..150 {
            let _case = Case(format!("seed {seed}, turn {turn}"));
            let mut files = ["a", "b", "c.txt", "d/a", "d/b"];
            files.rotate_left(rng.below(files.len()));
            let [name, other, ..] = files;
            let folder = ["d", "e"][rng.below(2)];
            let what = rng.below(10);
            let data = contents(rng.below(10_000), rng.bits());
            let conflict = match rng.below(10) {
                0 => Conflict::KeepBoth,
                1..4 => Conflict::Refuse,
                _ => Conflict::Replace,
            };
            // One closure could not take both stores.
            macro_rules! both {
                ($operation:expr) => {
                    assert_eq!(
                        ($operation)(&mut device.handle(rng.below(2))),
                        ($operation)(&mut memory)
                    )
                };
            }
            match what {
                0..4 => both!(|store: &mut _| flash::put(store, name, &data, conflict)),
                4 => both!(|store: &mut _| flash::delete(store, name)),
                5 => both!(|store: &mut _| flash::rename(store, name, other, turn % 2 == 0)),
                6 => both!(|store: &mut _| flash::make_directory(store, folder)),
                7 => both!(|store: &mut _| flash::delete(store, folder)),
                8 => both!(|store: &mut _| flash::stat(store, name)),
                _ => device = mounted_again(device),
            }
            if turn % 10 == 0 {
                both!(|store: &mut _| flash::tree(store));
            }
        }
    }
}
