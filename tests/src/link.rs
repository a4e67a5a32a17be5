//! One direction of a simulated link: delays, splits, cuts and damages what goes over it.

use std::collections::VecDeque;

/// Bytes on their way.
#[derive(Debug, Default)]
pub struct Wire {
    bytes: VecDeque<u8>,
    /// Up to which count bytes have arrived by when, in order.
    arrivals: VecDeque<(u64, u64)>,
    taken: u64,
    /// Bytes that were sent, lost ones included.
    pub sent: u64,
    /// Everything from this byte on is lost, and the reader sees the end of the stream there.
    pub cut_at: Option<u64>,
    /// This byte arrives with these bits changed.
    pub damage: Option<(u64, u8)>,
    /// Bytes that may be on their way before the writer has to wait.
    pub capacity: Option<usize>,
    /// What was sent, where that is wanted.
    pub log: Option<Vec<u8>>,
    closed: bool,
    is_dead: bool,
}

impl Wire {
    /// A direction that holds at most `capacity` bytes.
    #[must_use]
    pub fn new(capacity: Option<usize>) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Bytes that the writer could hand over now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(self.bytes.len()))
    }

    /// Takes `bytes`, which arrive at `when`.
    pub fn write(&mut self, bytes: &[u8], when: u64) {
        let from = self.sent;
        self.sent += bytes.len() as u64;
        if let Some(log) = &mut self.log {
            log.extend_from_slice(bytes);
        }
        let left = self.cut_at.map_or(u64::MAX, |cut| cut.saturating_sub(from));
        let kept = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if !self.closed && !self.is_dead {
            let first = self.bytes.len();
            self.bytes.extend(&bytes[..kept]);
            if let Some((at, bits)) = self.damage
                && let Some(damaged) = at.checked_sub(from).filter(|&at| at < kept as u64)
            {
                self.bytes[first + damaged as usize] ^= bits;
            }
        }
        let when = self.arrivals.back().map_or(when, |(last, _)| when.max(*last));
        self.arrivals.push_back((when, self.taken + self.bytes.len() as u64));
    }

    /// Reads what has arrived by `now`, at most `most` bytes.
    pub fn read(&mut self, buf: &mut [u8], most: usize, now: u64) -> usize {
        let n = self.arrived(now).min(most).min(buf.len());
        for (to, byte) in buf.iter_mut().zip(self.bytes.drain(..n)) {
            *to = byte;
        }
        self.taken += n as u64;
        while self.arrivals.front().is_some_and(|(_, upto)| *upto <= self.taken) {
            self.arrivals.pop_front();
        }
        n
    }

    /// Bytes that have arrived by `now` and were not read.
    #[must_use]
    pub fn arrived(&self, now: u64) -> usize {
        let arrived = self.arrivals.iter().take_while(|(when, _)| *when <= now).last();
        arrived.map_or(0, |(_, upto)| (upto - self.taken) as usize)
    }

    /// When the next bytes arrive, if some are on their way.
    #[must_use]
    pub fn next_arrival(&self) -> Option<u64> {
        self.arrivals.front().filter(|_| !self.bytes.is_empty()).map(|(when, _)| *when)
    }

    /// The writer is gone.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The reader is gone.
    pub fn abandon(&mut self) {
        self.closed = true;
        self.bytes.clear();
        self.arrivals.clear();
    }

    /// From now on nothing arrives, and nobody is told.
    pub fn die(&mut self) {
        self.is_dead = true;
        self.bytes.clear();
        self.arrivals.clear();
    }

    /// Whether the reader has read all there will ever be.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let cut = self.cut_at.is_some_and(|cut| self.sent >= cut);
        !self.is_dead && self.bytes.is_empty() && (cut || self.closed)
    }
}
