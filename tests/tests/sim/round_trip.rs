//! Every byte comes back, whatever the sizes, buffers, batches, windows and pieces.

use crate::Pair;
use kift_core::session::Reply;
use kift_tests::app::Job;
use kift_tests::memory::Memory;
use kift_tests::options::Options;
use kift_tests::raw::digest;
use kift_tests::rng::{Case, contents};

const SIZES: [usize; 6] = [0, 1, 1023, 1024, 1025, 65536];

/// Puts and gets a file of each size, and compares.
fn there_and_back(options: Options, sizes: &[usize]) {
    let _case = Case(format!("{options:?}, {sizes:?}"));
    let mut pair = Pair::new(options, Memory::default());
    for (n, &len) in sizes.iter().enumerate() {
        let (path, data) = (format!("file {n}"), contents(len, options.seed));
        let root = digest(&data);
        let put = pair.submit(Job::put(&path, data.clone()));
        let get = pair.submit(Job::get(&path));
        pair.drive();
        let size = len as u64;
        assert_eq!(pair.result(put), Some(Ok(Reply::Stored { size, root, suffix: 0 })));
        assert_eq!(pair.result(get), Some(Ok(Reply::Got { size, root, suffix: 0 })));
        assert!(pair.store.get(&path) == Some(&data), "stored is not what was sent");
        assert!(pair.app.got[&pair.id(get)] == data, "fetched is not what was stored");
        assert_eq!(pair.app.sending[&pair.id(get)], (size, size));
    }
    pair.finish();
}

#[test]
fn every_combination_of_buffer_batch_and_window() {
    for buffer in [1052, 4200, 128 << 10] {
        for batch in [1, 4, 32] {
            for window in [1, 2, 3, 8, 256] {
                let options = Options::small(1, window).batch(batch).buffers(buffer);
                there_and_back(options, &SIZES);
                there_and_back(options, &[(1 << 20) + 1]);
            }
        }
    }
}

#[test]
fn a_large_file_in_large_pieces() {
    for options in [Options::small(2, 1), Options::small(3, 7), Options::large(4)] {
        there_and_back(options.pieces(30_000), &[(1 << 20) + 1]);
    }
}

#[test]
fn ends_of_unequal_size() {
    for seed in 0..8 {
        let mut options = Options::large(seed);
        if seed % 2 == 0 {
            options.responder_buffer = 1052;
            options.responder.window = 1 + seed / 2;
        } else {
            options.requester_buffer = 1052;
            options.requester.window = 1 + seed / 2;
        }
        there_and_back(options, &[(100 << 10) + 3]);
    }
}

#[test]
fn byte_by_byte() {
    for (seed, window) in [(5, 1), (6, 4)] {
        there_and_back(Options::small(seed, window).pieces(1), &SIZES);
    }
    there_and_back(Options::large(7).pieces(1), &SIZES);
}

#[test]
fn the_responder_may_dial() {
    there_and_back(Options::small(8, 4).responder_dials(), &SIZES);
    there_and_back(Options::large(9).responder_dials().pieces(3), &SIZES);
}

#[test]
fn any_options() {
    for seed in 0..120 {
        there_and_back(Options::any(seed), &[0, 1, 1025, 5000]);
    }
}
