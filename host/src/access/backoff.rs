//! How long a password waits to be looked at, after wrong ones.
//!
//! Wrong passwords are counted by the address that they come from and by the user that they are for,
//! whether or not there is such a user. From the third on each further one waits twice as long, and
//! never more than 8 seconds: whom somebody else's guesses are for still gets in.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::network::masked;

/// Failures that cost nothing.
const FREE: u32 = 2;
/// As long after the last one failures are forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
const DELAY_S_MAX: u64 = 8;
/// Addresses, and users, that are remembered. The one that failed least lately makes room.
const REMEMBERED: usize = 4096;
/// Bits of an IPv6 address that one customer cannot choose.
const IPV6_BITS: u8 = 64;

/// The failures of the last while.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    addresses: Table<IpAddr>,
    users: Table<String>,
}

impl Backoff {
    /// How long a password for `user` from `address` is to wait before it is looked at.
    pub(super) fn delay(&self, address: IpAddr, user: &str, now: Instant) -> Duration {
        let failures =
            self.addresses.failures(&block(address), now).max(self.users.failures(user, now));
        match failures.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let seconds = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
                Duration::from_secs(seconds.min(DELAY_S_MAX))
            }
        }
    }

    /// A password was wrong.
    pub(super) fn failed(&mut self, address: IpAddr, user: &str, now: Instant) {
        self.addresses.add(block(address), now);
        self.users.add(user.to_owned(), now);
    }

    /// A password was right. The address stays as it is: somebody who has a password of their own
    /// may try others' in between.
    pub(super) fn passed(&mut self, user: &str) {
        self.users.0.remove(user);
    }
}

/// What failures of `address` are counted under.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v6 @ IpAddr::V6(_) => masked(v6, IPV6_BITS),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// How often each of some failed, and when last.
#[derive(Debug)]
struct Table<K>(HashMap<K, (u32, Instant)>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn failures<Q>(&self, of: &Q, now: Instant) -> u32
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let remembered =
            self.0.get(of).filter(|(_, last)| now.saturating_duration_since(*last) < MEMORY);
        remembered.map_or(0, |(count, _)| *count)
    }

    fn add(&mut self, of: K, now: Instant) {
        let count = self.failures(&of, now).saturating_add(1);
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&of) {
            let oldest = self.0.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(of, (count, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn delay_s(backoff: &Backoff, from: &str, user: &str, now: Instant) -> u64 {
        backoff.delay(address(from), user, now).as_secs()
    }

    #[test]
    fn delays_double_up_to_a_bound() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..9 {
            delays.push(delay_s(&backoff, "192.0.2.1", "anna", now));
            backoff.failed(address("192.0.2.1"), "anna", now);
        }
        assert_eq!(delays, [0, 0, 0, 1, 2, 4, 8, 8, 8]);
        for _ in 0..100 {
            backoff.failed(address("192.0.2.1"), "anna", now);
        }
        assert_eq!(delay_s(&backoff, "192.0.2.1", "anna", now), 8);
    }

    #[test]
    fn address_and_user_count_each_by_itself() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for host in 1..=4u8 {
            backoff.failed(IpAddr::from([192, 0, 2, host]), "anna", now);
        }
        assert_eq!(delay_s(&backoff, "198.51.100.1", "anna", now), 2);
        assert_eq!(delay_s(&backoff, "192.0.2.1", "bert", now), 0);
        for user in ["bert", "carl", "nobody"] {
            backoff.failed(address("2001:db8:0:1::1"), user, now);
        }
        // A block is one, and its neighbour another.
        assert_eq!(delay_s(&backoff, "2001:db8:0:1:ffff::2", "dora", now), 1);
        assert_eq!(delay_s(&backoff, "2001:db8:0:2::1", "dora", now), 0);
        for _ in 0..3 {
            backoff.failed(address("::ffff:203.0.113.5"), "eve", now);
        }
        assert_eq!(delay_s(&backoff, "203.0.113.5", "dora", now), 1);

        backoff.passed("anna");
        assert_eq!(delay_s(&backoff, "198.51.100.1", "anna", now), 0);
        backoff.passed("dora");
        assert_eq!(delay_s(&backoff, "203.0.113.5", "dora", now), 1);
    }

    #[test]
    fn failures_are_forgotten() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        for _ in 0..5 {
            backoff.failed(address("192.0.2.1"), "anna", start);
        }
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert_eq!(delay_s(&backoff, "192.0.2.1", "anna", at(14)), 4);
        assert_eq!(delay_s(&backoff, "192.0.2.1", "anna", at(15)), 0);
        backoff.failed(address("192.0.2.1"), "anna", at(15));
        assert_eq!(delay_s(&backoff, "192.0.2.1", "anna", at(15)), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let from = address("192.0.2.1");
        for _ in 0..3 {
            backoff.failed(from, "anna", start);
        }
        for n in 0..2 * REMEMBERED {
            backoff.failed(from, &n.to_string(), start + Duration::from_millis(1));
        }
        assert_eq!(backoff.users.0.len(), REMEMBERED);
        assert_eq!(delay_s(&backoff, "192.0.2.2", "anna", start), 0);
        // The address failed again and again meanwhile.
        assert_eq!(delay_s(&backoff, "192.0.2.1", "anna", start), 8);
    }
}
