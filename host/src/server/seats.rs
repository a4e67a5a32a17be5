//! How many may be here at once, and how many of them unknown.
//!
//! A connection costs memory before anybody is known to be at its other end. So those that nobody
//! has answered for yet are few, and fewer from each address: whoever opens a thousand keeps nobody
//! else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections on which nobody is known yet.
pub(super) const STRANGERS_MAX: usize = 64;

/// Those of them that come from one address, or one IPv6 network of 64 bits.
pub(super) const STRANGERS_PER_ADDRESS_MAX: usize = 20;

/// Connections under way.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<Taken>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    strangers: usize,
    /// Strangers by where they come from, as long as there are any.
    by_origin: HashMap<Origin, usize>,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Sessions,
    Strangers,
    Origin,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sessions => "too many sessions",
            Self::Strangers => "too many connections on which nobody is known yet",
            Self::Origin => "too many connections from its address on which nobody is known yet",
        })
    }
}

/// What is counted as one place that connections come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Origin(u128);

impl Origin {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u128::from(address.to_ipv6_mapped())),
            // Whoever has one address of such a network usually has all of them.
            IpAddr::V6(address) => Self(u128::from(address) >> 64 << 64),
        }
    }
}

impl Seats {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a stranger, if there are fewer than `max` connections and room for strangers.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, max: usize) -> Result<Seat, Full> {
        let origin = Origin::of(address);
        let mut taken = self.taken();
        if taken.all >= max {
            return Err(Full::Sessions);
        }
        if taken.strangers >= STRANGERS_MAX {
            return Err(Full::Strangers);
        }
        let here = taken.by_origin.entry(origin).or_default();
        if *here >= STRANGERS_PER_ADDRESS_MAX {
            return Err(Full::Origin);
        }
        *here += 1;
        taken.all += 1;
        taken.strangers += 1;
        Ok(Seat { seats: Arc::clone(self), origin, is_stranger: true })
    }

    /// Waits until none is taken, at most for `patience`, and says how many are.
    pub(super) fn wait_for_none(&self, patience: Duration) -> usize {
        let (taken, _) = self
            .changed
            .wait_timeout_while(self.taken(), patience, |taken| taken.all > 0)
            .unwrap_or_else(PoisonError::into_inner);
        taken.all
    }
}

/// A connection's place among those counted; given back when dropped, even by a panic.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    origin: Origin,
    is_stranger: bool,
}

impl Seat {
    /// It is known now who is there.
    pub(super) fn become_known(&mut self) {
        if std::mem::take(&mut self.is_stranger) {
            let mut taken = self.seats.taken();
            taken.strangers -= 1;
            if let Some(here) = taken.by_origin.get_mut(&self.origin) {
                *here -= 1;
                if *here == 0 {
                    taken.by_origin.remove(&self.origin);
                }
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.become_known();
        self.seats.taken().all -= 1;
        self.seats.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_from_one_address_leave_room_for_others() {
        let seats = Arc::new(Seats::default());
        let here = address("192.0.2.1");
        let mut those: Vec<Seat> =
            (0..STRANGERS_PER_ADDRESS_MAX).map(|_| seats.enter(here, 100).unwrap()).collect();
        assert_eq!(seats.enter(here, 100).unwrap_err(), Full::Origin);
        assert_eq!(seats.enter(address("::ffff:192.0.2.1"), 100).unwrap_err(), Full::Origin);
        assert!(seats.enter(address("192.0.2.2"), 100).is_ok());
        // One that is known makes room for a stranger.
        those[0].become_known();
        let more = seats.enter(here, 100).unwrap();
        assert_eq!(seats.enter(here, 100).unwrap_err(), Full::Origin);
        drop((those, more));
        assert_eq!(seats.wait_for_none(Duration::ZERO), 0);
        assert!(seats.taken().by_origin.is_empty());
    }

    #[test]
    fn a_network_of_addresses_is_one_origin() {
        let seats = Arc::new(Seats::default());
        let those: Vec<Seat> = (0..STRANGERS_PER_ADDRESS_MAX)
            .map(|i| seats.enter(address(&format!("2001:db8::{i:x}")), 100).unwrap())
            .collect();
        assert_eq!(seats.enter(address("2001:db8::ffff"), 100).unwrap_err(), Full::Origin);
        assert!(seats.enter(address("2001:db8:0:1::1"), 100).is_ok());
        drop(those);
    }

    #[test]
    fn strangers_and_sessions_are_bounded() {
        let seats = Arc::new(Seats::default());
        let from = |i: usize| address(&format!("192.0.2.{i}"));
        let mut those: Vec<Seat> =
            (0..STRANGERS_MAX).map(|i| seats.enter(from(i), 100).unwrap()).collect();
        assert_eq!(seats.enter(from(200), 100).unwrap_err(), Full::Strangers);
        those.iter_mut().for_each(Seat::become_known);
        assert_eq!(seats.enter(from(200), STRANGERS_MAX).unwrap_err(), Full::Sessions);
        assert!(seats.enter(from(200), STRANGERS_MAX + 1).is_ok());
    }
}
