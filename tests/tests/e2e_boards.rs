//! The bare-metal images, in QEMU: they serve and ask over sealed links, and their power is cut by
//! killing QEMU.

use std::fs;
use std::thread;
use std::time::Duration;

use kift_tests::files::random;
use kift_tests::kit::{Board, Host, Kit, Life, TOKEN, seed};
use kift_tests::rng::Rng;

const MIB: usize = 1 << 20;

/// Bytes of a file that the client finds worth going on with.
const LARGE: usize = 3 * MIB;

/// How often the power is cut, unless the environment says it.
const CUTS: u64 = 6;

fn cuts() -> u64 {
    std::env::var("KIFT_TRIALS").ok().and_then(|text| text.parse().ok()).unwrap_or(CUTS)
}

/// As long as a transfer takes, or less.
fn pass_some_time(rng: &mut Rng) {
    thread::sleep(Duration::from_millis(rng.between(0, 1500) as u64));
}

/// How the device names a file of a server of this machine.
fn at(host: &Host, name: &str) -> String {
    format!("10.0.2.2:{}/{name}", host.server.port())
}

/// What the device says of a file that it has moved.
fn said(verb: &str, name: &str, data: &[u8]) -> String {
    format!("device: {verb} {name}: {} bytes, BLAKE3 {}", data.len(), blake3::hash(data).to_hex())
}

/// It did what it was told.
#[track_caller]
fn assert_does(life: Life, what: &str) {
    let (console, code) = life.end();
    assert!(console.contains(what) && code == Some(0), "{code:?}: {console}");
}

/// It did not, and says why.
#[track_caller]
fn assert_refuses(life: Life, why: &str) {
    let (console, code) = life.end();
    assert!(console.contains(why) && code == Some(1), "{code:?}: {console}");
    assert!(!console.contains("panic") && !console.contains("fault"), "{console}");
}

fn it_serves_files_both_ways(board: Board) {
    let Some(kit) = Kit::new("it_serves_files_both_ways", board) else { return };
    let file = random(MIB, 1);
    fs::write(kit.at("file"), &file).unwrap();
    let device = kit.serve();
    let to = kit.device("");
    kit.kift(["put", "--quiet", "--token-file", "token", "file", &to]).ok();
    kit.kift(["mkdir", "--quiet", &kit.device("logs")]).ok();
    kit.kift(["put", "--quiet", "file", &kit.device("logs/1")]).ok();
    let listed = kit.kift(["ls", &to]).ok();
    assert!(listed.contains("1048576") && listed.contains("logs"), "{listed}");
    assert!(kit.got("file") == file && kit.got("logs/1") == file);
    device.cut();
    // It has not forgotten whom it knows, nor what it has.
    let device = kit.serve();
    assert!(kit.got("logs/1") == file);
    kit.kift(["rm", "--quiet", &kit.device("logs/1")]).ok();
    kit.kift(["get", "--quiet", &kit.device("logs/1"), "none"]).fails(&["no such file"]);
    assert!(device.said().contains("boot 2"), "{}", device.said());
    device.cut();
}

fn it_asks_a_server(board: Board) {
    let Some(kit) = Kit::new("it_asks_a_server", board) else { return };
    let host = Host::new(&kit, "host");
    let image = random(MIB, 2);
    fs::write(host.server.file("image"), &image).unwrap();
    let (pair, seed) = (host.pairing(), seed());
    let from = at(&host, "image");
    let life = kit.start(["fetch", &from, "image", &pair, &seed]);
    assert_does(life, &said("fetched", "image", &image));
    let life = kit.start(["push", "image", &at(&host, "back")]);
    assert_does(life, &said("sent", "image", &image));
    assert!(fs::read(host.server.file("back")).unwrap() == image);
}

/// Whatever moment it is: there is the old file or the new one, and an upload goes on.
fn the_power_is_cut_while_it_serves(board: Board) {
    let Some(kit) = Kit::new("the_power_is_cut_while_it_serves", board) else { return };
    let mut rng = Rng::new(3);
    let mut old = random(300_000, 3);
    fs::write(kit.at("file"), &old).unwrap();
    let to = kit.device("");
    let mut device = kit.serve();
    kit.kift(["put", "--quiet", "--token-file", "token", "file", &to]).ok();
    let (mut went_on, mut cut_short) = (0, 0);
    for trial in 0..cuts() {
        let new = random(LARGE, 100 + trial);
        fs::write(kit.at("file"), &new).unwrap();
        let (from, down) = (kit.device("file"), trial % 4 == 3);
        let moving = if down {
            kit.start_kift(["get", "--on-conflict", "replace", &from, "down"])
        } else {
            kit.start_kift(["put", "--on-conflict", "replace", "file", &to])
        };
        thread::sleep(Duration::from_millis(rng.between(500, 3500) as u64));
        device.cut();
        let ended = moving.end();
        cut_short += u64::from(!ended.status.success());
        device = kit.serve();
        let there = kit.got("file");
        assert!(there == new || there == old, "trial {trial}: {} bytes of neither", there.len());
        if down {
            let is_there = fs::read(kit.at("down")).is_ok_and(|down| down == there);
            assert!(is_there || !ended.status.success(), "trial {trial}: {ended:?}");
            continue;
        }
        assert!(there == new || !ended.status.success(), "trial {trial}: {ended:?}");
        let again = kit.kift(["put", "-v", "--on-conflict", "replace", "file", &to]);
        went_on += u64::from(again.stderr.contains("goes on behind"));
        again.ok();
        assert!(kit.got("file") == new);
        old = new;
    }
    device.cut();
    eprintln!("{} cuts, {cut_short} in a transfer, {went_on} uploads went on", cuts());
    assert!(cut_short > 0 && went_on > 0, "{cut_short} cut short, {went_on} went on");
}

fn the_power_is_cut_while_it_asks(board: Board) {
    let Some(kit) = Kit::new("the_power_is_cut_while_it_asks", board) else { return };
    let host = Host::new(&kit, "host");
    let mut rng = Rng::new(4);
    let (pair, seed) = (host.pairing(), seed());
    let mut old = random(300_000, 4);
    fs::write(host.server.file("image"), &old).unwrap();
    let from = at(&host, "image");
    assert_does(kit.start(["fetch", &from, "image", &pair, &seed]), "fetched");
    for trial in 0..cuts() / 2 {
        let new = random(MIB, 200 + trial);
        fs::write(host.server.file("image"), &new).unwrap();
        let mut life = kit.start(["fetch", &from, "image"]);
        life.wait_for("key");
        pass_some_time(&mut rng);
        life.cut_or_ended();
        // What is there is the old one or the new one, by the word of the server that it is sent to.
        assert_does(kit.start(["push", "image", &at(&host, "back")]), "sent");
        let there = fs::read(host.server.file("back")).unwrap();
        assert!(there == old || there == new, "trial {trial}");
        assert_does(kit.start(["fetch", &from, "image"]), &said("fetched", "image", &new));
        let mut life = kit.start(["push", "image", &at(&host, "pushed")]);
        life.wait_for("key");
        pass_some_time(&mut rng);
        life.cut_or_ended();
        assert_does(kit.start(["push", "image", &at(&host, "pushed")]), "sent");
        assert!(fs::read(host.server.file("pushed")).unwrap() == new, "trial {trial}");
        old = new;
    }
}

fn without_a_seed_nothing_is_sealed(board: Board) {
    let Some(kit) = Kit::new("without_a_seed_nothing_is_sealed", board) else { return };
    assert_refuses(kit.start(["serve"]), "seed=SEED has it formatted");
    // As in flash that was never written.
    let none = format!("seed={}", "ff".repeat(32));
    for _ in 0..2 {
        let life = kit.start(["serve", &none]);
        assert_refuses(life, "the device has no seed for its random numbers");
    }
}

fn what_is_refused_is_told_at_both_ends(board: Board) {
    let Some(kit) = Kit::new("what_is_refused_is_told_at_both_ends", board) else { return };
    let seed = seed();
    assert_refuses(kit.start(["fly", &seed]), "nothing to do");
    assert_refuses(kit.start(["serve", "seed=12"]), "not understood: seed=12");

    let host = Host::new(&kit, "host");
    fs::write(host.server.file("image"), random(10_000, 5)).unwrap();
    let (pair, wrong) = (host.pairing(), format!("pair={TOKEN}"));
    let from = at(&host, "image");
    assert_refuses(kit.start(["fetch", &from, "image", &wrong, &seed]), "no pairing");
    assert_does(kit.start(["fetch", &from, "image", &pair]), "fetched");
    assert_refuses(kit.start(["fetch", &at(&host, "none"), "none"]), "no such file");
    assert_refuses(kit.start(["push", "none", &from]), "on this device: no such file");
    // Another server has another key.
    let other = Host::new(&kit, "other");
    let to = at(&other, "image");
    assert_refuses(kit.start(["push", "image", &to]), "the server's key is not known here");
    assert!(!other.server.file("image").exists());

    // Whoever has another token is told nothing, and so says that.
    kit.write_token("wrong", "zyxwvutsrqponmlkjihgfedcba");
    // More than half of what there is.
    let half = if board == Board::EmcraftSf2 { 9 } else { 17 } * MIB;
    fs::write(kit.at("file"), random(half, 6)).unwrap();
    let device = kit.serve();
    let to = kit.device("");
    kit.kift(["put", "--token-file", "wrong", "file", &to]).fails(&[]);
    kit.kift(["put", "--quiet", "--token-file", "token", "file", &to]).ok();
    kit.kift(["put", "--quiet", "file", &kit.device("second")]).fails(&["no space left"]);
    assert_eq!(kit.got("file").len(), half);
    assert!(device.said().contains("session ended"), "{}", device.said());
    device.cut();
}

/// Each test on each board.
macro_rules! boards {
    ($($module:ident: $board:ident;)*) => {$(
        mod $module {
            use kift_tests::kit::Board::$board;

            #[test]
            fn it_serves_files_both_ways() {
                super::it_serves_files_both_ways($board);
            }

            #[test]
            fn it_asks_a_server() {
                super::it_asks_a_server($board);
            }

            #[test]
            fn the_power_is_cut_while_it_serves() {
                super::the_power_is_cut_while_it_serves($board);
            }

            #[test]
            fn the_power_is_cut_while_it_asks() {
                super::the_power_is_cut_while_it_asks($board);
            }

            #[test]
            fn without_a_seed_nothing_is_sealed() {
                super::without_a_seed_nothing_is_sealed($board);
            }

            #[test]
            fn what_is_refused_is_told_at_both_ends() {
                super::what_is_refused_is_told_at_both_ends($board);
            }
        }
    )*};
}

boards! {
    emcraft_sf2: EmcraftSf2;
    lm3s6965evb: Lm3s6965evb;
}
