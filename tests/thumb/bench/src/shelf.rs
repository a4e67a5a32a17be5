//! Files that take no time: there is one, of any length, and what is written is forgotten.

use core::task::Poll;

use kift_core::secure::Peer;
use kift_core::session::Event;
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Store};
use kift_core::wire::{Code, Digest, EntryKind, Meta, Password, Path, Put, Space};

/// What an end keeps its files on, and what it was told.
#[derive(Default)]
pub struct Shelf {
    /// Bytes of its file.
    pub size: u64,
    /// The handshake is over.
    pub opened: bool,
    /// What the last request came to.
    pub done: Option<bool>,
}

const DENIED: Poll<Result<(), Code>> = Poll::Ready(Err(Code::Denied));

impl Files for Shelf {
    fn read(&mut self, _: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let n = self.size.saturating_sub(at).min(buf.len() as u64) as usize;
        buf[..n].fill(at as u8);
        Poll::Ready(Ok(n))
    }

    fn write(&mut self, _: RequestId, _: u64, _: &[u8]) -> Outcome<()> {
        Poll::Ready(Ok(()))
    }

    fn commit(&mut self, _: RequestId, _: u64, _: Digest) -> Outcome<u32> {
        Poll::Ready(Ok(0))
    }

    fn abort(&mut self, _: RequestId) {}

    fn admit(&mut self, _: &Peer) -> Outcome<()> {
        Poll::Ready(Ok(()))
    }

    fn handle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Opened(_) => self.opened = true,
            Event::Done { result, .. } => self.done = Some(result.is_ok()),
            _ => {}
        }
    }
}

impl Store for Shelf {
    fn begin(&mut self, _: RequestId, _: Path<'_>, _: &Put<'_>) -> Outcome<Begun> {
        Poll::Ready(Ok(Begun::Fresh))
    }

    fn open(&mut self, _: RequestId, _: Path<'_>) -> Outcome<Meta> {
        Poll::Ready(Ok(Meta { kind: EntryKind::File, size: self.size, modified: None }))
    }

    fn close(&mut self, _: RequestId) {}

    fn stat(&mut self, _: RequestId, _: Path<'_>) -> Outcome<Meta> {
        Poll::Ready(Err(Code::Denied))
    }

    fn open_directory(&mut self, _: RequestId, _: Path<'_>, _: &str) -> Outcome<()> {
        DENIED
    }

    fn read_directory(&mut self, _: RequestId, _: &mut Page<'_>) -> Outcome<bool> {
        Poll::Ready(Err(Code::Denied))
    }

    fn close_directory(&mut self, _: RequestId) -> u64 {
        0
    }

    fn delete(&mut self, _: RequestId, _: Path<'_>) -> Outcome<()> {
        DENIED
    }

    fn rename(&mut self, _: RequestId, _: Path<'_>, _: Path<'_>, _: bool) -> Outcome<()> {
        DENIED
    }

    fn make_directory(&mut self, _: RequestId, _: Path<'_>) -> Outcome<()> {
        DENIED
    }

    fn space(&mut self, _: RequestId) -> Outcome<Space> {
        Poll::Ready(Err(Code::Denied))
    }

    fn login(&mut self, _: RequestId, _: &str, _: &Password<'_>) -> Outcome<()> {
        DENIED
    }
}
