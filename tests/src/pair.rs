//! A requester and a responder on a simulated link, with a clock that only the test moves.
//!
//! Everything follows from [`Options::seed`]: who moves first, how bytes are split, how long they
//! take. The clock advances when neither end can move; deadlines are left alone until a test asks
//! for them by [`Pair::drive_to_end`], so that an end which waits for nothing is a failure.

use std::collections::VecDeque;

use kift_core::Hasher;
use kift_core::session::{Error, Failure, Reply, RequestError, Requester, Responder};
use kift_core::storage::RequestId;
use kift_core::time::Instant;
use kift_core::wire::Code;

use crate::app::{App, Job};
use crate::end::{Around, End};
use crate::link::Wire;
use crate::memory::Memory;
use crate::options::Options;
use crate::rng::Rng;
use crate::sealed::Links;

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has not been sent.
    Queued,
    /// It was sent.
    Sent(RequestId),
    /// It was not legal.
    Refused(Code),
    /// The session was over before it could be sent.
    Lost,
}

/// A requester and a responder.
#[derive(Debug)]
pub struct Pair<L: Links> {
    /// How it was set up.
    pub options: Options,
    /// The one who asks.
    pub requester: Requester<Vec<u8>, 1024, L::Requester>,
    /// Its application.
    pub app: App,
    /// The one who serves.
    pub responder: Responder<Vec<u8>, L::Responder>,
    /// Its files.
    pub store: Memory,
    /// Requester to responder.
    pub up: Wire,
    /// Responder to requester.
    pub down: Wire,
    /// Milliseconds.
    pub now: u64,
    /// Things done so far.
    pub steps: usize,
    ends: [End; 2],
    queue: VecDeque<usize>,
    jobs: Vec<(Job, Outcome)>,
    stops: Vec<usize>,
    rng: Rng,
}

impl<L: Links> Pair<L> {
    /// A pair whose responder serves `store`.
    #[must_use]
    pub fn new(options: Options, store: Memory) -> Self {
        let buffer = |len| vec![0; len];
        let (asks, serves) = (options.requester_buffer, options.responder_buffer);
        let wire = || Wire::new(options.capacity);
        let Options { requester, responder, .. } = &options;
        let (asking, serving) = L::new(requester, responder, options.seed);
        Self {
            requester: Requester::with_security(buffer(asks), buffer(asks), requester, asking)
                .expect("large enough"),
            app: App::default(),
            responder: Responder::with_security(buffer(serves), buffer(serves), responder, serving)
                .expect("large enough"),
            store,
            up: wire(),
            down: wire(),
            now: 1000,
            steps: 0,
            ends: [End::default(), End::default()],
            queue: VecDeque::new(),
            jobs: Vec::new(),
            stops: Vec::new(),
            rng: Rng::new(options.seed),
            options,
        }
    }

    /// Lets the requester send `job` as soon as it can, and gives the job's number.
    pub fn submit(&mut self, job: Job) -> usize {
        self.jobs.push((job, Outcome::Queued));
        self.queue.push_back(self.jobs.len() - 1);
        self.jobs.len() - 1
    }

    /// Lets the requester stop a job as soon as it can; false where it was not yet sent.
    pub fn stop(&mut self, job: usize) -> bool {
        let sent = matches!(self.jobs[job].1, Outcome::Sent(_));
        if sent {
            self.stops.push(job);
            self.send_stops();
        }
        sent
    }

    /// What became of a job.
    #[must_use]
    pub fn outcome(&self, job: usize) -> Outcome {
        self.jobs[job].1
    }

    /// The number of the request that a job was sent as.
    ///
    /// # Panics
    /// Where it was not sent.
    #[must_use]
    pub fn id(&self, job: usize) -> RequestId {
        match self.jobs[job].1 {
            Outcome::Sent(id) => id,
            other => panic!("job {job} {:?}: {other:?}", self.jobs[job].0),
        }
    }

    /// The result of a job, if it has one.
    #[must_use]
    pub fn result(&self, job: usize) -> Option<Result<Reply, Failure>> {
        match self.jobs[job].1 {
            Outcome::Sent(id) => self.app.results.get(&id).copied(),
            _ => None,
        }
    }

    /// How each end's session ended: the requester's, the responder's.
    #[must_use]
    pub fn closed(&self) -> [Option<Result<(), Error>>; 2] {
        [self.ends[0].closed, self.ends[1].closed]
    }

    /// Sends `jobs`, drives until all are answered, and gives their results.
    ///
    /// # Panics
    /// Where one gets no answer.
    pub fn run(&mut self, jobs: impl IntoIterator<Item = Job>) -> Vec<Result<Reply, Failure>> {
        let numbers: Vec<usize> = jobs.into_iter().map(|job| self.submit(job)).collect();
        self.drive();
        numbers
            .into_iter()
            .map(|job| {
                self.result(job).unwrap_or_else(|| panic!("job {job}: {:?}", self.jobs[job]))
            })
            .collect()
    }

    /// Drives until nothing is left to do.
    ///
    /// # Panics
    /// Where something is left and neither end does it.
    pub fn drive(&mut self) {
        while self.step() {}
        let over = self.ends.iter().any(|end| end.closed.is_some());
        let done = self.requester.is_idle() && self.queue.is_empty() && self.stops.is_empty();
        assert!(over || done, "stuck: {}", self.describe());
    }

    /// Drives until both sessions are over, deadlines included.
    ///
    /// # Panics
    /// Where that takes more than a virtual day.
    pub fn drive_to_end(&mut self) {
        loop {
            while self.step() {}
            if self.ends.iter().all(|end| end.closed.is_some()) {
                return;
            }
            let next = self.ends.iter().filter(|end| end.closed.is_none() && end.waiting);
            let next = next.filter_map(|end| end.deadline).map(Instant::as_millis).min();
            self.now = next.unwrap_or(self.now).max(self.now + 100);
            assert!(self.now < 86_400_000, "never ends: {}", self.describe());
            for end in &mut self.ends {
                end.waiting = false;
            }
        }
    }

    /// Says goodbye and checks that both ends are content and nothing is left open.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn finish(&mut self) {
        assert_eq!(self.run([Job::Goodbye]), [Ok(Reply::Done)]);
        self.drive_to_end();
        assert_eq!(self.closed(), [Some(Ok(())), Some(Ok(()))]);
        let told = [&self.app.peers, &self.store.peers];
        assert_eq!(
            told.map(|peers| peers.iter().map(|peer| peer.key).collect::<Vec<_>>()),
            L::keys()
        );
        self.store.assert_closed();
        self.app.assert_closed();
    }

    /// Lets time pass in which nothing happens.
    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        for end in &mut self.ends {
            end.waiting = false;
        }
    }

    /// Does one thing, or lets the time pass until there is one; false where there is none.
    ///
    /// # Panics
    /// Where there seems to be no end of it.
    pub fn step(&mut self) -> bool {
        self.steps += 1;
        assert!(self.steps < 20_000_000, "no end of it: {}", self.describe());
        self.send_requests();
        self.send_stops();
        let first = self.rng.below(2);
        self.turn(first) || self.turn(1 - first) || self.advance()
    }

    fn send_requests(&mut self) {
        while let Some(&number) = self.queue.front() {
            let (job, outcome) = &mut self.jobs[number];
            if let (Job::Resume { have, .. }, Some(hasher)) = (&*job, self.requester.prefix()) {
                *hasher = Hasher::new();
                hasher.update(have);
            }
            *outcome = match self.requester.request(&job.request()) {
                Ok(id) => {
                    self.app.accepted(id, job);
                    self.ends[0].waiting = false;
                    Outcome::Sent(id)
                }
                Err(RequestError::Later) => return,
                Err(RequestError::Refused(code)) => Outcome::Refused(code),
                Err(RequestError::Over) => Outcome::Lost,
            };
            self.queue.pop_front();
        }
    }

    fn send_stops(&mut self) {
        while let Some(&number) = self.stops.first() {
            let id = self.id(number);
            match self.requester.stop(id) {
                Ok(()) => {
                    self.stops.remove(0);
                    self.ends[0].waiting = false;
                }
                Err(error) => {
                    assert_eq!(error, RequestError::Later);
                    return;
                }
            }
        }
    }

    fn turn(&mut self, which: usize) -> bool {
        let mut around = Around {
            now: self.now,
            rng: &mut self.rng,
            options: &self.options,
            out: &mut self.up,
            into: &mut self.down,
        };
        let [asks, serves] = &mut self.ends;
        if which == 0 {
            asks.turn(around, &mut self.requester, &mut self.app)
        } else {
            std::mem::swap(&mut around.out, &mut around.into);
            serves.turn(around, &mut self.responder, &mut self.store)
        }
    }

    /// Moves the clock to the next event that is not a deadline.
    fn advance(&mut self) -> bool {
        let arrivals = [self.up.next_arrival(), self.down.next_arrival()];
        let retries = [self.ends[0].retry, self.ends[1].retry];
        let next = arrivals.into_iter().chain(retries).flatten().filter(|at| *at > self.now).min();
        self.now = next.unwrap_or(self.now);
        next.is_some()
    }

    fn describe(&self) -> String {
        format!(
            "seed {}, {} ms, {} steps, {} requests open, {} queued, closed {:?}\n{:?}\n\
             up {} of {}, down {} of {}\n{:#?}",
            self.options.seed,
            self.now,
            self.steps,
            self.requester.requests_open(),
            self.queue.len(),
            self.closed(),
            self.ends,
            self.up.arrived(u64::MAX),
            self.up.sent,
            self.down.arrived(u64::MAX),
            self.down.sent,
            self.options,
        )
    }
}
