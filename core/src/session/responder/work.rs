//! A responder's work: one operation on the port at a time.

use super::{Purpose, Responder, Task};
use crate::secure::Security;
#[cfg(feature = "host")]
use crate::storage::Text;
use crate::storage::{Begun, Outcome, Page, RequestId, Store};
#[cfg(feature = "host")]
use crate::transfer::Hasher;
use crate::transfer::{Receiver, Sender};
use crate::wire::{
    Answer, Ask, CHUNK, Close, Code, Digest, EntryKind, FILE_SIZE_MAX, Header, Kind, Meta, Path,
    Put, Request,
};
use core::task::Poll;

impl<B: AsRef<[u8]> + AsMut<[u8]>, S: Security> Responder<B, S> {
    /// The request in front, whose path was checked.
    pub(super) fn do_request<P: Store>(&mut self, id: RequestId, port: &mut P) -> Poll<()> {
        let Some(request) = self.link.front().and_then(|f| Request::decode(f.payload).ok()) else {
            return Poll::Ready(());
        };
        let path = |text| Path::new(text).unwrap_or(Path::ROOT);
        let is_login = matches!(request, Request::Login { .. });
        let outcome: Outcome<Answer> = match request {
            Request::Put(put) => {
                let next = consider(id, &put, port);
                return self.take_up(id, next, port);
            }
            Request::Stat { path: text, digest } => match port.stat(id, path(text)) {
                Poll::Ready(Ok(meta)) if digest && meta.kind == EntryKind::File => {
                    self.task = Task::Open { id, purpose: Purpose::Stat };
                    return Poll::Ready(());
                }
                other => other.map_ok(|meta| Answer::Stat { meta, digest: None }),
            },
            Request::List { path: text, after } => {
                match port.open_directory(id, path(text), after) {
                    Poll::Ready(Ok(())) => {
                        self.link.pop();
                        self.task = Task::List { id, entries: 0 };
                        return Poll::Ready(());
                    }
                    other => other.map_ok(|()| Answer::Done),
                }
            }
            Request::Get { path: text, first, count } => match port.open(id, path(text)) {
                Poll::Ready(Ok(meta)) => {
                    self.link.pop();
                    self.start_sending(id, meta, first, count);
                    return Poll::Ready(());
                }
                other => other.map_ok(|_| Answer::Done),
            },
            Request::Resume { first, root, .. } => {
                self.task = Task::Open { id, purpose: Purpose::Resume(first, root) };
                return Poll::Ready(());
            }
            Request::Delete { path: text } => port.delete(id, path(text)).map_ok(|()| Answer::Done),
            Request::Rename { from, to, replace } => {
                port.rename(id, path(from), path(to), replace).map_ok(|()| Answer::Done)
            }
            Request::MakeDirectory { path: text } => {
                port.make_directory(id, path(text)).map_ok(|()| Answer::Done)
            }
            Request::Space => port.space(id).map_ok(Answer::Space),
            Request::Login { user, password } => {
                port.login(id, user, &password).map_ok(|()| Answer::Done)
            }
            #[cfg(feature = "host")]
            Request::Status => return self.send_text(id, Text::Status, port),
            #[cfg(feature = "host")]
            Request::Partials => return self.send_text(id, Text::Partials, port),
            #[cfg(feature = "host")]
            Request::Shutdown => port.shut_down(id).map_ok(|()| Answer::Done),
            #[cfg(feature = "host")]
            Request::Ticket => port.ticket(id).map_ok(Answer::Ticket),
            #[cfg(feature = "host")]
            Request::Attach { ticket } => port.attach(id, ticket).map_ok(|()| Answer::Done),
            #[cfg(feature = "host")]
            Request::BeginPut { put, .. } => {
                let next = consider(id, &put, port);
                return self.take_up(id, next, port);
            }
            #[cfg(feature = "host")]
            Request::PutRun { .. } => {
                self.task = Task::Begin(id);
                return self.begin(id, port);
            }
            #[cfg(feature = "host")]
            Request::Commit { transfer, size, root } => port
                .commit_transfer(id, transfer, size, root)
                .map_ok(|suffix| Answer::Stored { size, root, suffix }),
            #[cfg(feature = "host")]
            Request::BeginGet { transfer, path: text } => port
                .open_transfer(id, transfer, path(text))
                .map_ok(|meta| Answer::Stat { meta, digest: None }),
            #[cfg(feature = "host")]
            Request::GetRun { transfer, run } => match port.open_run(id, transfer, run) {
                Poll::Ready(Ok(meta)) => {
                    self.link.pop();
                    self.start_sending_run(id, meta, run);
                    return Poll::Ready(());
                }
                other => other.map_ok(|_| Answer::Done),
            },
            #[cfg(feature = "host")]
            Request::Release { transfer } => port.release(id, transfer).map_ok(|()| Answer::Done),
            #[cfg(feature = "host")]
            Request::Discard { transfer } => port.discard(id, transfer).map_ok(|()| Answer::Done),
            // It was answered when it came.
            Request::Goodbye => Poll::Ready(Ok(Answer::Done)),
        };
        let Poll::Ready(result) = outcome else { return Poll::Pending };
        if is_login {
            self.link.wipe();
        }
        self.link.pop();
        self.answer(id, &result.unwrap_or_else(Answer::Failed));
        Poll::Ready(())
    }

    #[cfg(feature = "host")]
    fn send_text<P: Store>(&mut self, id: RequestId, text: Text, port: &mut P) -> Poll<()> {
        let Poll::Ready(opened) = port.open_text(id, text) else { return Poll::Pending };
        self.link.pop();
        match opened {
            Ok(meta) => self.start_sending(id, meta, 0, None),
            Err(code) => self.answer(id, &Answer::Failed(code)),
        }
        Poll::Ready(())
    }

    /// Goes on with an upload that was [considered](consider).
    fn take_up<P: Store>(
        &mut self,
        id: RequestId,
        next: Poll<Option<Task>>,
        port: &mut P,
    ) -> Poll<()> {
        match next {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {
                self.link.pop();
                self.answer(id, &Answer::Unchanged);
            }
            Poll::Ready(Some(task)) => {
                self.task = task;
                if matches!(task, Task::Begin(_)) {
                    return self.begin(id, port);
                }
            }
        }
        Poll::Ready(())
    }

    pub(super) fn begin<P: Store>(&mut self, id: RequestId, port: &mut P) -> Poll<()> {
        let put = match self.link.front().map(|f| Request::decode(f.payload)) {
            Some(Ok(Request::Put(put))) => put,
            #[cfg(feature = "host")]
            Some(Ok(Request::BeginPut { put, runs })) => {
                let path = Path::new(put.path).unwrap_or(Path::ROOT);
                let Poll::Ready(begun) = port.begin_transfer(id, path, &put, runs) else {
                    return Poll::Pending;
                };
                self.link.pop();
                self.answer(id, &begun.map_or_else(Answer::Failed, |()| Answer::Done));
                return Poll::Ready(());
            }
            #[cfg(feature = "host")]
            Some(Ok(Request::PutRun { transfer, run })) => {
                return self.begin_run(id, transfer, run, port);
            }
            _ => return Poll::Ready(()),
        };
        let path = Path::new(put.path).unwrap_or(Path::ROOT);
        let Poll::Ready(result) = port.begin(id, path, &put) else { return Poll::Pending };
        let (size, asked) = (put.size, put.ask != Ask::Now);
        let answer = match result {
            Ok(Begun::Resumed(chunks)) if asked && chunks > 0 => {
                return self.go_on(id, chunks, port);
            }
            Ok(Begun::Fresh | Begun::Resumed(_)) => {
                self.link.pop();
                let receiver = Receiver::start(0, size, &mut self.hasher);
                if asked {
                    let ready = Answer::Ready { from: 0, root: self.hasher.digest() };
                    self.link.queue_answer(id.low(), &ready);
                }
                self.task = Task::Receive { id, receiver };
                return Poll::Ready(());
            }
            Ok(Begun::Stored { size, root, suffix }) if asked => {
                Answer::Stored { size, root, suffix }
            }
            // Its data are on their way, and whoever sends them expects no other answer.
            Ok(Begun::Stored { .. }) => Answer::Failed(Code::Internal),
            Err(code) => Answer::Failed(code),
        };
        self.link.pop();
        self.discarding = true;
        self.answer(id, &answer);
        Poll::Ready(())
    }

    /// Goes on with the upload in front, behind `chunks` that are there.
    fn go_on<P: Store>(&mut self, id: RequestId, chunks: u32, port: &mut P) -> Poll<()> {
        #[cfg(feature = "host")]
        if let Some(tree) = port.tree(id) {
            self.hasher = Hasher::continued(tree);
            self.be_ready(id, chunks);
            return Poll::Ready(());
        }
        let purpose = Purpose::Prefix(chunks);
        let meta = Meta { kind: EntryKind::File, size: 0, modified: None };
        self.hasher.reset();
        self.task = Task::Hash { id, purpose, meta, at: 0 };
        let _ = port;
        Poll::Ready(())
    }

    /// The first chunks of the upload in front are hashed; the data behind them may come.
    fn be_ready(&mut self, id: RequestId, chunks: u32) {
        let size = match self.link.front().map(|front| Request::decode(front.payload)) {
            Some(Ok(Request::Put(put))) => put.size,
            _ => None,
        };
        self.link.pop();
        let ready = Answer::Ready { from: chunks, root: self.hasher.digest() };
        self.link.queue_answer(id.low(), &ready);
        self.task = Task::Receive { id, receiver: Receiver::resume(chunks, size) };
    }

    pub(super) fn write<P: Store>(&mut self, id: RequestId, port: &mut P) -> Poll<()> {
        let (Some(front), Task::Receive { receiver, .. }) = (self.link.front(), &mut self.task)
        else {
            return Poll::Ready(());
        };
        match port.write(id, receiver.at(), front.payload) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => receiver.advance(id, front.payload, &mut self.hasher, port),
            Poll::Ready(Err(code)) => {
                self.discarding = true;
                self.task = Task::Abort { id, code };
            }
        }
        self.link.pop();
        Poll::Ready(())
    }

    /// The upload is whole and verified.
    pub(super) fn commit<P: Store>(
        &mut self,
        id: RequestId,
        size: u64,
        root: Digest,
        port: &mut P,
    ) -> Poll<()> {
        #[cfg(feature = "host")]
        if self.set_aside(id, size, root, port) {
            return Poll::Ready(());
        }
        #[cfg(feature = "host")]
        if self.owes() {
            return self.settle(port);
        }
        port.commit(id, size, root).map(|result| {
            let stored = |suffix| Answer::Stored { size, root, suffix };
            self.answer(id, &result.map_or_else(Answer::Failed, stored));
        })
    }

    pub(super) fn start_sending(
        &mut self,
        id: RequestId,
        meta: Meta,
        first: u32,
        count: Option<u32>,
    ) {
        let start = u64::from(first) * CHUNK as u64;
        let most = count.map_or(u64::MAX, |count| u64::from(count) * CHUNK as u64);
        let code = match meta.size.checked_sub(start) {
            Some(rest) if meta.size <= FILE_SIZE_MAX => {
                let size = rest.min(most);
                let (file_size, modified) = (meta.size, meta.modified);
                self.link.queue_answer(id.low(), &Answer::Sending { size, file_size, modified });
                let sender = Sender::start(first, Some(size), &mut self.hasher);
                self.task = Task::Send { id, sender };
                return;
            }
            Some(_) => Code::TooLarge,
            None => Code::BadRange,
        };
        self.task = Task::Finish { id, close: Err(code) };
    }

    /// Sends what is behind the first chunks, which the peer has and which are hashed.
    fn send_rest(&mut self, id: RequestId, meta: Meta, first: u32, is_same: bool) {
        if !is_same || meta.size > FILE_SIZE_MAX {
            let code = if is_same { Code::TooLarge } else { Code::Changed };
            self.task = Task::Finish { id, close: Err(code) };
            return;
        }
        let (file_size, modified) = (meta.size, meta.modified);
        let size = file_size.saturating_sub(u64::from(first) * CHUNK as u64);
        self.link.queue_answer(id.low(), &Answer::Sending { size, file_size, modified });
        self.task = Task::Send { id, sender: Sender::resume(first, Some(file_size)) };
    }

    pub(super) fn read<P: Store>(
        &mut self,
        id: RequestId,
        mut sender: Sender,
        port: &mut P,
    ) -> Poll<()> {
        let len = sender.next_len(self.link.batch(), self.link.credit());
        let buf = self.link.payload_mut(len);
        let Poll::Ready(outcome) = port.read(id, sender.at(), buf) else { return Poll::Pending };
        match outcome {
            Ok(n) if n >= buf.len() => {
                let n = buf.len();
                let header = Header { kind: Kind::Data, request: id.low(), index: sender.index() };
                sender.advance(buf, &mut self.hasher);
                self.link.finish_frame(header, n);
                self.task = Task::Send { id, sender };
            }
            // The file has become shorter than was declared.
            Ok(_) => self.task = Task::Finish { id, close: Ok(Close::Reset(Code::Changed)) },
            Err(code) => self.task = Task::Finish { id, close: Ok(Close::Reset(code)) },
        }
        Poll::Ready(())
    }

    pub(super) fn list<P: Store>(&mut self, id: RequestId, entries: u64, port: &mut P) -> Poll<()> {
        let mut page = Page::new(self.link.payload_mut(CHUNK));
        let Poll::Ready(outcome) = port.read_directory(id, &mut page) else { return Poll::Pending };
        let (len, entries) = (page.len(), entries.saturating_add(page.entries()));
        if len > 0 {
            self.link.finish_frame(Header::new(Kind::Page, id.low()), len);
        }
        self.task = match outcome {
            Ok(true) => Task::List { id, entries },
            Ok(false) => Task::EndList { id, entries, failed: None },
            Err(code) => Task::EndList { id, entries, failed: Some(code) },
        };
        Poll::Ready(())
    }

    pub(super) fn open<P: Store>(
        &mut self,
        id: RequestId,
        purpose: Purpose,
        port: &mut P,
    ) -> Poll<()> {
        let Some(Ok(request)) = self.link.front().map(|f| Request::decode(f.payload)) else {
            return Poll::Ready(());
        };
        let [path, _] = request.paths().unwrap_or([Path::ROOT; 2]);
        let Poll::Ready(opened) = port.open(id, path) else { return Poll::Pending };
        match (opened, purpose) {
            (Ok(meta), _) if purpose.len(&meta) > meta.size => {
                self.link.pop();
                self.task = Task::Finish { id, close: Err(Code::BadRange) };
            }
            (Ok(meta), _) => {
                self.hasher.reset();
                self.task = Task::Hash { id, purpose, meta, at: 0 };
            }
            (Err(_), Purpose::Compare(_)) => self.task = Task::Begin(id),
            (Err(code), _) => {
                self.link.pop();
                self.answer(id, &Answer::Failed(code));
            }
        }
        Poll::Ready(())
    }

    pub(super) fn hash<P: Store>(
        &mut self,
        id: RequestId,
        purpose: Purpose,
        meta: Meta,
        at: u64,
        port: &mut P,
    ) -> Poll<()> {
        let room = self.link.room() / CHUNK * CHUNK;
        let end = purpose.len(&meta);
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let buf = self.link.payload_mut(room.min(left));
        let Poll::Ready(outcome) = port.read(id, at, buf) else { return Poll::Pending };
        let at = match outcome {
            Ok(n) if n >= buf.len() => {
                self.hasher.update(buf);
                at.saturating_add(buf.len() as u64)
            }
            Ok(_) => return self.end_hash(id, purpose, meta, Err(Code::Changed), port),
            Err(code) => return self.end_hash(id, purpose, meta, Err(code), port),
        };
        if at < end {
            self.task = Task::Hash { id, purpose, meta, at };
            self.link.report_work(id.low(), at, end);
            return Poll::Ready(());
        }
        let digest = self.hasher.digest();
        self.end_hash(id, purpose, meta, Ok(digest), port)
    }

    pub(super) fn end_hash<P: Store>(
        &mut self,
        id: RequestId,
        purpose: Purpose,
        meta: Meta,
        digest: Result<Digest, Code>,
        port: &mut P,
    ) -> Poll<()> {
        let answer = match (purpose, digest) {
            (Purpose::Prefix(chunks), Ok(_)) => {
                self.be_ready(id, chunks);
                return Poll::Ready(());
            }
            (Purpose::Prefix(_), Err(code)) => {
                self.link.pop();
                self.discarding = true;
                self.task = Task::Abort { id, code };
                return Poll::Ready(());
            }
            (Purpose::Resume(first, root), Ok(digest)) => {
                self.link.pop();
                self.send_rest(id, meta, first, root == digest);
                return Poll::Ready(());
            }
            (Purpose::Stat, Ok(digest)) => Answer::Stat { meta, digest: Some(digest) },
            (Purpose::Stat | Purpose::Resume(..), Err(code)) => Answer::Failed(code),
            (Purpose::Compare(wanted), Ok(digest)) if wanted == digest => Answer::Unchanged,
            (Purpose::Compare(_), _) => {
                port.close(id);
                self.task = Task::Begin(id);
                return Poll::Ready(());
            }
        };
        port.close(id);
        self.link.pop();
        self.answer(id, &answer);
        Poll::Ready(())
    }

    /// The session is over: what is open is closed. A verified upload is committed all the same.
    pub(super) fn clean_up<P: Store>(&mut self, port: &mut P) -> Poll<()> {
        self.link.wipe();
        #[cfg(feature = "host")]
        if self.owes() {
            return self.wind_up(port);
        }
        match self.task {
            Task::Commit { id, size, root } => {
                if port.commit(id, size, root).is_pending() {
                    return Poll::Pending;
                }
            }
            Task::Request(id)
            | Task::Begin(id)
            | Task::Open { id, .. }
            | Task::Abort { id, .. } => port.abort(id),
            Task::Receive { id, .. } | Task::Hash { id, purpose: Purpose::Prefix(_), .. } => {
                port.suspend(id);
            }
            Task::Send { id, .. } | Task::Finish { id, .. } | Task::Hash { id, .. } => {
                port.close(id);
            }
            Task::List { id, .. } | Task::EndList { id, .. } => {
                port.close_directory(id);
            }
            Task::Idle => {}
        }
        self.task = Task::Idle;
        Poll::Ready(())
    }
}

/// What is to be done for an upload; nothing where the file is there already.
fn consider<P: Store>(id: RequestId, put: &Put<'_>, port: &mut P) -> Poll<Option<Task>> {
    if put.ask == Ask::Now {
        return Poll::Ready(Some(Task::Begin(id)));
    }
    let path = Path::new(put.path).unwrap_or(Path::ROOT);
    let Poll::Ready(found) = port.stat(id, path) else { return Poll::Pending };
    let same_size = |meta: &Meta| meta.kind == EntryKind::File && Some(meta.size) == put.size;
    Poll::Ready(match (found.ok().filter(same_size), put.ask) {
        (Some(Meta { modified: Some(there), .. }), Ask::Time) if put.modified == Some(there) => {
            None
        }
        (Some(_), Ask::Digest(digest)) => {
            Some(Task::Open { id, purpose: Purpose::Compare(digest) })
        }
        _ => Some(Task::Begin(id)),
    })
}
