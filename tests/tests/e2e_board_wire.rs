//! The bare-metal images at the end of a wire, which may be a bad one: QEMU has each frame in a
//! datagram, and between those and a TAP interface frames are lost, changed, and overtake one
//! another. Nobody there says that a device has gone.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kift_firmware_sim::board::link::{Link, Wire};
use kift_firmware_sim::board::netns::Namespace;
use kift_firmware_sim::board::tap::{self, Tap};
use kift_firmware_sim::net::{FRAME_LEN, Frames as _};
use kift_tests::files::random;
use kift_tests::kit::{Board, Host, Kit, TOKEN, seed};
use kift_tests::machine::{is_root, program, wait_until};
use kift_tests::rng::Rng;
use kift_tests::serving::Serve;

/// Where this machine is, and the device.
const HOST: &str = "192.168.69.1";
const DEVICE: &str = "192.168.69.2";

/// Bytes of a file that a server keeps a part of.
const LEN: u64 = 4 << 20;

/// Of a hundred frames, those that the next one overtakes.
const OVERTAKEN: u8 = 2;

/// Carries frames between the interface and QEMU until it is to stop, and says how many it lost,
/// changed and held back.
fn carry(tap: Tap, qemu: &UdpSocket, wire: Wire, stop: &AtomicBool) -> [u64; 3] {
    let come = tap.as_fd().try_clone_to_owned().unwrap();
    let mut link = Link::new(tap, wire);
    let mut rng = Rng::new(wire.seed);
    let mut held: [Option<Vec<u8>>; 2] = [None, None];
    let mut overtaken = 0;
    let mut frame = [0; FRAME_LEN];
    while !stop.load(Ordering::Relaxed) {
        // What is held back goes behind the next, or where there is none.
        let mut moved = false;
        while let Some(len) = link.receive(&mut frame) {
            moved = true;
            if held[0].is_none() && rng.chance(OVERTAKEN) {
                held[0] = Some(frame[..len].to_vec());
                overtaken += 1;
                continue;
            }
            // QEMU may not listen yet, or not any more.
            let _ = qemu.send(&frame[..len]);
            held[0].take().map(|late| qemu.send(&late));
        }
        while let Ok(len) = qemu.recv(&mut frame) {
            moved = true;
            if held[1].is_none() && rng.chance(OVERTAKEN) {
                held[1] = Some(frame[..len].to_vec());
                overtaken += 1;
                continue;
            }
            link.send(&frame[..len]);
            held[1].take().map(|late| link.send(&late));
        }
        if !moved {
            held[0].take().map(|late| qemu.send(&late));
            held[1].take().map(|late| link.send(&late));
            tap::wait(&come, Some(Duration::from_millis(1)));
        }
    }
    let harm = link.harm();
    [harm.lost, harm.corrupted, overtaken]
}

/// Has `act` go on at one end of a wire, in a network of this thread's own, with the board, and
/// QEMU's word for the network, at the other. Says what the wire did, where it can be done here.
fn at_a_wire(
    test: &str,
    board: Board,
    wire: Wire,
    act: impl FnOnce(&Kit, &str),
) -> Option<[u64; 3]> {
    if !is_root(test) {
        return None;
    }
    let kit = Kit::new(test, board)?;
    // It may take a network that is not there.
    program();
    let tap = Namespace::enter().and_then(|own| own.tap("tap0")).expect("a network of our own");
    let ours = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    ours.connect(theirs).unwrap();
    ours.set_nonblocking(true).unwrap();
    let network = format!("socket,udp={},localaddr={theirs}", ours.local_addr().unwrap());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let carrier = scope.spawn(|| carry(tap, &ours, wire, &stop));
        let acted = catch_unwind(AssertUnwindSafe(|| act(&kit, &network)));
        stop.store(true, Ordering::Relaxed);
        let harm = carrier.join().unwrap();
        acted.unwrap_or_else(|panic| resume_unwind(panic));
        Some(harm)
    })
}

fn frames_are_lost_and_changed_and_overtake_one_another(board: Board) {
    let test = "frames_are_lost_and_changed_and_overtake_one_another";
    let wire = Wire { loss: 0.01, corruption: 0.01, seed: 7, ..Wire::default() };
    let harm = at_a_wire(test, board, wire, |kit, network| {
        let file = random(512 * 1024, 7);
        fs::write(kit.at("file"), &file).unwrap();
        let (ip, pair, seed) = (format!("ip={DEVICE}/24"), format!("pair={TOKEN}"), seed());
        let mut device = kit.start_in(network, ["serve", &ip, &pair, &seed]);
        device.wait_for("listening on port");
        let at = |name: &str| format!("{DEVICE}/{name}");
        // A connection may be lost where a change is one that no checksum finds but the seal's.
        let retry = ["--quiet", "--retry", "20", "--on-conflict", "replace"];
        let put = ["put", "--token-file", "token", "file", &at("")];
        kit.kift([&put[..1], &retry, &put[1..]].concat()).ok();
        kit.kift([&["get"][..], &retry, &[&at("file"), "back"]].concat()).ok();
        device.cut();
        assert!(fs::read(kit.at("back")).unwrap() == file);
    });
    let Some([lost, changed, overtaken]) = harm else { return };
    eprintln!("{lost} frames lost, {changed} changed, {overtaken} overtaken");
    assert!(lost > 0 && changed > 0 && overtaken > 0);
}

/// Nothing of a device that has no power closes its connection, and nothing answers for it.
fn the_server_notices_that_the_device_has_no_power(board: Board) {
    let test = "the_server_notices_that_the_device_has_no_power";
    // A push takes seconds.
    let wire = Wire { rate: Some(8_000_000), ..Wire::default() };
    let _ = at_a_wire(test, board, wire, |kit, network| {
        let settings = kit.at("settings.toml");
        // More than a device takes to say that it is still busy with what it has sent before.
        fs::write(&settings, "stall_timeout = \"5s\"\n").unwrap();
        let host = Host::start(
            kit,
            "host",
            Serve {
                listen: Some(&format!("{HOST}:0")),
                args: &["--config", settings.to_str().unwrap()],
                ..Serve::default()
            },
        );
        let server = &host.server;
        let file = random(LEN as usize, 8);
        fs::write(server.file("file"), &file).unwrap();
        let (ip, pair, seed) = (format!("ip={DEVICE}/24"), host.pairing(), seed());
        let at = |name: &str| format!("{HOST}:{}/{name}", server.port());
        let life = kit.start_in(network, ["fetch", &at("file"), "file", &ip, &pair, &seed]);
        assert_eq!(life.end().1, Some(0));

        let to = at("pushed");
        let push = ["push", "file", &to, &ip];
        let mut life = kit.start_in(network, push);
        wait_until("most has come", || server.partial_len() > LEN * 3 / 4 || life.is_over());
        life.cut();
        wait_until("the server gives it up", || server.log().contains("did not answer in time"));
        assert!(!server.file("pushed").exists());
        // It comes back, and goes on behind what is there.
        let (console, code) = kit.start_in(network, push).end();
        assert_eq!(code, Some(0), "{console}");
        assert!(fs::read(server.file("pushed")).unwrap() == file);
        assert!(frames_sent(&console) < LEN / FRAME_LEN as u64, "{console}");
    });
}

/// How many frames a device sent, as it says at its end.
fn frames_sent(console: &str) -> u64 {
    let said = console.split(" frames received, ").nth(1).and_then(|rest| rest.split_once(" sent"));
    said.and_then(|(frames, _)| frames.parse().ok()).expect("a number of frames")
}

/// Each test on each board.
macro_rules! boards {
    ($($module:ident: $board:ident;)*) => {$(
        mod $module {
            use kift_tests::kit::Board::$board;

            #[test]
            fn frames_are_lost_and_changed_and_overtake_one_another() {
                super::frames_are_lost_and_changed_and_overtake_one_another($board);
            }

            #[test]
            fn the_server_notices_that_the_device_has_no_power() {
                super::the_server_notices_that_the_device_has_no_power($board);
            }
        }
    )*};
}

boards! {
    emcraft_sf2: EmcraftSf2;
    lm3s6965evb: Lm3s6965evb;
}
