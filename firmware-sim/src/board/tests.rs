//! The wire: its model, its record, and its end in Linux.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use embedded_nal::{TcpClientStack as _, TcpFullStack as _, nb};
use rustix::process::geteuid;

use super::link::{Harm, Link, Wire};
use super::netns::Namespace;
use super::pcap::Pcap;
use super::tap::{Tap, wait};
use crate::net::{Address, Config, FRAME_LEN, Frames, Memory, Stack};

/// What was sent comes back.
#[derive(Default)]
struct Loop(VecDeque<Vec<u8>>);

impl Frames for Loop {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        let frame = self.0.pop_front()?;
        buf[..frame.len()].copy_from_slice(&frame);
        Some(frame.len())
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        self.0.push_back(frame.to_vec());
        true
    }
}

/// Sends `count` frames, and gives those that come back within `patience`.
fn echo(link: &mut Link<Loop>, count: usize, len: usize, patience: Duration) -> Vec<Vec<u8>> {
    let until = Instant::now() + patience;
    let mut got = vec![];
    let mut buf = [0; FRAME_LEN];
    for _ in 0..count {
        assert!(link.send(&vec![0; len]));
    }
    while got.len() < count {
        match link.receive(&mut buf) {
            Some(len) => got.push(buf[..len].to_vec()),
            None if Instant::now() >= until => break,
            None => thread::sleep(link.next_due().unwrap_or(until - Instant::now())),
        }
    }
    got
}

const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn a_perfect_wire_takes_no_time() {
    let mut link = Link::new(Loop::default(), Wire { seed: 5, ..Wire::default() });
    assert_eq!(echo(&mut link, 200, 60, Duration::from_secs(1)).len(), 200);
    assert_eq!((link.next_due(), link.harm()), (None, Harm::default()));
}

#[test]
fn a_wire_has_a_length_and_a_rate() {
    let latency = Duration::from_millis(20);
    let mut link = Link::new(Loop::default(), Wire { latency, ..Wire::default() });
    let start = Instant::now();
    assert_eq!(echo(&mut link, 10, 60, PATIENCE).len(), 10);
    assert!((40..80).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());

    // 50 frames of 10,000 bits each, there and then back.
    let mut link = Link::new(Loop::default(), Wire { rate: Some(5_000_000), ..Wire::default() });
    let start = Instant::now();
    assert_eq!(echo(&mut link, 50, 1250, PATIENCE).len(), 50);
    assert!((100..150).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn a_wire_holds_no_more_than_its_queue() {
    let mut link = Link::new(Loop::default(), Wire { rate: Some(5_000_000), ..Wire::default() });
    let got = echo(&mut link, 100, 1250, Duration::from_millis(400));
    // The first may be on its way already when the last comes.
    assert!((64..=66).contains(&got.len()), "{}", got.len());
    assert_eq!(link.harm().overflowed, 100 - got.len() as u64);
}

#[test]
fn a_wire_loses_and_damages_as_often_as_it_should_and_always_alike() {
    let wire = Wire { loss: 0.1, corruption: 0.2, seed: 1, ..Wire::default() };
    let run = || {
        let mut link = Link::new(Loop::default(), wire);
        let frames: Vec<_> =
            (0..2000).flat_map(|_| echo(&mut link, 1, 60, Duration::ZERO)).collect();
        (frames, link.harm())
    };
    let (frames, harm) = run();
    assert_eq!(frames.len(), 2000 - harm.lost as usize);
    assert!((330..430).contains(&harm.lost), "{harm:?}");
    assert!((600..760).contains(&harm.corrupted), "{harm:?}");
    for frame in &frames {
        let flipped: u32 = frame.iter().map(|byte| byte.count_ones()).sum();
        assert!(flipped <= 2 && frame[..14] == [0; 14]);
    }
    assert!((frames, harm) == run());
}

#[test]
fn a_record_has_the_frames_both_ways() {
    let path = std::env::temp_dir().join(std::format!("kift-{}.pcap", std::process::id()));
    let mut pcap = Pcap::new(Loop::default(), Some(&path)).unwrap();
    assert!(pcap.send(&[1; 20]));
    assert_eq!(pcap.receive(&mut [0; 99]), Some(20));
    pcap.finish().unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(bytes.len(), 24 + 2 * (16 + 20));
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 1));
    assert_eq!((word(32), word(36), &bytes[40..60]), (20, 20, &[1; 20][..]));
}

#[test]
fn a_record_that_cannot_be_written_says_so_at_the_end() {
    let mut pcap = Pcap::new(Loop::default(), Some("/dev/full".as_ref())).unwrap();
    for _ in 0..200 {
        assert!(pcap.send(&[1; 1000]));
    }
    assert!(pcap.finish().is_err());
}

/// Everything that needs a TAP interface, where one may be made. The namespace is that of this
/// thread alone.
#[test]
fn linux_and_the_device_reach_each_other() {
    if !geteuid().is_root() {
        assert!(std::env::var_os("KIFT_TEST_MUST_RUN").is_none(), "it takes root");
        std::eprintln!("not run: it takes root");
        return;
    }
    let tap = Namespace::enter().unwrap().tap("kift0").unwrap();
    let frames_come = tap.as_fd().try_clone_to_owned().unwrap();
    let busy = Tap::open("kift0").unwrap_err();
    assert_eq!(busy.kind(), std::io::ErrorKind::ResourceBusy, "{busy}");
    let config = Config {
        mac: [2, 0, 0, 0, 0, 2],
        address: Address::Static {
            v4: Some("192.168.69.2/24".parse().unwrap()),
            v6: Some("fd00:6b69::2/64".parse().unwrap()),
            gateway: None,
        },
        seed: 1,
    };
    let memory = std::boxed::Box::leak(std::boxed::Box::new(Memory::<2, 3, 2048>::new()));
    let origin = Instant::now();
    let now = || kift_core::time::Instant::from_millis(origin.elapsed().as_millis() as u64);
    let stack = Stack::new(memory, tap, &config, now());
    let mut device = &stack;
    let mut socket = device.socket().unwrap();
    device.bind(&mut socket, 1000).unwrap();
    device.listen(&mut socket).unwrap();
    for (remote, local) in
        [("192.168.69.2:1000", "192.168.69.1:2000"), ("[fd00:6b69::2]:1000", "[fd00:6b69::1]:2000")]
    {
        // The device gives back what it gets until it is told the end, then dials.
        let listener = TcpListener::bind(local).unwrap();
        let host = thread::spawn(move || {
            let mut stream = TcpStream::connect(remote).unwrap();
            let (sent, mut got) = (vec![7; 100_000], vec![]);
            let mut reader = stream.try_clone().unwrap();
            let echo = thread::spawn(move || reader.read_to_end(&mut got).map(|_| got).unwrap());
            stream.write_all(&sent).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(echo.join().unwrap() == sent);
            listener.accept().unwrap();
        });
        let turn = || {
            stack.poll(now());
            wait(&frames_come, Some(Duration::from_millis(1)));
        };
        let mut connection = loop {
            match device.accept(&mut socket) {
                Ok((connection, _)) => break connection,
                Err(_) => turn(),
            }
        };
        let (mut buf, mut filled) = ([0; 1000], 0..0);
        loop {
            if filled.is_empty() {
                match device.receive(&mut connection, &mut buf) {
                    Ok(len) => filled = 0..len,
                    Err(nb::Error::WouldBlock) => turn(),
                    Err(_) => break,
                }
            }
            match device.send(&mut connection, &buf[filled.clone()]) {
                Ok(len) => filled.start += len,
                Err(_) => turn(),
            }
        }
        device.close(connection).unwrap();
        let mut dialled = device.socket().unwrap();
        while device.connect(&mut dialled, local.parse().unwrap()) == Err(nb::Error::WouldBlock) {
            turn();
        }
        while !host.is_finished() {
            turn();
        }
        host.join().unwrap();
        device.close(dialled).unwrap();
    }
}
