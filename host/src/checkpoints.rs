//! When what came of a file is made durable while more comes.

use std::time::{Duration, Instant};

use kift_core::Tree;
use tracing::warn;

use crate::background::Background;

/// After so many bytes, or so long, what came is made durable, and a checkpoint of it.
const MARK_LEN: u64 = 32 << 20;
const MARK_EVERY: Duration = Duration::from_secs(2);

/// Nobody goes on behind less than two MiB: a single one has no value of its own.
const RUNS_MIN: u32 = 2;

/// How long one look at a sync takes that is waited for.
const WAIT: Duration = Duration::from_secs(1);

/// The checkpoints of one file, made in the background, one at a time.
#[derive(Debug)]
pub(crate) struct Checkpoints<E> {
    /// What has these values was written, and is durable or not.
    tree: Tree,
    made: Instant,
    making: Option<Background<Result<(), E>>>,
}

impl<E: Send + 'static> Checkpoints<E> {
    /// Of a file of which this is durable.
    pub(crate) fn new(tree: Tree) -> Self {
        Self { tree, made: Instant::now(), making: None }
    }

    /// The values of the MiB that were written.
    pub(crate) const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What came of the checkpoint that was being made, if it is done. After an error nothing more should
    /// be written: what cannot be made durable now will not be later either.
    ///
    /// # Errors
    /// Its.
    pub(crate) fn look(&mut self) -> Result<(), E> {
        if let Some(making) = &self.making
            && let std::task::Poll::Ready(made) = making.wait(Duration::ZERO)
        {
            self.making = None;
            // None by a panic, which was told: the next one is due at once.
            return made.unwrap_or(Ok(()));
        }
        Ok(())
    }

    /// What was written has the values `tree`: `make` makes that durable, in the background, if enough is
    /// new since the first `durable` chunks were.
    pub(crate) fn written(
        &mut self,
        tree: &Tree,
        durable: u32,
        make: impl FnOnce(Tree) -> Result<(), E> + Send + 'static,
    ) {
        self.tree = tree.clone();
        let is_due = u64::from(self.new_since(durable)) << 20 >= MARK_LEN
            || self.made.elapsed() >= MARK_EVERY;
        if !is_due || self.making.is_some() || tree.runs() < RUNS_MIN {
            return;
        }
        self.made = Instant::now();
        let tree = tree.clone();
        match Background::start(move || make(tree)) {
            Ok(making) => self.making = Some(making),
            Err(error) => warn!(%error, "no thread for a checkpoint; the next one may have one"),
        }
    }

    /// Waits for the checkpoint that is being made. Gives the values that are worth one more.
    pub(crate) fn settle(&mut self, durable: impl FnOnce() -> u32) -> Option<Tree> {
        if let Some(making) = self.making.take() {
            // A result, or none by a panic: what is durable says the same.
            while making.wait(WAIT).is_pending() {}
        }
        let is_worth_it = self.tree.runs() >= RUNS_MIN && self.new_since(durable()) > 0;
        is_worth_it.then(|| self.tree.clone())
    }

    /// MiB that were written behind the first `durable` chunks.
    fn new_since(&self, durable: u32) -> u32 {
        self.tree.runs().saturating_sub(durable / 1024)
    }
}
