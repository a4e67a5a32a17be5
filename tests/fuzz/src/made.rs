//! What is made of an input: contents, requests, frames.

use arbitrary::{Result, Unstructured};
use kift_core::wire::{
    Ask, CHUNK, Close, Code, Conflict, Digest, Entry, EntryKind, Kind, Meta, Password, Put,
    Request, Run, RunLen, Signal, Ticket, Timestamp, TransferId,
};
use kift_tests::memory::value;
use kift_tests::raw::{Frame, digest};

/// Bytes of files.
pub(crate) const SIZES: [u64; 8] = [0, 1, 1023, 1024, 1025, 3000, 5000, u64::MAX];

const PATHS: [&str; 12] =
    ["a", "b", "folder", "folder/b", "", "..", "a/../b", "/a", "a/", ".", "a\0", "folder/日本語"];

const KINDS: [Kind; 7] =
    [Kind::Hello, Kind::Request, Kind::Answer, Kind::Data, Kind::Page, Kind::Close, Kind::Signal];

/// `len` bytes from byte `at` of any file on.
#[must_use]
pub fn contents(at: u64, len: usize) -> Vec<u8> {
    (at..).take(len).map(|at| (at ^ at >> 7) as u8).collect()
}

/// The BLAKE3 of a file of `size` bytes.
#[must_use]
pub(crate) fn root_of(size: u64) -> Digest {
    digest(&contents(0, size as usize))
}

/// The entries of a listing, in order.
#[must_use]
pub(crate) fn listed(number: u64) -> (String, Meta) {
    // So long that three fill a page.
    let name = format!("{number:03}{}", "x".repeat(if number.is_multiple_of(4) { 252 } else { 3 }));
    (name, Meta { kind: EntryKind::File, size: number, modified: Some(Timestamp(-1)) })
}

/// A page of so many entries as fit, from number `from` on.
#[must_use]
pub(crate) fn page(from: u64, count: u64) -> Vec<u8> {
    let mut page = vec![0; CHUNK];
    let mut len = 0;
    for number in from..from + count {
        let (name, meta) = listed(number);
        let Some(more) = (Entry { name: &name, meta }).encode(&mut page[len..]) else { break };
        len += more;
    }
    page.truncate(len);
    page
}

/// A frame with whatever payload.
///
/// # Errors
/// The input ends.
pub fn any_frame(u: &mut Unstructured<'_>) -> Result<Frame> {
    let kind = *u.choose(&KINDS)?;
    let (request, index) = (u.arbitrary()?, u.arbitrary::<u16>()?.into());
    let len = usize::from(u.arbitrary::<u16>()?) % 1100;
    let payload = u.bytes(len.min(u.len()))?.to_vec();
    Ok(Frame { kind, request, index, payload })
}

/// Chunks that a frame grants.
#[must_use]
pub fn granted(frame: &Frame) -> u64 {
    match Signal::decode(&frame.payload) {
        Ok(Signal::Credit(limit)) if frame.kind == Kind::Signal => limit,
        _ => 0,
    }
}

/// The stream of a request, and how far it is.
#[derive(Debug, Default)]
pub struct Stream {
    first: u32,
    run: Option<Run>,
    data: Vec<u8>,
}

impl Stream {
    /// A stream from chunk `first` on, of a run where it is that of one.
    #[must_use]
    pub const fn new(first: u32, run: Option<Run>) -> Self {
        Self { first, run, data: Vec::new() }
    }

    /// The stream of a file of which so many chunks are there.
    #[must_use]
    pub fn behind(chunks: u32) -> Self {
        Self { data: contents(0, chunks as usize * CHUNK), ..Self::default() }
    }

    /// The stream that follows `request`.
    #[must_use]
    pub const fn of(request: &Request<'_>) -> Self {
        match *request {
            Request::PutRun { run, .. } => Self::new(run.first, Some(run)),
            _ => Self::new(0, None),
        }
    }

    /// A step of it: data that are the next, or its end, mostly as they should be.
    ///
    /// # Errors
    /// The input ends.
    pub fn any_frame(&mut self, number: u16, u: &mut Unstructured<'_>) -> Result<Frame> {
        Ok(match u.int_in_range(0..=7)? {
            0 => self.next(number, usize::from(u.arbitrary::<u16>()?) % (2 * CHUNK)),
            1 => Frame::close(number, &Close::Reset(any_code(u)?)),
            2 => Frame::end(number, &contents(0, u.arbitrary::<u8>()?.into())),
            3 | 4 => {
                let root = match self.run {
                    Some(run) if self.is_of(run) => value(run, &self.data),
                    _ => digest(&self.data),
                };
                Frame::close(number, &Close::End { size: self.data.len() as u64, root })
            }
            _ => self.next(number, CHUNK),
        })
    }

    /// Whether what was sent could be of a run: BLAKE3 knows no value of anything else.
    fn is_of(&self, run: Run) -> bool {
        let len = self.data.len() as u64;
        len > 0 && Run { size: len, ..run }.is_valid()
    }

    fn next(&mut self, number: u16, len: usize) -> Frame {
        let at = self.data.len();
        self.data.extend(contents(at as u64, len));
        let index = self.first.wrapping_add((at / CHUNK) as u32);
        Frame::data(number, index, &self.data[at..])
    }
}

/// A code, of this version or of a later one.
///
/// # Errors
/// The input ends.
pub fn any_code(u: &mut Unstructured<'_>) -> Result<Code> {
    u.arbitrary::<u8>().map(Code::from)
}

/// A signal.
///
/// # Errors
/// The input ends.
pub fn any_signal(u: &mut Unstructured<'_>) -> Result<Signal> {
    Ok(match u.int_in_range(0..=9)? {
        0 => Signal::Progress { received: u.arbitrary()?, durable: u.arbitrary()? },
        1 => Signal::Working { done: u.arbitrary()?, total: u.arbitrary()? },
        2 => Signal::Credit(u.arbitrary()?),
        3 => Signal::Abort(any_code(u)?),
        // Where a window is small, and grants are as they should be.
        4..=6 => Signal::Credit(u.int_in_range(0..=200)?),
        _ => Signal::Stop,
    })
}

/// A request, legal or not.
///
/// # Errors
/// The input ends.
pub fn any_request<'a>(u: &mut Unstructured<'a>) -> Result<Request<'a>> {
    let which = u.int_in_range(0..=26)?;
    let path = *u.choose(&PATHS)?;
    let transfer = TransferId([7; 16]);
    Ok(match which {
        0 => Request::Stat { path, digest: u.arbitrary()? },
        1 => Request::List { path, after: u.choose(&PATHS)? },
        2 | 20 | 21 => Request::Put(any_put(u, path)?),
        3 => Request::Get { path, first: u.int_in_range(0..=6)?, count: any_count(u)? },
        4 => Request::Delete { path },
        5 => Request::Rename { from: path, to: u.choose(&PATHS)?, replace: u.arbitrary()? },
        6 => Request::MakeDirectory { path },
        7 => Request::Space,
        8 => Request::Goodbye,
        9 => Request::Login { user: path, password: Password::new("secret").unwrap_or_default() },
        10 => Request::Status,
        11 => Request::Shutdown,
        12 => Request::Ticket,
        13 => Request::Attach { ticket: Ticket([u.arbitrary()?; 16]) },
        14 => {
            let runs = RunLen(u.int_in_range(9..=23)?);
            let size = runs.bytes().map(|bytes| bytes.saturating_mul(2) - 1);
            Request::BeginPut { put: Put { size, ..any_put(u, path)? }, runs }
        }
        15 => Request::PutRun { transfer, run: any_run(u)? },
        16 => Request::Commit { transfer, size: u.arbitrary()?, root: root_of(0) },
        17 => Request::BeginGet { transfer, path },
        18 => Request::GetRun { transfer, run: any_run(u)? },
        19 => Request::Release { transfer },
        22 => Request::Partials,
        23 => Request::Discard { transfer },
        _ => {
            let first = u.int_in_range(0..=6)?;
            let is = root_of(u64::from(first) * CHUNK as u64);
            let root = if u.ratio(3, 4)? { is } else { root_of(0) };
            Request::Resume { path, first, root }
        }
    })
}

fn any_put<'a>(u: &mut Unstructured<'_>, path: &'a str) -> Result<Put<'a>> {
    let size = u.choose(&SIZES)?;
    Ok(Put {
        path,
        transfer: TransferId([7; 16]),
        size: (*size < 4000 || u.arbitrary()?).then_some(*size),
        modified: *u.choose(&[None, Some(Timestamp(-1)), Some(Timestamp(i64::MIN))])?,
        conflict: *u.choose(&[Conflict::Replace, Conflict::KeepBoth, Conflict::Refuse])?,
        ask: match u.int_in_range(0..=5)? {
            0 => Ask::Time,
            4 | 5 => Ask::Ready,
            1 => Ask::Digest(root_of((*size).min(5000))),
            _ => Ask::Now,
        },
    })
}

fn any_count(u: &mut Unstructured<'_>) -> Result<Option<u32>> {
    let count: u8 = u.arbitrary()?;
    Ok((count < 200).then_some(u32::from(count % 8)))
}

fn any_run(u: &mut Unstructured<'_>) -> Result<Run> {
    let first = *u.choose(&[0, 1, 1024, 2048, 1 << 31, u32::MAX])?;
    Ok(Run { first, size: *u.choose(&SIZES)? })
}
