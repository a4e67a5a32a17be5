//! The power is cut at every operation of the flash in turn, and again while the store recovers:
//! every file is the old one or the new one, and so is what the device keeps of its own; and the
//! store goes on.

use kift_core::secure::SecretKey;
use kift_core::wire::{Conflict, Path};
use kift_firmware_sim::board::nor::{BLOCK_LEN, Nor, Times};
use kift_firmware_sim::device::seal::{Keys, NoKeys};
use kift_firmware_sim::disk::{PeerRole, Vault as _};
use kift_firmware_sim::flash::{MountError, Store};
use kift_tests::flash::{self, Tree, complete};
use kift_tests::raw::digest;
use kift_tests::rng::{Case, Rng, contents};
use kift_tests::step::{Own, Step, put, summary, tree};

/// Ten blocks of journal and table, the rest of data.
const CAPACITY: u32 = 24 * BLOCK_LEN as u32;

/// The journal's blocks come first, then the table's.
const TABLE: std::ops::Range<usize> = 2..10;

/// Manners of tearing that are tried at every operation.
const SEEDS: u64 = 4;

/// More operations than anything here takes: a store that goes on after them would go on for ever.
const OPERATIONS_MAX: u64 = 10_000;

type Device<'a> = Store<&'a mut Nor, 1>;

/// The power is back.
fn power_on(nor: &mut Nor) {
    nor.power_on();
    nor.cut_after(OPERATIONS_MAX, 0);
}

fn formatted() -> Nor {
    let mut nor = Nor::blank(CAPACITY, Times::NONE);
    Store::<_, 1>::format(&mut nor).unwrap();
    nor
}

fn prepared(steps: &[Step]) -> Nor {
    let mut nor = formatted();
    let mut device = Device::mount(&mut nor).unwrap();
    for step in steps {
        step.run(&mut device).unwrap();
    }
    nor
}

/// Runs `steps` until one fails, and says how many did not.
fn run(nor: &mut Nor, steps: &[Step]) -> usize {
    let Ok(mut device) = Device::mount(nor) else { return 0 };
    steps.iter().take_while(|step| step.run(&mut device).is_ok()).count()
}

/// What is there before each of the steps and after the last.
fn trees(image: &[u8], steps: &[Step]) -> Vec<Tree> {
    let mut nor = Nor::from_image(image, Times::NONE);
    let mut device = Device::mount(&mut nor).unwrap();
    let mut trees = vec![tree(&mut device).unwrap()];
    for step in steps {
        step.run(&mut device).unwrap();
        trees.push(tree(&mut device).unwrap());
    }
    trees
}

/// The store mounts, has one of these trees, accounts for its room, and takes and drops a file.
fn check(nor: &mut Nor, allowed: &[Tree]) {
    let mut device = Device::mount(nor).expect("the store mounts");
    let found = check_consistent(&mut device);
    assert!(allowed.contains(&found), "found {}", summary(&found));
    let (name, data) = ("after the cut", contents(BLOCK_LEN + 100, 99));
    flash::put(&mut device.handle(0), name, &data, Conflict::Refuse).expect("an upload");
    let mut with = found.clone();
    with.insert(name.to_owned(), Some(data));
    let mut device = Device::mount(nor).expect("the store mounts after an upload");
    assert!(check_consistent(&mut device) == with, "the upload is lost");
    flash::delete(&mut device.handle(0), name).expect("a deletion");
    let mut device = Device::mount(nor).expect("the store mounts after a deletion");
    assert!(check_consistent(&mut device) == found, "the deletion is lost");
}

/// What is there, where the table's hashes are right and no block is lost.
fn check_consistent(device: &mut Device<'_>) -> Tree {
    let tree = tree(device).expect("all that is there can be read");
    let mut used = 0;
    let files = tree.iter().filter(|(name, _)| !name.starts_with('/'));
    for (name, data) in files.filter_map(|(name, data)| Some((name, data.as_ref()?))) {
        let path = Path::new(name).unwrap();
        let info = complete(|| device.info(path)).expect("a file");
        assert_eq!(info.root, digest(data), "{name}");
        used += u64::from(info.blocks);
    }
    let space = flash::space(&mut device.handle(0)).unwrap();
    assert_eq!(space.free, space.total - used * BLOCK_LEN as u64, "blocks are lost");
    tree
}

/// Runs the steps with a cut at each operation in turn, torn in several manners. In one of them the
/// mount that follows is cut too, at each of its operations.
fn cut_everywhere(before: &Nor, steps: &[Step]) {
    let image = before.image();
    let trees = trees(image, steps);
    let [operations, _] = [0, 2].map(|polls| {
        let mut whole = Nor::from_image(image, Times::polls(polls));
        whole.cut_after(OPERATIONS_MAX, 0);
        assert_eq!(run(&mut whole, steps), steps.len(), "without a cut, {polls} polls an erase");
        assert_eq!(whole.stats().violations, 0, "a bit was to be set without an erase");
        whole.operations()
    });
    eprintln!("{} power cuts", operations * SEEDS);
    for (cut, seed) in (1..=operations).flat_map(|cut| (0..SEEDS).map(move |seed| (cut, seed))) {
        let _case = Case(format!("cut at {cut} of {operations}, seed {seed}"));
        let times = Times::polls((cut + seed) as u32 % 3);
        let mut nor = Nor::from_image(image, times);
        nor.cut_after(cut, seed);
        let done = run(&mut nor, steps);
        power_on(&mut nor);
        // What was told done is done.
        let allowed = &trees[done..steps.len().min(done + 1) + 1];
        if seed == cut % SEEDS {
            cut_the_mount(nor.image(), times, allowed);
        }
        check(&mut nor, allowed);
    }
}

fn cut_the_mount(torn: &[u8], times: Times, allowed: &[Tree]) {
    let mut whole = Nor::from_image(torn, times);
    Device::mount(&mut whole).expect("the store mounts");
    for cut in 1..=whole.operations() {
        let _case = Case(format!("the mount cut at {cut}"));
        let mut nor = Nor::from_image(torn, times);
        nor.cut_after(cut, cut);
        assert!(Device::mount(&mut nor).is_err());
        power_on(&mut nor);
        let mut device = Device::mount(&mut nor).expect("the store mounts");
        let found = check_consistent(&mut device);
        assert!(allowed.contains(&found), "found {}", summary(&found));
    }
}

/// Files that the scenarios do not touch, and some that they do.
fn some_files() -> Vec<Step> {
    vec![
        put("untouched", 3000, 1),
        Step::MakeDirectory("folder"),
        put("folder/empty", 0, 2),
        put("old", 2 * BLOCK_LEN + 10, 3),
        put("other", 5000, 4),
        Step::Own(Own::Identity(1)),
        Step::Own(Own::Seed(1)),
        Step::Own(Own::Know(1, PeerRole::Client)),
        Step::Own(Own::Pair(2, 1)),
    ]
}

#[test]
fn an_upload() {
    cut_everywhere(&prepared(&some_files()), &[put("new", 2 * BLOCK_LEN + 1500, 10)]);
}

#[test]
fn a_small_upload_into_an_empty_store() {
    cut_everywhere(&formatted(), &[put("new", 1, 10)]);
}

#[test]
fn a_replacement() {
    cut_everywhere(&prepared(&some_files()), &[put("old", BLOCK_LEN + 7, 11)]);
}

#[test]
fn a_deletion() {
    let steps = [Step::Delete("old"), Step::Delete("folder/empty"), Step::Delete("folder")];
    cut_everywhere(&prepared(&some_files()), &steps);
}

#[test]
fn a_renaming() {
    let steps = [
        Step::Rename("old", "folder/new", false),
        Step::Rename("folder", "place", false),
        Step::Rename("place/new", "old", false),
    ];
    cut_everywhere(&prepared(&some_files()), &steps);
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
    cut_everywhere(&prepared(&some_files()), &steps);
}

#[test]
fn a_directory_made() {
    let steps = [Step::MakeDirectory("folder/deeper"), put("folder/deeper/file", 10, 14)];
    cut_everywhere(&prepared(&some_files()), &steps);
}

#[test]
fn a_file_kept_beside_another() {
    let kept = Step::Put("old", contents(1200, 15), Conflict::KeepBoth);
    cut_everywhere(&prepared(&some_files()), &[kept.clone(), kept]);
}

#[test]
fn a_key_and_a_seed() {
    let steps = [Own::Identity(2), Own::Seed(2), Own::Seed(3)].map(Step::Own);
    cut_everywhere(&formatted(), &steps);
    cut_everywhere(&prepared(&some_files()), &steps);
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
    cut_everywhere(&prepared(&some_files()), &steps.map(Step::Own));
}

/// The peer is known and its token is used, or neither.
#[test]
fn a_pairing() {
    let steps = [Own::Pair(3, 2), Own::Pair(1, 3)].map(Step::Own);
    cut_everywhere(&formatted(), &steps);
    cut_everywhere(&prepared(&some_files()), &steps);
}

/// Whatever comes of a boot's random numbers, the seed that they come from is gone before.
#[test]
fn a_boot_that_makes_the_device_its_key() {
    let mut before = formatted();
    let first = *b"from the factory's random source";
    complete(|| Device::mount(&mut before).unwrap().set_seed(&first)).unwrap();
    let mut whole = Nor::from_image(before.image(), Times::NONE);
    let (seed, key) = boot(&mut whole).unwrap();
    assert!(seed != first && key.is_some());
    for (cut, tearing) in
        (1..=whole.operations()).flat_map(|cut| (0..SEEDS).map(move |seed| (cut, seed)))
    {
        let _case = Case(format!("cut at {cut}, seed {tearing}"));
        let mut nor = Nor::from_image(before.image(), Times::polls(cut as u32 % 3));
        nor.cut_after(cut, tearing);
        assert!(boot(&mut nor).is_err());
        power_on(&mut nor);
        let (found, made) = kept(&mut Device::mount(&mut nor).unwrap());
        assert!(found == seed || found == first && made.is_none());
        assert!(made.is_none() || made == key);
        // The key of a boot whose seed is gone is another.
        let (next, again) = boot(&mut nor).unwrap();
        assert!(next != seed && next != first || found == first);
        assert_eq!(again == key, made.is_some() || found == first);
    }
}

/// Boots, and gives the seed of the next boot and the device's key.
fn boot(nor: &mut Nor) -> Result<([u8; 32], Option<[u8; 32]>), NoKeys> {
    let mut device = Device::mount(nor).map_err(|_| NoKeys::Disk)?;
    let keys = Keys::open(&mut device, None)?;
    let (seed, key) = kept(&mut device);
    assert_eq!(key.map(|key| *SecretKey::from_bytes(&key).public()), Some(*keys.public()));
    Ok((seed, key))
}

fn kept(device: &mut Device<'_>) -> ([u8; 32], Option<[u8; 32]>) {
    let seed = complete(|| device.seed()).unwrap().expect("a seed");
    (seed, complete(|| device.identity()).unwrap())
}

#[test]
fn a_seed_that_cannot_be_kept_is_not_used() {
    let mut nor = formatted();
    let mut device = Device::mount(&mut nor).unwrap();
    assert_eq!(Keys::open(&mut device, None).unwrap_err(), NoKeys::NoSeed);
    // As in flash that was never written.
    complete(|| device.set_seed(&[0xff; 32])).unwrap();
    assert_eq!(Keys::open(&mut device, None).unwrap_err(), NoKeys::NoSeed);
    complete(|| device.set_seed(b"from the factory's random source")).unwrap();
    Keys::open(&mut device, None).unwrap();
    TABLE.for_each(|block| device.flash().wear_out(block));
    for _ in 0..2 {
        let refused = Keys::open(&mut device, None).unwrap_err();
        assert_eq!(refused, NoKeys::Disk);
    }
}

/// A store whose table is about to erase a page, and steps in which it does.
fn about_to_erase_a_page(step: fn(usize) -> Step) -> (Nor, Vec<Step>) {
    let mut nor = prepared(&some_files());
    // Some that are moved when a page makes room.
    let mut device = Device::mount(&mut nor).unwrap();
    for number in 0..4 {
        let name = format!("a name that takes its room in the table, like others, {number}");
        flash::make_directory(&mut device.handle(0), &name).unwrap();
    }
    let page_erases = |nor: &Nor| nor.wear()[TABLE].iter().sum::<u32>();
    let mut turn = 0;
    loop {
        let before = nor.image().to_vec();
        let erases = page_erases(&nor);
        let steps: Vec<Step> = (turn..turn + 2).map(step).collect();
        assert_eq!(run(&mut nor, &steps), 2);
        turn += 2;
        // When every page has been in use.
        if page_erases(&nor) > erases && turn > 200 {
            return (Nor::from_image(&before, Times::NONE), steps);
        }
    }
}

fn another_file(turn: usize) -> Step {
    put(["a", "b", "c"][turn % 3], 10 + turn, turn as u64)
}

#[test]
fn while_the_table_makes_room() {
    let (nor, steps) = about_to_erase_a_page(another_file);
    cut_everywhere(&nor, &steps);
}

#[test]
fn while_the_table_makes_room_for_a_seed() {
    let (nor, steps) = about_to_erase_a_page(|turn| Step::Own(Own::Seed(turn as u8)));
    cut_everywhere(&nor, &steps);
}

#[test]
fn while_the_journal_makes_room() {
    let (nor, steps) = about_to_erase_a_page(another_file);
    // As after hundreds of erases: behind its mark, the first block has no blank entry left.
    let mut image = nor.image().to_vec();
    image[8..BLOCK_LEN].fill(0);
    cut_everywhere(&Nor::from_image(&image, Times::NONE), &steps);
}

/// A cut format leaves a flash that says that it is blank, or an empty store, or what was there.
#[test]
fn a_format() {
    let before = prepared(&some_files());
    for base in [Nor::blank(CAPACITY, Times::NONE), before] {
        let had = match Device::mount(&mut Nor::from_image(base.image(), Times::NONE)) {
            Ok(mut device) => Some(check_consistent(&mut device)),
            Err(error) => {
                assert_eq!(error, MountError::Blank);
                None
            }
        };
        let mut whole = Nor::from_image(base.image(), Times::NONE);
        Store::<_, 1>::format(&mut whole).unwrap();
        for (cut, seed) in
            (1..=whole.operations()).flat_map(|cut| (0..SEEDS).map(move |seed| (cut, seed)))
        {
            let _case = Case(format!("cut at {cut}, seed {seed}"));
            let mut nor = Nor::from_image(base.image(), Times::polls(seed as u32 % 3));
            nor.cut_after(cut, seed);
            assert_eq!(Store::<_, 1>::format(&mut nor), Err(MountError::Io));
            power_on(&mut nor);
            match Device::mount(&mut nor) {
                Ok(mut device) => {
                    let found = check_consistent(&mut device);
                    assert!(found.is_empty() || Some(&found) == had.as_ref());
                }
                // Without a journal, what is in the table could be anybody's.
                Err(MountError::Foreign) => assert!(had.is_some() && cut <= 2),
                Err(error) => assert_eq!(error, MountError::Blank),
            }
            Store::<_, 1>::format(&mut nor).unwrap();
            check(&mut nor, &[Tree::new()]);
        }
    }
}

/// Many cuts one after the other, without a mount that is not cut between them.
#[test]
fn again_and_again() {
    for seed in 0..40 {
        let _case = Case(format!("seed {seed}"));
        let mut rng = Rng::new(seed);
        let mut nor = prepared(&some_files());
        let mut allowed = trees(nor.image(), &[]);
        for turn in 0..30 {
            let len = rng.below(3 * BLOCK_LEN);
            let step = match rng.below(5) {
                0 => Step::Delete("old"),
                1 => Step::Rename("old", "other", true),
                2 => Step::Rename("other", "old", true),
                3 => put("old", len, turn),
                _ => put("other", len, turn),
            };
            // What may be there now: each tree that was possible, with or without the step.
            let mut copy = Nor::from_image(nor.image(), Times::NONE);
            if let Ok(mut device) = Device::mount(&mut copy) {
                let _ = step.run(&mut device);
                let after = tree(&mut device).unwrap();
                if !allowed.contains(&after) {
                    allowed.push(after);
                }
            }
            nor = Nor::from_image(nor.image(), Times::polls(turn as u32 % 3));
            nor.cut_after(1 + rng.below(30) as u64, rng.bits());
            run(&mut nor, &[step]);
            power_on(&mut nor);
            let mut copy = Nor::from_image(nor.image(), Times::NONE);
            let mut device = Device::mount(&mut copy).expect("the store mounts");
            let found = check_consistent(&mut device);
            assert!(allowed.contains(&found), "turn {turn}: found {}", summary(&found));
            allowed = vec![found];
        }
    }
}
