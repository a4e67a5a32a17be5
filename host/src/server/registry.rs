//! Who is here and what they are doing, and what was done since the server started.
//!
//! A session writes down what it begins, under a lock of its own that is taken once a request; the
//! bytes that it moves are atomics. Whoever asks reads, and holds nobody up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant as Clock;

use serde_json::{Value, json};

use super::pace::Pace;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was done since the server started.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Sessions that ended in good order, lost their connection, or ended for another reason.
    pub(super) ended: Counter,
    pub(super) lost: Counter,
    pub(super) failed: Counter,
    pub(super) logins: Counter,
    pub(super) logins_failed: Counter,
    /// Files that were stored and sent whole, and the bytes of these and of others.
    pub(super) files_in: Counter,
    pub(super) files_out: Counter,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
}

impl Totals {
    /// Somebody was refused something for this reason, of which there are few.
    pub(super) fn refused(&self, reason: &'static str) {
        *locked(&self.refusals).entry(reason).or_default() += 1;
    }

    pub(super) fn refusals(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.refusals).clone()
    }
}

/// What a session does that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Put,
    Get,
    /// Reads a file for its BLAKE3.
    Hash,
    List,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Hash => "hash",
            Self::List => "list",
        }
    }
}

#[derive(Debug)]
struct Work {
    what: What,
    path: String,
    /// Bytes in all, where that is known.
    total: Option<u64>,
    /// Milliseconds after the server's start.
    began: u64,
}

/// A session as others see it.
#[derive(Debug)]
struct Record {
    peer: SocketAddr,
    since: Clock,
    user: Mutex<Option<String>>,
    work: Mutex<Option<Work>>,
    done: AtomicU64,
    pace: Pace,
}

/// All sessions, and what was done.
#[derive(Debug)]
pub(super) struct Registry {
    started: Clock,
    last: AtomicU64,
    sessions: Mutex<BTreeMap<u64, Arc<Record>>>,
    pub(super) totals: Totals,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            started: Clock::now(),
            last: AtomicU64::new(0),
            sessions: Mutex::default(),
            totals: Totals::default(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// A session with the peer at `peer` begins.
    pub(super) fn enter(self: &Arc<Self>, peer: SocketAddr) -> Activity {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let record = Arc::new(Record {
            peer,
            since: Clock::now(),
            user: Mutex::default(),
            work: Mutex::default(),
            done: AtomicU64::new(0),
            pace: Pace::default(),
        });
        locked(&self.sessions).insert(id, Arc::clone(&record));
        Activity { registry: Arc::clone(self), id, record, what: None, total: None }
    }

    pub(super) fn uptime_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn records(&self) -> Vec<(u64, Arc<Record>)> {
        locked(&self.sessions).iter().map(|(id, record)| (*id, Arc::clone(record))).collect()
    }

    pub(super) fn sessions(&self) -> usize {
        locked(&self.sessions).len()
    }

    /// How many sessions do this now.
    pub(super) fn doing(&self, what: What) -> usize {
        let does = |record: &Record| locked(&record.work).as_ref().is_some_and(|w| w.what == what);
        self.records().iter().filter(|(_, record)| does(record)).count()
    }

    /// An object about the server, and behind it one for each session, oldest first.
    pub(super) fn objects(&self) -> Vec<Value> {
        let (records, totals) = (self.records(), &self.totals);
        let server = json!({ "server": {
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.uptime_s(),
            "sessions": records.len(),
            "files_in": totals.files_in.get(),
            "files_out": totals.files_out.get(),
            "bytes_in": totals.bytes_in.get(),
            "bytes_out": totals.bytes_out.get(),
        }});
        let now = self.now_ms();
        let sessions =
            records.iter().map(|(id, record)| json!({ "session": record.object(*id, now) }));
        std::iter::once(server).chain(sessions).collect()
    }
}

impl Record {
    fn object(&self, id: u64, now_ms: u64) -> Value {
        let mut object = json!({
            "id": id,
            "peer": self.peer.to_string(),
            "user": *locked(&self.user),
            "since_s": self.since.elapsed().as_secs(),
        });
        if let Some(work) = &*locked(&self.work) {
            object["request"] = json!(work.what.name());
            object["path"] = json!(work.path);
            object["done"] = json!(self.done.load(Ordering::Relaxed));
            object["total"] = json!(work.total);
            object["rate"] = json!(self.pace.rate(now_ms, work.began));
        }
        object
    }
}

/// A session's side of its record, which goes with it.
#[derive(Debug)]
pub(super) struct Activity {
    registry: Arc<Registry>,
    id: u64,
    record: Arc<Record>,
    what: Option<What>,
    total: Option<u64>,
}

impl Activity {
    pub(super) fn totals(&self) -> &Totals {
        &self.registry.totals
    }

    pub(super) fn logged_in(&self, user: &str) {
        *locked(&self.record.user) = Some(user.to_owned());
        self.totals().logins.add(1);
    }

    /// Something begins that takes time.
    pub(super) fn begin(&mut self, what: What, path: &str, total: Option<u64>) {
        self.record.done.store(0, Ordering::Relaxed);
        self.record.pace.reset();
        let began = self.registry.now_ms();
        let work = Work { what, path: path.to_owned(), total, began };
        *locked(&self.record.work) = Some(work);
        (self.what, self.total) = (Some(what), total);
    }

    /// `bytes` more of it are done.
    pub(super) fn moved(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.record.done.fetch_add(bytes, Ordering::Relaxed);
        self.record.pace.add(self.registry.now_ms(), bytes);
        match self.what {
            Some(What::Put) => self.totals().bytes_in.add(bytes),
            Some(What::Get) => self.totals().bytes_out.add(bytes),
            _ => {}
        }
    }

    /// It was stored.
    pub(super) fn stored(&mut self) {
        self.totals().files_in.add(1);
        self.over();
    }

    /// It was sent, as far as it was.
    pub(super) fn closed(&mut self) {
        let done = self.record.done.load(Ordering::Relaxed);
        if self.what == Some(What::Get) && self.total == Some(done) {
            self.totals().files_out.add(1);
        }
        self.over();
    }

    /// Nothing is under way any more.
    pub(super) fn over(&mut self) {
        *locked(&self.record.work) = None;
        (self.what, self.total) = (None, None);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        locked(&self.registry.sessions).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 1000))
    }

    #[test]
    fn a_session_is_seen_with_what_it_does_as_long_as_it_is_here() {
        let registry = Arc::new(Registry::default());
        let mut activity = registry.enter(peer());
        activity.logged_in("anna");
        activity.begin(What::Put, "in/a.bin", Some(4096));
        activity.moved(1024);
        let objects = registry.objects();
        let session = &objects[1]["session"];
        assert_eq!(objects[0]["server"]["sessions"], 1);
        assert_eq!(session["user"], "anna");
        assert_eq!(session["peer"], "192.0.2.1:1000");
        assert_eq!((&session["request"], &session["path"]), (&json!("put"), &json!("in/a.bin")));
        assert_eq!((&session["done"], &session["total"]), (&json!(1024), &json!(4096)));
        assert!(session["rate"].as_u64().unwrap() > 0);
        assert_eq!((registry.doing(What::Put), registry.doing(What::Get)), (1, 0));
        activity.stored();
        assert!(registry.objects()[1]["session"]["request"].is_null());
        drop(activity);
        assert_eq!(registry.objects().len(), 1);
        assert_eq!(registry.totals.files_in.get(), 1);
        assert_eq!(registry.totals.bytes_in.get(), 1024);
    }

    #[test]
    fn only_what_went_whole_counts_as_a_file() {
        let registry = Arc::new(Registry::default());
        let mut activity = registry.enter(peer());
        for bytes in [10, 5] {
            activity.begin(What::Get, "a", Some(10));
            activity.moved(bytes);
            activity.closed();
        }
        activity.begin(What::Hash, "a", Some(10));
        activity.moved(10);
        activity.closed();
        assert_eq!(registry.totals.files_out.get(), 1);
        assert_eq!(registry.totals.bytes_out.get(), 15);
    }
}
