//! One who may receive what is offered.

use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::task::Poll;

use kift_core::secure::Peer;
use kift_core::session::Event;
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Store};
use kift_core::wire::{CHUNK, Code, Digest, Entry, EntryKind, Meta, Path, Put, Space};
use tracing::{info, warn};

use super::{For, News, Offer, What, code_of};
use crate::server::Attendant;

/// One peer, what it may see, and what it took.
#[derive(Debug)]
pub(crate) struct Visitor {
    offer: Arc<Offer>,
    peer: SocketAddr,
    news: Sender<News>,
    is_open: bool,
    is_welcome: bool,
    /// What was asked last about a file: if it opens that, it does so for the BLAKE3.
    looked: RequestId,
    /// The file that is open, and how much of it was sent.
    open: Option<Taken>,
    /// Files that were sent whole, and not yet said to have been stored.
    sent: Vec<Taken>,
    /// Names that were listed.
    listed: usize,
    /// It asked for a file, whether it got it or not.
    tried: bool,
    /// It alone is to have the files.
    has_claim: bool,
    has_received: bool,
}

/// A file that is being taken, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    request: RequestId,
    file: usize,
    sent: u64,
}

impl Visitor {
    pub(super) fn new(offer: Arc<Offer>, peer: SocketAddr, news: Sender<News>) -> Self {
        let is_welcome = matches!(offer.whom, For::Anybody);
        Self {
            offer,
            peer,
            news,
            is_open: false,
            is_welcome,
            looked: RequestId::default(),
            open: None,
            sent: Vec::new(),
            listed: 0,
            tried: false,
            has_claim: false,
            has_received: false,
        }
    }

    fn tell(&self, what: What) {
        // Whoever offered may have gone.
        let _ = self.news.send(News { peer: self.peer, what });
    }

    fn find(&self, path: Path<'_>) -> Result<usize, Code> {
        let files = &self.offer.files;
        files.iter().position(|file| file.name == path.as_str()).ok_or(Code::NotFound)
    }

    /// Where a single receiver is to have the files, it is this one from now on, or another already.
    fn claim(&mut self) -> Result<(), Code> {
        let Some(once) = &self.offer.once else { return Ok(()) };
        if self.has_claim || !once.swap(true, Ordering::AcqRel) {
            self.has_claim = true;
            return Ok(());
        }
        warn!(peer = %self.peer, "refused: somebody else is receiving");
        Err(Code::Busy)
    }
}

impl Attendant for Visitor {
    fn name(&self) -> String {
        self.peer.to_string()
    }

    fn is_known(&self) -> bool {
        self.is_open && self.is_welcome
    }

    fn verdict(&self) -> Option<Code> {
        None
    }
}

/// Nothing is changed by one who receives.
const READ_ONLY: Poll<Result<(), Code>> = Poll::Ready(Err(Code::Denied));

impl Files for Visitor {
    fn read(&mut self, _request: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let Some(taken) = &mut self.open else { return Poll::Ready(Err(Code::Internal)) };
        let Some(offered) = self.offer.files.get(taken.file) else {
            return Poll::Ready(Err(Code::Internal));
        };
        let read = offered.file.read_at(buf, at);
        let n = match read {
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Poll::Pending,
            Err(error) => {
                warn!(name = offered.name, %error, "cannot read");
                return Poll::Ready(Err(code_of(&error)));
            }
        };
        taken.sent = at.saturating_add(n as u64);
        if taken.sent >= offered.meta.size && offered.is_changed() {
            warn!(name = offered.name, "was changed after it was offered");
            return Poll::Ready(Err(Code::Changed));
        }
        Poll::Ready(Ok(n))
    }

    fn write(&mut self, _request: RequestId, _at: u64, _data: &[u8]) -> Outcome<()> {
        READ_ONLY
    }

    fn commit(&mut self, _request: RequestId, _size: u64, _root: Digest) -> Outcome<u32> {
        Poll::Ready(Err(Code::Denied))
    }

    fn abort(&mut self, _request: RequestId) {}

    fn admit(&mut self, peer: &Peer) -> Outcome<()> {
        self.is_welcome = match &self.offer.whom {
            For::Anybody => false,
            For::Bearer { .. } => peer.pairing,
            For::Keys { keys, .. } => keys.contains(&peer.key.fingerprint()),
        };
        if self.is_welcome {
            info!(peer = %self.peer, key = %peer.key.fingerprint(), "came");
            return Poll::Ready(Ok(()));
        }
        warn!(peer = %self.peer, key = %peer.key.fingerprint(), "refused: the offer is not for this key");
        Poll::Ready(Err(Code::Denied))
    }

    fn handle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Opened(_) => self.is_open = true,
            // The receipt for a file: all its chunks are on the receiver's stable storage.
            Event::Progress { request, durable, .. } => {
                let sent = self.sent.iter().position(|taken| taken.request == request);
                let Some(at) = sent else { return };
                let size = self.sent[at].sent;
                if u64::from(durable) == size.div_ceil(CHUNK as u64) {
                    let Taken { file, .. } = self.sent.remove(at);
                    self.has_received = true;
                    self.tell(What::Received { file });
                }
            }
            _ => {}
        }
    }
}

impl Store for Visitor {
    fn begin(&mut self, _request: RequestId, _path: Path<'_>, _put: &Put<'_>) -> Outcome<Begun> {
        Poll::Ready(Err(Code::Denied))
    }

    fn open(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.tried |= request != self.looked;
        let file = match self.claim().and_then(|()| self.find(path)) {
            Ok(file) => file,
            Err(code) => return Poll::Ready(Err(code)),
        };
        self.open = Some(Taken { request, file, sent: 0 });
        Poll::Ready(Ok(self.offer.files[file].meta))
    }

    fn close(&mut self, request: RequestId) {
        let Some(taken) = self.open.take() else { return };
        if request == self.looked {
            return;
        }
        if taken.sent == self.offer.files[taken.file].meta.size {
            self.sent.push(taken);
        } else {
            self.tell(What::BrokenOff { file: taken.file, sent: taken.sent });
        }
    }

    fn stat(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.looked = request;
        if path.is_root() {
            let meta = Meta { kind: EntryKind::Directory, size: 0, modified: None };
            return Poll::Ready(Ok(meta));
        }
        Poll::Ready(self.find(path).map(|file| self.offer.files[file].meta))
    }

    fn open_directory(&mut self, _request: RequestId, path: Path<'_>, after: &str) -> Outcome<()> {
        if !path.is_root() {
            let found = self.find(path);
            return Poll::Ready(Err(found.err().unwrap_or(Code::NotDirectory)));
        }
        self.listed = self.offer.files.partition_point(|file| file.name.as_str() <= after);
        Poll::Ready(Ok(()))
    }

    fn read_directory(&mut self, _request: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        while let Some(file) = self.offer.files.get(self.listed) {
            if !page.push(&Entry { name: &file.name, meta: file.meta }) {
                return Poll::Ready(Ok(true));
            }
            self.listed += 1;
        }
        Poll::Ready(Ok(false))
    }

    fn close_directory(&mut self, _request: RequestId) -> u64 {
        0
    }

    fn delete(&mut self, _request: RequestId, _path: Path<'_>) -> Outcome<()> {
        READ_ONLY
    }

    fn rename(
        &mut self,
        _request: RequestId,
        _from: Path<'_>,
        _to: Path<'_>,
        _replace: bool,
    ) -> Outcome<()> {
        READ_ONLY
    }

    fn make_directory(&mut self, _request: RequestId, _path: Path<'_>) -> Outcome<()> {
        READ_ONLY
    }

    fn space(&mut self, _request: RequestId) -> Outcome<Space> {
        Poll::Ready(Ok(Space { free: 0, total: 0, file_size_max: 0 }))
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Some(Taken { file, sent, .. }) = self.open.take() {
            self.tell(What::BrokenOff { file, sent });
        }
        for Taken { file, .. } in std::mem::take(&mut self.sent) {
            self.tell(What::Unconfirmed { file });
        }
        if self.is_known() && !self.tried {
            self.tell(What::Declined);
        }
        if self.is_known() {
            self.tell(What::Left);
        }
        if let Some(once) = &self.offer.once
            && self.has_claim
            && !self.has_received
        {
            // Then another one may have them.
            once.store(false, Ordering::Release);
        }
    }
}
