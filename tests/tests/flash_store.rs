//! The store on flash, without power cuts: what it keeps, what it refuses, and how it wears.

use std::task::Poll;

use kift_core::storage::{Begun, Files as _, Store as _};
use kift_core::wire::{Ask, Code, Conflict, EntryKind, Path, Put, Timestamp, TransferId};
use kift_firmware_sim::board::nor::{BLOCK_LEN, Nor, Times};
use kift_firmware_sim::flash::{FILES_MAX, MountError, NAME_LEN_MAX, Store};
use kift_tests::flash::{self, REQUEST, complete};
use kift_tests::raw::digest;
use kift_tests::rng::{Case, Rng, contents};

/// Blocks of journal and table.
const OVERHEAD: usize = 10;

type Device = Store<Nor, 2>;

/// A store with room for `blocks` blocks of data.
fn device(blocks: usize, times: Times) -> Device {
    let mut nor = Nor::blank(((OVERHEAD + blocks) * BLOCK_LEN) as u32, times);
    Store::<_, 2>::format(&mut nor).unwrap();
    Device::mount(nor).unwrap()
}

/// As after a reset.
fn mounted_again(mut device: Device, times: Times) -> Device {
    Device::mount(Nor::from_image(device.flash().image(), times)).unwrap()
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
    assert_eq!(device.flash().stats().violations, 0);
    let mut device = mounted_again(device, Times::NONE);
    for size in sizes {
        let (name, data) = (format!("of {size}"), contents(size, 1));
        assert!(get(&mut device, &name).unwrap() == data);
        let meta = flash::stat(&mut device.handle(0), &name).unwrap();
        assert_eq!((meta.kind, meta.size), (EntryKind::File, size as u64));
        assert_eq!(meta.modified, (size > 0).then_some(Timestamp(size as i64 - 1000)));
        let info = complete(|| device.info(path(&name))).unwrap();
        assert_eq!((info.root, info.blocks as usize), (digest(&data), size.div_ceil(BLOCK_LEN)));
    }
}

#[test]
fn counts_its_boots() {
    let mut device = device(4, Times::NONE);
    for boots in 1..5 {
        assert_eq!(device.boots(), boots);
        device = mounted_again(device, Times::NONE);
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
    assert_eq!(Store::<_, 2>::format(&mut small), Err(MountError::Geometry));
    assert_eq!(Store::<_, 2>::mount(&mut small).err(), Some(MountError::Geometry));
}

/// The same operations on this store and on the one that the tests of the core use, with erases
/// that take their time and resets in between.
#[test]
fn does_what_the_store_in_memory_does() {
    for seed in 0..30 {
        let times = Times::polls(seed as u32 % 3);
        let device = device(200, times);
        let again = |device| mounted_again(device, times);
        let _ = flash::does_what_the_store_in_memory_does(seed, device, again);
    }
}

#[test]
fn lists_in_byte_order_from_any_name_on_any_page() {
    let mut device = device(4, Times::NONE);
    let mut names = ["b", "a", "aa", "Z", "a b", "é", "日本", "~", "a.txt", "-"].map(str::to_owned);
    for name in &names {
        flash::make_directory(&mut device.handle(0), name).unwrap();
    }
    names.sort();
    let longer_than_any = "a".repeat(200);
    let after = names.iter().map(String::as_str).chain(["", "A", "aaa", "zz", &longer_than_any]);
    for (after, page_len) in after.flat_map(|after| [30, 64, 1024].map(|len| (after, len))) {
        let entries = flash::list(&mut device.handle(0), "", after, page_len).unwrap();
        let found: Vec<String> = entries.into_iter().map(|(name, _)| name).collect();
        let expected: Vec<_> = names.iter().filter(|name| name.as_str() > after).collect();
        assert!(found.iter().eq(expected), "after {after}: {found:?}");
    }
    let refused = flash::list(&mut device.handle(0), "missing", "", 1024);
    assert_eq!(refused, Err(Code::NotFound));
}

#[test]
fn keeps_both_under_the_next_free_suffix() {
    let mut device = device(16, Times::NONE);
    let mut keep = |name: &str| flash::put(&mut device.handle(0), name, b"x", Conflict::KeepBoth);
    assert_eq!([keep("a.txt"), keep("a.txt"), keep("a.txt")], [Ok(0), Ok(1), Ok(2)]);
    assert_eq!([keep("a_1.txt"), keep("a.txt")], [Ok(1), Ok(3)]);
    let longest = "n".repeat(NAME_LEN_MAX);
    assert_eq!([keep(&longest), keep(&longest)], [Ok(0), Err(Code::NameTooLong)]);
    flash::delete(&mut device.handle(0), "a_1.txt").unwrap();
    let names = ["a.txt", "a_1_1.txt", "a_2.txt", "a_3.txt", &longest];
    assert!(flash::tree(&mut device.handle(0)).unwrap().keys().eq(names));
    assert_eq!(free(&mut device), 16 - names.len());
}

#[test]
fn names_have_their_limits() {
    let mut device = device(8, Times::NONE);
    let (longest, longer) = ("n".repeat(NAME_LEN_MAX), "n".repeat(NAME_LEN_MAX + 1));
    assert_eq!(put(&mut device, &longest, b"x"), Ok(0));
    let port = &mut device.handle(0);
    let refused = [
        flash::put(port, &longer, b"x", Conflict::Replace).map(drop),
        flash::make_directory(port, &longer),
        flash::rename(port, &longest, &longer, true),
    ];
    assert_eq!(refused, [Err(Code::NameTooLong); 3]);
    assert_eq!(flash::stat(port, &longer), Err(Code::NotFound));
    assert_eq!(
        flash::put(port, &format!("{longest}/x"), b"x", Conflict::Replace),
        Err(Code::NotDirectory)
    );
    assert_eq!(flash::put(port, "missing/x", b"x", Conflict::Replace), Err(Code::NotFound));
    // Directories within directories, as deep as there are records.
    let mut deep = "d".to_owned();
    while flash::make_directory(port, &deep).is_ok() {
        deep.push_str("/d");
    }
    assert_eq!(deep.len(), 2 * FILES_MAX - 1);
    assert_eq!(flash::tree(port).unwrap().len(), FILES_MAX);
}

#[test]
fn too_many_files() {
    let mut device = device(8, Times::NONE);
    for number in 0..FILES_MAX {
        put(&mut device, &format!("file {number}"), b"").unwrap();
    }
    let port = &mut device.handle(0);
    assert_eq!(flash::put(port, "another", b"", Conflict::Replace), Err(Code::TooMany));
    assert_eq!(flash::put(port, "file 1", b"", Conflict::KeepBoth), Err(Code::TooMany));
    assert_eq!(flash::make_directory(port, "another"), Err(Code::TooMany));
    assert_eq!(flash::put(port, "file 1", b"new", Conflict::Replace), Ok(0));
    assert_eq!(flash::rename(port, "file 2", "file 1", true), Ok(()));
    assert_eq!(flash::put(port, "another", b"", Conflict::Replace), Ok(0));
    assert_eq!(flash::tree(port).unwrap().len(), FILES_MAX);
    let mut device = mounted_again(device, Times::NONE);
    assert_eq!(flash::tree(&mut device.handle(0)).unwrap().len(), FILES_MAX);
}

#[test]
fn what_does_not_fit_is_refused_and_harms_nothing() {
    let mut device = device(10, Times::NONE);
    let kept = contents(3 * BLOCK_LEN, 1);
    put(&mut device, "kept", &kept).unwrap();
    assert_eq!(
        put(&mut device, "too large", &contents(10 * BLOCK_LEN + 1, 2)),
        Err(Code::TooLarge)
    );
    assert_eq!(put(&mut device, "no space", &contents(7 * BLOCK_LEN + 1, 3)), Err(Code::NoSpace));
    // A replacement needs room beside what it replaces.
    assert_eq!(put(&mut device, "kept", &contents(8 * BLOCK_LEN, 4)), Err(Code::NoSpace));
    // Nobody said how large this one is.
    let request = flash::request("unknown", None, Conflict::Replace);
    let data = contents(7 * BLOCK_LEN + 1, 5);
    assert_eq!(flash::upload(&mut device.handle(0), &request, &data), Err(Code::NoSpace));
    assert_eq!(free(&mut device), 7);
    let data = contents(7 * BLOCK_LEN, 6);
    assert_eq!(flash::upload(&mut device.handle(0), &request, &data), Ok(0));
    assert_eq!(free(&mut device), 0);
    assert_eq!(put(&mut device, "more", b"x"), Err(Code::NoSpace));
    assert_eq!(put(&mut device, "empty", b""), Ok(0));
    let mut device = mounted_again(device, Times::NONE);
    assert!(
        get(&mut device, "kept").unwrap() == kept && get(&mut device, "unknown").unwrap() == data
    );
    flash::delete(&mut device.handle(0), "unknown").unwrap();
    assert_eq!(free(&mut device), 7);
}

#[test]
fn a_size_that_is_not_kept_to_is_refused() {
    let mut device = device(10, Times::NONE);
    let put = flash::request("a", Some(5000), Conflict::Replace);
    let port = &mut device.handle(0);
    complete(|| port.begin(REQUEST, path("a"), &put)).unwrap();
    flash::write(port, 0, &contents(1024, 1)).unwrap();
    let root = digest(&contents(1024, 1));
    assert_eq!(complete(|| port.commit(REQUEST, 5000, root)), Err(Code::SizeMismatch));
    assert_eq!(flash::stat(port, "a"), Err(Code::NotFound));
    assert_eq!(free(&mut device), 10);
}

#[test]
fn what_is_replaced_deleted_or_aborted_is_free_again() {
    let mut device = device(20, Times::NONE);
    for turn in 0..200 {
        let data = contents(7 * BLOCK_LEN - turn, turn as u64);
        put(&mut device, "a", &data).unwrap();
        assert!(get(&mut device, "a").unwrap() == data);
        assert_eq!(free(&mut device), 13);
        if turn % 20 == 0 {
            device = mounted_again(device, Times::NONE);
        }
    }
    flash::delete(&mut device.handle(0), "a").unwrap();
    assert_eq!(free(&mut device), 20);
    for size in [Some(9000), None] {
        let put = flash::request("b", size, Conflict::Replace);
        let port = &mut device.handle(0);
        complete(|| port.begin(REQUEST, path("b"), &put)).unwrap();
        flash::write(port, 0, &contents(8192, 1)).unwrap();
        port.abort(REQUEST);
        port.abort(REQUEST);
        assert_eq!(free(&mut device), 20);
    }
}

/// Reads a file by one handle while the other does `change` to it.
fn read_while(change: impl FnOnce(&mut Device), left: usize, after: usize) {
    let mut device = device(12, Times::polls(2));
    let old = contents(4 * BLOCK_LEN, 1);
    put(&mut device, "a", &old).unwrap();
    let reader = &mut device.handle(1);
    complete(|| reader.open(REQUEST, path("a"))).unwrap();
    let mut buf = [0; 1024];
    assert_eq!(complete(|| reader.read(REQUEST, 0, &mut buf)), Ok(1024));
    change(&mut device);
    // Whatever is free is written.
    assert_eq!(free(&mut device), left);
    put(&mut device, "filler", &contents(left * BLOCK_LEN, 3)).unwrap();
    assert!(flash::read(&mut device.handle(1), 1024).unwrap() == old[1024..]);
    device.handle(1).close(REQUEST);
    assert_eq!(free(&mut device), after);
}

#[test]
fn an_open_file_is_read_to_its_end_whatever_becomes_of_its_name() {
    let replace = |device: &mut Device| {
        put(device, "a", &contents(BLOCK_LEN, 2)).map(drop).unwrap();
    };
    read_while(replace, 7, 4);
    read_while(|device| flash::delete(&mut device.handle(0), "a").unwrap(), 8, 4);
    read_while(|device| flash::rename(&mut device.handle(0), "a", "b", false).unwrap(), 8, 0);
    let rename_over = |device: &mut Device| {
        put(device, "b", &contents(BLOCK_LEN, 2)).unwrap();
        flash::rename(&mut device.handle(0), "b", "a", true).unwrap();
    };
    read_while(rename_over, 7, 4);
}

#[test]
fn two_uploads_at_once() {
    let mut device = device(40, Times::polls(2));
    let data = [contents(15 * BLOCK_LEN, 1), contents(14 * BLOCK_LEN + 5, 2)];
    for (sizes, turn) in [[true, true], [true, false], [false, false]].into_iter().zip(0..) {
        let name = |number: usize| format!("{turn} {number}");
        for (number, data) in data.iter().enumerate() {
            let size = sizes[number].then_some(data.len() as u64);
            let (name, port) = (name(number), &mut device.handle(number));
            let put = flash::request(&name, size, Conflict::Refuse);
            complete(|| port.begin(REQUEST, path(&name), &put)).unwrap();
        }
        let chunks = [0, 1].map(|number| data[number].chunks(1024).zip(0..));
        let [mut one, mut other] = chunks;
        while let (Some((left, at)), right) = (one.next(), other.next()) {
            flash::write(&mut device.handle(0), at * 1024, left).unwrap();
            if let Some((right, at)) = right {
                flash::write(&mut device.handle(1), at * 1024, right).unwrap();
            }
        }
        for number in [1, 0] {
            let (data, port) = (&data[number], &mut device.handle(number));
            complete(|| port.commit(REQUEST, data.len() as u64, digest(data))).unwrap();
        }
        for (number, data) in data.iter().enumerate() {
            assert!(get(&mut device, &name(number)).unwrap() == *data);
            flash::delete(&mut device.handle(0), &name(number)).unwrap();
        }
    }
}

/// Two that want the same name: who commits first has it.
#[test]
fn two_uploads_of_one_name() {
    let mut device = device(40, Times::NONE);
    for (conflict, second, found) in [
        (Conflict::Refuse, Err(Code::Exists), 0),
        (Conflict::KeepBoth, Ok(1), 0),
        (Conflict::Replace, Ok(0), 1),
    ] {
        let data = [contents(5000, 1), contents(6000, 2)];
        for (number, data) in data.iter().enumerate() {
            let transfer = TransferId([number as u8; 16]);
            let put = Put { transfer, ..flash::request("a", None, conflict) };
            let port = &mut device.handle(number);
            complete(|| port.begin(REQUEST, path("a"), &put)).unwrap();
            flash::write(port, 0, data).unwrap();
        }
        let mut commit = |number: usize| {
            let (data, port) = (&data[number], &mut device.handle(number));
            complete(|| port.commit(REQUEST, data.len() as u64, digest(data)))
        };
        assert_eq!([commit(0), commit(1)], [Ok(0), second]);
        assert!(get(&mut device, "a").unwrap() == data[found]);
        let files = flash::tree(&mut device.handle(0)).unwrap();
        assert_eq!(free(&mut device), 40 - 2 * files.len());
        for name in files.keys() {
            flash::delete(&mut device.handle(0), name).unwrap();
        }
    }
}

/// While a block erases, whatever needs the flash is pending, and nothing is waited for.
#[test]
fn is_pending_while_a_block_erases() {
    let polls = 50;
    let mut device = device(10, Times::polls(polls));
    put(&mut device, "there", b"some bytes").unwrap();
    let put = flash::request("new", Some(9000), Conflict::Replace);
    let data = contents(1024, 1);
    complete(|| device.handle(0).begin(REQUEST, path("new"), &put)).unwrap();
    let mut pendings = 0;
    while device.handle(0).write(REQUEST, 0, &data).is_pending() {
        assert_eq!(device.handle(1).open(REQUEST, path("there")).map(drop), Poll::Pending);
        pendings += 2;
    }
    assert!((polls..polls + 3).contains(&pendings), "pending {pendings} times");
    assert!(flash::get(&mut device.handle(1), "there").unwrap() == b"some bytes");
    assert_eq!(device.handle(0).write(REQUEST, 1024, &data), Poll::Ready(Ok(())));
    // Left while it is pending: the block's erase is nobody's then.
    let rest = contents(3072, 2);
    while !device.handle(0).write(REQUEST, 2048, &rest).is_pending() {}
    device.handle(0).abort(REQUEST);
    assert_eq!(free(&mut device), 9);
    let all = contents(9 * BLOCK_LEN, 3);
    flash::put(&mut device.handle(1), "all", &all, Conflict::Replace).unwrap();
    assert!(get(&mut device, "all").unwrap() == all);
}

#[test]
fn blocks_that_are_worn_out_are_passed_over() {
    let mut device = device(12, Times::polls(1));
    for block in [1, 4, 5] {
        device.flash().wear_out(OVERHEAD + block);
    }
    let data = contents(8 * BLOCK_LEN, 1);
    for size in [None, Some(data.len() as u64)] {
        let put = flash::request("a", size, Conflict::Replace);
        // It may take several tries until there is one without such a block in its run.
        let stored = (0..6).any(|_| flash::upload(&mut device.handle(0), &put, &data).is_ok());
        assert!(stored, "never stored with size {size:?}");
        assert!(get(&mut device, "a").unwrap() == data);
        flash::delete(&mut device.handle(0), "a").unwrap();
    }
}

/// What is programmed is read back: a block may wear out between its erase and its last page.
#[test]
fn a_bit_that_does_not_take_is_noticed() {
    let mut device = device(12, Times::NONE);
    let put = flash::request("a", Some(3000), Conflict::Replace);
    complete(|| device.handle(0).begin(REQUEST, path("a"), &put)).unwrap();
    flash::write(&mut device.handle(0), 0, &contents(1024, 1)).unwrap();
    let data_wear = &device.flash().wear()[OVERHEAD..];
    let block = data_wear.iter().position(|erases| *erases > 0).unwrap();
    device.flash().wear_out(OVERHEAD + block);
    let written = flash::write(&mut device.handle(0), 1024, &contents(1024, 2));
    assert_eq!(written, Err(Code::Io));
    assert_eq!(flash::stat(&mut device.handle(0), "a"), Err(Code::NotFound));
    let data = contents(3000, 3);
    flash::upload(&mut device.handle(0), &put, &data).unwrap();
    assert!(get(&mut device, "a").unwrap() == data);
}

/// The same of the table: else an upload would be answered that nobody finds again.
#[test]
fn a_record_that_does_not_take_is_noticed() {
    let mut device = device(6, Times::NONE);
    put(&mut device, "a", &contents(100, 1)).unwrap();
    let image = device.flash().image().to_vec();
    // Where the next record goes: behind the last word of the table that is not blank.
    let table = &image[2 * BLOCK_LEN..OVERHEAD * BLOCK_LEN];
    let first = table.chunks(BLOCK_LEN).position(|page| page[8..].iter().any(|byte| *byte != 0xff));
    let page = (2 + first.unwrap()) * BLOCK_LEN;
    let used = image[page..page + BLOCK_LEN - 8].iter().rposition(|byte| *byte != 0xff).unwrap();
    for bit in 0..8 * 80 {
        let _case = Case(bit);
        let mut image = image.clone();
        image[page + used + 1 + bit / 8] &= !(1 << (bit % 8));
        let mut device = Device::mount(Nor::from_image(&image, Times::NONE)).unwrap();
        for name in ["b", "c"] {
            let data = contents(200, 2);
            if put(&mut device, name, &data).is_ok() {
                assert!(get(&mut device, name) == Ok(data), "{name} is lost");
            }
        }
        assert!(get(&mut device, "a") == Ok(contents(100, 1)));
    }
}

#[test]
fn all_blocks_of_data_wear_alike() {
    let mut device = device(30, Times::NONE);
    put(&mut device, "static", &contents(10 * BLOCK_LEN, 1)).unwrap();
    let mut image = device.flash().image().to_vec();
    let mut wear = [0; OVERHEAD + 30];
    for turn in 0..100 {
        // A reset at every fifth replacement.
        if turn % 5 == 0 {
            image.copy_from_slice(device.flash().image());
            wear.iter_mut().zip(device.flash().wear()).for_each(|(sum, count)| *sum += count);
            device = Device::mount(Nor::from_image(&image, Times::NONE)).unwrap();
        }
        put(&mut device, "log", &contents(3 * BLOCK_LEN, turn)).unwrap();
    }
    let mut data: Vec<u32> = wear[OVERHEAD..].to_vec();
    data.sort_unstable();
    // Ten hold what never changes.
    let changing = &data[10..];
    let mean = changing.iter().sum::<u32>() / changing.len() as u32;
    assert!(*changing.last().unwrap() <= 2 * mean, "{changing:?}, {mean} in the mean");
}

/// A journal may say anything: only what is a page of the table is erased at the mount.
#[test]
fn data_are_not_erased_for_the_table() {
    let mut device = device(6, Times::NONE);
    put(&mut device, "a", &contents(6 * BLOCK_LEN, 1)).unwrap();
    let image = device.flash().image().to_vec();
    for page in 8..8 + 6 {
        let mut image = image.clone();
        let announced = [u16::to_le_bytes(page), u16::to_le_bytes(!page)].concat();
        let sum = kift_core::crc32c(&announced).to_le_bytes();
        image[100 * 8..101 * 8].copy_from_slice(&[&announced[..], &sum].concat());
        let mut device = Device::mount(Nor::from_image(&image, Times::NONE)).unwrap();
        assert!(get(&mut device, "a") == Ok(contents(6 * BLOCK_LEN, 1)), "page {page}");
    }
}

/// No image makes the store panic or go on for ever, whatever it makes of it.
#[test]
fn any_image_is_survived() {
    let mut sound = device(6, Times::NONE);
    for (name, seed) in ["a", "b", "c"].into_iter().zip(1..) {
        put(&mut sound, name, &contents(3000, seed)).unwrap();
    }
    flash::delete(&mut sound.handle(0), "b").unwrap();
    let sound = sound.flash().image().to_vec();
    for seed in 0..400 {
        let _case = Case(format!("seed {seed}"));
        let mut rng = Rng::new(seed);
        let mut image = sound.clone();
        for _ in 0..rng.between(1, 30) {
            // Mostly where there is something.
            let block = rng.below(OVERHEAD);
            let within = [32, 400, BLOCK_LEN][rng.below(3)];
            let at = block * BLOCK_LEN + rng.below(within);
            match rng.below(4) {
                0 => image[at..at / BLOCK_LEN * BLOCK_LEN + BLOCK_LEN].fill(0xff),
                1 => image[at] = rng.bits() as u8,
                2 => image[at] &= rng.bits() as u8,
                _ => image[at] ^= 1 << rng.below(8),
            }
        }
        let mut nor = Nor::from_image(&image, Times::NONE);
        nor.cut_after(10_000, 0);
        if let Ok(mut device) = Store::<_, 2>::mount(&mut nor) {
            let port = &mut device.handle(0);
            let _ = flash::tree(port);
            let _ = flash::put(port, "a", &contents(5000, 9), Conflict::Replace);
            let _ = flash::put(port, "d", &contents(5000, 9), Conflict::Replace);
            let _ = flash::delete(port, "c");
            let _ = flash::rename(port, "a", "d", true);
        }
        assert!(nor.operations() < 10_000, "it went on for ever");
    }
}

#[test]
fn what_was_interrupted_goes_on_where_the_device_can_and_begins_again_elsewhere() {
    let data = contents(8 * BLOCK_LEN, 1);
    let mut device = device(24, Times::NONE);
    let room = free(&mut device);
    let put = flash::request("image", None, Conflict::Replace);
    let put = Put { transfer: TransferId([1; 16]), ask: Ask::Ready, ..put };
    let begin = |device: &mut Device| {
        complete(|| device.handle(0).begin(REQUEST, path(put.path), &put)).unwrap()
    };
    assert_eq!(begin(&mut device), Begun::Fresh);
    flash::write(&mut device.handle(0), 0, &data[..6 * BLOCK_LEN]).unwrap();
    device.handle(0).suspend(REQUEST);
    let mut device = mounted_again(device, Times::NONE);
    assert_eq!(free(&mut device), room, "it gives way");
    let (begun, there) = if cfg!(feature = "resume") {
        (Begun::Resumed(6 * BLOCK_LEN as u32 / 1024), 6 * BLOCK_LEN)
    } else {
        (Begun::Fresh, 0)
    };
    assert_eq!(begin(&mut device), begun);
    flash::write(&mut device.handle(0), there as u64, &data[there..]).unwrap();
    let commit = |device: &mut Device| {
        complete(|| device.handle(0).commit(REQUEST, data.len() as u64, digest(&data)))
    };
    assert_eq!(commit(&mut device), Ok(0));
    assert_eq!(get(&mut device, "image"), Ok(data.clone()));
    assert_eq!(free(&mut device), room - 8);
}
