//! Several links of one session: large files go over data links, and the control link stays free.
//!
//! Each data link has a thread with a client of its own. A file is handed to all of them as one
//! [`Work`], from which each takes the lowest run that is left, two at a time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant as Clock};

use kift_core::Tree;
use kift_core::session::{Failure, Reply};
use kift_core::wire::{Code, Digest, Put, Request, RunLen, TransferId};

use super::invitation::Invitation;
use super::work::{News, Way, Work};
use super::{Client, ClientError, FileSink, Sink as _, new_transfer_id};
use crate::net::TICK;

/// Data links that a client may have.
pub const LINKS_MAX: u8 = 16;

/// Bytes of the smallest file that goes in runs.
const SIZE_MIN: u64 = 16 << 20;

/// The usual length of a run: 4 MiB.
const RUN_LEN: RunLen = RunLen(12);

/// How long nothing may be said on a link without its server giving up on it.
const QUIET_MAX: Duration = Duration::from_secs(60);

/// The data links of a client.
pub struct Crew {
    members: Vec<Member>,
    /// Bytes that went over any of them.
    bytes: Arc<AtomicU64>,
    told: u64,
}

/// A data link. It ends when this is dropped.
struct Member {
    number: usize,
    work: Sender<Arc<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// What became of a file in runs.
#[derive(Debug)]
pub struct Moved {
    /// What it came to.
    pub result: Result<Reply, Failure>,
    /// What this machine's files had to do with a failure.
    pub reason: Option<io::Error>,
    /// As in [`Done`](super::Done).
    pub resumed: Option<u64>,
    /// The same.
    pub skipped: u64,
}

/// How the runs of a file went.
enum Runs {
    /// All went, and make this root.
    Whole(Digest),
    Failed(Moved),
    /// No link is left.
    Lost,
}

impl Moved {
    /// Whether it was to go on behind what an earlier attempt had moved, which is not what it was.
    #[must_use]
    pub fn is_of_what_changed(&self) -> bool {
        match self.result {
            // Only an upload that goes on is compared here.
            Err(Failure::Local(Code::Changed)) => true,
            Err(Failure::Peer(Code::Changed | Code::BadRange)) => self.resumed.is_some(),
            _ => false,
        }
    }
}

impl From<Failure> for Moved {
    fn from(failure: Failure) -> Self {
        Self { result: Err(failure), reason: None, resumed: None, skipped: 0 }
    }
}

impl Crew {
    /// Adds `count` data links to the session of `control`. Fewer where the
    /// server, or the system, does not give as many; and why.
    ///
    /// # Errors
    /// The end of the session.
    pub fn gather(control: &mut Client, count: u8) -> Result<(Self, Vec<String>), ClientError> {
        let mut crew = Self { members: Vec::new(), bytes: Arc::default(), told: 0 };
        let mut missing = Vec::new();
        let mut coming = Vec::new();
        for _ in 0..count.min(LINKS_MAX) {
            match control.invite()? {
                Ok(invitation) => match crew.hire(invitation, coming.len()) {
                    Ok(member) => coming.push(member),
                    Err(error) => missing.push(error.to_string()),
                },
                Err(failure) => {
                    missing.push(failure.to_string());
                    break;
                }
            }
        }
        for (member, joined) in coming {
            match joined.recv() {
                Ok(Ok(())) => crew.members.push(member),
                Ok(Err(why)) => missing.push(why),
                Err(_) => missing.push("its thread ended".to_owned()),
            }
        }
        Ok((crew, missing))
    }

    /// Starts a data link, which says whether it could join.
    fn hire(
        &self,
        invitation: Invitation,
        number: usize,
    ) -> io::Result<(Member, Receiver<Result<(), String>>)> {
        let bytes = Arc::clone(&self.bytes);
        let (work, to_do) = channel();
        let (joined, has_joined) = channel();
        let thread = thread::Builder::new().name("kift data link".to_owned()).spawn(move || {
            let client = match invitation.accept() {
                Ok(Ok(client)) => Ok(client),
                Ok(Err(failure)) => Err(failure.to_string()),
                Err(error) => Err(error.to_string()),
            };
            // Whoever asked may have given up.
            let _ = joined.send(client.as_ref().map(|_| ()).map_err(Clone::clone));
            if let Ok(mut client) = client {
                client.on_bytes(move |n| {
                    bytes.fetch_add(n, Ordering::Relaxed);
                });
                serve(client, number, &to_do);
            }
        })?;
        Ok((Member { number, work, thread: Some(thread) }, has_joined))
    }

    /// Data links that are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a file of `size` bytes should go in runs.
    #[must_use]
    pub fn takes(&self, size: u64) -> bool {
        !self.is_empty() && size >= SIZE_MIN && run_len(size).is_some()
    }

    /// Sends `file`. No request may be open on `control`. None where no data link is left, or the session
    /// is another: it is then to be sent in one, and asked how much of it is there.
    ///
    /// # Errors
    /// The end of the session.
    pub fn put(
        &mut self,
        control: &mut Client,
        file: std::fs::File,
        put: Put<'_>,
    ) -> Result<Option<Moved>, ClientError> {
        let (Some(size), transfer) = (put.size, put.transfer) else { return Ok(None) };
        let Some(runs) = run_len(size) else { return Ok(None) };
        match control.ask(&Request::BeginPut { put, runs })? {
            Ok(Reply::Done) => {}
            other => {
                return Ok(Some(Moved { result: other, reason: None, resumed: None, skipped: 0 }));
            }
        }
        let root = match self.run(control, transfer, Way::Up, file, size, runs, |_| {})? {
            Runs::Whole(root) => root,
            Runs::Failed(moved) => {
                let _ = control.ask(&Request::Release { transfer })?;
                return Ok(Some(moved));
            }
            Runs::Lost => return Ok(None),
        };
        let result = control.ask(&Request::Commit { transfer, size, root })?;
        if result == Err(Failure::Peer(Code::NotFound)) {
            // In another session, and it may have been stored in the one before.
            return Ok(None);
        }
        Ok(Some(Moved { result, reason: None, resumed: None, skipped: 0 }))
    }

    /// Fetches the file at `path` into `sink`, if it is large enough for this. As for
    /// [`put`](Self::put); what came from its first run on is left for [`FileSink::has_rest`] then.
    ///
    /// # Errors
    /// The end of the session.
    pub fn get(
        &mut self,
        control: &mut Client,
        path: &str,
        mut sink: FileSink,
        begins: impl FnOnce(u64),
    ) -> Result<Option<Moved>, ClientError> {
        let transfer = new_transfer_id();
        let meta = match control.ask(&Request::BeginGet { transfer, path })? {
            Ok(Reply::Stat { meta, .. }) => meta,
            // Why, it is told when it is fetched in one.
            _ => return Ok(None),
        };
        let (size, shared) = (meta.size, sink.share());
        let (Some(runs), true) = (run_len(size), self.takes(size)) else {
            let _ = control.ask(&Request::Release { transfer })?;
            return Ok(None);
        };
        let moved = match shared {
            Err(error) => {
                let result = Err(Failure::Local(Code::Io));
                Runs::Failed(Moved { result, reason: Some(error), resumed: None, skipped: 0 })
            }
            Ok(file) => {
                begins(size);
                let mark = |tree: &Tree| sink.mark(tree);
                match self.run(control, transfer, Way::Down, file, size, runs, mark) {
                    Ok(moved) => moved,
                    Err(error) => {
                        sink.suspend();
                        return Err(error);
                    }
                }
            }
        };
        let released = match control.ask(&Request::Release { transfer }) {
            Ok(released) => released,
            Err(error) => {
                sink.suspend();
                return Err(error);
            }
        };
        Ok(Some(match (moved, released) {
            // The latter in another session, which knows nothing of it.
            (Runs::Lost, _) | (Runs::Whole(_), Err(Failure::Peer(Code::NotFound))) => {
                sink.suspend();
                return Ok(None);
            }
            (Runs::Failed(moved), _) => moved,
            (Runs::Whole(_), Err(failure)) => failure.into(),
            (Runs::Whole(root), Ok(_)) => {
                sink.begin(size, meta.modified);
                match sink.commit() {
                    Ok(suffix) => Moved {
                        result: Ok(Reply::Got { size, root, suffix }),
                        reason: None,
                        resumed: None,
                        skipped: 0,
                    },
                    Err(error) => Moved {
                        result: Err(Failure::Local(Code::Io)),
                        reason: Some(error),
                        resumed: None,
                        skipped: 0,
                    },
                }
            }
        }))
    }

    /// Has all runs of a file moved. Those that have moved from the first on are told to `mark`, but for the
    /// last.
    #[expect(clippy::too_many_arguments, reason = "one call each way")]
    fn run(
        &mut self,
        control: &mut Client,
        transfer: TransferId,
        way: Way,
        file: std::fs::File,
        size: u64,
        len: RunLen,
        mut mark: impl FnMut(&Tree),
    ) -> Result<Runs, ClientError> {
        let runs: Vec<_> = (0..).map_while(|number| len.run(number, size)).collect();
        let mut prefix = Tree::new();
        let mut values = vec![None; runs.len()];
        let mut failed = None;
        let (work, news) = Work::new(transfer, way, file, runs);
        // Those whose link was lost are left to the others.
        while failed.is_none() && values.iter().any(Option::is_none) {
            self.members.retain(|member| member.work.send(Arc::clone(&work)).is_ok());
            if self.members.is_empty() {
                return Ok(Runs::Lost);
            }
            let mut busy = self.members.len();
            let mut spoke = Clock::now();
            while busy > 0 {
                match news.recv_timeout(TICK) {
                    Ok(News::Run { number, result: Ok(value) }) => {
                        if let Some(place) = values.get_mut(number) {
                            *place = Some(value);
                        }
                        let before = prefix.runs();
                        while let Some((Some(value), _)) =
                            values[prefix.runs() as usize..].split_first()
                            && (prefix.runs() as usize) < values.len() - 1
                        {
                            prefix.push(*value);
                        }
                        // A single one has no value of its own.
                        if prefix.runs() > before.max(1) {
                            mark(&prefix.clone().of_runs_of(len));
                        }
                    }
                    Ok(News::Run { result: Err(moved), .. }) => {
                        work.end();
                        failed.get_or_insert(moved);
                    }
                    Ok(News::Rests) => busy -= 1,
                    Ok(News::Lost(number)) => {
                        busy -= 1;
                        self.members.retain(|member| member.number != number);
                    }
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                }
                self.count(control);
                if control.is_stopped() {
                    work.end();
                    failed.get_or_insert_with(|| Failure::Local(Code::Cancelled).into());
                }
                if spoke.elapsed() >= QUIET_MAX {
                    spoke = Clock::now();
                    let said = control.ask(&Request::Space);
                    if said.is_err() {
                        work.end();
                    }
                    let _ = said?;
                }
            }
            if control.interrupted.load(Ordering::Relaxed) {
                return Err(ClientError::Interrupted);
            }
        }
        if let Some(moved) = failed {
            return Ok(Runs::Failed(moved));
        }
        let mut tree = Tree::new();
        values.into_iter().flatten().for_each(|value| tree.push(value));
        Ok(tree.root().map_or(Runs::Lost, Runs::Whole))
    }

    /// Tells the control link's client of bytes that went.
    fn count(&mut self, control: &mut Client) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        control.desk.count(bytes - self.told);
        self.told = bytes;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Nothing more will come: the link says goodbye.
        self.work = channel().0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How long the runs of a file of `size` bytes are; none where it does not go in runs.
fn run_len(size: u64) -> Option<RunLen> {
    use kift_core::wire::RUNS_MAX;
    (RUN_LEN.0..=RunLen::MAX.0)
        .map(RunLen)
        .find(|len| len.bytes().is_some_and(|len| size > len && size.div_ceil(len) <= RUNS_MAX))
}

/// A data link's thread: does what comes, until nothing more does.
fn serve(mut client: Client, number: usize, to_do: &Receiver<Arc<Work>>) {
    loop {
        match to_do.recv_timeout(QUIET_MAX) {
            Ok(work) => {
                let (part, news) = (work.take_part(&mut client), work.news());
                // The room that a file takes is free when nobody holds it any more, and the next file may
                // need it: it is let go of before that is told. Whoever listened may have given up.
                drop(work);
                if part.is_err() {
                    drop(client);
                    let _ = news.send(News::Lost(number));
                    return;
                }
                let _ = news.send(News::Rests);
            }
            Err(RecvTimeoutError::Timeout) => {
                if client.ask(&Request::Space).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                // It is over either way.
                let _ = client.finish();
                return;
            }
        }
    }
}
