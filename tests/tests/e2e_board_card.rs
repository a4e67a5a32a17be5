//! The bare-metal image of the LM3S6965 kit, in QEMU: what lies on its SD card, before and after the
//! power is cut by killing QEMU.

use std::fs;
use std::os::unix::fs::FileExt as _;

use kift_firmware_sim::card::Store;
use kift_tests::card::Card;
use kift_tests::files::random;
use kift_tests::flash;
use kift_tests::kit::{Board, Kit};
use kift_tests::machine::wait_until;

/// Where the entries of uploads are, at the beginning of the card.
const ENTRIES: usize = 1 << 20;

/// Bytes of the upload on its way that the card says are durable.
fn durable(kit: &Kit) -> u32 {
    let mut blocks = vec![0; ENTRIES];
    fs::File::open(kit.disk()).unwrap().read_exact_at(&mut blocks, 0).unwrap();
    let (entries, _) = blocks.as_chunks::<32>();
    let uploads = entries.iter().filter(|entry| entry[0] != 0xe5 && entry[8..11] == *b"TMP");
    let size = |entry: &[u8; 32]| u32::from_le_bytes(*entry.last_chunk().unwrap());
    uploads.map(size).max().unwrap_or(0)
}

/// The card, as a computer has it.
fn card(kit: &Kit) -> Card {
    Card::new(&fs::read(kit.disk()).unwrap())
}

#[test]
fn files_lie_on_the_card_as_they_are() {
    let test = "files_lie_on_the_card_as_they_are";
    let Some(kit) = Kit::new(test, Board::Lm3s6965evb) else { return };
    let file = random(200_000, 1);
    fs::write(kit.at("file.bin"), &file).unwrap();
    let device = kit.serve();
    let to = kit.device("");
    kit.kift(["put", "--quiet", "--token-file", "token", "file.bin", &to]).ok();
    kit.kift(["mkdir", "--quiet", &kit.device("logs")]).ok();
    kit.kift(["put", "--quiet", "file.bin", &kit.device("logs/day.1")]).ok();
    kit.kift(["put", "--quiet", "file.bin", &kit.device("no.long.name")]).fails(&[]);
    device.cut();
    let card = card(&kit);
    assert_eq!(card.complaints(), Vec::<String>::new());
    let mut store = Store::<_, 1>::mount(card).unwrap();
    let tree = flash::tree(&mut store.handle(0)).unwrap();
    assert!(tree.keys().eq(["file.bin", "logs", "logs/day.1"]), "{:?}", tree.keys());
    assert!(tree["logs/day.1"].as_ref() == Some(&file));
    assert_eq!(store.boots(), 2);
}

#[test]
fn an_upload_goes_on_after_power_cuts() {
    let test = "an_upload_goes_on_after_power_cuts";
    let Some(kit) = Kit::new(test, Board::Lm3s6965evb) else { return };
    let (old, new) = (random(100_000, 1), random(3_000_000, 2));
    fs::write(kit.at("old"), &old).unwrap();
    fs::write(kit.at("new"), &new).unwrap();
    let mut device = kit.serve();
    let to = kit.device("image");
    kit.kift(["put", "--quiet", "--token-file", "token", "old", &to]).ok();
    let sender = kit.start_kift(["put", "--quiet", "--retry", "100", "new", &to]);
    for chunks in [64, 500, 1300, 2300] {
        wait_until("so much is durable", || durable(&kit) >= chunks * 1024);
        device.cut();
        let card = card(&kit);
        let mut store = Store::<_, 1>::mount(card.clone()).unwrap();
        assert!(flash::get(&mut store.handle(0), "image").unwrap() == old, "the old one is there");
        assert_eq!(card.complaints(), Vec::<String>::new());
        device = kit.serve();
    }
    sender.end().ok();
    device.cut();
    let mut store = Store::<_, 1>::mount(card(&kit)).unwrap();
    assert!(flash::get(&mut store.handle(0), "image").unwrap() == new);
}

/// Both ends say so, nothing hangs, and what was stored is there when the card is back.
#[test]
fn the_card_is_pulled_out() {
    let Some(kit) = Kit::new("the_card_is_pulled_out", Board::Lm3s6965evb) else { return };
    let (old, new) = (random(100_000, 3), random(20_000_000, 4));
    fs::write(kit.at("old"), &old).unwrap();
    fs::write(kit.at("new"), &new).unwrap();
    let device = kit.serve();
    let to = kit.device("file");
    kit.kift(["put", "--quiet", "--token-file", "token", "old", &to]).ok();
    let sender = kit.start_kift(["put", "--on-conflict", "replace", "new", &to]);
    wait_until("it is under way", || durable(&kit) > 0);
    device.eject();
    sender.end().fails(&["input/output error"]);
    kit.kift(["ls", &kit.device("")]).fails(&["input/output error"]);
    let said = device.said();
    assert!(said.contains("input/output error") && !said.contains("panic"), "{said}");
    device.cut();
    let device = kit.serve();
    assert!(kit.got("file") == old);
    device.cut();
}
