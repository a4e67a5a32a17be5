//! A file in runs, as the threads of several links share it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant as Clock};

use kift_core::session::{Failure, Reply};
use kift_core::wire::{Code, Digest, Run, Timestamp, TransferId};

use super::crew::Moved;
use super::source::Contents;
use super::{Client, ClientError, Sink};
use crate::net::TICK;

/// Runs that are open on a link at once.
const RUNS_OPEN_MAX: usize = 2;

/// How long a run may be another link's that was lost, and does not know it yet.
const BUSY_MAX: Duration = Duration::from_secs(90);

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// A file and its runs.
#[derive(Debug)]
pub(super) struct Work {
    transfer: TransferId,
    way: Way,
    file: Arc<File>,
    runs: Vec<Run>,
    next: AtomicUsize,
    /// Runs that have to go again: of links that were lost.
    again: Mutex<VecDeque<usize>>,
    is_over: Arc<AtomicBool>,
    news: Sender<News>,
}

/// What a link tells of its work.
#[derive(Debug)]
pub(super) enum News {
    /// A run went, and has this value; or it failed, and so does the file.
    Run { number: usize, result: Result<Digest, Moved> },
    /// A link takes no further run now.
    Rests,
    /// The link of this number was lost.
    Lost(usize),
}

impl Work {
    /// The work, and what is told of it.
    pub(super) fn new(
        transfer: TransferId,
        way: Way,
        file: File,
        runs: Vec<Run>,
    ) -> (Arc<Self>, Receiver<News>) {
        let (news, told) = channel();
        let work = Self {
            transfer,
            way,
            file: Arc::new(file),
            runs,
            next: AtomicUsize::new(0),
            again: Mutex::default(),
            is_over: Arc::default(),
            news,
        };
        (Arc::new(work), told)
    }

    /// Nothing of it is worth doing any more.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// What becomes of it is told here.
    pub(super) fn news(&self) -> Sender<News> {
        self.news.clone()
    }

    fn tell(&self, news: News) {
        // Whoever listened has given up.
        let _ = self.news.send(news);
    }

    /// The lowest run that nobody has.
    fn take(&self) -> Option<(usize, Run)> {
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let again = self.again.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let number = again.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        self.runs.get(number).map(|run| (number, *run))
    }

    fn give_back(&self, number: usize) {
        self.again.lock().unwrap_or_else(PoisonError::into_inner).push_back(number);
    }

    /// Moves runs over `client` as long as there are any.
    ///
    /// # Errors
    /// The link's end. What was open on it is left to others.
    pub(super) fn take_part(&self, client: &mut Client) -> Result<(), ClientError> {
        client.stop_by(Arc::clone(&self.is_over));
        let mut open = VecDeque::new();
        let result = self.move_runs(client, &mut open);
        client.stop_by(Arc::default());
        for number in open {
            self.give_back(number);
        }
        result
    }

    fn move_runs(
        &self,
        client: &mut Client,
        open: &mut VecDeque<usize>,
    ) -> Result<(), ClientError> {
        let mut busy_since = None;
        loop {
            while open.len() < RUNS_OPEN_MAX
                && let Some((number, run)) = self.take()
            {
                // It is this link's even if that ends before the run is asked for.
                open.push_back(number);
                let part = Part { file: Arc::clone(&self.file), at: run.offset(), left: run.size };
                let requested = match self.way {
                    Way::Up => client.put_run(self.transfer, run, Box::new(part)),
                    Way::Down => client.get_run(self.transfer, run, Box::new(part)),
                };
                if let Err(code) = requested? {
                    open.pop_back();
                    let result = Err(Failure::Local(code).into());
                    self.tell(News::Run { number, result });
                }
            }
            let Some(done) = client.next_done()? else { return Ok(()) };
            // Answers come in the order asked.
            let Some(number) = open.pop_front() else { continue };
            let result = match done.result {
                Ok(Reply::Stored { root, .. } | Reply::Got { root, .. }) => Ok(root),
                Err(Failure::Peer(Code::Busy))
                    if busy_since.get_or_insert_with(Clock::now).elapsed() < BUSY_MAX =>
                {
                    thread::sleep(TICK);
                    self.give_back(number);
                    continue;
                }
                result => Err(Moved { result, reason: done.reason, resumed: None, skipped: 0 }),
            };
            self.tell(News::Run { number, result });
        }
    }
}

/// A run of a local file, to be read or to be written.
struct Part {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Part {
    fn advance(&mut self, n: usize) {
        self.at += n as u64;
        self.left = self.left.saturating_sub(n as u64);
    }
}

impl Contents for Part {}

impl Read for Part {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buf[..len], self.at)?;
        self.advance(n);
        Ok(n)
    }
}

impl Sink for Part {
    fn begin(&mut self, _size: u64, _modified: Option<Timestamp>) {}

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.at)?;
        self.advance(data.len());
        Ok(())
    }

    fn commit(&mut self) -> io::Result<u32> {
        Ok(0)
    }
}
