//! What a requester sends while its responder is busy sending, and reads nothing, fits the room that
//! the responder stated: counted as frames of a sealed link, which are the longest.

use std::collections::VecDeque;

use kift_core::session::{Config, RequestError, Requester, Side};
use kift_core::storage::RequestId;
use kift_core::wire::{Answer, Code, Entry, EntryKind, Kind, Meta, Request, Role, Signal};
use kift_tests::app::{App, Job};
use kift_tests::raw::{Frame, Held, first_flight, hello};
use kift_tests::rng::{Case, Rng, contents};

/// Header and tag of a sealed frame.
const OVERHEAD: usize = 28;

/// A responder that reads only when it has nothing left to send, or no credit for it.
struct Busy {
    held: Held<Requester<Vec<u8>, 64>, App>,
    room: usize,
    unread: Vec<Frame>,
    to_send: VecDeque<Frame>,
    credit: u64,
    spent: u64,
    /// The longest that was ever unread.
    unread_max: usize,
}

impl Busy {
    fn new(room: usize, window: u64) -> Self {
        let mut config = Config::small(Side::Dialler, window);
        config.batch_max = 2;
        config.reply_room = 8000;
        let session = Requester::new(vec![0; 8000], vec![0; 8000], &config).expect("room");
        let mut held = Held::new(session, App::default());
        held.feed(&first_flight(1, 0, 0));
        let mut ours = hello(Role::Responder);
        ours.reply_room = room as u32;
        held.tell(&[Frame::hello(&ours)]);
        let (unread, to_send) = (Vec::new(), VecDeque::new());
        Self { held, room, unread, to_send, credit: window, spent: 0, unread_max: 0 }
    }

    /// Looks at what the requester sent meanwhile.
    fn listen(&mut self, frames: Vec<Frame>) {
        self.unread.extend(frames);
        let len: usize = self.unread.iter().map(|frame| frame.payload.len() + OVERHEAD).sum();
        self.unread_max = self.unread_max.max(len);
        // Requests may be any number while nothing is being sent.
        if !self.to_send.is_empty() {
            assert!(len <= self.room, "{len} of {}: {:?}", self.room, self.unread);
        }
    }

    fn read(&mut self, rng: &mut Rng) {
        for frame in std::mem::take(&mut self.unread) {
            match frame.kind {
                Kind::Request => {
                    let request = Request::decode(&frame.payload).expect("a request");
                    self.answer(frame.request, &request, rng);
                }
                _ => {
                    if let Some(Signal::Credit(limit)) = frame.as_signal() {
                        self.credit = limit;
                    }
                }
            }
        }
    }

    fn answer(&mut self, number: u16, request: &Request<'_>, rng: &mut Rng) {
        match request {
            Request::Get { .. } => {
                let data = contents([0, 1, 2000, 6000][rng.below(4)], 1);
                let size = data.len() as u64;
                let sending = Answer::Sending { size, file_size: size, modified: None };
                self.to_send.push_back(Frame::answer(number, &sending));
                for (n, chunk) in data.chunks(1024).enumerate() {
                    self.to_send.push_back(Frame::data(number, n as u32, chunk));
                }
                self.to_send.push_back(Frame::end(number, &data));
            }
            Request::List { .. } => {
                let mut page = vec![0; 100];
                let meta = Meta { kind: EntryKind::File, size: 0, modified: None };
                let len = Entry { name: "a", meta }.encode(&mut page).expect("room");
                self.to_send.push_back(Frame::new(Kind::Page, number, &page[..len]));
                let listed = Answer::Listed { entries: 1, skipped: 0 };
                self.to_send.push_back(Frame::answer(number, &listed));
            }
            _ => self.to_send.push_back(Frame::answer(number, &Answer::Failed(Code::NotFound))),
        }
    }

    /// Sends one frame; false where there is none, or no credit for it.
    fn send(&mut self) -> bool {
        let Some(frame) = self.to_send.front() else { return false };
        let costs = u64::from(matches!(frame.kind, Kind::Data | Kind::Page));
        if self.spent + costs > self.credit {
            return false;
        }
        self.spent += costs;
        let heard = self.held.tell(std::slice::from_ref(frame));
        self.to_send.pop_front();
        self.listen(heard);
        true
    }
}

#[test]
fn a_responder_that_does_not_read() {
    let mut fullest = 0;
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let room = [512, 800, 1052][rng.below(3)];
        let mut busy = Busy::new(room, [1, 2, 3, 5, 8][rng.below(5)]);
        let _case = Case(format!("seed {seed}, room {room}"));
        let stops = [0, 30, 90][rng.below(3)];
        let mut left = 60;
        let mut recent = VecDeque::from([RequestId(0)]);
        while left > 0 || !busy.held.session.is_idle() {
            while left > 0 {
                let job = match rng.below(5) {
                    0 => Job::list("folder"),
                    1 => Job::stat(&"x".repeat(rng.between(1, 120)), false),
                    _ => Job::get("file"),
                };
                match busy.held.session.request(&job.request()) {
                    Ok(id) => {
                        left -= 1;
                        recent.push_front(id);
                        recent.truncate(8);
                    }
                    Err(error) => {
                        assert_eq!(error, RequestError::Later);
                        break;
                    }
                }
            }
            if rng.chance(stops) {
                let _ = busy.held.session.stop(recent[rng.below(recent.len())]);
            }
            let heard = busy.held.feed(&[]);
            busy.listen(heard);
            if !busy.send() {
                busy.read(&mut rng);
            }
            assert_eq!(busy.held.closed, None);
        }
        fullest = fullest.max(busy.unread_max * 100 / room);
    }
    assert!(fullest > 80, "the room is never used: {fullest} %");
}
