//! How many may be here at once, and how many of them unknown.
//!
//! A connection costs memory before anybody is known to be at its other end. So those that nobody
//! has answered for yet are few, and fewer from each address: whoever opens a thousand keeps nobody
//! else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limits::Live;

/// Connections under way.
#[derive(Debug)]
pub(super) struct Seats {
    limits: Live,
    taken: Mutex<Taken>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    known: usize,
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

impl Full {
    /// As it is counted.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Strangers => "strangers",
            Self::Origin => "address",
        }
    }
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
    /// As many seats, for strangers and for those who are known, as `limits` say.
    pub(super) fn new(limits: Live) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default(), changed: Condvar::new() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a stranger, who may become known.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Full> {
        let (origin, limits) = (Origin::of(address), self.limits.get());
        let mut taken = self.taken();
        // There is no use in finding out who they are.
        if taken.known >= limits.sessions_max {
            return Err(Full::Sessions);
        }
        if taken.strangers >= limits.strangers_max {
            return Err(Full::Strangers);
        }
        let here = taken.by_origin.get(&origin).copied().unwrap_or_default();
        if here >= limits.strangers_per_address_max {
            return Err(Full::Origin);
        }
        taken.by_origin.insert(origin, here + 1);
        taken.strangers += 1;
        Ok(Seat { seats: Arc::clone(self), origin, is_stranger: true })
    }

    /// Waits until none is taken, at most for `patience`, and says how many are.
    pub(super) fn wait_for_none(&self, patience: Duration) -> usize {
        let (taken, _) = self
            .changed
            .wait_timeout_while(self.taken(), patience, |taken| taken.all() > 0)
            .unwrap_or_else(PoisonError::into_inner);
        taken.all()
    }
}

impl Taken {
    fn all(&self) -> usize {
        self.known + self.strangers
    }

    fn forget_stranger(&mut self, origin: Origin) {
        self.strangers -= 1;
        if let Some(here) = self.by_origin.get_mut(&origin) {
            *here -= 1;
            if *here == 0 {
                self.by_origin.remove(&origin);
            }
        }
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
    /// It is known now who is there. May be said again.
    pub(super) fn become_known(&mut self) -> Result<(), Full> {
        if !self.is_stranger {
            return Ok(());
        }
        let max = self.seats.limits.get().sessions_max;
        let mut taken = self.seats.taken();
        if taken.known >= max {
            return Err(Full::Sessions);
        }
        taken.known += 1;
        taken.forget_stranger(self.origin);
        self.is_stranger = false;
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if self.is_stranger {
            taken.forget_stranger(self.origin);
        } else {
            taken.known -= 1;
        }
        drop(taken);
        self.seats.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::limits::Limits;

    const STRANGERS_MAX: usize = 64;
    const STRANGERS_PER_ADDRESS_MAX: usize = 20;

    fn seats(sessions_max: usize) -> Arc<Seats> {
        Seats::new(Live::new(Limits { sessions_max, ..Limits::default() }))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn many<T: std::fmt::Display>(seats: &Arc<Seats>, from: impl Iterator<Item = T>) -> Vec<Seat> {
        from.map(|from| seats.enter(address(&from.to_string())).unwrap()).collect()
    }

    #[test]
    fn strangers_from_one_address_leave_room_for_others() {
        let seats = seats(100);
        let here = "192.0.2.1";
        let mut those = many(&seats, std::iter::repeat_n(here, STRANGERS_PER_ADDRESS_MAX));
        assert_eq!(seats.enter(address(here)).unwrap_err(), Full::Origin);
        assert_eq!(seats.enter(address("::ffff:192.0.2.1")).unwrap_err(), Full::Origin);
        assert!(seats.enter(address("192.0.2.2")).is_ok());
        // One that is known makes room for a stranger.
        assert_eq!(those[0].become_known(), Ok(()));
        assert_eq!(those[0].become_known(), Ok(()));
        let more = seats.enter(address(here)).unwrap();
        assert_eq!(seats.enter(address(here)).unwrap_err(), Full::Origin);
        drop((those, more));
        assert_eq!(seats.wait_for_none(Duration::ZERO), 0);
        assert!(seats.taken().by_origin.is_empty());
    }

    #[test]
    fn a_network_of_addresses_is_one_origin() {
        let seats = seats(100);
        let network = (0..STRANGERS_PER_ADDRESS_MAX).map(|i| format!("2001:db8::{i:x}"));
        let _those = many(&seats, network);
        assert_eq!(seats.enter(address("2001:db8::ffff")).unwrap_err(), Full::Origin);
        assert!(seats.enter(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn strangers_are_bounded_and_take_no_seat_of_those_who_are_known() {
        let seats = seats(2);
        let mut those = many(&seats, (0..STRANGERS_MAX).map(|i| format!("192.0.2.{i}")));
        assert_eq!(seats.enter(address("192.0.2.200")).unwrap_err(), Full::Strangers);
        assert_eq!(those[0].become_known(), Ok(()));
        assert_eq!(those[1].become_known(), Ok(()));
        assert_eq!(those[2].become_known(), Err(Full::Sessions));
        assert_eq!(seats.enter(address("192.0.2.200")).unwrap_err(), Full::Sessions);
        drop(those.swap_remove(0));
        assert!(seats.enter(address("192.0.2.200")).is_ok());
        assert_eq!(those.last_mut().unwrap().become_known(), Ok(()));
    }

    #[test]
    fn limits_that_change_hold_for_the_next() {
        let limits = Live::new(Limits { sessions_max: 1, ..Limits::default() });
        let seats = Seats::new(limits.clone());
        let mut first = seats.enter(address("192.0.2.1")).unwrap();
        first.become_known().unwrap();
        assert_eq!(seats.enter(address("192.0.2.1")).unwrap_err(), Full::Sessions);
        limits.set(Limits { sessions_max: 2, ..Limits::default() });
        let mut second = seats.enter(address("192.0.2.1")).unwrap();
        limits.set(Limits { sessions_max: 1, ..Limits::default() });
        assert_eq!(second.become_known(), Err(Full::Sessions));
    }
}
