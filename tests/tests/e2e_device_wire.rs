//! What goes over the wire: the recording of it, and what it shows of a device whose flash erases.

use kift_tests::device::{Bench, assert_sound, count};
use kift_tests::files::random;

/// The device's end of the wire.
const DEVICE: [u8; 4] = [192, 168, 69, 2];

/// A TCP segment.
#[derive(Debug)]
struct Segment {
    from_device: bool,
    /// The host's, of which each connection has its own.
    port: u16,
    /// The number of its first byte, of the host's, or of the byte that the device waits for.
    number: u32,
    window: u16,
    payload: usize,
}

/// The Ethernet frames of a file in the format of pcap, in this machine's byte order.
fn frames(pcap: &[u8]) -> Vec<&[u8]> {
    let word = |at: usize| u32::from_ne_bytes(pcap[at..at + 4].try_into().unwrap());
    let half = |at: usize| u16::from_ne_bytes(pcap[at..at + 2].try_into().unwrap());
    assert_eq!((word(0), half(4), half(6)), (0xa1b2_c3d4, 2, 4), "magic number and version");
    assert!(word(16) >= 1514 && word(20) == 1, "whole frames of Ethernet");
    let (mut at, mut frames, mut last) = (24, Vec::new(), 0);
    while at < pcap.len() {
        let (seconds, microseconds) = (u64::from(word(at)), u64::from(word(at + 4)));
        assert!(microseconds < 1_000_000);
        let time = seconds * 1_000_000 + microseconds;
        assert!(time >= last, "time goes on");
        last = time;
        let len = word(at + 8);
        assert!((14..=1514).contains(&len) && word(at + 12) == len, "frame of {len} bytes");
        frames.push(&pcap[at + 16..][..len as usize]);
        at += 16 + len as usize;
    }
    assert_eq!(at, pcap.len(), "a whole number of records");
    frames
}

/// The frame, if it is a TCP segment over IPv4.
fn segment(frame: &[u8]) -> Option<Segment> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    let header_len = usize::from(ip[0] & 15) * 4;
    let len = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let tcp = ip.get(header_len..len).filter(|_| ip[9] == 6)?;
    let from_device = ip[12..16] == DEVICE;
    let (port, number) = if from_device { (2, 8) } else { (0, 4) };
    Some(Segment {
        from_device,
        port: u16::from_be_bytes([tcp[port], tcp[port + 1]]),
        number: u32::from_be_bytes(tcp[number..number + 4].try_into().ok()?),
        window: u16::from_be_bytes([tcp[14], tcp[15]]),
        payload: tcp.len() - usize::from(tcp[12] >> 4) * 4,
    })
}

#[test]
fn a_recording_has_every_frame_both_ways() {
    let Some(bench) = Bench::new("a_recording_has_every_frame_both_ways") else { return };
    let file = random(50_000, 1);
    bench.write("file", &file);
    let device = bench.run(
        "serve --plain --flash-size 256k --pcap frames.pcap",
        r#"
        kift put --plain file "$KIFT_DEVICE/"
        kift get --plain "$KIFT_DEVICE/file" back
        "#,
    );
    assert_sound(&device);
    assert!(bench.read("back") == file);
    let pcap = bench.read("frames.pcap");
    let frames = frames(&pcap);
    let told = count(&device, "frames received") + count(&device, "frames sent");
    assert_eq!(frames.len() as u64, told, "{}", device.stderr);
    let segments: Vec<Segment> = frames.iter().filter_map(|frame| segment(frame)).collect();
    for from_device in [false, true] {
        let there = segments.iter().filter(|segment| segment.from_device == from_device);
        let bytes: usize = there.map(|segment| segment.payload).sum();
        assert!((50_000..60_000).contains(&bytes), "{bytes} bytes, from the device: {from_device}");
    }
    bench.run("serve --plain --pcap none/frames", "true").fails(&["frames"]);
}

/// An upload to a flash whose erases take as long as data sheets say. While a block erases, nothing
/// can be stored; the network goes on, and the sender waits because its credit is used up, and not
/// because the connection's buffer is full.
#[test]
fn a_flash_that_erases_stops_the_flow_and_not_the_network() {
    let test = "a_flash_that_erases_stops_the_flow_and_not_the_network";
    let Some(bench) = Bench::new(test) else { return };
    let file = random(256 * 1024, 2);
    bench.write("file", &file);
    let device = bench.run(
        "serve --plain --sessions 2 --flash-size 1M --erase-time 50ms --program-time 700us \
         --pcap frames.pcap",
        r#"
        try put kift put --plain file "$KIFT_DEVICE/" & put=$!
        connections 1
        for n in $(seq 10); do
            try "ls$n" kift ls --plain "$KIFT_DEVICE"
        done
        kill -0 "$put" && echo yes >under-way
        wait "$put"
        # And the link is as it was.
        kift get --plain "$KIFT_DEVICE/file" back
        "#,
    );
    assert_sound(&device);
    bench.tried("put").ok();
    for n in 1..=10 {
        assert_eq!(bench.tried(&format!("ls{n}")).ok(), "", "nothing half is visible");
    }
    assert_eq!(bench.read("under-way"), b"yes\n", "they were answered while it was under way");
    assert!(bench.read("back") == file);
    // A block is erased once, and the store's ten when it was made.
    assert_eq!(count(&device, " erases and"), 10 + 64, "{}", device.stderr);
    let pcap = bench.read("frames.pcap");
    let mut segments: Vec<Segment> = frames(&pcap).into_iter().filter_map(segment).collect();
    assert!(segments.iter().any(|segment| segment.from_device));
    // Each connection by itself, in the order in which its segments came.
    segments.sort_by_key(|segment| segment.port);
    // It is full for a moment where all that the credit allows comes at once, until the session
    // takes a chunk out; but not until somebody asks whether there is room yet.
    let probed = segments.windows(2).filter(|pair| {
        let [full, next] = pair else { return false };
        let is_asked = full.from_device && !next.from_device && full.port == next.port;
        // By a byte that has long been there.
        is_asked && full.window == 0 && next.number == full.number.wrapping_sub(1)
    });
    assert_eq!(probed.count(), 0, "the connection's buffer stayed full");
}
