//! What lies in homes that have a quota, and what is on its way there.
//!
//! Each home with a quota has an account, which all sessions share. What is stored beneath the home
//! counts, whoever stored it: homes may lie in one another, so that one change may concern several
//! accounts. What is on its way is reserved before it comes. An upload that replaces a file counts
//! beside it until it has taken its place: until then both are there.
//!
//! A session is refused by the quota of its own home alone. A rename never is: both names lie in
//! the home, so that it cannot make more of what is there.
//!
//! Accounts are **exact** because names are changed under a lock: a file's size is looked up, the
//! change is made and the accounts are written in one piece, so that no two sessions are given the
//! same bytes back. Only where an account is concerned do they wait for one another.
//!
//! A home is **counted** when that is first needed, in the background, while changes in it wait. It
//! is counted again when a directory was moved into it or out of it, or when enough time has
//! passed: soon if something does not fit, since room may have been made by other means, and at
//! last in any case, since other means may also have filled it. On a file system that folds case,
//! what others store in a home under another spelling of its name is also found only then.

use std::cmp::max;
use std::collections::BTreeMap;
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::task::Poll;
use std::time::{Duration, Instant};

use kift_core::storage::Outcome;
use kift_core::wire::{CHUNK, Code, EntryKind, Path};

use super::root::{Root, Served};

/// What a directory counts, and an empty file: without that they would be unlimited.
pub(super) const WEIGHT_MIN: u64 = CHUNK as u64;

/// How long one call waits for a count.
const COUNT_WAIT: Duration = Duration::from_secs(1);

/// How old a count must be for another, where something does not fit.
const FULL_AGE: Duration = Duration::from_secs(5);

/// How old a count may be.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Of how much time, at most, one part goes into counting a home.
const COUNT_SHARE: u32 = 20;

/// What counts for a file of `size` bytes, or for a directory.
pub(super) fn weight(kind: EntryKind, size: u64) -> u64 {
    match kind {
        EntryKind::File => max(size, WEIGHT_MIN),
        EntryKind::Directory => WEIGHT_MIN,
    }
}

/// The accounts of a served directory.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Held while names change: with others where no account is concerned, alone where one is.
    /// Always taken before `books`.
    names: RwLock<()>,
    books: Mutex<Books>,
    /// A count has ended.
    counted: Condvar,
}

/// Paths in here begin at the served directory.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) accounts: BTreeMap<Box<str>, Account>,
    /// The bytes that are on their way, and where to.
    reserved: BTreeMap<u64, (Box<str>, u64)>,
    /// The number of the next reservation.
    next: u64,
}

/// What lies in one home.
#[derive(Debug)]
pub(super) enum Account {
    Due,
    Counting,
    Counted { used: u64, since: Instant, took: Duration },
    Failed { code: Code, since: Instant, took: Duration },
}

/// Why an account says nothing now.
enum Silent {
    Due,
    Counting,
}

impl Ledger {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a count of `home`, unless one is under way.
    pub(super) fn start_count(&self, home: &str) -> bool {
        // Whatever is under way is counted wholly, or not at all.
        let _names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let mut books = self.books();
        match books.accounts.insert(home.into(), Account::Counting) {
            Some(Account::Counting) => false,
            Some(_) | None => true,
        }
    }

    /// Ends it.
    pub(super) fn end_count(&self, home: &str, result: Result<u64, Code>, took: Duration) {
        let since = Instant::now();
        let account = match result {
            Ok(used) => Account::Counted { used, since, took },
            Err(code) => Account::Failed { code, since, took },
        };
        self.books().accounts.insert(home.into(), account);
        self.counted.notify_all();
    }

    /// Asks until an answer does not depend on a count, but not for long. Where a count is due,
    /// `count` begins it.
    fn ask<T>(
        &self,
        count: impl Fn(),
        mut question: impl FnMut(&mut Books) -> Result<T, Silent>,
    ) -> Poll<T> {
        let deadline = Instant::now() + COUNT_WAIT;
        loop {
            let mut books = self.books();
            match question(&mut books) {
                Ok(answer) => return Poll::Ready(answer),
                Err(Silent::Due) => {
                    drop(books);
                    count();
                }
                Err(Silent::Counting) if !self.wait(books, deadline) => return Poll::Pending,
                Err(Silent::Counting) => {}
            }
        }
    }

    /// Waits for the end of any count, and says whether there was one before `deadline`.
    fn wait(&self, books: MutexGuard<'_, Books>, deadline: Instant) -> bool {
        let patience = deadline.saturating_duration_since(Instant::now());
        let waited = self.counted.wait_timeout(books, patience);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Books {
    /// What lies in `home`, and whether that was counted so long ago that it may be again. An error
    /// within where it could not be counted.
    fn used(&self, home: &str) -> Result<Result<(u64, bool), Code>, Silent> {
        let is_older = |since: &Instant, took: &Duration, age| {
            since.elapsed() >= max(age, took.saturating_mul(COUNT_SHARE))
        };
        match self.accounts.get(home) {
            None | Some(Account::Due) => Err(Silent::Due),
            Some(Account::Counting) => Err(Silent::Counting),
            Some(Account::Counted { since, took, .. }) if is_older(since, took, AGE_MAX) => {
                Err(Silent::Due)
            }
            Some(Account::Counted { used, since, took }) => {
                Ok(Ok((*used, is_older(since, took, FULL_AGE))))
            }
            Some(Account::Failed { since, took, .. }) if is_older(since, took, FULL_AGE) => {
                Err(Silent::Due)
            }
            Some(Account::Failed { code, .. }) => Ok(Err(*code)),
        }
    }

    /// What is on its way to `home`.
    fn reserved(&self, home: &str) -> u64 {
        let here = self.reserved.values().filter(|(path, _)| is_beneath(path, home));
        here.fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    /// Changes what lies in every home that `path` is beneath.
    fn post(&mut self, path: &str, change: impl Fn(u64) -> u64) {
        for (home, account) in &mut self.accounts {
            if let Account::Counted { used, .. } = account
                && is_beneath(path, home)
            {
                *used = change(*used);
            }
        }
    }

    /// The accounts that a change of the name `path` may concern.
    fn concerned<'b>(&'b self, path: &'b str) -> impl Iterator<Item = &'b Account> {
        let accounts = self.accounts.iter();
        accounts.filter(move |(home, _)| is_concerned(path, home)).map(|(_, account)| account)
    }
}

/// Bytes that are on their way. What was not stored is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    served: Arc<Served>,
    number: u64,
    amount: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.served.ledger.books().reserved.remove(&self.number);
    }
}

impl Root {
    /// A reservation of nothing, for what will be at `path`.
    pub(super) fn reservation(&self, path: Path<'_>) -> Reservation {
        let mut books = self.served.ledger.books();
        let number = books.next;
        books.next += 1;
        books.reserved.insert(number, (self.within(path.as_str()).into(), 0));
        Reservation { served: Arc::clone(&self.served), number, amount: 0 }
    }

    /// Has at least `amount` reserved, if the quota leaves it.
    ///
    /// # Errors
    /// [`Code::NoSpace`], or why the home cannot be counted.
    pub(super) fn reserve(&self, reservation: &mut Reservation, amount: u64) -> Outcome<()> {
        if amount <= reservation.amount {
            return Poll::Ready(Ok(()));
        }
        let more = amount - reservation.amount;
        let result = self.ask(|books| {
            if let Some(quota) = self.bounds.quota {
                if amount > quota {
                    return Ok(Err(Code::NoSpace));
                }
                let (used, is_old) = match books.used(&self.home)? {
                    Ok(used) => used,
                    Err(code) => return Ok(Err(code)),
                };
                let taken = used.saturating_add(books.reserved(&self.home));
                if taken.saturating_add(more) > quota {
                    return if is_old { Err(Silent::Due) } else { Ok(Err(Code::NoSpace)) };
                }
            }
            if let Some((_, reserved)) = books.reserved.get_mut(&reservation.number) {
                *reserved = amount;
            }
            Ok(Ok(()))
        });
        if let Poll::Ready(Ok(())) = result {
            reservation.amount = amount;
        }
        result
    }

    /// What `quota` leaves.
    ///
    /// # Errors
    /// Why the home cannot be counted.
    pub(super) fn left(&self, quota: u64) -> Outcome<u64> {
        self.ask(|books| {
            let used = books.used(&self.home)?;
            let reserved = books.reserved(&self.home);
            Ok(used.map(|(used, _)| quota.saturating_sub(used).saturating_sub(reserved)))
        })
    }

    fn ask<T>(&self, question: impl FnMut(&mut Books) -> Result<T, Silent>) -> Poll<T> {
        self.served.ledger.ask(|| self.served.count(&self.home), question)
    }

    /// Begins a change of the names `paths`: what is looked up from now on stays so until it is
    /// dropped. Pending while a home that is concerned is counted.
    pub(super) fn change(&self, paths: &[Path<'_>]) -> Poll<Change<'_>> {
        let ledger = &self.served.ledger;
        let paths: Vec<_> = paths.iter().map(|path| self.within(path.as_str())).collect();
        let deadline = Instant::now() + COUNT_WAIT;
        {
            let names = ledger.names.read().unwrap_or_else(PoisonError::into_inner);
            let books = ledger.books();
            if paths.iter().all(|path| books.concerned(path).next().is_none()) {
                return Poll::Ready(Change { root: self, _with_others: Some(names), _alone: None });
            }
        }
        loop {
            let names = ledger.names.write().unwrap_or_else(PoisonError::into_inner);
            let books = ledger.books();
            let mut concerned = paths.iter().flat_map(|path| books.concerned(path));
            if concerned.all(|account| !matches!(account, Account::Counting)) {
                return Poll::Ready(Change { root: self, _with_others: None, _alone: Some(names) });
            }
            drop((concerned, names));
            if !ledger.wait(books, deadline) {
                return Poll::Pending;
            }
        }
    }
}

/// A change of names, while no other concerns the same accounts.
#[derive(Debug)]
pub(super) struct Change<'r> {
    root: &'r Root,
    _with_others: Option<RwLockReadGuard<'r, ()>>,
    _alone: Option<RwLockWriteGuard<'r, ()>>,
}

impl Change<'_> {
    /// What was reserved is now at `path`, and weighs `weight`.
    pub(super) fn stored(&self, path: Path<'_>, reservation: &Reservation, weight: u64) {
        let mut books = self.root.served.ledger.books();
        books.reserved.remove(&reservation.number);
        books.post(&self.root.within(path.as_str()), |used| used.saturating_add(weight));
    }

    /// What weighed `weight` is no longer at `path`.
    pub(super) fn removed(&self, path: Path<'_>, weight: u64) {
        let mut books = self.root.served.ledger.books();
        books.post(&self.root.within(path.as_str()), |used| used.saturating_sub(weight));
    }

    /// What weighs `weight` is no longer at `from` but at `to`.
    pub(super) fn moved(&self, from: Path<'_>, to: Path<'_>, kind: EntryKind, weight: u64) {
        let (from, to) = (self.root.within(from.as_str()), self.root.within(to.as_str()));
        let mut books = self.root.served.ledger.books();
        if kind == EntryKind::File {
            books.post(&from, |used| used.saturating_sub(weight));
            books.post(&to, |used| used.saturating_add(weight));
            return;
        }
        for (home, account) in &mut books.accounts {
            let stays = is_beneath(&from, home) && is_beneath(&to, home);
            if !stays && (is_concerned(&from, home) || is_concerned(&to, home)) {
                *account = Account::Due;
            }
        }
    }
}

fn is_beneath(path: &str, home: &str) -> bool {
    match path.strip_prefix(home) {
        Some(rest) if home.is_empty() => !rest.is_empty(),
        Some(rest) => rest.starts_with('/'),
        None => false,
    }
}

/// Whether what is at `path` counts for `home`, or holds it.
fn is_concerned(path: &str, home: &str) -> bool {
    path == home || is_beneath(path, home) || is_beneath(home, path)
}
