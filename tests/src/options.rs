//! How a simulated pair is set up: buffers, windows, and what the link does to bytes.

use kift_core::session::{Config, Side};

use crate::rng::Rng;

/// How a pair is set up.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Where all chance comes from.
    pub seed: u64,
    /// The requester.
    pub requester: Config,
    /// The responder.
    pub responder: Config,
    /// Bytes of each of the requester's buffers.
    pub requester_buffer: usize,
    /// Bytes of each of the responder's buffers.
    pub responder_buffer: usize,
    /// Bytes of the largest piece that is read or written at once.
    pub piece_max: usize,
    /// Milliseconds that bytes take at most.
    pub latency_max: u64,
    /// Bytes that a direction holds.
    pub capacity: Option<usize>,
    /// Whether a write blocks its end until all of it is taken, however long that is.
    pub blocking: bool,
    /// Whether the ends look for input while they have other things to do.
    pub read_ready: bool,
    /// Milliseconds until a pending operation is offered again.
    pub tick: u64,
}

impl Options {
    /// Two ends with the least buffers and a window of `window`.
    #[must_use]
    pub const fn small(seed: u64, window: u64) -> Self {
        let mut requester = Config::small(Side::Dialler, window);
        requester.reply_room = 1052;
        requester.requests_max = 1024;
        let mut responder = requester;
        responder.side = Side::Listener;
        Self {
            seed,
            requester,
            responder,
            requester_buffer: 1052,
            responder_buffer: 1052,
            piece_max: usize::MAX,
            latency_max: 0,
            capacity: None,
            blocking: false,
            read_ready: false,
            tick: 10,
        }
    }

    /// Two hosts, with batches of 32 and buffers of 128 KiB.
    #[must_use]
    pub const fn large(seed: u64) -> Self {
        Self::small(seed, 256).batch(32).buffers(128 << 10)
    }

    /// With this batch at both ends.
    #[must_use]
    pub const fn batch(mut self, batch: u8) -> Self {
        self.requester.batch_max = batch;
        self.responder.batch_max = batch;
        self
    }

    /// With buffers of `len` bytes at both ends, and room for answers as large.
    #[must_use]
    pub const fn buffers(mut self, len: usize) -> Self {
        self.requester_buffer = len;
        self.responder_buffer = len;
        self.requester.reply_room = len as u32;
        self.responder.reply_room = len as u32;
        self
    }

    /// With pieces of at most `len` bytes.
    #[must_use]
    pub const fn pieces(mut self, len: usize) -> Self {
        self.piece_max = len;
        self
    }

    /// With the responder as the one who dials.
    #[must_use]
    pub const fn responder_dials(mut self) -> Self {
        self.requester.side = Side::Listener;
        self.responder.side = Side::Dialler;
        self
    }

    /// Any legal combination, from `seed`.
    #[must_use]
    pub fn any(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xa11);
        let window = [1, 2, 3, 5, 8, 64][rng.below(6)];
        let mut options = Self::small(seed, window).batch([1, 2, 4, 32][rng.below(4)]);
        options = options.buffers([1052, 1100, 2200, 5000, 40_000][rng.below(5)]);
        options.requester_buffer = [1052, 1537, 4124, 40_000][rng.below(4)];
        options.requester.reply_room = [512, 700, 1052][rng.below(3)];
        options.responder.reply_room = [512, 700, 1052][rng.below(3)];
        options.requester.requests_max = [1, 2, 100][rng.below(3)];
        options.responder.requests_max = [1, 2, 100][rng.below(3)];
        options.responder.window = [1, 2, 3, 7, 40][rng.below(5)];
        options.piece_max = [1, 7, 100, 1500, usize::MAX][rng.below(5)];
        options.latency_max = [0, 20][rng.below(2)];
        options.capacity = [None, Some(1), Some(512), Some(4096)][rng.below(4)];
        options.read_ready = rng.chance(50);
        if rng.chance(50) { options.responder_dials() } else { options }
    }
}
