//! What went over the wire, in a file for Wireshark and tcpdump.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::SystemTime;

use crate::net::Frames;

/// Bytes that are gathered before they are written: about a hundred frames.
const BUFFER_LEN: usize = 128 * 1024;

/// The header of a file: the format's number and version, no time zone, whole frames, Ethernet.
/// See the Internet-Draft "PCAP Capture File Format".
const FILE_HEADER: [u32; 6] = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 1];

/// Records every frame of `F` in a file, if there is one.
#[derive(Debug)]
pub struct Pcap<F> {
    frames: F,
    file: Option<BufWriter<File>>,
    failed: io::Result<()>,
}

impl<F> Pcap<F> {
    /// Records to a new file at `path`, or nothing.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(frames: F, path: Option<&Path>) -> io::Result<Self> {
        let mut file = match path {
            Some(path) => Some(BufWriter::with_capacity(BUFFER_LEN, File::create(path)?)),
            None => None,
        };
        let failed = file.as_mut().map_or(Ok(()), |file| write_words(file, &FILE_HEADER));
        Ok(Self { frames, file, failed })
    }

    /// What it records the frames of.
    pub const fn inner(&self) -> &F {
        &self.frames
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The first that there was while recording, or now. What came after it was not recorded.
    pub fn finish(self) -> io::Result<()> {
        self.failed?;
        self.file.map_or(Ok(()), |mut file| file.flush())
    }

    fn record(&mut self, frame: &[u8]) {
        if let Some(file) = &mut self.file
            && self.failed.is_ok()
        {
            self.failed = write_frame(file, frame);
        }
    }
}

fn write_frame(file: &mut impl io::Write, frame: &[u8]) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let len = frame.len() as u32;
    write_words(file, &[now.as_secs() as u32, now.subsec_micros(), len, len])?;
    file.write_all(frame)
}

fn write_words(file: &mut impl io::Write, words: &[u32]) -> io::Result<()> {
    words.iter().try_for_each(|word| file.write_all(&word.to_ne_bytes()))
}

impl<F: Frames> Frames for Pcap<F> {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        let len = self.frames.receive(buf)?;
        self.record(buf.get(..len)?);
        Some(len)
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        self.record(frame);
        self.frames.send(frame)
    }
}
