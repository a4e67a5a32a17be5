//! What a session asks of it.

use std::task::Poll;

use kift_core::storage::{Begun, Outcome, Page, RequestId, Store, Text};
use kift_core::wire::{
    Ask, CHUNK, Code, Conflict, Digest, Entry, EntryKind, Meta, Password, Path, Put, Run, RunLen,
    Space, Ticket, TransferId,
};

use super::{File, Memory, Open, OwnedPut, Transfers, transfers};

impl Store for Memory {
    fn begin(&mut self, request: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        self.assert_free();
        assert!(put.ask == Ask::Now || self.aside.is_empty(), "an answer before others");
        assert_eq!(path.as_str(), put.path);
        if self.busy.is_pending(&format!("begin {request} {path}")) {
            return Poll::Pending;
        }
        let path = path.as_str().to_owned();
        if let Some(&code) = self.faults.begin.get(&path) {
            return Poll::Ready(Err(code));
        }
        let &Put { transfer, size, modified, conflict, ask, .. } = put;
        if let Some(&(size, root, suffix)) =
            self.kept.as_ref().and_then(|kept| kept.stored.get(&transfer))
        {
            return Poll::Ready(Ok(Begun::Stored { size, root, suffix }));
        }
        let checked = Path::new(&path).and_then(|path| self.check_place(path, conflict));
        Poll::Ready(checked.map(|()| {
            self.record.begun += 1;
            let put = OwnedPut { transfer, size, modified, conflict };
            let rest = self.kept.as_mut().and_then(|kept| kept.rests.remove(&transfer));
            let data = match rest {
                Some((of, as_put, data)) if ask != Ask::Now && of == path && as_put == put => data,
                _ => Vec::new(),
            };
            let resumed = data.len() as u64;
            self.open = Open::Upload { id: request, path, put, data, resumed, writes: 0 };
            match resumed {
                0 => Begun::Fresh,
                len => Begun::Resumed((len / CHUNK as u64) as u32),
            }
        }))
    }

    fn open(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.assert_settled();
        if self.busy.is_pending(&format!("open {request} {path}")) {
            return Poll::Pending;
        }
        Poll::Ready(self.open_file(request, path))
    }

    fn close(&mut self, request: RequestId) {
        self.busy.forget();
        let Open::Source { id, .. } = &self.open else { panic!("close {request}: not open") };
        assert_eq!(*id, request);
        self.record.closed += 1;
        self.open = Open::Nothing;
    }

    fn stat(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.assert_settled();
        if self.busy.is_pending(&format!("stat {request} {path}")) {
            return Poll::Pending;
        }
        Poll::Ready(self.meta(path))
    }

    fn open_directory(&mut self, request: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("open directory {request} {path} {after}")) {
            return Poll::Pending;
        }
        let path = path.as_str().to_owned();
        if self.files.contains_key(&path) {
            return Poll::Ready(Err(Code::NotDirectory));
        }
        if !self.is_directory(&path) {
            return Poll::Ready(Err(Code::NotFound));
        }
        let mut left = self.children(&path);
        left.retain(|(name, _)| name.as_str() > after);
        left.reverse();
        let skipped = self.unspeakable.get(&path).copied().unwrap_or(0);
        self.record.opened += 1;
        self.open = Open::Directory { id: request, path, left, told: 0, skipped };
        Poll::Ready(Ok(()))
    }

    fn read_directory(&mut self, request: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        if self.busy.is_pending(&format!("read directory {request}")) {
            return Poll::Pending;
        }
        let Open::Directory { id, path, left, told, .. } = &mut self.open else {
            panic!("read directory {request}: not open")
        };
        assert_eq!(*id, request);
        assert!(page.is_empty());
        let fault = self.faults.directory.get(path);
        while let Some((name, meta)) = left.last() {
            if let Some(&(after, code)) = fault
                && *told >= after
            {
                return Poll::Ready(Err(code));
            }
            if !page.push(&Entry { name, meta: *meta }) {
                assert!(!page.is_empty(), "an entry that fits no page");
                return Poll::Ready(Ok(true));
            }
            *told += 1;
            left.pop();
        }
        Poll::Ready(Ok(false))
    }

    fn close_directory(&mut self, request: RequestId) -> u64 {
        self.busy.forget();
        let Open::Directory { id, skipped, .. } = &self.open else {
            panic!("close directory {request}: not open")
        };
        assert_eq!(*id, request);
        let skipped = *skipped;
        self.record.closed += 1;
        self.open = Open::Nothing;
        skipped
    }

    fn delete(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("delete {request} {path}")) {
            return Poll::Pending;
        }
        let path = path.as_str();
        Poll::Ready(if self.files.remove(path).is_some() {
            Ok(())
        } else if !self.is_directory(path) {
            Err(Code::NotFound)
        } else if !self.children(path).is_empty() {
            Err(Code::NotEmpty)
        } else {
            self.directories.remove(path);
            Ok(())
        })
    }

    fn rename(
        &mut self,
        request: RequestId,
        from: Path<'_>,
        to: Path<'_>,
        replace: bool,
    ) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("rename {request} {from} {to} {replace}")) {
            return Poll::Pending;
        }
        let conflict = if replace { Conflict::Replace } else { Conflict::Refuse };
        let result = match self.files.get(from.as_str()).cloned() {
            None => Err(Code::NotFound),
            Some(file) => self.check_place(to, conflict).map(|()| {
                self.files.remove(from.as_str());
                self.files.insert(to.as_str().to_owned(), file);
            }),
        };
        Poll::Ready(result)
    }

    fn make_directory(&mut self, request: RequestId, path: Path<'_>) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("make directory {request} {path}")) {
            return Poll::Pending;
        }
        let result = match self.check_place(path, Conflict::Refuse) {
            Err(Code::IsDirectory) => Err(Code::Exists),
            other => other.map(|()| {
                self.directories.insert(path.as_str().to_owned());
            }),
        };
        Poll::Ready(result)
    }

    fn space(&mut self, request: RequestId) -> Outcome<Space> {
        if self.busy.is_pending(&format!("space {request}")) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(Space { free: 1 << 40, total: 1 << 41, file_size_max: 1 << 42 }))
    }

    fn login(&mut self, request: RequestId, user: &str, password: &Password<'_>) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("login {request} {user} {}", password.as_str())) {
            return Poll::Pending;
        }
        let good = self.users.get(user).is_some_and(|known| known == password.as_str());
        self.logins.push((user.to_owned(), good));
        Poll::Ready(if good { Ok(()) } else { Err(Code::LoginFailed) })
    }

    fn open_text(&mut self, request: RequestId, text: Text) -> Outcome<Meta> {
        self.assert_settled();
        if self.busy.is_pending(&format!("open {text:?} {request}")) {
            return Poll::Pending;
        }
        let text = match (text, &self.kept) {
            (Text::Status, _) => self.status.clone(),
            (Text::Partials, None) => None,
            (Text::Partials, Some(kept)) => {
                Some(kept.rests.values().map(|(path, ..)| format!("{path}\n")).collect())
            }
        };
        let Some(text) = text else { return Poll::Ready(Err(Code::Unsupported)) };
        let data = text.into_bytes();
        let meta = Meta { kind: EntryKind::File, size: data.len() as u64, modified: None };
        self.record.opened += 1;
        self.open = Open::Source { id: request, path: String::new(), data, at: None };
        Poll::Ready(Ok(meta))
    }

    fn discard(&mut self, request: RequestId, transfer: TransferId) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("discard {request}")) {
            return Poll::Pending;
        }
        let Some(kept) = &mut self.kept else { return Poll::Ready(Err(Code::Unsupported)) };
        Poll::Ready(kept.rests.remove(&transfer).map(drop).ok_or(Code::NotFound))
    }

    fn shut_down(&mut self, request: RequestId) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("shut down {request}")) {
            return Poll::Pending;
        }
        let Some(ending) = &mut self.ending else { return Poll::Ready(Err(Code::Unsupported)) };
        *ending = true;
        Poll::Ready(Ok(()))
    }

    fn ticket(&mut self, _request: RequestId) -> Outcome<Ticket> {
        self.assert_settled();
        Poll::Ready(self.transfers().map(Transfers::ticket))
    }

    fn attach(&mut self, _request: RequestId, ticket: Ticket) -> Outcome<()> {
        self.assert_settled();
        Poll::Ready(self.transfers().and_then(|transfers| transfers.attach(ticket)))
    }

    fn begin_transfer(
        &mut self,
        request: RequestId,
        path: Path<'_>,
        put: &Put<'_>,
        runs: RunLen,
    ) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("begin transfer {request} {path}")) {
            return Poll::Pending;
        }
        let &Put { size, modified, conflict, transfer, .. } = put;
        Poll::Ready(self.check_place(path, conflict).and_then(|()| {
            let put = OwnedPut { transfer, size, modified, conflict };
            let upload = transfers::Upload::new(path.as_str().to_owned(), put, runs);
            self.transfers().map(|transfers| transfers.begin(transfer, upload))
        }))
    }

    fn begin_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<()> {
        self.assert_settled();
        if self.busy.is_pending(&format!("begin run {request} {run:?}")) {
            return Poll::Pending;
        }
        Poll::Ready(self.transfers().and_then(|of| of.check(transfer, run)).map(|()| {
            self.record.begun += 1;
            self.open = Open::Run { id: request, transfer, run, data: Vec::new() };
        }))
    }

    fn commit_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        size: u64,
        root: Digest,
    ) -> Outcome<u32> {
        self.assert_settled();
        if self.busy.is_pending(&format!("commit transfer {request}")) {
            return Poll::Pending;
        }
        let upload = self.transfers().and_then(|of| of.take(transfer, size, root));
        Poll::Ready(upload.and_then(|transfers::Upload { path, put, data, .. }| {
            self.store(&path, File { data, modified: put.modified }, put.conflict)
        }))
    }

    fn open_transfer(
        &mut self,
        request: RequestId,
        transfer: TransferId,
        path: Path<'_>,
    ) -> Outcome<Meta> {
        self.assert_settled();
        if self.busy.is_pending(&format!("open transfer {request} {path}")) {
            return Poll::Pending;
        }
        Poll::Ready(self.meta(path).and_then(|meta| {
            self.transfers().map(|of| of.open(transfer, path.as_str()))?;
            Ok(meta)
        }))
    }

    fn open_run(&mut self, request: RequestId, transfer: TransferId, run: Run) -> Outcome<Meta> {
        self.assert_settled();
        if self.busy.is_pending(&format!("open run {request} {run:?}")) {
            return Poll::Pending;
        }
        let path = self.transfers().and_then(|of| of.source(transfer));
        Poll::Ready(path.and_then(|path| self.open_file(request, Path::new(&path)?)))
    }

    fn release(&mut self, _request: RequestId, transfer: TransferId) -> Outcome<()> {
        self.assert_settled();
        Poll::Ready(self.transfers().and_then(|of| of.release(transfer)))
    }
}
