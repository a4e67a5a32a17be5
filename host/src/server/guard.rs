//! Who may do what: stands between a session and the store.
//!
//! The store knows a home and its bounds. Whom they belong to, and what that user may do there, is
//! decided here, before each operation.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant as Clock;

use kift_core::Tree;
use kift_core::secure::{Peer, PublicKey, Token};
use kift_core::session::Event;
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Settled, Store, Text};
use kift_core::wire::{
    Code, Conflict, Digest, EntryKind, Meta, Password, Path, Put, Run, RunLen, Space, Ticket,
    TransferId,
};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::limits::Limits;
use super::registry::{Activity, What};
use super::tickets::Pass;
use super::{Attendant, House};
use crate::access::{Accounts, Entry, Grant, Rights};
use crate::background::Background;
use crate::net::{TICK, has_hung_up};
use crate::store::{Bounds, Presence, Root, Session, Transfers};

/// A peer's connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) address: SocketAddr,
    pub(super) stream: Arc<TcpStream>,
}

/// One peer, and what it may do.
#[derive(Debug)]
pub(super) struct Guard {
    house: Arc<House>,
    root: Arc<Root>,
    /// As they were when the peer came.
    limits: Arc<Limits>,
    activity: Activity,
    /// The request that was last asked what is at a path: if it opens that file, it does so for the
    /// BLAKE3.
    looked: RequestId,
    /// What is open, if it is not the store's.
    text: Option<Vec<u8>>,
    address: SocketAddr,
    presence: Presence,
    /// None on a plain link, where everybody may do everything.
    accounts: Option<Arc<Accounts>>,
    /// What the peer may pair with.
    token: Option<Token>,
    key: Option<PublicKey>,
    inside: Option<Inside>,
    /// The peer may still say which user it is: nothing else was asked yet.
    may_login: bool,
    verifying: Option<Background<Result<Grant, Code>>>,
    failures: u32,
    /// Since when the peer may log in.
    since: Clock,
    is_open: bool,
    /// It joined the session of another link.
    is_attached: bool,
    /// What is open is a part of a file.
    is_in_run: bool,
}

/// A user at work.
#[derive(Debug)]
struct Inside {
    grant: Option<Grant>,
    store: Session,
}

impl Inside {
    fn may(&self, needed: Rights) -> bool {
        self.grant.as_ref().is_none_or(|grant| grant.rights.contains(needed))
    }
}

impl Guard {
    /// For the peer of `line`, whose link has `token` for pairing. Without `accounts` it may do
    /// what it likes.
    pub(super) fn new(
        house: Arc<House>,
        root: Arc<Root>,
        line: Line,
        accounts: Option<Arc<Accounts>>,
        token: Option<Token>,
    ) -> Self {
        let Line { address, stream } = line;
        let presence = Presence::new(move || has_hung_up(&stream));
        let inside = accounts.is_none().then(|| Inside {
            grant: None,
            store: Session::new(Arc::clone(&root), address.to_string()).of(presence.clone()),
        });
        Self {
            limits: house.settings.limits.get(),
            activity: house.registry.enter(address),
            looked: RequestId::default(),
            text: None,
            house,
            root,
            address,
            presence,
            accounts,
            token,
            key: None,
            inside,
            may_login: true,
            verifying: None,
            failures: 0,
            since: Clock::now(),
            is_open: false,
            is_attached: false,
            is_in_run: false,
        }
    }

    /// Opens a user's home.
    fn let_in(&mut self, grant: Grant, how: &str) -> Result<(), Code> {
        self.let_in_with(grant, how, Arc::default())
    }

    /// Opens a user's home, for a link that shares `transfers` with others.
    fn let_in_with(
        &mut self,
        grant: Grant,
        how: &str,
        transfers: Arc<Transfers>,
    ) -> Result<(), Code> {
        let bounds = Bounds { quota: grant.quota, largest: grant.largest };
        let home = self.root.home(&grant.home, bounds).inspect_err(|code| {
            let (user, home) = (&grant.user, &grant.home);
            warn!(peer = %self.address, user, home, %code, "cannot open the home");
        })?;
        let name = format!("{}@{}", grant.user, self.address);
        let fingerprint = self.key.map(|key| key.fingerprint());
        info!(peer = name, key = fingerprint.map(display), rights = %grant.rights, home = grant.home, "logged in by {how}");
        self.activity.logged_in(&grant.user);
        let store = Session::joining(home, &grant.user, name, transfers).of(self.presence.clone());
        self.inside = Some(Inside { grant: Some(grant), store });
        Ok(())
    }

    /// The store, for something that needs the rights `needed`.
    fn store(&mut self, needed: Rights) -> Result<&mut Session, Code> {
        self.may_login = false;
        let inside = self.inside.as_mut().ok_or(Code::LoginRequired)?;
        if !inside.may(needed) {
            self.activity.totals().refused("rights");
            warn!(peer = inside.store.peer(), %needed, "refused: this user may not do that");
            return Err(Code::Denied);
        }
        Ok(&mut inside.store)
    }

    /// An upload as this user may make it: to replace a file is to remove the one that is there.
    fn allowed<'p>(&self, put: &Put<'p>) -> Put<'p> {
        let may_delete = self.inside.as_ref().is_some_and(|inside| inside.may(Rights::DELETE));
        match put.conflict {
            Conflict::Replace if !may_delete => Put { conflict: Conflict::Refuse, ..*put },
            _ => *put,
        }
    }

    /// The store, to go on with what was begun.
    fn begun(&mut self) -> Result<&mut Session, Code> {
        self.inside.as_mut().map(|inside| &mut inside.store).ok_or(Code::Internal)
    }

    /// Whether the peer may manage the server. Who may do everything with files may not yet do that.
    fn manage(&mut self) -> Result<(), Code> {
        self.store(Rights::ADMIN)?;
        if self.accounts.is_none() && !self.house.settings.plain_admin {
            warn!(peer = self.name(), "refused: nobody manages this server over a plain link");
            self.activity.totals().refused("rights");
            return Err(Code::Denied);
        }
        Ok(())
    }

    /// Tells the registry what begins.
    fn begins(&mut self, what: What, path: Path<'_>, total: Option<u64>) {
        if let Some(inside) = &self.inside {
            self.activity.begin(what, &inside.store.within(path), total);
        }
    }

    /// Tells the registry that a part of a file begins.
    fn begins_run(&mut self, what: What, transfer: TransferId, run: Run) {
        let path = self.inside.as_ref().and_then(|inside| inside.store.path_of(transfer));
        self.activity.begin(what, &path.unwrap_or_default(), Some(run.size));
        self.is_in_run = true;
    }

    fn failed(&mut self, user: &str) -> Code {
        self.activity.totals().logins_failed.add(1);
        self.failures += 1;
        warn!(peer = %self.address, user, failures = self.failures, "login failed");
        Code::LoginFailed
    }

    fn verified(&mut self, user: &str, result: Option<Result<Grant, Code>>) -> Result<(), Code> {
        match result {
            Some(Ok(grant)) => {
                self.may_login = false;
                self.let_in(grant, "password")
            }
            Some(Err(Code::LoginFailed)) => Err(self.failed(user)),
            Some(Err(code)) => Err(code),
            None => Err(Code::Internal),
        }
    }
}

impl Attendant for Guard {
    fn is_known(&self) -> bool {
        self.is_open && self.inside.is_some()
    }

    fn verdict(&self) -> Option<Code> {
        match (&self.inside, &self.accounts) {
            _ if self.failures >= self.limits.password_tries => Some(Code::LoginFailed),
            (Some(inside), _) if self.is_attached && inside.store.transfers().is_over() => {
                Some(Code::ShuttingDown)
            }
            (Some(Inside { grant: Some(grant), .. }), Some(accounts)) if !accounts.still(grant) => {
                warn!(peer = %self.name(), "what this user may do was changed or has expired");
                Some(Code::Denied)
            }
            (None, _) if self.key.is_some() && self.since.elapsed() >= self.limits.login => {
                Some(Code::TimedOut)
            }
            _ => None,
        }
    }

    fn name(&self) -> String {
        match &self.inside {
            Some(Inside { grant: Some(grant), .. }) => format!("{}@{}", grant.user, self.address),
            _ => self.address.to_string(),
        }
    }
}

macro_rules! ready {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(code) => return Poll::Ready(Err(code)),
        }
    };
}

impl Files for Guard {
    fn read(&mut self, request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        if let Some(text) = &self.text {
            let rest = text.get(at as usize..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            return Poll::Ready(Ok(n));
        }
        let outcome = ready!(self.begun()).read(request, at, buf);
        if let Poll::Ready(Ok(n)) = outcome {
            self.activity.moved(n);
        }
        outcome
    }

    fn write(&mut self, request: RequestId, at: u64, data: &[u8]) -> Outcome<()> {
        let outcome = ready!(self.begun()).write(request, at, data);
        if let Poll::Ready(Ok(())) = outcome {
            self.activity.moved(data.len());
        }
        outcome
    }

    fn commit(&mut self, request: RequestId, size: u64, root: Digest) -> Outcome<u32> {
        let outcome = ready!(self.begun()).commit(request, size, root);
        match outcome {
            // A file counts once, when all of it is there.
            Poll::Ready(Ok(_)) if std::mem::take(&mut self.is_in_run) => self.activity.over(),
            Poll::Ready(Ok(_)) => self.activity.stored(),
            Poll::Ready(Err(_)) => self.activity.over(),
            Poll::Pending => {}
        }
        outcome
    }

    fn set_aside(&mut self, request: RequestId, size: u64, root: Digest) -> bool {
        let is_aside = self.begun().is_ok_and(|store| store.set_aside(request, size, root));
        if is_aside {
            self.activity.over();
        }
        is_aside
    }

    fn settle(&mut self, request: RequestId) -> Outcome<Settled> {
        let outcome = ready!(self.begun()).settle(request);
        if let Poll::Ready(Ok(_)) = outcome {
            self.activity.totals().files_in.add(1);
        }
        outcome
    }

    fn abort(&mut self, request: RequestId) {
        self.is_in_run = false;
        self.activity.over();
        if let Ok(store) = self.begun() {
            store.abort(request);
        }
    }

    fn suspend(&mut self, request: RequestId) {
        self.is_in_run = false;
        self.activity.over();
        if let Ok(store) = self.begun() {
            store.suspend(request);
        }
    }

    fn durable(&mut self, request: RequestId) -> u32 {
        self.begun().map_or(0, |store| store.durable(request))
    }

    fn mark(&mut self, request: RequestId, tree: &Tree) {
        if let Ok(store) = self.begun() {
            store.mark(request, tree);
        }
    }

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        let Some(accounts) = &self.accounts else { return Poll::Ready(Err(Code::Denied)) };
        let from = self.address.ip();
        let entry = match &self.token {
            Some(token) if peer.pairing => accounts.pair(token, &peer.key, from),
            _ => accounts.admit(&peer.key, from),
        };
        self.key = Some(peer.key);
        self.since = Clock::now();
        let how = if peer.pairing { "token, and paired" } else { "key" };
        Poll::Ready(match entry {
            Ok(Entry::User(grant)) => self.let_in(grant, how),
            Ok(Entry::Guest) => Ok(()),
            Err(code) => {
                self.activity.totals().refused("key");
                warn!(peer = %self.address, key = %peer.key.fingerprint(), %code, "refused: this key is nobody's");
                Err(code)
            }
        })
    }

    fn handle_event(&mut self, event: Event<'_>) {
        if let Event::Opened(_) = event {
            self.is_open = true;
        }
        if let Ok(store) = self.begun() {
            store.handle_event(event);
        }
    }
}

impl Store for Guard {
    fn login(&mut self, _: RequestId, user: &str, password: &Password<'_>) -> Outcome<()> {
        if let Some(verifying) = &self.verifying {
            let Poll::Ready(result) = verifying.wait(TICK) else { return Poll::Pending };
            self.verifying = None;
            return Poll::Ready(self.verified(user, result));
        }
        let (Some(accounts), Some(key), true) = (&self.accounts, self.key, self.may_login) else {
            return Poll::Ready(Err(Code::Denied));
        };
        let from = self.address.ip();
        if password.as_str().is_empty() {
            let grant = ready!(accounts.claim(&key, from, user).ok_or(Code::LoginRequired));
            self.may_login = false;
            return Poll::Ready(self.let_in(grant, "key"));
        }
        if self.failures >= self.limits.password_tries {
            return Poll::Ready(Err(Code::LoginFailed));
        }
        let (accounts, user) = (Arc::clone(accounts), user.to_owned());
        let password = Zeroizing::new(password.as_str().to_owned());
        let verify = move || accounts.verify(&key, from, &user, &password);
        match Background::start(verify) {
            Ok(verifying) => {
                self.verifying = Some(verifying);
                Poll::Pending
            }
            Err(error) => {
                warn!(peer = %self.address, %error, "no thread to verify a password");
                Poll::Ready(Err(Code::Busy))
            }
        }
    }

    fn begin(&mut self, request: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        let put = self.allowed(put);
        let outcome = ready!(self.store(Rights::WRITE)).begin(request, path, &put);
        if let Poll::Ready(Ok(Begun::Fresh | Begun::Resumed(_))) = outcome {
            self.begins(What::Put, path, put.size);
        }
        outcome
    }

    fn tree(&mut self, request: RequestId) -> Option<Tree> {
        self.begun().ok()?.tree(request)
    }

    fn open(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        let outcome = ready!(self.store(Rights::READ)).open(request, path);
        if let Poll::Ready(Ok(meta)) = outcome {
            let what = if request == self.looked { What::Hash } else { What::Get };
            self.begins(what, path, Some(meta.size));
        }
        outcome
    }

    fn close(&mut self, request: RequestId) {
        if self.text.take().is_some() {
            return;
        }
        if std::mem::take(&mut self.is_in_run) {
            self.activity.over();
        } else {
            self.activity.closed();
        }
        if let Ok(store) = self.begun() {
            store.close(request);
        }
    }

    fn stat(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.looked = request;
        // Whoever may fetch a file may ask about it.
        let may_read = self.inside.as_ref().is_some_and(|inside| inside.may(Rights::READ));
        let needed = if may_read { Rights::READ } else { Rights::LIST };
        ready!(self.store(needed)).stat(request, path)
    }

    fn open_directory(&mut self, request: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        let outcome = ready!(self.store(Rights::LIST)).open_directory(request, path, after);
        if let Poll::Ready(Ok(())) = outcome {
            self.begins(What::List, path, None);
        }
        outcome
    }

    fn read_directory(&mut self, request: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        ready!(self.begun()).read_directory(request, page)
    }

    fn close_directory(&mut self, request: RequestId) -> u64 {
        self.activity.over();
        self.begun().map_or(0, |store| store.close_directory(request))
    }

    fn delete(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        ready!(self.store(Rights::DELETE)).delete(request, path)
    }

    fn rename(
        &mut self,
        request: RequestId,
        from: Path<'_>,
        to: Path<'_>,
        replace: bool,
    ) -> Outcome<()> {
        // A name goes, and another comes.
        ready!(self.store(Rights::WRITE.and(Rights::DELETE))).rename(request, from, to, replace)
    }

    fn make_directory(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        ready!(self.store(Rights::WRITE)).make_directory(request, path)
    }

    fn space(&mut self, request: RequestId) -> Outcome<Space> {
        ready!(self.store(Rights::NONE)).space(request)
    }

    fn open_text(&mut self, _: RequestId, text: Text) -> Outcome<Meta> {
        let objects = match text {
            Text::Status => {
                ready!(self.manage());
                self.house.registry.objects()
            }
            Text::Partials => ready!(self.store(Rights::WRITE)).partials(),
        };
        let text: String = objects.into_iter().map(|object| format!("{object}\n")).collect();
        let size = text.len() as u64;
        self.text = Some(text.into_bytes());
        Poll::Ready(Ok(Meta { kind: EntryKind::File, size, modified: None }))
    }

    fn discard(&mut self, request: RequestId, transfer: TransferId) -> Outcome<()> {
        ready!(self.store(Rights::WRITE)).discard(request, transfer)
    }

    fn shut_down(&mut self, _: RequestId) -> Outcome<()> {
        ready!(self.manage());
        warn!(peer = self.name(), "asked to stop");
        self.house.stop.gracefully().store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn ticket(&mut self, _request: RequestId) -> Outcome<Ticket> {
        let transfers = Arc::clone(ready!(self.store(Rights::NONE)).transfers());
        let grant = self.inside.as_ref().and_then(|inside| inside.grant.clone());
        let pass = Pass { key: self.key, grant, transfers, made: Clock::now() };
        Poll::Ready(self.house.tickets.make(pass))
    }

    fn attach(&mut self, _request: RequestId, ticket: Ticket) -> Outcome<()> {
        let pass = self.house.tickets.take(ticket, self.key);
        if !std::mem::take(&mut self.may_login) {
            return Poll::Ready(Err(Code::Denied));
        }
        let Pass { grant, transfers, .. } = ready!(pass.inspect_err(|_| {
            self.activity.totals().refused("ticket");
            warn!(peer = %self.address, "refused: a ticket that is none, or not this one's");
        }));
        ready!(match grant {
            Some(grant) => self.let_in_with(grant, "ticket", transfers),
            None => {
                let (root, name) = (Arc::clone(&self.root), self.address.to_string());
                let store = Session::joining(root, "", name, transfers).of(self.presence.clone());
                self.inside = Some(Inside { grant: None, store });
                Ok(())
            }
        });
        self.is_attached = true;
        Poll::Ready(Ok(()))
    }

    fn begin_transfer(
        &mut self,
        request: RequestId,
        path: Path<'_>,
        put: &Put<'_>,
        runs: RunLen,
    ) -> Outcome<()> {
        let put = self.allowed(put);
        ready!(self.store(Rights::WRITE)).begin_transfer(request, path, &put, runs)
    }

    fn begin_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<()> {
        let outcome = ready!(self.store(Rights::WRITE)).begin_run(request, transfer, run);
        if let Poll::Ready(Ok(())) = outcome {
            self.begins_run(What::Put, transfer, run);
        }
        outcome
    }

    fn commit_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        size: u64,
        root: Digest,
    ) -> Outcome<u32> {
        let store = ready!(self.store(Rights::WRITE));
        let outcome = store.commit_transfer(request, transfer, size, root);
        if let Poll::Ready(Ok(_)) = outcome {
            self.activity.totals().files_in.add(1);
        }
        outcome
    }

    fn open_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        path: Path<'_>,
    ) -> Outcome<Meta> {
        ready!(self.store(Rights::READ)).open_transfer(request, transfer, path)
    }

    fn open_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<Meta> {
        let outcome = ready!(self.store(Rights::READ)).open_run(request, transfer, run);
        if let Poll::Ready(Ok(_)) = outcome {
            self.begins_run(What::Get, transfer, run);
        }
        outcome
    }

    fn release(&mut self, request: RequestId, transfer: TransferId) -> Outcome<()> {
        ready!(self.store(Rights::NONE)).release(request, transfer)
    }
}

impl Drop for Guard {
    /// The data links of a session go with its control link.
    fn drop(&mut self) {
        if let (Some(inside), false) = (&self.inside, self.is_attached) {
            inside.store.end();
        }
    }
}
