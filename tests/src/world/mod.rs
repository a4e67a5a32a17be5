//! A client and a server with real stores, the link between them, the clock and the power: all from one
//! seed.
//!
//! A client uploads and fetches files, one after the other, and goes on after every failure as `kift
//! --retry` does. Meanwhile links are cut or die unnoticed, either end is killed or loses its power in the
//! middle of anything and comes back, and files change. What must hold is checked when it is promised
//! and after every failure; in the end everything must be there.
//!
//! The server's store is the real one: of a device, on flash ([`Chip`]), or of a host, on a disk that loses
//! what was not synced ([`Host`]).

mod desk;
mod storage;

use std::fmt::Display;

use kift_core::session::{Failure, Reply, Requester, Responder};
use kift_core::time::Instant;
use kift_core::wire::{Code, Conflict};

use crate::end::{Around, End};
use crate::link::Wire;
use crate::options::Options;
use crate::rng::Rng;
use crate::sealed::Links;
use desk::{Desk, Work};
pub use storage::{Chip, Host, Storage, Tree};

/// Steps after which a world counts as stuck.
const STEPS_MAX: u64 = 4_000_000;

/// Of a day nobody waits so long: milliseconds.
const TIME_MAX: u64 = 86_400_000;

/// Sessions that a server has at a time.
const SEATS: usize = 2;

/// Names that are used.
const NAMES: [&str; 3] = ["log.txt", "image", "f"];

/// What was done in worlds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Worlds that came to their end.
    pub worlds: u64,
    /// Things done.
    pub steps: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Links cut, or lost unnoticed.
    pub links: u64,
    /// Clients and servers killed.
    pub kills: u64,
    /// Power cuts of either.
    pub power_cuts: u64,
    /// Uploads and downloads that were done in the end.
    pub done: u64,
    /// Those that went on behind something.
    pub resumed: u64,
    /// Uploads whose first outcome was told to a later attempt.
    pub repeated: u64,
}

impl Counts {
    /// Adds those of another world.
    pub fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.steps += other.steps;
        self.sessions += other.sessions;
        self.links += other.links;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.done += other.done;
        self.resumed += other.resumed;
        self.repeated += other.repeated;
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { worlds, steps, sessions, links, kills, power_cuts, done, resumed, repeated } =
            self;
        write!(
            f,
            "{worlds} worlds, {steps} steps, {sessions} sessions: {links} links lost, {kills} kills, \
             {power_cuts} power cuts; {done} files moved, {resumed} of them behind something, \
             {repeated} outcomes told again"
        )
    }
}

/// A client, a server and what is between them.
pub struct World<S, L: Links> {
    seed: u64,
    rng: Rng,
    options: Options,
    now: u64,
    storage: S,
    seats: [Option<Seat<L>>; SEATS],
    caller: Option<Caller<L>>,
    lines: Vec<Line>,
    /// What the client has and knows.
    desk: Desk,
    /// When the client calls again.
    calls_at: u64,
    /// What the server must have.
    expected: Tree,
    /// What the file under way may become, which has changed meanwhile or not.
    under_way: Option<(String, Vec<Vec<u8>>)>,
    faults_left: u64,
    was_disturbed: bool,
    counts: Counts,
}

/// A session of the server.
struct Seat<L: Links> {
    responder: Responder<Vec<u8>, L::Responder>,
    end: End,
    line: usize,
}

/// The session of the client.
struct Caller<L: Links> {
    requester: Requester<Vec<u8>, 1024, L::Requester>,
    end: End,
    line: usize,
    /// Bytes that it had sent when it asked.
    asked: Option<u64>,
}

/// A link: to the server, and from it.
struct Line {
    up: Wire,
    down: Wire,
}

impl<S: Storage, L: Links> World<S, L> {
    /// The world of `seed`, if there can be such a storage here.
    ///
    /// # Panics
    /// Where something does not hold.
    #[must_use]
    pub fn run(storage: S, seed: u64) -> Counts {
        let mut rng = Rng::new(seed);
        let options = S::options(seed);
        let jobs = rng.between(2, 5);
        let faults_left = rng.below(14) as u64;
        let mut world = Self {
            seed,
            options,
            now: 1000,
            storage,
            seats: [const { None }; SEATS],
            caller: None,
            lines: Vec::new(),
            desk: Desk::new(&mut rng, jobs, S::LEN_MAX),
            calls_at: 0,
            expected: Tree::new(),
            under_way: None,
            faults_left,
            was_disturbed: false,
            counts: Counts { worlds: 1, ..Counts::default() },
            rng,
        };
        while world.desk.work().is_some() {
            world.step();
        }
        world.check();
        let is_left = world.storage.files() == world.expected;
        world.assert(is_left, "in the end each file is there once, and nothing else");
        world.counts
    }

    #[track_caller]
    fn assert(&self, holds: bool, what: &str) {
        assert!(
            holds,
            "seed {} of {}: not so: {what}; {} ms, {} steps, {:?}\nclient {:?}\nserver {:?}",
            self.seed,
            S::NAME,
            self.now,
            self.counts.steps,
            self.desk,
            self.caller.as_ref().map(|caller| (caller.line, &caller.end)),
            self.seats.each_ref().map(|seat| seat.as_ref().map(|seat| (seat.line, &seat.end))),
        );
    }

    fn step(&mut self) {
        self.counts.steps += 1;
        let lasts = self.counts.steps < STEPS_MAX && self.now < TIME_MAX;
        self.assert(lasts, "it comes to an end");
        if self.faults_left > 0 && self.rng.below(S::STEPS_A_FAULT) == 0 {
            self.faults_left -= 1;
            self.was_disturbed = true;
            self.fail();
        }
        let first = self.rng.below(SEATS + 1);
        let moved = (0..=SEATS).any(|n| match (first + n) % (SEATS + 1) {
            SEATS => self.client_turn(),
            seat => self.server_turn(seat),
        });
        if !moved {
            self.let_time_pass();
        }
    }

    /// Something breaks.
    fn fail(&mut self) {
        match self.rng.below(8) {
            0 | 1 => {
                let Some(caller) = &self.caller else { return };
                let line = &mut self.lines[caller.line];
                self.counts.links += 1;
                if self.rng.chance(50) {
                    line.up.die();
                    line.down.die();
                } else {
                    line.up.close();
                    line.down.close();
                }
            }
            2 => {
                self.counts.kills += 1;
                self.hang_up();
                self.desk.restart(false);
            }
            3 => {
                self.counts.power_cuts += 1;
                self.hang_up();
                self.desk.restart(true);
            }
            4 => {
                self.counts.kills += 1;
                self.seats_fall();
                self.storage.kill();
                self.check();
            }
            5 | 6 => {
                let mut rng = Rng::new(self.rng.bits());
                if self.storage.cut_power(&mut rng) {
                    self.server_lost_power();
                }
            }
            _ => self.desk.source_changes(),
        }
    }

    /// The client's session is over, and the server learns it or does not.
    fn hang_up(&mut self) {
        self.was_disturbed = true;
        if let Some(Caller { line, .. }) = self.caller.take() {
            let line = &mut self.lines[line];
            if self.rng.chance(50) {
                line.up.die();
                line.down.die();
            } else {
                line.up.close();
                line.down.abandon();
            }
        }
        self.calls_again();
    }

    /// The server's sessions are over, without a word; the system ends the connections or does not.
    fn seats_fall(&mut self) {
        for seat in &mut self.seats {
            if let Some(Seat { line, .. }) = seat.take() {
                let line = &mut self.lines[line];
                if self.rng.chance(30) {
                    line.up.die();
                    line.down.die();
                } else {
                    line.down.close();
                    line.up.abandon();
                }
            }
        }
    }

    fn server_lost_power(&mut self) {
        self.counts.power_cuts += 1;
        self.seats_fall();
        let mut rng = Rng::new(self.rng.bits());
        self.storage.power_on(&mut rng);
        self.check();
    }

    /// What is visible is whole: what was promised, or what is under way.
    fn check(&mut self) {
        let there = self.storage.files();
        let complaint = self.complaint(&there);
        self.assert(complaint.is_none(), complaint.as_deref().unwrap_or_default());
    }

    fn complaint(&self, there: &Tree) -> Option<String> {
        let mut names: Vec<&String> = there.keys().chain(self.expected.keys()).collect();
        names.sort();
        names.dedup();
        names.into_iter().find_map(|name| {
            let is_expected = there.get(name) == self.expected.get(name);
            let is_under_way = self.under_way.as_ref().is_some_and(|(path, versions)| {
                is_made_of(name, path)
                    && there.get(name).is_some_and(|data| versions.contains(data))
            });
            let len = there.get(name).map(Vec::len);
            (!is_expected && !is_under_way).then(|| format!("{name} has {len:?} bytes"))
        })
    }

    fn calls_again(&mut self) {
        self.calls_at = self.now + self.rng.between(10, 3000) as u64;
    }

    fn client_turn(&mut self) -> bool {
        let Some(caller) = &mut self.caller else { return self.call() };
        let line = &mut self.lines[caller.line];
        if caller.asked.is_none() {
            // It may be over, which it says when it is asked.
            caller.end.waiting = false;
            if self.desk.ask(&mut caller.requester) {
                caller.asked = Some(line.up.sent);
                self.under_way = self.desk.under_way();
            }
        }
        let around = Around {
            now: self.now,
            rng: &mut self.rng,
            options: &self.options,
            out: &mut line.up,
            into: &mut line.down,
        };
        let moved = caller.end.turn(around, &mut caller.requester, &mut self.desk);
        let closed = caller.end.closed;
        if let Some(result) = self.desk.take_result() {
            self.job_is_over(result);
        } else if let Some(closed) = closed {
            let is_expected = closed.is_ok() || self.was_disturbed;
            self.assert(is_expected, &format!("undisturbed, it ends with {closed:?}"));
            self.caller = None;
            self.calls_again();
        }
        moved
    }

    /// Dials, if it is time and the server has a seat.
    fn call(&mut self) -> bool {
        if self.now < self.calls_at {
            return false;
        }
        let free = self.seats.iter().position(Option::is_none);
        let Some(free) = free else {
            self.calls_again();
            return false;
        };
        self.counts.sessions += 1;
        let seed = self.rng.bits();
        let Options { requester, responder, capacity, .. } = self.options;
        let (asking, serving) = L::new(&requester, &responder, seed);
        let line = self.lines.len();
        self.lines.push(Line { up: Wire::new(capacity), down: Wire::new(capacity) });
        let buffer = |len| vec![0; len];
        let (asks, serves) = (self.options.requester_buffer, self.options.responder_buffer);
        let made = Requester::with_security(buffer(asks), buffer(asks), &requester, asking);
        let requester = made.expect("large enough");
        self.caller = Some(Caller { requester, end: End::default(), line, asked: None });
        let made = Responder::with_security(buffer(serves), buffer(serves), &responder, serving);
        let responder = made.expect("large enough");
        self.storage.open(free);
        self.seats[free] = Some(Seat { responder, end: End::default(), line });
        true
    }

    fn server_turn(&mut self, number: usize) -> bool {
        let Some(seat) = &mut self.seats[number] else { return false };
        let line = &mut self.lines[seat.line];
        let around = Around {
            now: self.now,
            rng: &mut self.rng,
            options: &self.options,
            out: &mut line.down,
            into: &mut line.up,
        };
        let moved = self.storage.turn(number, &mut seat.end, around, &mut seat.responder);
        if seat.end.closed.is_some() {
            self.seats[number] = None;
            self.storage.close(number);
        }
        if self.storage.is_off() {
            self.server_lost_power();
        }
        moved
    }

    fn job_is_over(&mut self, result: Result<Reply, Failure>) {
        let work = self.desk.work().cloned().expect("work");
        match (&work, result) {
            (Work::Put { path, conflict, .. }, Ok(Reply::Stored { suffix, .. })) => {
                let data = self.desk.source().to_vec();
                let name = name_of(path, suffix);
                let is_taken = self.expected.contains_key(&name);
                let is_allowed = *conflict == Conflict::Replace || !is_taken;
                self.assert(is_allowed, "what is kept is not replaced");
                self.expected.insert(name, data);
                self.under_way = None;
                // What was said to be stored is stored, whatever happens now.
                let there = self.storage.files_if_cut();
                let complaint = self.complaint(&there);
                self.assert(complaint.is_none(), &format!("stored, but {complaint:?}"));
                let (sent, len) = (self.sent(), self.desk.source().len() as u64);
                // Frames and the request have their part in it.
                let enough = |len: u64| len + len / 8 + 2000;
                self.assert(
                    sent <= enough(len - self.desk.known_durable()),
                    "what is durable stays",
                );
                self.counts.resumed += u64::from(self.desk.resumed());
                self.counts.repeated += u64::from(len > 10_000 && sent < 5000);
                self.finish();
            }
            (
                Work::Put { path, conflict: Conflict::Refuse, .. },
                Err(Failure::Peer(Code::Exists)),
            ) => {
                let is_there = self.expected.contains_key(*path);
                self.assert(is_there, "it says that it exists");
                self.finish();
            }
            (Work::Put { .. }, Err(Failure::Local(Code::Changed))) => {
                let changed = self.desk.begin_anew();
                self.assert(changed, "the source has changed");
                self.again();
            }
            (Work::Get { path, .. }, Ok(Reply::Got { .. })) => {
                let is_it = self.expected.get(*path).is_some_and(|data| *data == self.desk.got());
                self.assert(is_it, "what was fetched is what is there");
                self.counts.resumed += u64::from(self.desk.resumed());
                self.finish();
            }
            (Work::Get { path, .. }, Err(Failure::Peer(Code::NotFound))) => {
                let is_there = self.expected.contains_key(*path);
                self.assert(!is_there, "it says that it is not there");
                self.finish();
            }
            (work, result) => self.assert(false, &format!("{work:?} came to {result:?}")),
        }
    }

    /// Bytes that the client has sent since it asked.
    fn sent(&self) -> u64 {
        let Some(Caller { line, asked: Some(before), .. }) = &self.caller else { return 0 };
        self.lines[*line].up.sent - before
    }

    /// The next job, in the same session or another.
    fn finish(&mut self) {
        self.counts.done += 1;
        self.desk.next();
        self.again();
    }

    fn again(&mut self) {
        if self.rng.chance(50)
            && let Some(caller) = &mut self.caller
        {
            caller.asked = None;
        } else {
            self.hang_up();
        }
    }

    /// To the next moment at which something happens.
    fn let_time_pass(&mut self) {
        let ends = self.seats.iter().flatten().map(|seat| (&seat.end, seat.line));
        let ends = ends.chain(self.caller.iter().map(|caller| (&caller.end, caller.line)));
        let arrivals = self.lines.iter().flat_map(|line| [&line.up, &line.down]);
        let arrivals = arrivals.filter_map(Wire::next_arrival);
        let retries = ends.clone().filter_map(|(end, _)| end.retry);
        let calls = self.caller.is_none().then_some(self.calls_at);
        let deadlines = ends.filter_map(|(end, _)| end.deadline).map(Instant::as_millis);
        let events = arrivals.chain(retries).chain(calls).chain(deadlines);
        self.now = events.filter(|at| *at > self.now).min().unwrap_or(self.now + 100);
        let seats = self.seats.iter_mut().flatten().map(|seat| &mut seat.end);
        for end in seats.chain(self.caller.iter_mut().map(|caller| &mut caller.end)) {
            end.waiting &= end.deadline.is_none_or(|deadline| deadline.as_millis() > self.now);
        }
    }
}

/// Whether `name` is `path`, or that with a suffix.
fn is_made_of(name: &str, path: &str) -> bool {
    (0..20).any(|suffix| name_of(path, suffix) == name)
}

fn name_of(path: &str, suffix: u32) -> String {
    kift_core::wire::suffixed(path, suffix).to_string()
}
