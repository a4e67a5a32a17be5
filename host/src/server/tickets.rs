//! Tickets, by which a link joins the session of another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};

use kift_core::secure::PublicKey;
use kift_core::wire::{Code, Ticket};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::access::Grant;
use crate::store::Transfers;

/// How long a ticket is good.
const LIFETIME: Duration = Duration::from_secs(30);

/// Data links of a session, and tickets that it may have.
pub(super) const LINKS_MAX: usize = 16;

/// Tickets that were made and not used yet.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<HashMap<[u8; 16], Pass>>);

/// What a ticket stands for.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    /// Of the link that asked; none on a plain one.
    pub(super) key: Option<PublicKey>,
    /// What its user may do; none on a plain link.
    pub(super) grant: Option<Grant>,
    /// What its session has in runs.
    pub(super) transfers: Arc<Transfers>,
    pub(super) made: Clock,
}

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Pass>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ticket for `pass`.
    pub(super) fn make(&self, pass: Pass) -> Result<Ticket, Code> {
        let mut tickets = self.lock();
        tickets.retain(|_, pass| pass.made.elapsed() < LIFETIME && !pass.transfers.is_over());
        // The session itself has its transfers, each of its links, each of its tickets, and `pass`.
        if Arc::strong_count(&pass.transfers) >= LINKS_MAX + 2 {
            return Err(Code::TooMany);
        }
        let mut number = [0; 16];
        match getrandom(&mut number, GetRandomFlags::empty()) {
            Ok(16) => {}
            _ => return Err(Code::Internal),
        }
        tickets.insert(number, pass);
        Ok(Ticket(number))
    }

    /// Uses a ticket up, and gives what it stands for if it is good for a link with `key`.
    pub(super) fn take(&self, ticket: Ticket, key: Option<PublicKey>) -> Result<Pass, Code> {
        let pass = self.lock().remove(&ticket.0).ok_or(Code::Denied)?;
        let is_good =
            pass.key == key && pass.made.elapsed() < LIFETIME && !pass.transfers.is_over();
        if is_good { Ok(pass) } else { Err(Code::Denied) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kift_core::secure::SecretKey;

    fn key(byte: u8) -> PublicKey {
        *SecretKey::from_bytes(&[byte; 32]).public()
    }

    fn pass(key: Option<PublicKey>, age: Duration) -> Pass {
        let made = Clock::now().checked_sub(age).expect("the machine is up for a minute");
        Pass { key, grant: None, transfers: Arc::default(), made }
    }

    #[test]
    fn a_ticket_is_good_once_for_its_key_and_half_a_minute() {
        let tickets = Tickets::default();
        let fresh = || pass(Some(key(1)), Duration::ZERO);
        let ticket = tickets.make(fresh()).unwrap();
        assert!(tickets.take(ticket, Some(key(1))).is_ok());
        assert_eq!(tickets.take(ticket, Some(key(1))).err(), Some(Code::Denied));
        for wrong in [None, Some(key(2))] {
            let ticket = tickets.make(fresh()).unwrap();
            assert_eq!(tickets.take(ticket, wrong).err(), Some(Code::Denied));
            assert_eq!(tickets.take(ticket, Some(key(1))).err(), Some(Code::Denied), "used up");
        }
        let ticket = tickets.make(pass(None, Duration::from_secs(31))).unwrap();
        assert_eq!(tickets.take(ticket, None).err(), Some(Code::Denied), "too old");
        let over = fresh();
        let ticket = tickets.make(over.clone()).unwrap();
        over.transfers.end();
        assert_eq!(tickets.take(ticket, Some(key(1))).err(), Some(Code::Denied), "over");
    }

    #[test]
    fn a_session_has_so_many_and_no_more() {
        let tickets = Tickets::default();
        let mine = pass(None, Duration::ZERO);
        let made = (0..100).filter(|_| tickets.make(mine.clone()).is_ok()).count();
        assert_eq!(made, LINKS_MAX);
    }
}
