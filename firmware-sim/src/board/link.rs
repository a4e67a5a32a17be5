//! A model of the wire: it has a rate and a length, and loses and damages frames.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rng::Rng;
use crate::net::{FRAME_LEN, Frames};

/// Frames that wait each way at least, before more are dropped.
const QUEUE_MIN: u64 = 64;

/// Frames that wait each way at most: 12 MiB.
const QUEUE_MAX: u64 = 8192;

/// What the queues of a wire without a rate are made for, in bits per second.
const RATE_UNLIMITED: u64 = 1_000_000_000;

/// Frames that are taken from the other end in one go.
const BURST_MAX: usize = 64;

/// Bytes of an Ethernet header.
const HEADER_LEN: usize = 14;

/// Where the header says what follows it, and what says ARP.
const ETHERTYPE: (core::ops::Range<usize>, [u8; 2]) = (12..14, [0x08, 0x06]);

/// What a wire is like. Everything holds for each way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Wire {
    /// Its rate in bits per second; `None` for as fast as it goes.
    pub rate: Option<u64>,
    /// How long a frame is on its way, beside the time that the rate takes.
    pub latency: Duration,
    /// How probable it is that a frame is lost.
    pub loss: f64,
    /// How probable it is that a bit of a frame is flipped, where a checksum of IP or TCP covers it.
    /// ARP has none, and Ethernet's own is not modelled, so ARP is spared.
    pub corruption: f64,
    /// The same seed loses and damages in the same way.
    pub seed: u64,
}

/// What a wire did to frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Harm {
    /// Frames lost.
    pub lost: u64,
    /// Frames damaged.
    pub corrupted: u64,
    /// Frames dropped because a queue was full, here or at the other end.
    pub overflowed: u64,
}

/// `F` at the other end of a wire. All memory is taken when it is made.
#[derive(Debug)]
pub struct Link<F> {
    frames: F,
    wire: Wire,
    is_perfect: bool,
    rng: Rng,
    harm: Harm,
    incoming: Lane,
    outgoing: Lane,
}

/// One way.
#[derive(Debug)]
struct Lane {
    queue: VecDeque<Travelling>,
    capacity: usize,
    /// When the last frame will have left.
    free_at: Instant,
}

/// A frame on its way.
#[derive(Debug)]
struct Travelling {
    due: Instant,
    len: usize,
    frame: [u8; FRAME_LEN],
}

impl<F> Link<F> {
    /// Puts `wire` before `frames`.
    pub fn new(frames: F, wire: Wire) -> Self {
        let is_perfect = wire == Wire { seed: wire.seed, ..Wire::default() };
        let capacity = if is_perfect { 0 } else { wire.capacity() };
        Self {
            frames,
            wire,
            is_perfect,
            rng: Rng::new(wire.seed),
            harm: Harm::default(),
            incoming: Lane::new(capacity),
            outgoing: Lane::new(capacity),
        }
    }

    /// What the wire did so far.
    pub const fn harm(&self) -> Harm {
        self.harm
    }

    /// How long until the next frame that is on its way arrives, either way.
    pub fn next_due(&self) -> Option<Duration> {
        let heads = [self.incoming.queue.front(), self.outgoing.queue.front()];
        let due = heads.into_iter().flatten().map(|frame| frame.due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }
}

impl Wire {
    /// Frames of one round trip at the full rate, and some.
    fn capacity(&self) -> usize {
        let rate = self.rate.unwrap_or(RATE_UNLIMITED) as f64;
        let frames = rate * 2.0 * self.latency.as_secs_f64() / 8.0 / FRAME_LEN as f64;
        (frames as u64).saturating_add(QUEUE_MIN).min(QUEUE_MAX) as usize
    }

    /// How long a frame of `len` bytes takes to leave.
    fn time_to_send(&self, len: usize) -> Duration {
        let nanos = |rate: u64| (len as u64 * 8).saturating_mul(1_000_000_000) / rate.max(1);
        self.rate.map_or(Duration::ZERO, |rate| Duration::from_nanos(nanos(rate)))
    }
}

impl Lane {
    fn new(capacity: usize) -> Self {
        Self { queue: VecDeque::with_capacity(capacity), capacity, free_at: Instant::now() }
    }

    fn push(&mut self, frame: &[u8], wire: &Wire, rng: &mut Rng, harm: &mut Harm) {
        if self.queue.len() >= self.capacity || frame.len() > FRAME_LEN {
            harm.overflowed += 1;
            return;
        }
        self.free_at = self.free_at.max(Instant::now()) + wire.time_to_send(frame.len());
        // What is lost has taken its time, too.
        if rng.happens(wire.loss) {
            harm.lost += 1;
            return;
        }
        let mut travelling = Travelling {
            due: self.free_at + wire.latency,
            len: frame.len(),
            frame: [0; FRAME_LEN],
        };
        travelling.frame[..frame.len()].copy_from_slice(frame);
        let (ethertype, arp) = ETHERTYPE;
        if frame.len() > HEADER_LEN && frame[ethertype] != arp && rng.happens(wire.corruption) {
            let at = HEADER_LEN + rng.below(frame.len() - HEADER_LEN);
            travelling.frame[at] ^= 1 << rng.below(8);
            harm.corrupted += 1;
        }
        self.queue.push_back(travelling);
    }

    fn pop_due(&mut self, now: Instant) -> Option<Travelling> {
        if self.queue.front()?.due > now {
            return None;
        }
        self.queue.pop_front()
    }
}

impl<F: Frames> Link<F> {
    /// Hands over what has arrived at the other end.
    fn deliver(&mut self) {
        let now = Instant::now();
        while let Some(Travelling { len, frame, .. }) = self.outgoing.pop_due(now) {
            if !self.frames.send(&frame[..len]) {
                self.harm.overflowed += 1;
            }
        }
    }
}

impl<F: Frames> Frames for Link<F> {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        if self.is_perfect {
            return self.frames.receive(buf);
        }
        self.deliver();
        for _ in 0..BURST_MAX {
            let Some(len) = self.frames.receive(buf) else { break };
            self.incoming.push(&buf[..len], &self.wire, &mut self.rng, &mut self.harm);
        }
        let Travelling { len, frame, .. } = self.incoming.pop_due(Instant::now())?;
        buf.get_mut(..len)?.copy_from_slice(&frame[..len]);
        Some(len)
    }

    /// A wire does not say what it loses.
    fn send(&mut self, frame: &[u8]) -> bool {
        if self.is_perfect {
            return self.frames.send(frame);
        }
        self.outgoing.push(frame, &self.wire, &mut self.rng, &mut self.harm);
        self.deliver();
        true
    }
}
