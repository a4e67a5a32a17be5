//! The store on an SD card, without power cuts: what it keeps, what it refuses, and what a computer
//! finds on the card.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use embedded_sdmmc::{TimeSource, Timestamp as FatTime, VolumeIdx, VolumeManager};
use kift_core::storage::{Files as _, Store as _};
use kift_core::wire::{Code, Conflict, EntryKind, Path, Put, Timestamp, TransferId};
use kift_firmware_sim::card::MountError;
use kift_firmware_sim::disk::Vault as _;
use kift_tests::card::{
    COARSE, Card, Device, FAT16, FAT32, FORMATS, Format, check, device, free, get, mounted_again,
    put,
};
use kift_tests::flash::{self, REQUEST, complete};
use kift_tests::raw::digest;
use kift_tests::rng::{Case, Rng, contents};

fn path(path: &str) -> Path<'_> {
    Path::new(path).unwrap()
}

#[test]
fn keeps_what_it_is_given() {
    for format in FORMATS {
        let mut device = device(format);
        let sizes = [0, 1, 511, 512, 513, 1023, 1024, 4095, 4096, 4097, 200_000];
        let modified = |size: usize| {
            (size > 0).then_some(Timestamp((1_700_000_000_000 + size as i64 * 10) * 1_000_000))
        };
        for size in sizes {
            let name = format!("of{size}.bin");
            let request = flash::request(&name, Some(size as u64), Conflict::Refuse);
            let request = Put { modified: modified(size), ..request };
            let data = contents(size, 1);
            assert_eq!(flash::upload(&mut device.handle(0), &request, &data), Ok(0));
        }
        check(&mut device);
        let mut device = mounted_again(device);
        for size in sizes {
            let (name, data) = (format!("of{size}.bin"), contents(size, 1));
            assert!(get(&mut device, &name).unwrap() == data);
            let meta = flash::stat(&mut device.handle(0), &name).unwrap();
            assert_eq!((meta.kind, meta.size), (EntryKind::File, size as u64));
            assert_eq!(meta.modified, modified(size));
            assert_eq!(device.root(path(&name)), Ok(digest(&data)));
        }
    }
}

/// The clock of whoever reads a card.
#[derive(Debug, Clone, Copy)]
struct NoClock;

impl TimeSource for NoClock {
    fn get_timestamp(&self) -> FatTime {
        FatTime::from_calendar(2026, 1, 1, 0, 0, 0).unwrap()
    }
}

/// What another program finds, which takes the card for what any card is: it has to have a partition.
#[test]
fn is_read_by_others_in_a_partition() {
    for format in FORMATS {
        let plain = Card::formatted(format).image();
        let mut image = vec![0; 2048 * 512];
        let kind = if format == FAT32 { 0x0c } else { 0x0e };
        image[446 + 4] = kind;
        image[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
        image[446 + 12..446 + 16].copy_from_slice(&(plain.len() as u32 / 512).to_le_bytes());
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        image.extend_from_slice(&plain);
        let card = Card::new(&image);
        Device::prepare(card.clone()).unwrap();
        let mut device = Device::mount(card.clone()).unwrap();
        let data = contents(70_000, 1);
        put(&mut device, "LOG.TXT", &data).unwrap();
        flash::make_directory(&mut device.handle(0), "SUB").unwrap();
        put(&mut device, "SUB/INNER.BIN", &data).unwrap();
        let manager = VolumeManager::new(card, NoClock);
        let volume = manager.open_volume(VolumeIdx(0)).unwrap();
        let root = volume.open_root_dir().unwrap();
        let mut found = BTreeSet::new();
        root.iterate_dir(|entry| {
            found.insert(entry.name.to_string());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(found.iter().eq(["KIFT", "LOG.TXT", "SUB"]), "{found:?}");
        let inner = root.open_dir("SUB").unwrap();
        for (folder, name) in [(&root, "LOG.TXT"), (&inner, "INNER.BIN")] {
            let file = folder.open_file_in_dir(name, embedded_sdmmc::Mode::ReadOnly).unwrap();
            let mut read = vec![0; data.len()];
            let mut len = 0;
            while !file.is_eof() {
                len += file.read(&mut read[len..]).unwrap();
            }
            assert!(len == data.len() && read == data, "{name}");
        }
    }
}

#[test]
fn a_card_that_is_none_of_a_device_is_not_touched() {
    let empty = Card::formatted(FAT16);
    assert_eq!(Device::mount(empty.clone()).err(), Some(MountError::Blank));
    assert_eq!(empty.writes(), 0);
    for image in [vec![0; 1 << 20], Rng::new(1).bytes(1 << 20)] {
        let card = Card::new(&image);
        assert_eq!(Device::mount(card.clone()).err(), Some(MountError::Foreign));
        assert_eq!(Device::prepare(card.clone()), Err(MountError::Foreign));
        assert_eq!(card.writes(), 0);
    }
    // Twelve bits are too few.
    let small = Format { size: 1024, options: &["-F12"], cluster_len: 4 };
    assert_eq!(Device::prepare(Card::formatted(small)), Err(MountError::Foreign));
    let mut device = device(FAT16);
    complete(|| device.set_seed(&[1; 32])).unwrap();
    let card = device.device().clone();
    Device::prepare(card.clone()).unwrap();
    let mut device = Device::mount(card).unwrap();
    assert_eq!(
        (complete(|| device.seed()), device.boots()),
        (Ok(Some([1; 32])), 2),
        "it was prepared before"
    );
}

/// The same operations on this store and on the one that the tests of the core use, with resets in
/// between.
#[test]
fn does_what_the_store_in_memory_does() {
    for seed in 0..30 {
        let mut device = device(FORMATS[seed as usize % 3]);
        let room = free(&mut device);
        let mut device = flash::does_what_the_store_in_memory_does(seed, device, mounted_again);
        check(&mut device);
        // All that was taken is given back.
        for (name, data) in flash::tree(&mut device.handle(0)).unwrap() {
            if data.is_some() {
                flash::delete(&mut device.handle(0), &name).unwrap();
            }
        }
        for folder in ["d", "e"] {
            let _ = flash::delete(&mut device.handle(0), folder);
        }
        assert_eq!(free(&mut device), room, "seed {seed}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_harms_nothing() {
    for format in [FAT16, COARSE] {
        let mut device = device(format);
        let len = u64::from(format.cluster_len) * 512;
        let all = free(&mut device);
        let kept = contents((all / 2) as usize, 1);
        put(&mut device, "kept", &kept).unwrap();
        let left = free(&mut device);
        let huge = flash::request("huge", Some(1 << 40), Conflict::Replace);
        let refused = complete(|| device.handle(0).begin(REQUEST, path("huge"), &huge));
        assert_eq!(refused, Err(Code::TooLarge));
        let data = contents((left + 1) as usize, 2);
        assert_eq!(put(&mut device, "more", &data), Err(Code::NoSpace));
        // A replacement needs room beside what it replaces.
        assert_eq!(put(&mut device, "kept", &data), Err(Code::NoSpace));
        // Nobody said how large this one is.
        let request = flash::request("unknown", None, Conflict::Replace);
        assert_eq!(flash::upload(&mut device.handle(0), &request, &data), Err(Code::NoSpace));
        assert_eq!(free(&mut device), left);
        let fits = &data[..left as usize];
        assert_eq!(flash::upload(&mut device.handle(0), &request, fits), Ok(0));
        assert_eq!(free(&mut device), 0);
        assert_eq!(put(&mut device, "full", b"x"), Err(Code::NoSpace));
        assert_eq!(flash::make_directory(&mut device.handle(0), "full"), Err(Code::NoSpace));
        assert_eq!(put(&mut device, "empty", b""), Ok(0));
        check(&mut device);
        let mut device = mounted_again(device);
        assert!(get(&mut device, "kept").unwrap() == kept);
        assert!(get(&mut device, "unknown").unwrap() == fits);
        flash::delete(&mut device.handle(0), "unknown").unwrap();
        assert_eq!(free(&mut device), left / len * len);
    }
}

#[test]
fn a_directory_becomes_longer_and_the_root_of_a_fat16_does_not() {
    let mut device = device(FAT16);
    flash::make_directory(&mut device.handle(0), "d").unwrap();
    for number in 0..70 {
        put(&mut device, &format!("d/{number}"), b"x").unwrap();
    }
    assert_eq!(flash::tree(&mut device.handle(0)).unwrap().len(), 71);
    let mut stored = 0;
    let refused = loop {
        match put(&mut device, &format!("{stored}"), b"") {
            Ok(_) => stored += 1,
            Err(code) => break code,
        }
    };
    assert_eq!((stored, refused), (62, Code::TooMany), "64 entries with `KIFT` and `d`");
    check(&mut device);
}

#[test]
fn a_size_that_is_not_kept_to_is_refused() {
    let mut device = device(FAT16);
    let before = free(&mut device);
    let put = flash::request("a", Some(5000), Conflict::Replace);
    let port = &mut device.handle(0);
    complete(|| port.begin(REQUEST, path("a"), &put)).unwrap();
    flash::write(port, 0, &contents(1024, 1)).unwrap();
    let root = digest(&contents(1024, 1));
    assert_eq!(complete(|| port.commit(REQUEST, 5000, root)), Err(Code::SizeMismatch));
    assert_eq!(flash::stat(port, "a"), Err(Code::NotFound));
    assert_eq!(free(&mut device), before);
    // Fewer than were declared, which the core may yet take.
    let port = &mut device.handle(0);
    for len in [1024, 0] {
        complete(|| port.begin(REQUEST, path("a"), &put)).unwrap();
        let data = contents(len, 1);
        flash::write(port, 0, &data).unwrap();
        assert_eq!(complete(|| port.commit(REQUEST, len as u64, digest(&data))), Ok(0));
        assert_eq!(flash::get(port, "a").unwrap(), data);
    }
    assert_eq!(free(&mut device), before);
    check(&mut device);
}

/// Reads a file by one handle while the other does `change` to it.
fn read_while(change: impl FnOnce(&mut Device)) {
    let mut device = device(FAT16);
    let old = contents(30_000, 1);
    put(&mut device, "a", &old).unwrap();
    complete(|| device.handle(1).open(REQUEST, path("a"))).unwrap();
    let mut buf = [0; 1024];
    assert_eq!(complete(|| device.handle(1).read(REQUEST, 0, &mut buf)), Ok(1024));
    change(&mut device);
    // Whatever is free is written.
    let left = free(&mut device);
    put(&mut device, "filler", &contents(left as usize, 3)).unwrap();
    assert!(flash::read(&mut device.handle(1), 1024).unwrap() == old[1024..]);
    device.handle(1).close(REQUEST);
    check(&mut device);
}

#[test]
fn an_open_file_is_read_to_its_end_whatever_becomes_of_its_name() {
    read_while(|device| put(device, "a", &contents(700, 2)).map(drop).unwrap());
    read_while(|device| flash::delete(&mut device.handle(0), "a").unwrap());
    read_while(|device| flash::rename(&mut device.handle(0), "a", "b", false).unwrap());
    read_while(|device| {
        put(device, "b", &contents(700, 2)).unwrap();
        flash::rename(&mut device.handle(0), "b", "a", true).unwrap();
    });
}

/// Two that want the same name: who commits first has it.
#[test]
fn two_uploads_of_one_name_at_once() {
    for format in FORMATS {
        let mut device = device(format);
        let before = free(&mut device);
        for (conflict, second, found) in [
            (Conflict::Refuse, Err(Code::Exists), 0),
            (Conflict::KeepBoth, Ok(1), 0),
            (Conflict::Replace, Ok(0), 1),
        ] {
            let data = [contents(150_000, 1), contents(160_000, 2)];
            for number in 0..2 {
                let transfer = TransferId([number as u8; 16]);
                let put = Put { transfer, ..flash::request("a", None, conflict) };
                let port = &mut device.handle(number);
                complete(|| port.begin(REQUEST, path("a"), &put)).unwrap();
            }
            let chunks = [0, 1].map(|number: usize| data[number].chunks(1024).zip(0..));
            let [mut one, mut other] = chunks;
            while let (Some((right, at)), left) = (other.next(), one.next()) {
                flash::write(&mut device.handle(1), at * 1024, right).unwrap();
                if let Some((left, at)) = left {
                    flash::write(&mut device.handle(0), at * 1024, left).unwrap();
                }
            }
            let mut commit = |number: usize| {
                let (data, port) = (&data[number], &mut device.handle(number));
                complete(|| port.commit(REQUEST, data.len() as u64, digest(data)))
            };
            assert_eq!([commit(0), commit(1)], [Ok(0), second]);
            assert!(get(&mut device, "a").unwrap() == data[found]);
            check(&mut device);
            for name in flash::tree(&mut device.handle(0)).unwrap().into_keys() {
                flash::delete(&mut device.handle(0), &name).unwrap();
            }
            assert_eq!(free(&mut device), before);
        }
    }
}

/// No image makes the store panic or go on for ever, whatever it makes of it.
#[test]
fn any_image_is_survived() {
    let mut sound = device(FAT16);
    flash::make_directory(&mut sound.handle(0), "d").unwrap();
    for (name, seed) in ["a", "b", "d/c"].into_iter().zip(1..) {
        put(&mut sound, name, &contents(3000, seed)).unwrap();
    }
    let left = flash::request("e", None, Conflict::Refuse);
    let port = &mut sound.handle(0);
    complete(|| port.begin(REQUEST, path("e"), &left)).unwrap();
    flash::write(port, 0, &contents(90 * 1024, 1)).unwrap();
    port.suspend(REQUEST);
    let sound = sound.device().image();
    let used = sound.rchunks(512).position(|block| block.iter().any(|byte| *byte != 0)).unwrap();
    let used = sound.len() / 512 - used;
    for seed in 0..400 {
        let _case = Case(format!("seed {seed}"));
        let mut rng = Rng::new(seed);
        let mut image = sound.clone();
        for _ in 0..rng.between(1, 30) {
            let (blocks, bytes) = ([1, 4, 70, used][rng.below(4)], [40, 160, 512][rng.below(3)]);
            let (block, within) = (rng.below(blocks), rng.below(bytes));
            let at = block * 512 + within;
            match rng.below(4) {
                0 => image[block * 512..block * 512 + 512].fill(rng.bits() as u8),
                1 => image[at] = rng.bits() as u8,
                2 => image[at] = [0, 2, 0x10, 0xe5, 0xff][rng.below(5)],
                _ => image[at] ^= 1 << rng.below(8),
            }
        }
        let card = Card::new(&image);
        if let Ok(mut device) = Device::mount(card.clone()) {
            let port = &mut device.handle(0);
            let _ = flash::list(port, "", "", 1024);
            let _ = flash::get(port, "a");
            let _ = flash::get(port, "d/c");
            let _ = flash::put(port, "a", &contents(5000, 9), Conflict::Replace);
            let _ = flash::put(port, "d/d", &contents(5000, 9), Conflict::Replace);
            let _ = flash::delete(port, "b");
            let _ = flash::rename(port, "a", "d/d", true);
            let _ = flash::rename(port, "d", "f", true);
            let _ = device.root(path("a"));
        }
        assert!(card.reads() + card.writes() < 2_000_000, "it went on for ever");
    }
}
