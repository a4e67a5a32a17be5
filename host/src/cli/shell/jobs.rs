//! Transfers that go on in the background, each on a link of its own, so that the prompt stays free.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow, bail};
use indicatif::HumanBytes;

use crate::cli::Verdict;
use crate::cli::console::Console;
use crate::cli::manage::failed;
use crate::cli::meter::Meter;
use crate::cli::transfer::{Choices, Mover};
use crate::client::{ClientError, Invitation};
use crate::net::TICK;

/// What is to be moved: everything is asked for by the time it returns.
pub(super) type Moves = Box<dyn FnOnce(&mut Mover<'_>) -> Result<Result<(), ClientError>> + Send>;

/// What goes on in the background.
#[derive(Default)]
pub(super) struct Jobs {
    jobs: Vec<Job>,
    /// The number of the last that began.
    last: u32,
}

struct Job {
    number: u32,
    /// As it was typed.
    what: String,
    stop: Arc<AtomicBool>,
    meter: Arc<OnceLock<Meter>>,
    /// Keeps what it tells.
    console: Console,
    thread: JoinHandle<Result<Verdict>>,
}

impl Jobs {
    /// Begins a job on a link that `invitation` is for, and gives its number.
    ///
    /// # Errors
    /// The system's, which has no thread for it.
    pub(super) fn begin(
        &mut self,
        what: String,
        invitation: Invitation,
        choices: Choices,
        moves: Moves,
        console: &Console,
    ) -> io::Result<u32> {
        let (stop, meter) = (Arc::<AtomicBool>::default(), Arc::<OnceLock<Meter>>::default());
        let console = console.in_background();
        let thread = {
            let (stop, meter, console) = (Arc::clone(&stop), Arc::clone(&meter), console.clone());
            thread::Builder::new().name("kift job".to_owned()).spawn(move || {
                let joined = invitation.accept()?;
                let mut client = joined.map_err(|code| failed(&"a link of its own", code))?;
                client.stop_by(stop);
                let mut mover = Mover::new(&mut client, &choices, &console);
                let _ = meter.set(mover.meter().clone());
                let queued = moves(&mut mover)?;
                mover.goodbye(queued)
            })?
        };
        self.last += 1;
        self.jobs.push(Job { number: self.last, what, stop, meter, console, thread });
        Ok(self.last)
    }

    /// How many still run.
    pub(super) fn running(&self) -> usize {
        self.jobs.iter().filter(|job| !job.thread.is_finished()).count()
    }

    /// Shows what runs, and how far it is.
    pub(super) fn show(&self, console: &Console) {
        for job in &self.jobs {
            let number = job.number;
            console.result(format_args!("[{number}]  {}  {}", job.what, job.how_far()));
        }
    }

    /// Has a job stop.
    ///
    /// # Errors
    /// There is none of that number.
    pub(super) fn cancel(&self, number: u32) -> Result<()> {
        self.job(number)?.stop.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Has all of them stop.
    pub(super) fn cancel_all(&self) {
        self.jobs.iter().for_each(|job| job.stop.store(true, Ordering::Relaxed));
    }

    /// Waits for one or all of them, or until `stop` is set. Tells what came of those that ended.
    ///
    /// # Errors
    /// There is none of that number.
    pub(super) fn wait(
        &mut self,
        number: Option<u32>,
        stop: &AtomicBool,
        console: &Console,
    ) -> Result<Verdict> {
        if let Some(number) = number {
            self.job(number)?;
        }
        let is_meant = |job: &Job| number.is_none_or(|number| job.number == number);
        while self.jobs.iter().any(|job| is_meant(job) && !job.thread.is_finished())
            && !stop.load(Ordering::Relaxed)
        {
            thread::sleep(TICK);
        }
        Ok(self.tell_ended(console))
    }

    /// Tells what came of those that ended.
    pub(super) fn tell_ended(&mut self, console: &Console) -> Verdict {
        let mut verdict = Verdict::AllDone;
        for job in self.jobs.extract_if(.., |job| job.thread.is_finished()) {
            let Job { number, what, stop, console: kept, thread, .. } = job;
            kept.show_kept();
            let result = thread.join().unwrap_or_else(|_| Err(anyhow!("its thread ended")));
            match result {
                Ok(Verdict::AllDone) => {
                    console.summary(format_args!("[{number}] done: {what}"));
                    continue;
                }
                Err(error) => console.tell(&error),
                Ok(Verdict::SomeFailed) => {}
            }
            let how = if stop.load(Ordering::Relaxed) { "stopped" } else { "failed" };
            console.error(format_args!("[{number}] {how}: {what}"));
            verdict = Verdict::SomeFailed;
        }
        verdict
    }

    fn job(&self, number: u32) -> Result<&Job> {
        match self.jobs.iter().find(|job| job.number == number) {
            Some(job) => Ok(job),
            None => bail!("there is no job {number}: `jobs` shows those that there are"),
        }
    }
}

impl Job {
    fn how_far(&self) -> String {
        if self.thread.is_finished() {
            return "ended".to_owned();
        }
        let Some(meter) = self.meter.get() else { return "connects".to_owned() };
        let (went, size, rate) = meter.so_far();
        let (shown, rate) = (HumanBytes(went), HumanBytes(rate));
        match size {
            Some(size) => {
                let percent = went.saturating_mul(100).checked_div(size).unwrap_or(100);
                format!("{percent} % of {}, {rate}/s", HumanBytes(size))
            }
            None => format!("{shown}, {rate}/s"),
        }
    }
}
