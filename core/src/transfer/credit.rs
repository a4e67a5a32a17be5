//! Credit: the count of chunks, cumulative since the hello, that may be on their way to a receiver.

use super::chunks;

/// The sender's side: what it may still send.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    limit: u64,
    spent: u64,
}

impl Allowance {
    pub(crate) fn new(first: u64) -> Self {
        Self { limit: first, spent: 0 }
    }

    /// Chunks that may be sent now.
    pub(crate) fn available(&self) -> u64 {
        self.limit.saturating_sub(self.spent)
    }

    /// A frame with `len` bytes of payload is sent.
    pub(crate) fn spend(&mut self, len: usize) {
        self.spent = self.spent.saturating_add(chunks(len as u64));
    }

    /// The receiver takes up to `limit` chunks. Grants come in order, so a smaller one is a lie.
    pub(crate) fn raise(&mut self, limit: u64) -> bool {
        let honest = limit >= self.limit;
        self.limit = self.limit.max(limit);
        honest
    }
}

/// The receiver's side: what it granted and what it is done with.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    granted: u64,
    received: u64,
    consumed: u64,
}

impl Window {
    /// A window of `size` chunks, granted by the hello.
    pub(crate) fn new(size: u64) -> Self {
        Self { size, granted: size, received: 0, consumed: 0 }
    }

    /// A frame with `len` bytes of payload arrived; false where no credit was left for it.
    #[must_use]
    pub(crate) fn receive(&mut self, len: usize) -> bool {
        self.received = self.received.saturating_add(chunks(len as u64));
        self.received <= self.granted
    }

    /// The frame is done with, stored or discarded.
    pub(crate) fn consume(&mut self, len: usize) {
        self.consumed = self.consumed.saturating_add(chunks(len as u64));
    }

    /// Whether half the window can be granted anew.
    pub(crate) fn is_due(&self) -> bool {
        // Half, rounded up: while the sender spends one window there are at most two grants.
        self.next().saturating_sub(self.granted) >= self.size.div_ceil(2)
    }

    /// Grants what can be granted, and says up to what count.
    pub(crate) fn grant(&mut self) -> u64 {
        self.granted = self.next();
        self.granted
    }

    fn next(&self) -> u64 {
        self.consumed.saturating_add(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_one_is_stop_and_wait() {
        let mut window = Window::new(1);
        let mut allowance = Allowance::new(1);
        for n in 2..10 {
            assert_eq!(allowance.available(), 1);
            allowance.spend(1024);
            assert_eq!(allowance.available(), 0);
            assert!(window.receive(1024) && !window.is_due());
            window.consume(1024);
            assert!(window.is_due());
            let limit = window.grant();
            assert_eq!(limit, n);
            assert!(allowance.raise(limit) && !window.is_due());
        }
    }

    #[test]
    fn excess_and_falling_grants_are_noticed() {
        let mut window = Window::new(2);
        assert!(window.receive(1025));
        assert!(!window.receive(1));
        let mut allowance = Allowance::new(5);
        assert!(!allowance.raise(4));
        assert_eq!(allowance.available(), 5);
    }

    #[test]
    fn credit_is_reported_at_half() {
        let mut window = Window::new(8);
        assert!(window.receive(8 * 1024));
        window.consume(3 * 1024);
        assert!(!window.is_due());
        window.consume(1);
        assert!(window.is_due());
        assert_eq!(window.grant(), 12);
    }

    #[test]
    fn half_of_an_odd_window_is_rounded_up() {
        // Rounded down, a sender could have three grants unread: see GRANTS_LEN.
        let mut window = Window::new(3);
        assert!(window.receive(2 * 1024));
        window.consume(1024);
        assert!(!window.is_due());
        window.consume(1024);
        assert!(window.is_due());
    }
}
