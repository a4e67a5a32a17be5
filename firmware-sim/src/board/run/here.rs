//! The board, as the device's tasks see it.

use core::cell::Cell;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant as Clock};

use kift_core::time::Instant;

use super::life::{Seen, World};
use super::plug::Plug;
use crate::board::tap;
use crate::device::{Notice, Platform};
use crate::net::Stack;

/// How soon a device at rest notices that it is to stop.
const TICK: Duration = Duration::from_millis(50);

/// The board around a device that has booted.
pub(super) struct Board<'a> {
    world: &'a World,
    stack: &'a Stack<'static, Plug>,
    is_listening: Cell<bool>,
}

impl<'a> Board<'a> {
    pub(super) const fn new(world: &'a World, stack: &'a Stack<'static, Plug>) -> Self {
        Self { world, stack, is_listening: Cell::new(false) }
    }

    pub(super) const fn world(&self) -> &'a World {
        self.world
    }

    pub(super) const fn stack(&self) -> &'a Stack<'static, Plug> {
        self.stack
    }

    /// Sleeps while the network goes on, or until the device is to stop.
    pub(super) fn rest(&self, time: Duration) {
        let until = self.now().after(time);
        while self.now() < until && !self.is_stopping() {
            self.turn(until.min(self.now().after(TICK)));
        }
    }

    fn publish(&self) {
        let address = self.stack.addresses().first().map(|cidr| cidr.address().into());
        let seen = Seen {
            counters: self.stack.counters(),
            address: address.filter(|_| self.is_listening.get()),
        };
        *self.world.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

impl Platform for Board<'_> {
    fn now(&self) -> Instant {
        since(self.world.origin)
    }

    fn turn(&self, until: Instant) {
        let before = self.stack.counters().frames_in;
        let due = self.stack.poll(self.now());
        let until = due.map_or(until, |due| due.min(until));
        let patience = until.as_millis().saturating_sub(self.now().as_millis());
        // What has come may be what the task waits for.
        if patience > 0 && self.stack.counters().frames_in == before {
            let next = self.world.plug.cable().as_ref().and_then(|cable| cable.inner().next_due());
            let patience = Duration::from_millis(patience);
            tap::wait(&self.world.frames_come, Some(next.map_or(patience, |n| n.min(patience))));
            self.stack.poll(self.now());
        }
        self.publish();
    }

    fn is_stopping(&self) -> bool {
        self.world.stop.load(Ordering::Relaxed) || self.world.chip.is_off()
    }

    fn tell(&self, notice: Notice) {
        // What a device without power would say.
        if self.world.chip.is_off() {
            return;
        }
        if let Notice::Listening(_) = notice {
            self.is_listening.set(true);
        }
        self.world.screen.line(format_args!("device: {notice}"));
    }
}

/// Milliseconds since `origin`, as the device counts time.
pub(super) fn since(origin: Clock) -> Instant {
    Instant::from_millis(origin.elapsed().as_millis() as u64)
}
