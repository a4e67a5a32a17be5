//! The power is cut at every write of a block to a card in turn, and again while the store recovers:
//! every file is the old one or the new one, and so is what the device keeps of its own; a computer
//! finds nothing wrong but clusters that nothing leads to; and the store goes on.

use std::slice::from_ref;

use kift_core::storage::{Begun, Files as _, Store as _};
use kift_core::wire::{Ask, Conflict, Path, Put, TransferId};
use kift_firmware_sim::card::Store;
use kift_firmware_sim::disk::PeerRole;
use kift_tests::card::{COARSE, Card, FAT16, FAT32, Format};
use kift_tests::flash::{self, REQUEST, Tree, complete};
use kift_tests::raw::digest;
use kift_tests::rng::{Case, contents};
use kift_tests::step::{Own, Step, put, summary, tree};

type Device = Store<Card, 1>;

/// More writes than anything here takes: a store that goes on after them would go on for ever.
const WRITES_MAX: u64 = 10_000;

/// Bytes of clusters that a cut may cost: those of the largest file here.
const LOST_MAX: u64 = 24 << 10;

fn prepared(format: Format, steps: &[Step]) -> Card {
    let card = Card::formatted(format);
    Device::prepare(card.clone()).unwrap();
    let mut device = Device::mount(card.clone()).unwrap();
    for step in steps {
        step.run(&mut device).unwrap();
    }
    card
}

/// Runs `steps` until one fails, and says how many did not.
fn run(card: &Card, steps: &[Step]) -> usize {
    let Ok(mut device) = Device::mount(card.clone()) else { return 0 };
    steps.iter().take_while(|step| step.run(&mut device).is_ok()).count()
}

/// What is there, and the bytes that are free.
type State = (Tree, u64);

fn state(device: &mut Device) -> State {
    let tree = tree(device).expect("all that is there can be read");
    (tree, flash::space(&mut device.handle(0)).unwrap().free)
}

/// What is there before each of the steps and after the last.
fn states(card: &Card, steps: &[Step]) -> Vec<State> {
    let mut device = Device::mount(card.copied()).unwrap();
    let mut states = vec![state(&mut device)];
    for step in steps {
        step.run(&mut device).unwrap();
        states.push(state(&mut device));
    }
    states
}

/// The power is back.
fn power_on(card: &Card) {
    card.power_on();
    card.cut_after(WRITES_MAX);
}

/// The store mounts, has one of these states, and takes and drops a file.
fn check(card: &Card, allowed: &[State]) {
    let found = check_consistent(card, allowed);
    let complaints = card.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let (name, data) = ("aftercut", contents(5000, 99));
    let mut device = Device::mount(card.clone()).expect("the store mounts");
    flash::put(&mut device.handle(0), name, &data, Conflict::Refuse).expect("an upload");
    let mut with = found.clone();
    with.0.insert(name.to_owned(), Some(data));
    check_consistent(card, &[with]);
    let mut device = Device::mount(card.clone()).expect("the store mounts after an upload");
    flash::delete(&mut device.handle(0), name).expect("a deletion");
    assert_eq!(check_consistent(card, from_ref(&found)).1, found.1, "an upload costs clusters");
}

/// What is there is one of these trees, and few clusters are lost.
fn check_consistent(card: &Card, allowed: &[State]) -> State {
    let mut device = Device::mount(card.clone()).expect("the store mounts");
    let found = state(&mut device);
    let expected = allowed.iter().find(|(tree, _)| *tree == found.0);
    let Some((_, free)) = expected else { panic!("found {}", summary(&found.0)) };
    assert!(found.1 + LOST_MAX >= *free, "{} of {free} bytes are free", found.1);
    found
}

/// Runs the steps with a cut at each write in turn. The mount that follows is cut too, at each of its
/// own.
fn cut_everywhere(before: &Card, steps: &[Step]) {
    let states = states(before, steps);
    let whole = before.copied();
    whole.cut_after(WRITES_MAX);
    assert_eq!(run(&whole, steps), steps.len(), "without a cut");
    let writes = whole.writes();
    eprintln!("{writes} power cuts");
    for cut in 0..writes {
        let _case = Case(format!("cut at {cut} of {writes}"));
        let card = before.copied();
        card.cut_after(cut);
        let done = run(&card, steps);
        power_on(&card);
        // What was told done is done.
        let allowed = &states[done..steps.len().min(done + 1) + 1];
        cut_the_mount(&card, allowed);
        check(&card, allowed);
    }
}

fn cut_the_mount(torn: &Card, allowed: &[State]) {
    let whole = torn.copied();
    Device::mount(whole.clone()).expect("the store mounts");
    for cut in 0..whole.writes() {
        let _case = Case(format!("the mount cut at {cut}"));
        let card = torn.copied();
        card.cut_after(cut);
        // What only counts the boot may fail.
        assert!(Device::mount(card.clone()).is_err() || cut + 1 == whole.writes());
        power_on(&card);
        check_consistent(&card, allowed);
    }
}

/// Files that the scenarios do not touch, and some that they do.
fn some_files() -> Vec<Step> {
    vec![
        put("a", 3000, 1),
        Step::MakeDirectory("folder"),
        put("folder/empty", 0, 2),
        put("old", 8202, 3),
        put("other", 5000, 4),
        Step::Own(Own::Identity(1)),
        Step::Own(Own::Seed(1)),
        Step::Own(Own::Know(1, PeerRole::Client)),
        Step::Own(Own::Pair(2, 1)),
    ]
}

fn in_each_format(before: &[Step], steps: &[Step]) {
    for format in [FAT16, FAT32, COARSE] {
        let _case = Case(format!("{format:?}"));
        cut_everywhere(&prepared(format, before), steps);
    }
}

#[test]
fn a_preparation() {
    for format in [FAT16, FAT32] {
        let before = Card::formatted(format);
        let whole = before.copied();
        Device::prepare(whole.clone()).unwrap();
        let prepared = state(&mut Device::mount(whole.copied()).unwrap());
        for cut in 0..whole.writes() {
            let _case = Case(format!("cut at {cut} of {}", whole.writes()));
            let card = before.copied();
            card.cut_after(cut);
            assert!(Device::prepare(card.clone()).is_err());
            power_on(&card);
            Device::prepare(card.clone()).expect("it is prepared again");
            check(&card, from_ref(&prepared));
        }
    }
}

#[test]
fn an_upload() {
    in_each_format(&some_files(), &[put("new", 9_700, 10)]);
}

#[test]
fn small_uploads_into_an_empty_store() {
    in_each_format(&[], &[put("new", 1, 10), put("empty", 0, 0), put("new", 0, 1)]);
}

#[test]
fn a_replacement() {
    in_each_format(&some_files(), &[put("old", 4103, 11), put("old", 20_000, 12)]);
}

/// A directory that is full becomes longer by it.
#[test]
fn an_upload_into_a_full_directory() {
    let mut before = some_files();
    // What is free is not blank.
    before.extend([put("filler", 50_000, 5), Step::Delete("filler")]);
    before.extend((0..13).map(|number| {
        let name: &'static str = format!("folder/{number}").leak();
        put(name, 10, number)
    }));
    let steps = [put("folder/new", 600, 11), put("folder/newer", 600, 12)];
    cut_everywhere(&prepared(FAT16, &before), &steps);
}

#[test]
fn a_deletion() {
    let steps = [Step::Delete("old"), Step::Delete("folder/empty"), Step::Delete("folder")];
    in_each_format(&some_files(), &steps);
}

#[test]
fn a_renaming() {
    let steps = [
        Step::Rename("old", "folder/new", false),
        Step::Rename("folder", "place", false),
        Step::Rename("place/new", "old", false),
        Step::MakeDirectory("deeper"),
        Step::Rename("place", "deeper/place", false),
        Step::Rename("deeper/place", "place", false),
    ];
    in_each_format(&some_files(), &steps);
}

#[test]
fn a_renaming_over_another_file() {
    let steps = [
        Step::Rename("old", "other", true),
        put("old", 100, 12),
        Step::Rename("other", "old", true),
        put("other", 100, 13),
        Step::Delete("old"),
    ];
    in_each_format(&some_files(), &steps);
}

#[test]
fn a_directory_made() {
    let steps = [Step::MakeDirectory("folder/deeper"), put("folder/deeper/file", 10, 14)];
    in_each_format(&some_files(), &steps);
}

#[test]
fn a_file_kept_beside_another() {
    let kept = Step::Put("old", contents(1200, 15), Conflict::KeepBoth);
    in_each_format(&some_files(), &[kept.clone(), kept]);
}

#[test]
fn a_key_and_a_seed() {
    let steps = [Own::Identity(2), Own::Seed(2), Own::Seed(3)].map(Step::Own);
    cut_everywhere(&prepared(FAT16, &[]), &steps);
    cut_everywhere(&prepared(FAT16, &some_files()), &steps);
}

#[test]
fn peers_that_come_and_go() {
    let steps = [
        Own::Know(3, PeerRole::Server),
        Own::Know(1, PeerRole::Server),
        Own::Forget(1),
        Own::Know(4, PeerRole::Both),
        Own::Forget(2),
    ];
    cut_everywhere(&prepared(FAT16, &some_files()), &steps.map(Step::Own));
}

/// The peer is known and its token is used, or neither.
#[test]
fn a_pairing() {
    let steps = [Own::Pair(3, 2), Own::Pair(1, 3)].map(Step::Own);
    cut_everywhere(&prepared(FAT16, &[]), &steps);
    cut_everywhere(&prepared(FAT16, &some_files()), &steps);
}

/// What was told to be durable when the power went, and whether it was told to be stored.
fn upload_until_cut(card: &Card, put: &Put<'_>, data: &[u8]) -> (usize, bool) {
    let mut durable = 0;
    let Ok(mut device) = Device::mount(card.clone()) else { return (0, false) };
    let stored = (|| {
        let path = Path::new(put.path)?;
        let begun = complete(|| device.handle(0).begin(REQUEST, path, put))?;
        if let Begun::Stored { size, root, suffix } = begun {
            assert_eq!((size, root, suffix), (data.len() as u64, digest(data), 0));
            return Ok(0);
        }
        let mut at = device.handle(0).durable(REQUEST) as usize * 1024;
        let there = flash::read(&mut device.handle(0), 0)?;
        assert!(there == data[..at], "what is there is what was sent");
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

fn cut_an_upload_that_goes_on(format: Format, size: Option<u64>) {
    let (old, new) = (contents(8192, 1), contents(150_000, 2));
    let before = prepared(format, &[Step::Put("f", old.clone(), Conflict::Replace)]);
    let put = Put {
        transfer: TransferId([1; 16]),
        ask: Ask::Ready,
        ..flash::request("f", size, Conflict::Replace)
    };
    let whole = before.copied();
    assert!(upload_until_cut(&whole, &put, &new).1);
    let writes = whole.writes();
    eprintln!("{writes} power cuts");
    let mut resumed = 0;
    for cut in 0..writes {
        let _case = Case(format!("{format:?}, {size:?}, cut at {cut} of {writes}"));
        let card = before.copied();
        card.cut_after(cut);
        // And again, somewhere on the way that is left.
        let (mut durable, mut is_stored) = upload_until_cut(&card, &put, &new);
        for again in [7, 140] {
            card.power_on();
            card.cut_after(again);
            let (further, stored) = upload_until_cut(&card, &put, &new);
            (durable, is_stored) = (durable.max(further), is_stored || stored);
        }
        power_on(&card);
        let mut device = Device::mount(card.clone()).unwrap();
        let there = flash::get(&mut device.handle(0), "f").unwrap();
        assert!(there == old || there == new, "the old one or the new one");
        assert!(!is_stored || there == new, "what was told to be stored is there");
        if cut % 7 == 0 {
            assert_eq!(card.complaints(), Vec::<String>::new());
        }
        let path = Path::new("f").unwrap();
        match complete(|| device.handle(0).begin(REQUEST, path, &put)).unwrap() {
            Begun::Stored { .. } => assert!(there == new),
            begun => {
                let from = match begun {
                    Begun::Resumed(chunks) => chunks as usize * 1024,
                    _ => 0,
                };
                assert!(from >= durable, "{from} of {durable} that were durable");
                resumed += u32::from(from > 0);
                device.handle(0).suspend(REQUEST);
                let (_, stored) = upload_until_cut(&card, &put, &new);
                assert!(stored);
            }
        }
        let mut device = Device::mount(card).unwrap();
        assert!(flash::get(&mut device.handle(0), "f").unwrap() == new);
        assert_eq!(flash::tree(&mut device.handle(0)).unwrap().len(), 1);
    }
    assert!(resumed > 20, "only {resumed} went on");
}

#[test]
fn an_upload_that_goes_on() {
    cut_an_upload_that_goes_on(FAT16, None);
    cut_an_upload_that_goes_on(COARSE, Some(150_000));
}

/// What the checks rest on finds what is wrong.
#[test]
fn a_computer_complains_of_a_card_that_is_damaged() {
    let card = prepared(FAT16, &some_files());
    assert_eq!(card.complaints(), Vec::<String>::new());
    let mut image = card.image();
    let entries = |name: &[u8]| image.windows(11).position(|found| found == name).unwrap();
    let (old, other) = (entries(b"OLD        "), entries(b"OTHER      "));
    // Two files with the same clusters.
    image.copy_within(old + 26..old + 28, other + 26);
    assert!(!Card::new(&image).complaints().is_empty());
}
