//! Uploads to an SD card that are interrupted, by the end of their session, by a reset, or because the
//! card is pulled out; and what the device keeps of its own.

use kift_core::secure::{Peer, PublicKey, Token};
use kift_core::storage::{Begun, Files as _, Store as _};
use kift_core::wire::{Ask, Code, Conflict, Path, Put, TransferId};
use kift_firmware_sim::card::{MountError, RESTS_MAX, STORED_MAX};
use kift_firmware_sim::disk::{PeerRole, Vault as _};
use kift_tests::card::{
    Card, Device, FAT16, FAT32, FORMATS, check, device, free, get, mounted_again, put,
};
use kift_tests::flash::{self, REQUEST, Tree, complete};
use kift_tests::raw::digest;
use kift_tests::rng::contents;

fn path(path: &str) -> Path<'_> {
    Path::new(path).unwrap()
}

fn transfer(number: u8) -> TransferId {
    TransferId([number; 16])
}

/// An upload that goes on, if there is something to go on with.
fn ready(path: &str, number: u8) -> Put<'_> {
    let put = flash::request(path, None, Conflict::Replace);
    Put { transfer: transfer(number), ask: Ask::Ready, ..put }
}

fn begin(device: &mut Device, number: usize, put: &Put<'_>) -> Result<Begun, Code> {
    let path = Path::new(put.path)?;
    complete(|| device.handle(number).begin(REQUEST, path, put))
}

/// Writes `data` up to `end`, and lets the session end.
fn leave(device: &mut Device, put: &Put<'_>, data: &[u8], end: usize) {
    assert_eq!(begin(device, 0, put), Ok(Begun::Fresh));
    flash::write(&mut device.handle(0), 0, &data[..end]).unwrap();
    device.handle(0).suspend(REQUEST);
}

#[test]
fn goes_on_behind_the_last_whole_chunk() {
    let data = contents(200_000, 1);
    for format in FORMATS {
        for (is_reset, size) in [(false, None), (true, None), (true, Some(200_000))] {
            let mut device = device(format);
            let before = free(&mut device);
            let put = Put { size, ..ready("image", 1) };
            leave(&mut device, &put, &data, 150 * 1024);
            if is_reset {
                device = mounted_again(device);
            }
            check(&mut device);
            assert_eq!(flash::tree(&mut device.handle(0)).unwrap(), Tree::new(), "it is no file");
            assert_eq!(free(&mut device), before, "it gives way");
            assert_eq!(begin(&mut device, 0, &put), Ok(Begun::Resumed(150)));
            assert_eq!(device.handle(0).durable(REQUEST), 150);
            assert!(flash::read(&mut device.handle(0), 0).unwrap() == data[..150 * 1024]);
            flash::write(&mut device.handle(0), 150 * 1024, &data[150 * 1024..]).unwrap();
            let stored = complete(|| device.handle(0).commit(REQUEST, 200_000, digest(&data)));
            assert_eq!(stored, Ok(0));
            assert!(get(&mut device, "image").unwrap() == data);
            check(&mut device);
        }
    }
}

#[test]
fn a_reset_leaves_what_was_said_to_be_durable() {
    let data = contents(200_000, 1);
    let mut device = device(FAT32);
    assert_eq!(begin(&mut device, 0, &ready("f", 1)), Ok(Begun::Fresh));
    for (chunk, number) in data.chunks(1024).zip(0..) {
        flash::write(&mut device.handle(0), number * 1024, chunk).unwrap();
        let durable = device.handle(0).durable(REQUEST);
        assert_eq!(durable, (number as u32 + 1) / 64 * 64);
    }
    let mut device = mounted_again(device);
    assert_eq!(begin(&mut device, 0, &ready("f", 1)), Ok(Begun::Resumed(192)));
    device.handle(0).abort(REQUEST);
    assert_eq!(begin(&mut device, 0, &ready("f", 1)), Ok(Begun::Fresh), "it was thrown away");
    device.handle(0).abort(REQUEST);
    leave(&mut device, &ready("f", 1), &data, 15 * 1024);
    assert_eq!(begin(&mut device, 0, &ready("f", 1)), Ok(Begun::Fresh), "it is not worth it");
    device.handle(0).abort(REQUEST);
    leave(&mut device, &ready("f", 1), &data, 20 * 1024);
    let now = Put { ask: Ask::Now, ..ready("f", 1) };
    assert_eq!(begin(&mut device, 0, &now), Ok(Begun::Fresh), "whoever does not ask begins anew");
}

#[test]
fn the_oldest_gives_way_to_more_rests_and_to_files() {
    let data = contents(200_000, 1);
    let mut device = device(FAT16);
    for number in 0..=RESTS_MAX as u8 {
        leave(&mut device, &ready("f", number), &data, 100 * 1024);
    }
    let mut device = mounted_again(device);
    assert_eq!(begin(&mut device, 0, &ready("f", 0)), Ok(Begun::Fresh));
    device.handle(0).abort(REQUEST);
    // One of two is in the way of this.
    let room = free(&mut device) as usize;
    put(&mut device, "large", &contents(room - 100 * 1024, 2)).unwrap();
    assert_eq!(begin(&mut device, 0, &ready("f", 1)), Ok(Begun::Fresh));
    device.handle(0).abort(REQUEST);
    assert_eq!(begin(&mut device, 0, &ready("f", 2)), Ok(Begun::Resumed(100)));
    // It cannot be stored beside the other, and says so.
    let written = flash::write(&mut device.handle(0), 100 * 1024, &data[100 * 1024..]);
    assert_eq!(written, Err(Code::NoSpace));
    check(&mut device);
}

#[test]
fn a_newer_session_takes_over() {
    let data = contents(200_000, 1);
    let mut device = device(FAT16);
    let put = ready("f", 1);
    assert_eq!(begin(&mut device, 1, &put), Ok(Begun::Fresh));
    flash::write(&mut device.handle(1), 0, &data[..100 * 1024]).unwrap();
    assert_eq!(begin(&mut device, 0, &put), Ok(Begun::Resumed(100)));
    let late = complete(|| device.handle(1).write(REQUEST, 100 * 1024, &data[..1024]));
    assert_eq!(late, Err(Code::Superseded));
    device.handle(1).abort(REQUEST);
    flash::write(&mut device.handle(0), 100 * 1024, &data[100 * 1024..]).unwrap();
    complete(|| device.handle(0).commit(REQUEST, 200_000, digest(&data))).unwrap();
    assert!(get(&mut device, "f").unwrap() == data);
    check(&mut device);
}

#[test]
fn what_was_stored_is_known_again() {
    let mut device = device(FAT16);
    let data = contents(3000, 1);
    let stored = |suffix| Ok(Begun::Stored { size: 3000, root: digest(&data), suffix });
    let both = Put { conflict: Conflict::KeepBoth, ..ready("f", 7) };
    put(&mut device, "f", b"another").unwrap();
    assert_eq!(flash::upload(&mut device.handle(0), &both, &data), Ok(1));
    assert_eq!(begin(&mut device, 0, &both), stored(1));
    let mut device = mounted_again(device);
    assert_eq!(begin(&mut device, 0, &both), stored(1), "after a reset too");
    assert_eq!(begin(&mut device, 0, &Put { path: "h", ..both }), Ok(Begun::Fresh));
    device.handle(0).abort(REQUEST);
    let now = Put { ask: Ask::Now, ..both };
    assert_eq!(begin(&mut device, 0, &now), Ok(Begun::Fresh), "who does not ask begins anew");
    device.handle(0).abort(REQUEST);
    // As many are remembered, whatever else is changed meanwhile.
    for number in 0..STORED_MAX as u8 - 1 {
        let name = format!("g{number}");
        flash::upload(&mut device.handle(0), &ready(&name, 100 + number), &data).unwrap();
        flash::make_directory(&mut device.handle(0), "d").unwrap();
        flash::delete(&mut device.handle(0), "d").unwrap();
        device = mounted_again(device);
        assert_eq!(begin(&mut device, 0, &both), stored(1), "{number}");
    }
    flash::delete(&mut device.handle(0), "f_1").unwrap();
    assert_eq!(begin(&mut device, 0, &both), Ok(Begun::Fresh), "it is not there any more");
}

#[test]
fn keys_peers_and_tokens_are_kept() {
    let mut device = device(FAT16);
    let key = |number: u8| PublicKey([number; 32]);
    assert_eq!((complete(|| device.identity()), complete(|| device.seed())), (Ok(None), Ok(None)));
    for number in 1..5 {
        complete(|| device.set_identity(&[number; 32])).unwrap();
        complete(|| device.set_seed(&[number + 1; 32])).unwrap();
        assert_eq!(device.boots(), u32::from(number));
        device = mounted_again(device);
        assert_eq!(complete(|| device.identity()), Ok(Some([number; 32])));
        assert_eq!(complete(|| device.seed()), Ok(Some([number + 1; 32])));
    }
    for number in 0..4 {
        complete(|| device.keep_peer(&key(number), PeerRole::Client)).unwrap();
    }
    assert_eq!(complete(|| device.keep_peer(&key(4), PeerRole::Client)), Err(Code::TooMany));
    complete(|| device.keep_peer(&key(1), PeerRole::Server)).unwrap();
    assert_eq!(complete(|| device.forget_peer(&key(2))), Ok(true));
    assert_eq!(complete(|| device.forget_peer(&key(2))), Ok(false));
    assert_eq!(complete(|| device.begin_pairing(&Token([9; 32]))), Ok(true));
    let peer = Peer { key: key(5), pairing: true };
    assert!(device.is_pairing());
    complete(|| device.handle(0).admit(&peer)).unwrap();
    assert!(!device.is_pairing());
    assert_eq!(complete(|| device.handle(0).admit(&peer)), Err(Code::Denied), "used");
    let mut device = mounted_again(device);
    assert_eq!(complete(|| device.begin_pairing(&Token([9; 32]))), Ok(false), "used before");
    assert_eq!(complete(|| device.knows(&key(1), PeerRole::Both)), Ok(true));
    assert_eq!(complete(|| device.knows(&key(5), PeerRole::Client)), Ok(true));
    assert_eq!(complete(|| device.knows(&key(5), PeerRole::Server)), Ok(false));
    assert_eq!(complete(|| device.knows(&key(2), PeerRole::Client)), Ok(false));
    assert_eq!(complete(|| device.errand([1; 16], transfer(1))), Ok(transfer(1)));
    let mut device = mounted_again(device);
    assert_eq!(complete(|| device.errand([1; 16], transfer(2))), Ok(transfer(1)));
    assert_eq!(
        complete(|| device.errand([2; 16], transfer(3))),
        Ok(transfer(3)),
        "another is another"
    );
    complete(|| device.end_errand()).unwrap();
    assert_eq!(complete(|| device.errand([2; 16], transfer(4))), Ok(transfer(4)));
}

/// A block that a card did not keep as it was written is that of the other copy.
#[test]
fn of_two_copies_one_is_enough() {
    let mut device = device(FAT16);
    for number in 1..=3 {
        complete(|| device.set_seed(&[0xd0 + number; 32])).unwrap();
    }
    let image = device.device().image();
    let at = |number: u8| image.windows(32).position(|bytes| *bytes == [0xd0 + number; 32]);
    assert_eq!(at(1), None, "it is written over");
    for (damaged, left) in [(3, 2), (2, 3)] {
        let mut image = image.clone();
        image[at(damaged).unwrap() + 7] ^= 4;
        let mut device = Device::mount(Card::new(&image)).unwrap();
        assert_eq!(complete(|| device.seed()), Ok(Some([0xd0 + left; 32])));
        complete(|| device.set_seed(&[1; 32])).unwrap();
        let mut device = mounted_again(device);
        assert_eq!(complete(|| device.seed()), Ok(Some([1; 32])));
    }
}

/// Whatever is under way ends with a reason, and with the card back the next boot finds all.
#[test]
fn a_card_that_is_pulled_out() {
    for format in [FAT16, FAT32] {
        let mut device = device(format);
        let data = contents(100_000, 1);
        put(&mut device, "a", &data).unwrap();
        complete(|| device.handle(1).open(REQUEST, path("a"))).unwrap();
        assert_eq!(begin(&mut device, 0, &ready("b", 1)), Ok(Begun::Fresh));
        flash::write(&mut device.handle(0), 0, &data[..70 * 1024]).unwrap();
        let card = device.device().clone();
        card.take_out(true);
        let mut buf = [0; 1024];
        assert_eq!(complete(|| device.handle(1).read(REQUEST, 0, &mut buf)), Err(Code::Io));
        let written = complete(|| device.handle(0).write(REQUEST, 70 * 1024, &data[..1024]));
        assert_eq!(written, Err(Code::Io));
        device.handle(0).abort(REQUEST);
        device.handle(1).close(REQUEST);
        let port = &mut device.handle(0);
        assert_eq!(flash::put(port, "c", b"x", Conflict::Replace), Err(Code::Io));
        let refused = [
            flash::stat(port, "a").map(drop),
            flash::get(port, "a").map(drop),
            flash::list(port, "", "", 1024).map(drop),
            flash::delete(port, "a"),
            flash::rename(port, "a", "b", false),
            flash::make_directory(port, "d"),
            complete(|| device.seed()).map(drop),
            complete(|| device.set_seed(&[1; 32])),
            device.root(path("a")).map(drop),
        ];
        // What a buffer still holds may be told.
        assert!(refused.iter().all(|code| matches!(code, Err(Code::Io) | Ok(()))), "{refused:?}");
        assert_eq!(Device::mount(card.clone()).err(), Some(MountError::Io));
        card.take_out(false);
        // It came back, and what was written to it before is not known: only a boot finds out.
        assert_eq!(put(&mut device, "c", b"x"), Err(Code::Io));
        let mut device = Device::mount(card).unwrap();
        assert!(get(&mut device, "a").unwrap() == data);
        assert_eq!(begin(&mut device, 0, &ready("b", 1)), Ok(Begun::Resumed(64)));
        device.handle(0).suspend(REQUEST);
        put(&mut device, "c", b"x").unwrap();
        check(&mut device);
    }
}
