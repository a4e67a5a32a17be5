//! Requester and responder, driven by hand: A.4 to A.8.

use std::collections::{BTreeMap, VecDeque};
use std::task::Poll;

use kift_core::secure::Peer;
use kift_core::session::{
    Action, Config, Event, Perform, Reply, Requester, Responder, Session, Side,
};
use kift_core::storage::{Begun, Files, Outcome, Page, RequestId, Store};
use kift_core::time::Instant;
use kift_core::wire::{
    Ask, Close, Code, Conflict, Digest, Entry, Header, Hello, Kind, Meta, Path, Put, Record,
    Request, Role, Signal, Space,
};

use crate::document::Vectors;
use crate::frames::{digest, opened, plain, split_frame};
use crate::messages::{DIRECTORY, FILE, ROOT_OF_1, ROOT_OF_1025, TRANSFER};

/// Bytes of the buffers that sessions get here: one frame of one chunk.
const BUFFER_LEN: usize = 1052;

/// A store in memory; the requester's source and target too.
#[derive(Default)]
pub(crate) struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    /// What is open.
    path: String,
    upload: Vec<u8>,
    listed: bool,
    results: Vec<String>,
}

impl Memory {
    /// What the application was told, in words.
    pub(crate) fn results(&self) -> &[String] {
        &self.results
    }
}

impl Files for Memory {
    fn admit(&mut self, _: &Peer) -> Outcome<()> {
        Poll::Ready(Ok(()))
    }

    fn read(&mut self, _: RequestId, at: u64, buf: &mut [u8]) -> Outcome<usize> {
        let rest = &self.files[&self.path][at as usize..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Poll::Ready(Ok(n))
    }

    fn write(&mut self, _: RequestId, _: u64, data: &[u8]) -> Outcome<()> {
        self.upload.extend_from_slice(data);
        Poll::Ready(Ok(()))
    }

    fn commit(&mut self, _: RequestId, _: u64, _: Digest) -> Outcome<u32> {
        let upload = std::mem::take(&mut self.upload);
        self.files.insert(self.path.clone(), upload);
        Poll::Ready(Ok(0))
    }

    fn abort(&mut self, _: RequestId) {
        self.upload.clear();
    }

    fn handle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Done { request, result } => self.results.push(match result {
                Ok(Reply::Got { size, .. }) => format!("{request} Got {size}"),
                Ok(reply) => {
                    let reply = format!("{reply:?}");
                    format!("{request} {}", reply.split(' ').next().unwrap())
                }
                Err(failure) => format!("{request} {failure:?}"),
            }),
            Event::Entry { request, entry } => {
                self.results.push(format!("{request} {}", entry.name))
            }
            _ => {}
        }
    }
}

impl Store for Memory {
    fn begin(&mut self, _: RequestId, path: Path<'_>, put: &Put<'_>) -> Outcome<Begun> {
        self.path = path.as_str().into();
        let taken = put.conflict == Conflict::Refuse && self.files.contains_key(&self.path);
        Poll::Ready(if taken { Err(Code::Exists) } else { Ok(Begun::Fresh) })
    }

    fn open(&mut self, request: RequestId, path: Path<'_>) -> Outcome<Meta> {
        self.path = path.as_str().into();
        self.stat(request, path)
    }

    fn close(&mut self, _: RequestId) {}

    fn stat(&mut self, _: RequestId, path: Path<'_>) -> Outcome<Meta> {
        let file = self.files.get(path.as_str());
        Poll::Ready(file.map(|file| Meta { size: file.len() as u64, ..FILE }).ok_or(Code::NotFound))
    }

    fn open_directory(&mut self, _: RequestId, _: Path<'_>, _: &str) -> Outcome<()> {
        self.listed = false;
        Poll::Ready(Ok(()))
    }

    fn read_directory(&mut self, _: RequestId, page: &mut Page<'_>) -> Outcome<bool> {
        for (name, file) in &self.files {
            assert!(page.push(&Entry { name, meta: Meta { size: file.len() as u64, ..FILE } }));
        }
        assert!(page.push(&Entry { name: "logs", meta: DIRECTORY }));
        Poll::Ready(Ok(false))
    }

    fn close_directory(&mut self, _: RequestId) -> u64 {
        0
    }

    fn delete(&mut self, _: RequestId, path: Path<'_>) -> Outcome<()> {
        Poll::Ready(self.files.remove(path.as_str()).map(drop).ok_or(Code::NotFound))
    }

    fn rename(&mut self, _: RequestId, _: Path<'_>, _: Path<'_>, _: bool) -> Outcome<()> {
        Poll::Ready(Err(Code::Denied))
    }

    fn make_directory(&mut self, _: RequestId, _: Path<'_>) -> Outcome<()> {
        Poll::Ready(Err(Code::Denied))
    }

    fn space(&mut self, _: RequestId) -> Outcome<Space> {
        Poll::Ready(Ok(Space { free: 1, total: 2, file_size_max: 3 }))
    }
}

/// Does what `session` wants until it waits or is over, and gives what it sent.
pub(crate) fn drain<S: Perform<Memory>>(session: &mut S, port: &mut Memory) -> Vec<u8> {
    let mut sent = Vec::new();
    loop {
        match session.poll(Instant::from_millis(0)) {
            Action::Send(bytes) => {
                sent.extend_from_slice(bytes);
                let n = bytes.len();
                session.sent(n);
            }
            Action::Perform => assert!(session.perform(port).is_ready()),
            Action::Wait(_) | Action::Closed(_) => return sent,
        }
    }
}

/// Gives `session` as many bytes as it takes at once.
pub(crate) fn feed<S: Session>(session: &mut S, bytes: &mut VecDeque<u8>) {
    let slice = session.recv_slice();
    let n = slice.len().min(bytes.len());
    for (to, from) in slice.iter_mut().zip(bytes.drain(..n)) {
        *to = from;
    }
    session.recv_advance(n);
}

/// One end, and what of its output is on its way.
struct End<S> {
    session: S,
    port: Memory,
    /// Sent, not yet delivered.
    wire: VecDeque<u8>,
    /// Sent, not yet a whole frame.
    frame: Vec<u8>,
}

impl<S: Perform<Memory>> End<S> {
    fn new(session: S) -> Self {
        Self { session, port: Memory::default(), wire: VecDeque::new(), frame: Vec::new() }
    }

    /// Lets this end work, and logs each frame it sends.
    fn turn(&mut self, name: &'static str, log: &mut Vec<(&'static str, Vec<u8>)>) {
        let sent = drain(&mut self.session, &mut self.port);
        self.wire.extend(&sent);
        self.frame.extend(sent);
        while let Some(frame) = split_frame(&mut self.frame) {
            log.push((name, frame));
        }
    }
}

struct Pair {
    requester: End<Requester<Vec<u8>, 8>>,
    responder: End<Responder<Vec<u8>>>,
    /// Every frame, with who sent it.
    log: Vec<(&'static str, Vec<u8>)>,
}

impl Pair {
    fn new() -> Self {
        let buffer = || vec![0; BUFFER_LEN];
        let requester =
            Requester::new(buffer(), buffer(), &Config::small(Side::Dialler, 4)).unwrap();
        let responder =
            Responder::new(buffer(), buffer(), &Config::small(Side::Listener, 2)).unwrap();
        let mut pair = Self {
            requester: End::new(requester),
            responder: End::new(responder),
            log: Vec::new(),
        };
        pair.run();
        pair
    }

    /// Until both wait.
    fn run(&mut self) {
        loop {
            let before = self.log.len();
            self.requester.turn("requester", &mut self.log);
            feed(&mut self.responder.session, &mut self.requester.wire);
            self.responder.turn("responder", &mut self.log);
            feed(&mut self.requester.session, &mut self.responder.wire);
            if self.log.len() == before
                && self.requester.wire.is_empty()
                && self.responder.wire.is_empty()
            {
                return;
            }
        }
    }

    fn request(&mut self, request: &Request<'_>) {
        self.requester.session.request(request).unwrap();
    }

    /// Holds every frame that went against the document.
    fn check(&self, name: &str, vectors: &Vectors) {
        let mut missing = String::new();
        for (i, (who, frame)) in self.log.iter().enumerate() {
            let name = format!("{name}.{:02}.{who}", i + 1);
            if vectors.bytes.get(&*name) == Some(frame) {
                vectors.get(&name);
                continue;
            }
            let hex = frame.iter().map(|byte| format!(" {byte:02x}")).collect::<String>();
            missing += &format!("{name} ={hex}\n");
        }
        assert!(missing.is_empty(), "not in the document:\n{missing}");
        vectors.family(&format!("{name}."), self.log.len());
        for (_, frame) in self.log.iter().filter(|(_, frame)| frame[2] != Record::Handshake as u8) {
            opened(frame);
        }
    }
}

fn put(path: &'static str, size: u64, conflict: Conflict) -> Request<'static> {
    Request::Put(Put {
        path,
        transfer: TRANSFER,
        size: Some(size),
        modified: FILE.modified,
        conflict,
        ask: Ask::Now,
    })
}

pub(crate) fn check_sessions(vectors: &Vectors) {
    let mut pair = Pair::new();
    pair.requester.port.files.insert("a.bin".into(), vec![0x61; 1025]);
    pair.requester.port.path = "a.bin".into();
    pair.request(&put("a.bin", 1025, Conflict::Replace));
    pair.run();
    pair.request(&Request::Get { path: "a.bin", first: 1, count: None });
    pair.run();
    pair.request(&Request::Stat { path: "b", digest: false });
    pair.request(&Request::List { path: "", after: "" });
    pair.run();
    pair.request(&Request::Goodbye);
    pair.run();
    let results = [
        "#1 Stored",
        "#2 Got 1",
        "#3 Peer(NotFound)",
        "#4 a.bin",
        "#4 logs",
        "#4 Listed",
        "#5 Done",
    ];
    assert_eq!(pair.requester.port.results, results);
    let now = Instant::from_millis(0);
    assert_eq!(pair.requester.session.poll(now), Action::Closed(Ok(())));
    assert_eq!(pair.responder.session.poll(now), Action::Closed(Ok(())));
    pair.check("session.whole", vectors);
    let (_, end) = opened(vectors.get("session.whole.08.requester"));
    assert_eq!(Close::decode(end), Ok(Close::End { size: 1025, root: digest(ROOT_OF_1025) }));
    let (_, end) = opened(vectors.get("session.whole.16.responder"));
    assert_eq!(Close::decode(end), Ok(Close::End { size: 1, root: digest(ROOT_OF_1) }));

    let mut pair = Pair::new();
    pair.responder.port.files.insert("taken".into(), vec![]);
    pair.requester.port.files.insert("a.bin".into(), vec![0x61; 3072]);
    pair.requester.port.path = "a.bin".into();
    pair.request(&put("taken", 3072, Conflict::Refuse));
    pair.run();
    pair.request(&Request::Delete { path: "taken" });
    pair.run();
    pair.responder.session.shut_down();
    pair.run();
    assert_eq!(pair.requester.port.results, ["#1 Peer(Exists)", "#2 Done"]);
    pair.check("session.refused", vectors);
}

/// A responder that listens, with a window of two chunks and one chunk a frame. Its buffers take
/// every vector in one piece.
fn listener() -> End<Responder<Vec<u8>>> {
    let buffer = || vec![0; 4 * BUFFER_LEN];
    End::new(Responder::new(buffer(), buffer(), &Config::small(Side::Listener, 2)).unwrap())
}

/// What `end` sends when `bytes` come.
fn response(end: &mut End<Responder<Vec<u8>>>, bytes: &[u8]) -> Vec<u8> {
    feed(&mut end.session, &mut bytes.iter().copied().collect());
    drain(&mut end.session, &mut end.port)
}

/// The same, of one that has had the first flight and the hello of the session `whole`.
fn open_listener(vectors: &Vectors) -> End<Responder<Vec<u8>>> {
    let mut end = listener();
    let hellos =
        [vectors.get("session.whole.01.requester"), vectors.get("session.whole.02.requester")]
            .concat();
    response(&mut end, &hellos);
    end
}

/// `flight.WHY.offer` is answered by `flight.WHY.reply`, and nothing else unless it is welcome.
pub(crate) fn check_flights(vectors: &Vectors) {
    for (case, offer, expected) in vectors.cases("flight.", 9, ["offer", "reply"]) {
        let mut sent = response(&mut listener(), offer);
        let reply = split_frame(&mut sent).unwrap();
        assert_eq!(reply, expected, "{case}");
        assert_eq!(sent.is_empty(), reply[11] != 0, "{case}");
    }
}

/// `bad.CODE.why`: frames for which an open link is closed with that code.
pub(crate) fn check_bad_frames(vectors: &Vectors) {
    for (name, bytes) in vectors.family("bad.", 22) {
        let mut end = open_listener(vectors);
        let mut sent = response(&mut end, bytes);
        let abort = split_frame(&mut sent).unwrap();
        assert!(sent.is_empty(), "{name}");
        let expected = name.split('.').nth(1).unwrap().replace('-', "");
        assert_eq!(format!("{:?}", aborted(&abort)).to_lowercase(), expected, "{name}");
        assert!(
            matches!(end.session.poll(Instant::from_millis(0)), Action::Closed(Err(_))),
            "{name}"
        );
    }
}

/// `hello-refused.why`: payloads of hellos that a responder does not take.
pub(crate) fn check_refused_hellos(vectors: &Vectors) {
    for (name, payload) in vectors.family("hello-refused.", 10) {
        let mut end = listener();
        response(&mut end, vectors.get("session.whole.01.requester"));
        let abort = response(&mut end, &plain(Header::new(Kind::Hello, 0), payload));
        assert_eq!(aborted(&abort), Code::Incompatible, "{name}");
        let hello = Hello::decode(payload).unwrap();
        assert!(!hello.is_valid() || hello.role == Role::Responder, "{name}");
    }
}

/// The reason in the frame of an abort.
fn aborted(frame: &[u8]) -> Code {
    let (header, payload) = opened(frame);
    assert_eq!(header, Header::new(Kind::Signal, 0));
    let Ok(Signal::Abort(code)) = Signal::decode(payload) else { panic!("no abort: {frame:x?}") };
    code
}

/// `exchange.WHAT.in` is answered by `exchange.WHAT.out`, and the link goes on.
pub(crate) fn check_exchanges(vectors: &Vectors) {
    for (case, bytes, expected) in vectors.cases("exchange.", 4, ["in", "out"]) {
        let mut end = open_listener(vectors);
        let sent = response(&mut end, bytes);
        assert_eq!(sent, expected, "{case}");
        assert!(matches!(end.session.poll(Instant::from_millis(0)), Action::Wait(_)), "{case}");
    }
}
