//! The bare-metal image at the end of a bad wire: QEMU has each frame in a datagram, and between
//! those and a TAP interface frames are lost, changed, and overtake one another.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kift_firmware_sim::board::link::{Link, Wire};
use kift_firmware_sim::board::netns::Namespace;
use kift_firmware_sim::board::tap::{self, Tap};
use kift_firmware_sim::net::{FRAME_LEN, Frames as _};
use kift_tests::files::random;
use kift_tests::kit::{Board, Kit, TOKEN, seed};
use kift_tests::machine::{is_root, program};
use kift_tests::rng::Rng;

/// Where the device is.
const DEVICE: &str = "192.168.69.2";

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

#[test]
fn frames_are_lost_and_changed_and_overtake_one_another() {
    let test = "frames_are_lost_and_changed_and_overtake_one_another";
    if !is_root(test) {
        return;
    }
    let Some(kit) = Kit::new(test, Board::EmcraftSf2) else { return };
    // It may take a network that is not there.
    program();
    let tap = Namespace::enter().and_then(|own| own.tap("tap0")).expect("a network of our own");
    let ours = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    ours.connect(theirs).unwrap();
    ours.set_nonblocking(true).unwrap();
    let network = format!("socket,udp={},localaddr={theirs}", ours.local_addr().unwrap());
    let wire = Wire { loss: 0.01, corruption: 0.01, seed: 7, ..Wire::default() };
    let file = random(512 * 1024, 7);
    fs::write(kit.at("file"), &file).unwrap();
    let stop = AtomicBool::new(false);
    let [lost, changed, overtaken] = thread::scope(|scope| {
        let carrier = scope.spawn(|| carry(tap, &ours, wire, &stop));
        let (ip, pair, seed) = (format!("ip={DEVICE}/24"), format!("pair={TOKEN}"), seed());
        let mut device = kit.start_in(&network, ["serve", &ip, &pair, &seed]);
        device.wait_for("listening on port");
        let at = |name: &str| format!("{DEVICE}/{name}");
        // A connection may be lost where a change is one that no checksum finds but the seal's.
        let retry = ["--quiet", "--retry", "20", "--on-conflict", "replace"];
        let put = ["put", "--token-file", "token", "file", &at("")];
        kit.kift([&put[..1], &retry, &put[1..]].concat()).ok();
        kit.kift([&["get"][..], &retry, &[&at("file"), "back"]].concat()).ok();
        device.cut();
        stop.store(true, Ordering::Relaxed);
        carrier.join().unwrap()
    });
    assert!(fs::read(kit.at("back")).unwrap() == file);
    eprintln!("{lost} frames lost, {changed} changed, {overtaken} overtaken");
    assert!(lost > 0 && changed > 0 && overtaken > 0);
}
