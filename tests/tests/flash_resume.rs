//! Uploads into flash that are interrupted: by the end of their session, by a reset, and by a power cut
//! at every operation of the flash in turn.

use kift_core::storage::{Begun, Files as _, Store as _};
use kift_core::wire::{Ask, Code, Conflict, Path, Put, TransferId};
use kift_firmware_sim::board::nor::{BLOCK_LEN, Nor, Times};
use kift_firmware_sim::disk::Vault as _;
use kift_firmware_sim::flash::{RESTS_MAX, Store};
use kift_tests::flash::{self, REQUEST, complete};
use kift_tests::raw::digest;
use kift_tests::rng::{Case, contents};

/// Ten blocks of journal and table, the rest of data.
const CAPACITY: u32 = 34 * BLOCK_LEN as u32;

/// Chunks of a block.
const CHUNKS: u32 = BLOCK_LEN as u32 / 1024;

/// More operations than anything here takes: a store that goes on after them would go on for ever.
const OPERATIONS_MAX: u64 = 10_000;

/// Ten blocks and a half.
const LEN: usize = 10 * BLOCK_LEN + BLOCK_LEN / 2;

type Device<'a> = Store<&'a mut Nor, 2>;

fn formatted() -> Nor {
    let mut nor = Nor::blank(CAPACITY, Times::NONE);
    Store::<_, 2>::format(&mut nor).unwrap();
    nor
}

fn transfer(number: u8) -> TransferId {
    TransferId([number; 16])
}

/// An upload that goes on, if there is something to go on with.
fn ready(path: &str, number: u8) -> Put<'_> {
    Put {
        transfer: transfer(number),
        ask: Ask::Ready,
        ..flash::request(path, None, Conflict::Replace)
    }
}

fn begin(device: &mut Device<'_>, number: usize, put: &Put<'_>) -> Result<Begun, Code> {
    let path = Path::new(put.path)?;
    complete(|| device.handle(number).begin(REQUEST, path, put))
}

/// Bytes that are there before anything is written.
fn begin_behind(device: &mut Device<'_>, put: &Put<'_>, data: &[u8]) -> Result<usize, Code> {
    let chunks = match begin(device, 0, put)? {
        Begun::Fresh => 0,
        Begun::Resumed(chunks) => chunks,
        Begun::Stored { .. } => panic!("stored"),
    };
    let len = chunks as usize * 1024;
    let mut there = vec![0; len];
    for (number, chunk) in there.chunks_mut(1024).enumerate() {
        complete(|| device.handle(0).read(REQUEST, number as u64 * 1024, chunk))?;
    }
    assert!(there == data[..len], "what is there is what was sent");
    Ok(len)
}

fn finish(device: &mut Device<'_>, data: &[u8], from: usize) -> Result<u32, Code> {
    flash::write(&mut device.handle(0), from as u64, &data[from..])?;
    complete(|| device.handle(0).commit(REQUEST, data.len() as u64, digest(data)))
}

/// Writes what is there of `data` up to `end`, and lets the session end.
fn leave(device: &mut Device<'_>, put: &Put<'_>, data: &[u8], end: usize) {
    let from = begin_behind(device, put, data).unwrap();
    flash::write(&mut device.handle(0), from as u64, &data[from..end]).unwrap();
    device.handle(0).suspend(REQUEST);
}

#[test]
fn goes_on_behind_the_last_whole_block() {
    let data = contents(LEN, 1);
    for is_reset in [false, true] {
        for size in [None, Some(LEN as u64)] {
            let mut nor = formatted();
            let mut device = Device::mount(&mut nor).unwrap();
            let free = flash::space(&mut device.handle(0)).unwrap().free;
            let put = Put { size, ..ready("image", 1) };
            leave(&mut device, &put, &data, 6 * BLOCK_LEN + 1024);
            if is_reset {
                drop(device);
                device = Device::mount(&mut nor).unwrap();
            }
            assert_eq!(flash::tree(&mut device.handle(0)).unwrap().len(), 0, "it is no file");
            assert_eq!(flash::space(&mut device.handle(0)).unwrap().free, free, "it gives way");
            assert_eq!(begin(&mut device, 0, &put), Ok(Begun::Resumed(6 * CHUNKS)));
            assert_eq!(device.handle(0).durable(REQUEST), 6 * CHUNKS);
            assert_eq!(finish(&mut device, &data, 6 * BLOCK_LEN), Ok(0));
            assert_eq!(flash::get(&mut device.handle(0), "image").unwrap(), data);
            let taken = free - flash::space(&mut device.handle(0)).unwrap().free;
            assert_eq!(taken, 11 * BLOCK_LEN as u64, "nothing but the file is left");
        }
    }
}

#[test]
fn a_little_is_not_worth_it() {
    let data = contents(LEN, 1);
    let mut nor = formatted();
    let mut device = Device::mount(&mut nor).unwrap();
    leave(&mut device, &ready("f", 1), &data, 16 * 1024 - 1024);
    assert_eq!(begin(&mut device, 0, &ready("f", 1)), Ok(Begun::Fresh));
}

#[test]
fn a_repeated_upload_is_told_what_came_of_the_first() {
    let data = contents(5000, 1);
    let mut nor = formatted();
    let mut device = Device::mount(&mut nor).unwrap();
    flash::put(&mut device.handle(0), "f.txt", b"before", Conflict::Replace).unwrap();
    let both = Put { conflict: Conflict::KeepBoth, ..ready("f.txt", 7) };
    let stored = Begun::Stored { size: 5000, root: digest(&data), suffix: 1 };
    assert_eq!(flash::upload(&mut device.handle(0), &both, &data), Ok(1));
    assert_eq!(begin(&mut device, 0, &both), Ok(stored));
    drop(device);
    let mut device = Device::mount(&mut nor).unwrap();
    assert_eq!(begin(&mut device, 0, &both), Ok(stored), "after a reset too");
    let refuse = Put { conflict: Conflict::Refuse, ..ready("g", 8) };
    assert_eq!(flash::upload(&mut device.handle(0), &refuse, &data), Ok(0));
    assert!(matches!(begin(&mut device, 0, &refuse), Ok(Begun::Stored { suffix: 0, .. })));
    // Another is another.
    let other = Put { transfer: transfer(9), ..refuse };
    assert_eq!(begin(&mut device, 0, &other), Err(Code::Exists));
    assert_eq!(begin(&mut device, 0, &Put { path: "h", ..both }), Ok(Begun::Fresh));
    device.handle(0).abort(REQUEST);
    // Whoever does not ask begins anew.
    let now = Put { ask: Ask::Now, conflict: Conflict::Replace, ..refuse };
    assert_eq!(begin(&mut device, 0, &now), Ok(Begun::Fresh));
    device.handle(0).abort(REQUEST);
    flash::delete(&mut device.handle(0), "g").unwrap();
    assert_eq!(begin(&mut device, 0, &refuse), Ok(Begun::Fresh), "it is not there any more");
}

#[test]
fn what_is_thrown_away_or_begun_anew_is_gone() {
    let data = contents(LEN, 1);
    let mut nor = formatted();
    let mut device = Device::mount(&mut nor).unwrap();
    let put = ready("f", 1);
    let from = begin_behind(&mut device, &put, &data).unwrap();
    flash::write(&mut device.handle(0), from as u64, &data[..8 * BLOCK_LEN]).unwrap();
    device.handle(0).abort(REQUEST);
    assert_eq!(begin(&mut device, 0, &put), Ok(Begun::Fresh));
    device.handle(0).abort(REQUEST);
    leave(&mut device, &put, &data, 8 * BLOCK_LEN);
    assert_eq!(begin(&mut device, 0, &Put { ask: Ask::Now, ..put }), Ok(Begun::Fresh));
    device.handle(0).abort(REQUEST);
    assert_eq!(begin(&mut device, 0, &put), Ok(Begun::Fresh));
}

#[test]
fn a_newer_session_takes_over() {
    let data = contents(LEN, 1);
    let mut nor = formatted();
    let mut device = Device::mount(&mut nor).unwrap();
    let put = ready("f", 1);
    assert_eq!(begin(&mut device, 1, &put), Ok(Begun::Fresh));
    flash::write(&mut device.handle(1), 0, &data[..7 * BLOCK_LEN + 1024]).unwrap();
    let from = begin_behind(&mut device, &put, &data).unwrap();
    assert_eq!(from, 7 * BLOCK_LEN);
    let at = 7 * BLOCK_LEN as u64 + 1024;
    let late = complete(|| device.handle(1).write(REQUEST, at, &data[..1024]));
    assert_eq!(late, Err(Code::Superseded));
    device.handle(1).abort(REQUEST);
    finish(&mut device, &data, from).unwrap();
    assert_eq!(flash::get(&mut device.handle(0), "f").unwrap(), data);
}

#[test]
fn the_oldest_gives_way_to_more_rests_and_to_files() {
    let data = contents(LEN, 1);
    let mut nor = formatted();
    let mut device = Device::mount(&mut nor).unwrap();
    for number in 0..=RESTS_MAX as u8 {
        leave(&mut device, &ready("f", number), &data, 4 * BLOCK_LEN + 1024);
    }
    drop(device);
    let mut device = Device::mount(&mut nor).unwrap();
    assert_eq!(begin(&mut device, 0, &ready("f", 0)), Ok(Begun::Fresh));
    device.handle(0).abort(REQUEST);
    // Of 24 blocks four times four are kept: of these three are in the way of 20, and the newest stays.
    let large = contents(20 * BLOCK_LEN, 2);
    flash::put(&mut device.handle(0), "large", &large, Conflict::Replace).unwrap();
    for number in 1..RESTS_MAX as u8 {
        assert_eq!(begin(&mut device, 0, &ready("f", number)), Ok(Begun::Fresh), "{number}");
        device.handle(0).abort(REQUEST);
    }
    let newest = begin(&mut device, 0, &ready("f", RESTS_MAX as u8));
    assert_eq!(newest, Ok(Begun::Resumed(4 * CHUNKS)));
    // It cannot be stored beside the other, and says so.
    let written = flash::write(&mut device.handle(0), 4 * BLOCK_LEN as u64, &data[4 * BLOCK_LEN..]);
    assert_eq!(written, Err(Code::NoSpace));
    assert_eq!(flash::get(&mut device.handle(0), "large").unwrap(), large);
}

/// What was told to be durable when the power went, and whether it was told to be stored.
fn upload_until_cut(nor: &mut Nor, put: &Put<'_>, data: &[u8]) -> (usize, bool) {
    let mut durable = 0;
    let Ok(mut device) = Device::mount(nor) else { return (0, false) };
    let stored = (|| {
        let begun = begin(&mut device, 0, put)?;
        if let Begun::Stored { size, root, suffix } = begun {
            assert_eq!((size, root, suffix), (data.len() as u64, digest(data), 0));
            return Ok(0);
        }
        let mut at = device.handle(0).durable(REQUEST) as usize * 1024;
        durable = at;
        while at < data.len() {
            let end = (at + 1024).min(data.len());
            flash::write(&mut device.handle(0), at as u64, &data[at..end])?;
            (at, durable) = (end, device.handle(0).durable(REQUEST) as usize * 1024);
        }
        complete(|| device.handle(0).commit(REQUEST, data.len() as u64, digest(data)))
    })();
    (durable, stored.is_ok())
}

#[test]
fn cut_at_every_operation() {
    let (old, new) = (contents(2 * BLOCK_LEN, 1), contents(LEN, 2));
    let mut base = formatted();
    flash::put(&mut Device::mount(&mut base).unwrap().handle(0), "f", &old, Conflict::Replace)
        .unwrap();
    let image = base.image().to_vec();
    let put = ready("f", 1);
    let mut resumed = 0;
    let mut whole = Nor::from_image(&image, Times::NONE);
    assert!(upload_until_cut(&mut whole, &put, &new).1);
    let operations = whole.operations();
    eprintln!("{operations} power cuts");
    for cut in 1..=operations {
        let _case = Case(format!("cut at {cut} of {operations}"));
        let mut nor = Nor::from_image(&image, Times::polls(cut as u32 % 3));
        nor.cut_after(cut, cut);
        // And again, somewhere on the way that is left.
        let (mut durable, mut is_stored) = upload_until_cut(&mut nor, &put, &new);
        for again in [7, 40] {
            nor.power_on();
            nor.cut_after(again, cut);
            let (further, stored) = upload_until_cut(&mut nor, &put, &new);
            (durable, is_stored) = (durable.max(further), is_stored || stored);
        }
        nor.power_on();
        nor.cut_after(OPERATIONS_MAX, 0);
        let mut device = Device::mount(&mut nor).unwrap();
        let there = flash::get(&mut device.handle(0), "f").unwrap();
        assert!(there == old || there == new, "the old one or the new one");
        assert!(!is_stored || there == new, "what was told to be stored is there");
        match begin(&mut device, 0, &put).unwrap() {
            Begun::Stored { .. } => assert!(there == new),
            begun => {
                let from = match begun {
                    Begun::Resumed(chunks) => chunks as usize * 1024,
                    _ => 0,
                };
                assert!(from >= durable, "{from} of {durable} that were durable");
                resumed += u32::from(from > 0);
                device.handle(0).suspend(REQUEST);
                let from = begin_behind(&mut device, &put, &new).unwrap();
                finish(&mut device, &new, from).unwrap();
            }
        }
        assert_eq!(flash::get(&mut device.handle(0), "f").unwrap(), new);
        assert_eq!(flash::tree(&mut device.handle(0)).unwrap().len(), 1);
        let room = flash::space(&mut device.handle(0)).unwrap();
        assert_eq!(room.total - room.free, 11 * BLOCK_LEN as u64, "no block is lost");
    }
    assert!(resumed > 20, "only {resumed} went on");
}

#[test]
fn an_errand_keeps_its_id_until_it_is_done() {
    let mut nor = formatted();
    let mut device = Device::mount(&mut nor).unwrap();
    let mut errand = |of: u8, fresh| complete(|| device.errand([of; 16], transfer(fresh)));
    assert_eq!([errand(1, 1), errand(1, 2)], [Ok(transfer(1)); 2]);
    drop(device);
    let mut device = Device::mount(&mut nor).unwrap();
    let mut errand = |of: u8, fresh| complete(|| device.errand([of; 16], transfer(fresh)));
    assert_eq!(errand(1, 3), Ok(transfer(1)));
    assert_eq!(errand(2, 4), Ok(transfer(4)), "another is another");
    complete(|| device.end_errand()).unwrap();
    assert_eq!(complete(|| device.errand([2; 16], transfer(5))), Ok(transfer(5)));
}
