use std::collections::BTreeSet;
use std::env;
use std::format;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::string::ToString as _;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    NorFlash as _, NorFlashError as _, NorFlashErrorKind, ReadNorFlash as _,
};

use super::{BLOCK_LEN, Error, Nor, PAGE_LEN, Times};
use crate::flash::Flash as _;

const CAPACITY: u32 = 4 * BLOCK_LEN as u32;

fn blank() -> Nor {
    Nor::blank(CAPACITY, Times::NONE)
}

/// All blocks hold something that is neither erased nor all 0.
fn written() -> Nor {
    let image: Vec<u8> = (0..CAPACITY).map(|at| at as u8 ^ 0x5a).collect();
    Nor::from_image(&image, Times::NONE)
}

/// The path of an image of the test's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let dir = env::temp_dir().join(format!("kift-nor-{}-{test}", process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir.join("nor.img"))
    }

    fn wear(&self) -> PathBuf {
        self.0.with_file_name("nor.img.wear")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

mod programming {
    use super::*;

    #[test]
    fn only_clears_bits() {
        let mut nor = blank();
        nor.write(8, &[0x0f, 0xff, 0x00, 0xf0]).unwrap();
        assert_eq!(nor.stats().violations, 0);
        nor.write(8, &[0x0e, 0x3c, 0x00, 0x0f]).unwrap();
        let mut found = [0; 4];
        nor.read(8, &mut found).unwrap();
        assert_eq!(found, [0x0e, 0x3c, 0x00, 0x00]);
        assert_eq!(nor.stats().violations, 1);
    }

    #[test]
    fn is_split_where_pages_end() {
        let mut nor = blank();
        nor.write(PAGE_LEN as u32 - 4, &vec![0x11; PAGE_LEN + 8]).unwrap();
        assert_eq!(nor.operations(), 3);
        assert_eq!(nor.stats().bytes_programmed, PAGE_LEN as u64 + 8);
        assert_eq!(nor.image().iter().filter(|&&byte| byte == 0x11).count(), PAGE_LEN + 8);
    }

    #[test]
    fn takes_its_time_for_every_page() {
        let program = Duration::from_millis(2);
        let mut nor = Nor::blank(CAPACITY, Times { program, ..Times::NONE });
        let begun = Instant::now();
        nor.write(0, &[0; 3 * PAGE_LEN]).unwrap();
        assert!(begun.elapsed() >= 3 * program);
    }

    #[test]
    fn keeps_to_words_and_to_the_chip() {
        let mut nor = blank();
        assert_eq!(nor.write(2, &[0; 4]), Err(Error::NotAligned));
        assert_eq!(nor.write(4, &[0; 3]), Err(Error::NotAligned));
        assert_eq!(nor.write(CAPACITY - 4, &[0; 8]), Err(Error::OutOfBounds));
        assert_eq!(nor.read(CAPACITY - 1, &mut [0; 2]), Err(Error::OutOfBounds));
        assert_eq!(nor.erase(0, 100), Err(Error::NotAligned));
        assert_eq!(nor.begin_erase(100), Err(Error::NotAligned));
        assert_eq!(nor.begin_erase(CAPACITY), Err(Error::OutOfBounds));
        assert_eq!(nor.begin_erase(u32::MAX), Err(Error::OutOfBounds));
        assert_eq!(nor.operations(), 0);
        assert_eq!(nor.read(3, &mut [0; 5]), Ok(()));
        assert_eq!(nor.stats().bytes_read, 5);
    }
}

mod erasing {
    use super::*;

    #[test]
    fn sets_all_bits_of_its_blocks() {
        let mut nor = written();
        let before = nor.image().to_vec();
        nor.erase(BLOCK_LEN as u32, 3 * BLOCK_LEN as u32).unwrap();
        assert!(nor.image()[BLOCK_LEN..3 * BLOCK_LEN].iter().all(|&byte| byte == 0xff));
        assert!(nor.image()[..BLOCK_LEN] == before[..BLOCK_LEN]);
        assert!(nor.image()[3 * BLOCK_LEN..] == before[3 * BLOCK_LEN..]);
        assert_eq!(nor.wear(), [0, 1, 1, 0]);
        assert_eq!(nor.operations(), 2);
    }

    #[test]
    fn nothing_else_goes_on_meanwhile() {
        let mut nor = Nor::blank(CAPACITY, Times::polls(2));
        nor.begin_erase(0).unwrap();
        let refused = [
            nor.read(BLOCK_LEN as u32, &mut [0]),
            nor.write(BLOCK_LEN as u32, &[0; 4]),
            nor.begin_erase(BLOCK_LEN as u32),
            nor.erase(BLOCK_LEN as u32, 2 * BLOCK_LEN as u32),
        ];
        assert_eq!(refused, [Err(Error::Busy); 4]);
        assert_eq!(Error::Busy.kind(), NorFlashErrorKind::Other);
        let answers = [nor.is_busy(), nor.is_busy(), nor.is_busy(), nor.is_busy()];
        assert_eq!(answers, [Ok(true), Ok(true), Ok(false), Ok(false)]);
        nor.read(0, &mut [0]).unwrap();
    }

    #[test]
    fn ends_only_when_that_was_asked() {
        let mut nor = blank();
        nor.begin_erase(0).unwrap();
        assert_eq!(nor.read(0, &mut [0]), Err(Error::Busy));
        assert_eq!(nor.is_busy(), Ok(false));
        nor.read(0, &mut [0]).unwrap();
    }

    #[test]
    fn leaves_nothing_to_rely_on_meanwhile() {
        let mut nor = written();
        let before = nor.image()[..BLOCK_LEN].to_vec();
        nor.begin_erase(0).unwrap();
        let meanwhile = &nor.image()[..BLOCK_LEN];
        assert!(meanwhile != before && meanwhile.iter().any(|&byte| byte != 0xff));
        assert_eq!(nor.is_busy(), Ok(false));
        assert_eq!(nor.image()[..BLOCK_LEN], [0xff; BLOCK_LEN]);
    }

    #[test]
    fn takes_its_time() {
        let erase = Duration::from_millis(20);
        let mut nor = Nor::blank(CAPACITY, Times { erase, ..Times::NONE });
        let begun = Instant::now();
        nor.begin_erase(0).unwrap();
        while nor.is_busy().unwrap() {}
        assert!(begun.elapsed() >= erase);
        nor.erase(0, 2 * BLOCK_LEN as u32).unwrap();
        assert!(begun.elapsed() >= 3 * erase);
    }
}

mod power {
    use super::*;

    /// The block after the power went while 512 bytes were programmed in it, in the first page.
    fn torn_program(seed: u64) -> Vec<u8> {
        let mut nor = blank();
        nor.cut_after(2, seed);
        nor.write(PAGE_LEN as u32, &[0; 4]).unwrap();
        assert_eq!(nor.write(0, &[0x3c; 2 * PAGE_LEN]), Err(Error::PowerCut));
        nor.image()[..BLOCK_LEN].to_vec()
    }

    fn torn_erase(seed: u64) -> Vec<u8> {
        let mut nor = written();
        nor.cut_after(1, seed);
        assert_eq!(nor.erase(0, CAPACITY), Err(Error::PowerCut));
        assert!(nor.image()[BLOCK_LEN..] == written().image()[BLOCK_LEN..]);
        assert_eq!(nor.wear(), [1, 0, 0, 0]);
        nor.image()[..BLOCK_LEN].to_vec()
    }

    #[test]
    fn tears_a_page_in_many_ways() {
        let mut torn = BTreeSet::new();
        for seed in 0..64 {
            let block = torn_program(seed);
            assert!(block[..PAGE_LEN].iter().all(|byte| byte & 0x3c == 0x3c), "seed {seed}");
            assert_eq!(block[PAGE_LEN..PAGE_LEN + 4], [0; 4], "the page before is there");
            assert!(block[PAGE_LEN + 4..].iter().all(|&byte| byte == 0xff));
            torn.insert(block[..PAGE_LEN].to_vec());
        }
        assert!(torn.contains(&[0xff; PAGE_LEN][..]), "nothing done");
        assert!(torn.contains(&[0x3c; PAGE_LEN][..]), "all done");
        let is_prefix = |page: &Vec<u8>| {
            let whole = page.iter().take_while(|&&byte| byte == 0x3c).count();
            whole > 0
                && page[whole..].len() > 1
                && page[whole + 1..].iter().all(|&byte| byte == 0xff)
        };
        assert!(torn.iter().any(is_prefix), "a prefix done");
        assert!(torn.len() > 32, "{} ways", torn.len());
    }

    #[test]
    fn tears_a_block_in_many_ways() {
        let before = &written().image()[..BLOCK_LEN].to_vec();
        let torn: BTreeSet<Vec<u8>> = (0..64).map(torn_erase).collect();
        assert!(torn.contains(before), "nothing done");
        assert!(torn.contains(&[0xff; BLOCK_LEN][..]), "all done");
        assert!(torn.contains(&[0; BLOCK_LEN][..]), "all programmed");
        let erased = |cells: &[u8]| cells.iter().all(|&byte| byte == 0xff);
        let is_half = |first: usize, second: usize| {
            let first = first * PAGE_LEN..(first + 1) * PAGE_LEN;
            let second = second * PAGE_LEN..(second + 1) * PAGE_LEN;
            torn.iter().any(|block| {
                erased(&block[first.clone()]) && block[second.clone()] == before[second.clone()]
            })
        };
        assert!(is_half(0, 15), "a prefix erased");
        assert!(is_half(15, 0), "a suffix erased");
        assert!(torn.len() > 32, "{} ways", torn.len());
    }

    #[test]
    fn the_same_seed_tears_in_the_same_way() {
        for seed in 0..16 {
            assert!(
                torn_program(seed) == torn_program(seed) && torn_erase(seed) == torn_erase(seed)
            );
        }
    }

    #[test]
    fn nothing_works_until_it_is_back() {
        let mut nor = Nor::blank(CAPACITY, Times::polls(3));
        nor.begin_erase(0).unwrap();
        while nor.is_busy().unwrap() {}
        nor.cut_after(1, 0);
        assert_eq!(nor.begin_erase(0), Err(Error::PowerCut));
        let refused = [
            nor.read(0, &mut [0]),
            nor.write(0, &[0; 4]),
            nor.begin_erase(0),
            nor.erase(0, 0),
            nor.is_busy().map(|_| ()),
        ];
        assert_eq!(refused, [Err(Error::PowerCut); 5]);
        assert_eq!(nor.operations(), 2, "what was refused is no operation");
        nor.power_on();
        assert_eq!(nor.is_busy(), Ok(false));
        nor.write(0, &[0; 4]).unwrap();
    }

    #[test]
    fn the_operation_is_counted_from_where_it_was_told() {
        for nth in 1..=4 {
            let mut nor = blank();
            nor.write(0, &[0; 2 * PAGE_LEN]).unwrap();
            nor.cut_after(nth, 7);
            let done = (0..4)
                .take_while(|&block| nor.erase(block * 4096, (block + 1) * 4096).is_ok())
                .count();
            assert_eq!(done as u64, nth - 1);
            assert_eq!(nor.operations(), 2 + nth);
        }
    }

    #[test]
    fn a_cut_that_has_not_come_goes_with_power_on() {
        let mut nor = blank();
        nor.cut_after(1, 0);
        nor.power_on();
        nor.write(0, &[0; 4]).unwrap();
    }
}

mod wear {
    use super::*;

    #[test]
    fn a_worn_out_block_leaves_a_bit_and_cannot_be_erased() {
        let mut nor = blank();
        nor.wear_out(1);
        nor.write(0, &[0x5a; BLOCK_LEN]).unwrap();
        assert_eq!(nor.image()[..BLOCK_LEN], [0x5a; BLOCK_LEN]);
        nor.write(BLOCK_LEN as u32, &[0xff, 0x5a, 0x5a, 0x5a]).unwrap();
        assert_eq!(nor.image()[BLOCK_LEN..BLOCK_LEN + 4], [0xff, 0x5b, 0x5a, 0x5a]);

        nor.begin_erase(BLOCK_LEN as u32).unwrap();
        assert_eq!([nor.is_busy(), nor.is_busy()], [Err(Error::EraseFailed), Ok(false)]);
        assert_eq!(nor.erase(0, CAPACITY), Err(Error::EraseFailed));
        assert_eq!(nor.wear(), [1, 2, 0, 0]);
    }
}

mod file {
    use super::*;

    fn open(place: &Place) -> Nor {
        Nor::open(&place.0, Times::NONE).unwrap()
    }

    fn create(place: &Place) -> Nor {
        Nor::open_or_create(&place.0, CAPACITY, Times::NONE).unwrap()
    }

    #[test]
    fn is_made_blank_and_keeps_what_was_done() {
        let place = Place::new("keeps");
        let mut nor = create(&place);
        assert!(
            nor.image().len() == CAPACITY as usize && nor.image().iter().all(|&byte| byte == 0xff)
        );
        nor.write(300, b"kept").unwrap();
        nor.erase(BLOCK_LEN as u32, 2 * BLOCK_LEN as u32).unwrap();
        drop(nor);
        for how in [open, create] {
            let nor = how(&place);
            assert_eq!(&nor.image()[300..304], b"kept");
            assert_eq!(nor.wear(), [0, 1, 0, 0]);
            assert_eq!(nor.operations(), 0);
        }
    }

    #[test]
    fn shows_every_operation_at_once() {
        let place = Place::new("at-once");
        let mut nor = create(&place);
        nor.write(4, b"word").unwrap();
        assert_eq!(&fs::read(&place.0).unwrap()[4..8], b"word");
        nor.begin_erase(0).unwrap();
        // Killed now, the process leaves a torn block.
        assert!(fs::read(&place.0).unwrap() == nor.image());
        assert!(nor.image()[..BLOCK_LEN].iter().any(|&byte| byte != 0xff));
        assert_eq!(fs::read(place.wear()).unwrap()[..4], [1, 0, 0, 0]);
        assert_eq!(nor.is_busy(), Ok(false));
        assert!(fs::read(&place.0).unwrap().iter().all(|&byte| byte == 0xff));
        nor.cut_after(1, 3);
        assert_eq!(nor.write(0, &[0; PAGE_LEN]), Err(Error::PowerCut));
        assert!(fs::read(&place.0).unwrap() == nor.image());
    }

    #[test]
    fn belongs_to_one_at_a_time() {
        let place = Place::new("one");
        let nor = create(&place);
        for error in [
            Nor::open(&place.0, Times::NONE).unwrap_err(),
            Nor::open_or_create(&place.0, CAPACITY, Times::NONE).unwrap_err(),
        ] {
            assert!(error.to_string().ends_with("nor.img is in use"), "{error}");
        }
        drop(nor);
        open(&place);
    }

    #[test]
    fn of_another_length_is_refused() {
        let place = Place::new("length");
        let error = |capacity: Option<u32>| {
            let nor = match capacity {
                Some(capacity) => Nor::open_or_create(&place.0, capacity, Times::NONE),
                None => Nor::open(&place.0, Times::NONE),
            };
            format!("{:#}", nor.unwrap_err())
        };
        assert!(error(None).contains("cannot open the flash image"), "{}", error(None));
        assert!(error(Some(5000)).contains("a multiple of 4096"), "{}", error(Some(5000)));
        assert!(!place.0.exists());
        create(&place);
        let other = error(Some(CAPACITY / 2));
        assert!(other.ends_with("nor.img has 16384 bytes, not 8192"), "{other}");
        fs::write(&place.0, [0; 5000]).unwrap();
        assert!(error(None).contains("its 5000 bytes are no multiple"), "{}", error(None));
    }

    #[test]
    fn that_is_new_is_not_worn() {
        let place = Place::new("new");
        create(&place).erase(0, CAPACITY).unwrap();
        fs::remove_file(&place.0).unwrap();
        assert_eq!(create(&place).wear(), [0; 4]);
        fs::remove_file(place.wear()).unwrap();
        assert_eq!(open(&place).wear(), [0; 4]);
        fs::write(place.wear(), [0; 7]).unwrap();
        let error = format!("{:#}", Nor::open(&place.0, Times::NONE).unwrap_err());
        assert!(error.ends_with("it has 7 bytes, not 16"), "{error}");
    }
}
