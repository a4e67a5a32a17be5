//! Somebody between a real client and a real server, who changes, repeats, exchanges, drops, returns,
//! shortens and makes up what they say: nothing of it has an effect, nobody says that all went well,
//! and nobody tries again with less protection.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kift_core::wire::{Code, PREFIX_LEN, Prefix, Record};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, names, random};
use kift_tests::impostor::{Impostor, Voice};
use kift_tests::machine::{Ended, wait_until};
use kift_tests::proxy::{Fate, From, Meddle, Proxy, Seen};
use kift_tests::raw::{first_flight, records};
use kift_tests::rng::{Case, Rng};

/// Bytes of the file that travels: some frames.
const LEN: usize = 200_000;

/// The client's first request, behind two records of the handshake.
const REQUEST: usize = 2;

/// Where the dialler's first record has the suites that it offers.
const SUITES_AT: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Put,
    Get,
    Remove,
}

const ALL: [Does; 3] = [Does::Put, Does::Get, Does::Remove];

impl Does {
    /// How many records of `from` it takes until all is done that this command is about. Behind them
    /// are a goodbye, its answer, and the receipt of a download.
    fn needs(self, from: From, script: &[Vec<Vec<u8>>; 2]) -> usize {
        match (self, from) {
            (Self::Get, From::Client) => REQUEST + 1,
            _ => script[from as usize].len() - 1,
        }
    }

    /// Whether nothing is done where one of these records does not arrive. Where the server's answer
    /// to the rest is lost, it is done, but the client cannot know.
    fn fails_without(self, from: From) -> bool {
        self == Self::Get || from == From::Client
    }
}

/// A server, a client that it knows, and a file.
struct Stage {
    estate: Estate,
    here: PathBuf,
    pin: String,
    file: Vec<u8>,
    case: AtomicUsize,
}

/// What a name holds that a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    Old,
    New,
}

/// One command through a proxy.
#[derive(Debug)]
struct Run {
    ended: Ended,
    seen: Seen,
    before: Holds,
    after: Holds,
}

impl Stage {
    fn new() -> Self {
        let estate = Estate::new();
        estate.admin(&["user", "add", "anna", "rw", "--no-password"]);
        estate.authorize("laptop", "anna", "rw");
        let here = estate.place().join("here");
        fs::create_dir(&here).unwrap();
        let file = random(LEN, 1);
        fs::write(here.join("file"), &file).unwrap();
        fs::write(estate.server().file("file"), &file).unwrap();
        let pin = estate.fingerprint();
        Self { estate, here, pin, file, case: AtomicUsize::default() }
    }

    /// Runs a command on a name of its own, which half of the time is taken.
    fn run(&self, does: Does, meddle: Meddle) -> Run {
        let case = self.case.fetch_add(1, Ordering::Relaxed);
        let name = format!("{does:?}-{case}");
        let target = match does {
            Does::Get => self.here.join(&name),
            Does::Put | Does::Remove => self.estate.server().file(&name),
        };
        if does == Does::Remove || case.is_multiple_of(2) {
            fs::write(&target, "old").unwrap();
        }
        let holds = || match fs::read(&target) {
            Err(_) => Holds::Nothing,
            Ok(text) if text == b"old" => Holds::Old,
            Ok(text) => {
                assert!(
                    text == self.file,
                    "{name} has {} bytes, others than were sent",
                    text.len()
                );
                Holds::New
            }
        };
        let before = holds();
        let proxy = Proxy::lay(self.estate.server().port(), meddle);
        let (file, local) = (self.here.join("file"), target.to_str().unwrap());
        let there = proxy.at(&name);
        let (source, common) = (proxy.at("file"), ["--json", "--server-key", &self.pin]);
        let args = match does {
            Does::Put => vec!["put", file.to_str().unwrap(), &there],
            Does::Get => vec!["get", &source, local],
            Does::Remove => vec!["rm", &there],
        };
        let ended = self.estate.kift("laptop", &[&args[..], &common].concat());
        Run { ended, seen: proxy.end(), before, after: holds() }
    }

    /// What each end says when nobody interferes.
    fn script(&self, does: Does) -> [Vec<Vec<u8>>; 2] {
        let run = self.run(does, Box::new(|_, _, _| None));
        run.ended.exits(0, &[]);
        let expected = if does == Does::Remove { Holds::Nothing } else { Holds::New };
        assert_eq!((run.after, run.seen.connections), (expected, 1));
        run.seen.records
    }

    /// Runs a command while `meddle` does something to what `from` says. `is_needed`: by what follows
    /// from it nothing can be done.
    #[track_caller]
    fn attack(&self, does: Does, from: From, is_needed: bool, meddle: Meddle) -> Run {
        let run = self.run(does, meddle);
        assert!(run.seen.meddled, "the record was sent");
        let is_done = run.after != run.before;
        if is_needed {
            run.ended.fails(&["kift: "]);
            assert!(run.ended.stdout.is_empty(), "it says that it succeeded: {:?}", run.ended);
        }
        if is_needed && does.fails_without(from) {
            assert!(!is_done, "it had an effect: {run:?}");
        }
        if run.ended.status.success() {
            assert!(is_done, "it succeeded: {run:?}");
        }
        assert_eq!(run.seen.connections, 1, "nobody tries again");
        for record in run.seen.of(From::Client) {
            assert_ne!(record[2], Record::Plain as u8);
        }
        assert_eq!(run.seen.of(From::Client)[0][SUITES_AT] & 1, 0, "plain links are not offered");
        run
    }

    fn assert_clean(&self) {
        wait_until("nothing is left", || self.estate.server().partials().is_empty());
        assert!(names(&self.here).iter().all(|name| !name.contains("part")));
        let log = self.estate.server().log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Does all of `cases`, some at a time.
fn each<T: Send>(cases: impl IntoIterator<Item = T>, one: impl Fn(T) + Sync) -> usize {
    let cases: Vec<T> = cases.into_iter().collect();
    let (count, cases) = (cases.len(), Mutex::new(cases));
    let next = || cases.lock().unwrap().pop();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = next() {
                    one(case);
                }
            });
        }
    });
    count
}

/// Does something to one record, and lets all others pass.
fn to_one(
    from: From,
    number: usize,
    change: impl Fn(&[u8]) -> Fate + Send + Sync + 'static,
) -> Meddle {
    Box::new(move |side, n, record| ((side, n) == (from, number)).then(|| change(record)))
}

fn flip(from: From, number: usize, at: usize, bit: u8) -> Meddle {
    to_one(from, number, move |record| {
        let mut on = record.to_vec();
        on[at] ^= 1 << bit;
        Fate { on, ..Fate::default() }
    })
}

#[test]
fn any_changed_byte_of_the_handshake_is_found() {
    let stage = Stage::new();
    let script = stage.script(Does::Remove);
    let mut rng = Rng::new(1);
    let mut cases = Vec::new();
    for (from, number) in [(From::Client, 0), (From::Server, 0), (From::Client, 1)] {
        for at in 0..script[from as usize][number].len() {
            cases.push((from, number, at, rng.below(8) as u8));
        }
    }
    let count = each(cases, |(from, number, at, bit)| {
        let _case = Case(format!("{from:?}, record {number}, byte {at}, bit {bit}"));
        let run = stage.attack(Does::Remove, from, true, flip(from, number, at, bit));
        // The length says how much there is to wait for.
        assert!(at < 2 || !run.seen.unplugged, "nobody closed it: {run:?}");
        assert!(at < 2 || from == From::Client || run.seen.of(From::Client).len() == 1);
    });
    assert!(count > 200, "three records have so many bytes");
    stage.assert_clean();
}

/// What can be done to a sealed frame without its key.
#[derive(Debug, Clone, Copy)]
enum Trick {
    Flip {
        bit: u64,
    },
    Replay,
    ReplayFirst,
    Exchange,
    Drop,
    Reflect,
    /// Cut in the middle, and the connection with it.
    Cut,
    /// Made shorter, and its length said so.
    Shorten,
}

impl Trick {
    fn on(self, from: From, number: usize) -> Meddle {
        let simple = |change: fn(&[u8]) -> Fate| to_one(from, number, change);
        match self {
            Self::Flip { bit } => to_one(from, number, move |record| {
                let mut on = record.to_vec();
                let bit = (bit % (8 * on.len() as u64)) as usize;
                on[bit / 8] ^= 1 << (bit % 8);
                Fate { on, ..Fate::default() }
            }),
            Self::Replay => simple(|record| Fate { on: record.repeat(2), ..Fate::default() }),
            Self::Drop => simple(|_| Fate::default()),
            Self::Reflect => simple(|record| Fate { back: record.to_vec(), ..Fate::default() }),
            Self::Cut => simple(|record| {
                let on = record[..record.len() / 2].to_vec();
                Fate { on, cut: true, ..Fate::default() }
            }),
            Self::Shorten => simple(|record| {
                let mut on = record[..record.len() - 1].to_vec();
                let len = (on.len() - PREFIX_LEN) as u16;
                Prefix { len, record: Record::Sealed }.emit(&mut on);
                Fate { on, ..Fate::default() }
            }),
            Self::ReplayFirst => remembering(move |kept, side, n, record| {
                if side == from && record[2] == Record::Sealed as u8 && kept.is_empty() {
                    *kept = record.to_vec();
                }
                let on = [kept, record].concat();
                ((side, n) == (from, number)).then(|| Fate { on, ..Fate::default() })
            }),
            Self::Exchange => remembering(move |kept, side, n, record| {
                if (side, n) == (from, number) {
                    *kept = record.to_vec();
                    return Some(Fate::default());
                }
                let on = [record, kept].concat();
                ((side, n) == (from, number + 1)).then(|| Fate { on, ..Fate::default() })
            }),
        }
    }
}

fn remembering(
    meddle: impl Fn(&mut Vec<u8>, From, usize, &[u8]) -> Option<Fate> + Send + Sync + 'static,
) -> Meddle {
    let kept = Mutex::default();
    Box::new(move |from, number, record| meddle(&mut kept.lock().unwrap(), from, number, record))
}

/// The first, the last and some between of `from..to`.
fn some_of(from: usize, to: usize, rng: &mut Rng) -> Vec<usize> {
    let mut some: Vec<usize> = [from, from + 1, to.saturating_sub(2), to - 1].into();
    some.extend((0..2).map(|_| rng.between(from, to - 1)));
    some.retain(|n| (from..to).contains(n));
    some.sort_unstable();
    some.dedup();
    some
}

fn frames_are_tricked_with(does: Does) {
    let stage = Stage::new();
    let script = stage.script(does);
    let mut rng = Rng::new(does as u64);
    let mut cases = Vec::new();
    for from in From::BOTH {
        let begin = if from == From::Client { REQUEST } else { 1 };
        for number in some_of(begin, script[from as usize].len(), &mut rng) {
            let tricks = [
                Trick::Replay,
                Trick::ReplayFirst,
                Trick::Exchange,
                Trick::Drop,
                Trick::Reflect,
                Trick::Cut,
                Trick::Shorten,
            ];
            cases.extend(tricks.map(|trick| (from, number, trick)));
            cases.extend((0..4).map(|_| (from, number, Trick::Flip { bit: rng.bits() })));
        }
    }
    let count = each(cases, |(from, number, trick)| {
        let _case = Case(format!("{does:?}: {trick:?} of {from:?}, record {number}"));
        let is_needed = number < does.needs(from, &script);
        stage.attack(does, from, is_needed, trick.on(from, number));
    });
    eprintln!("{does:?}: {count} tricks, on {} and {} records", script[0].len(), script[1].len());
    stage.assert_clean();
}

#[test]
fn frames_of_an_upload() {
    frames_are_tricked_with(Does::Put);
}

#[test]
fn frames_of_a_download() {
    frames_are_tricked_with(Does::Get);
}

#[test]
fn frames_of_a_deletion() {
    frames_are_tricked_with(Does::Remove);
}

// Whole sessions.

#[test]
fn connections_are_cut_anywhere() {
    let stage = Stage::new();
    let mut rng = Rng::new(2);
    let mut cases = Vec::new();
    for does in ALL {
        let script = stage.script(does);
        for from in From::BOTH {
            let needed = does.needs(from, &script);
            for (number, record) in script[from as usize].iter().enumerate() {
                let len = record.len();
                let offsets = [0, 1, PREFIX_LEN, len - 1, rng.below(len), rng.below(len)];
                cases.extend(offsets.map(|at| (does, from, number, at, number < needed)));
            }
        }
    }
    let count = each(cases, |(does, from, number, at, is_needed)| {
        let _case = Case(format!("{does:?}: cut {at} bytes into record {number} of {from:?}"));
        let meddle = to_one(from, number, move |record| {
            let on = record[..at.min(record.len() - 1)].to_vec();
            Fate { on, cut: true, ..Fate::default() }
        });
        let run = stage.attack(does, from, is_needed, meddle);
        assert!(!run.seen.unplugged);
    });
    eprintln!("{count} cuts");
    stage.assert_clean();
}

/// Without the authenticated end nothing is whole, however politely the stream is closed.
#[test]
fn the_end_of_the_stream_is_no_end_of_a_file() {
    let stage = Stage::new();
    for (does, from) in [(Does::Put, From::Client), (Does::Get, From::Server)] {
        let script = stage.script(does);
        let end = does.needs(from, &script) - 1;
        let frames = &script[from as usize];
        assert!(frames[end].len() < 100 && frames[end - 1].len() > 1024, "data, then their end");
        // Nothing comes through from there on, and then the stream is closed in good order.
        let meddle: Meddle =
            Box::new(move |side, n, _| (side == from && n >= end).then(Fate::default));
        let run = stage.attack(does, from, true, meddle);
        assert_eq!(
            run.seen.of(from)[..end].iter().map(Vec::len).sum::<usize>(),
            frames[..end].iter().map(Vec::len).sum::<usize>(),
            "all data came"
        );
    }
    stage.assert_clean();
}

#[test]
fn a_recorded_client_is_turned_away() {
    let stage = Stage::new();
    for does in ALL {
        let [said, heard] = stage.script(does).map(|records| records.concat());
        let second = records(&heard).swap_remove(0);
        // The state that it would change again.
        let name = format!("{does:?}-{}", stage.case.load(Ordering::Relaxed) - 1);
        let target = stage.estate.server().file(&name);
        if does != Does::Get {
            fs::write(&target, "old").unwrap();
        }
        for step in [1, said.len()] {
            let mut dial = Dial::silent(stage.estate.server());
            for part in said[..said.len().min(4096)].chunks(step) {
                // The server closes before it took all.
                if dial.stream.write_all(part).is_err() {
                    break;
                }
            }
            let reply = dial.rest();
            // Its half of the handshake, of which it remembers nothing that was said before.
            assert_eq!(records(&reply).len(), 1);
            assert_ne!(reply, second);
        }
        if does != Does::Get {
            assert_holds(&target, b"old");
        }
    }
    stage.assert_clean();
}

#[test]
fn a_recorded_server_is_told_nothing() {
    let stage = Stage::new();
    for does in ALL {
        let [said, heard] = stage.script(does);
        let all_at_once = heard.concat();
        for in_steps in [false, true] {
            let (heard, all_at_once) = (heard.clone(), all_at_once.clone());
            let impostor = Impostor::start(move || -> Voice {
                let (mut steps, all) = (heard.clone().into_iter(), all_at_once.clone());
                let mut is_first = true;
                Box::new(move |_| {
                    let all = if std::mem::take(&mut is_first) { &all[..] } else { &[] };
                    if in_steps { steps.next().unwrap_or_default() } else { all.to_vec() }
                })
            });
            let target = stage.here.join("again");
            let (file, again) = (stage.here.join("file"), target.to_str().unwrap());
            let (there, source) = (impostor.at("again"), impostor.at("file"));
            let args = match does {
                Does::Put => ["put", file.to_str().unwrap(), &there],
                Does::Get => ["get", &source, again],
                Does::Remove => ["rm", "--json", &there],
            };
            let ended =
                stage.estate.kift("laptop", &[&args[..], &["--server-key", &stage.pin]].concat());
            ended.fails(&["kift: "]);
            assert!(ended.stdout.is_empty() && !target.exists());
            let heard = impostor.end();
            assert_eq!((heard.len(), heard[0].len()), (1, said[0].len()), "only a first flight");
            assert_ne!(heard[0], said[0]);
        }
    }
}

// No weaker link.

#[test]
fn made_up_refusals_are_the_end() {
    let stage = Stage::new();
    let codes = Code::ALL.iter().map(|code| (Some(*code), first_flight(1, 0, u8::from(*code))));
    let versions = [0, 2, 255].map(|major| (None, first_flight(major, 0, 0)));
    let suites = (0..=255).map(|suite| (None, first_flight(1, suite, 0)));
    each(codes.chain(versions).chain(suites), |(code, reply)| {
        let _case = Case(format!("{reply:x?}"));
        let meddle =
            to_one(From::Server, 0, move |_| Fate { on: reply.clone(), ..Fate::default() });
        let run = stage.attack(Does::Put, From::Server, true, meddle);
        assert_eq!(run.after, run.before);
        assert_eq!(run.seen.of(From::Client).len(), 1, "nothing more is said");
        if code == Some(Code::PlainOnly) {
            run.ended.fails(&["says so without any proof"]);
        }
    });
    stage.assert_clean();
}

/// Whoever takes the better suites from the offer gets no link with the worse one either.
#[test]
fn made_up_offers_are_the_end() {
    let stage = Stage::new();
    each(0..=255_u8, |suites| {
        let _case = Case(suites);
        let meddle: Meddle = Box::new(move |from, n, record| {
            let mut on = record.to_vec();
            let is_it = (from, n) == (From::Client, 0) && on[SUITES_AT] != suites;
            is_it.then(|| {
                on[SUITES_AT] = suites;
                Fate { on, ..Fate::default() }
            })
        });
        // What a host offers: suites 1 and 2.
        if suites != 0x06 {
            let run = stage.attack(Does::Remove, From::Client, true, meddle);
            assert_eq!(run.seen.of(From::Client).len(), 1, "nothing more is said");
        }
    });
    // As one that can do plain links alone would begin.
    let meddle = to_one(From::Client, 0, |_| Fate { on: first_flight(1, 1, 0), ..Fate::default() });
    let run = stage.attack(Does::Remove, From::Client, true, meddle);
    assert_eq!(run.seen.of(From::Server), [first_flight(1, 0, Code::SealedOnly.into())]);
    stage.assert_clean();
}
