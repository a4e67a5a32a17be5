//! A model of how an upload is stored, and gone on with, by a server that loses its process or its power
//! between any two steps, and a client whose link is cut. Every state that can be reached is looked at.
//!
//! It follows [`Upload`](super::super::upload) step by step: what is synced, in what order, what is told
//! after which, what a start finds, and how a newer session takes over. A file has two chunks; each is of the
//! version of the source that it was read of. The client keeps both files where a name is taken, so a
//! second copy shows where an outcome was forgotten.

use stateright::{Checker as _, HasDiscoveries, Model, Property};

/// A mistake, for each of which some property must fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mistake {
    None,
    /// The data are not synced before the record that counts them.
    NoSyncBeforeMark,
    /// The data are not synced before they get their name.
    NoSyncBeforeRename,
    /// It is said to be stored before its name is synced.
    AnswerBeforeSync,
    /// A chunk more is counted than was synced.
    CountOffByOne,
    /// What came before is not compared with the source.
    PrefixNotCompared,
    /// What was stored is not compared with the source.
    OutcomeNotCompared,
    /// That it is about to get its name is not written down.
    NotAnnounced,
    /// The partial's own name is not synced before that.
    PartialNotNamed,
    /// Whose session is older may still write.
    NoTakeover,
    /// An upload is taken over while it gets its name.
    TakenWhilePlaced,
    /// The partial is removed before it is durable that nothing says it was to get its name.
    RemovedAtOnce,
    /// A start takes a name that it finds for durable.
    NoSyncAtStart,
}

const MISTAKES: [Mistake; 12] = [
    Mistake::NoSyncBeforeMark,
    Mistake::NoSyncBeforeRename,
    Mistake::AnswerBeforeSync,
    Mistake::CountOffByOne,
    Mistake::PrefixNotCompared,
    Mistake::OutcomeNotCompared,
    Mistake::NotAnnounced,
    Mistake::PartialNotNamed,
    Mistake::NoTakeover,
    Mistake::TakenWhilePlaced,
    Mistake::RemovedAtOnce,
    Mistake::NoSyncAtStart,
];

/// Chunks of the file.
const CHUNKS: u8 = 2;

/// The version of the source that each chunk is of, if it is there.
type Data = [Option<u8>; CHUNKS as usize];

/// Something on disk: as processes see it, and as a power cut leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Stable<T> {
    now: T,
    synced: T,
}

impl<T: Copy> Stable<T> {
    fn set(&mut self, value: T) {
        self.now = value;
    }

    fn sync(&mut self) {
        self.synced = self.now;
    }

    /// The power went: what was not synced is there, or not.
    fn cut(&mut self, is_lucky: bool) {
        if is_lucky {
            self.sync();
        }
        self.now = self.synced;
    }
}

/// The record beside a partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Mark {
    id: u8,
    chunks: u8,
    /// It is whole, and about to get its name, with this suffix.
    placing: Option<(u8, Data)>,
}

/// The names: of the partial, and of the two files that the client can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Names {
    has_part: bool,
    files: [Option<Data>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Disk {
    part: [Stable<Option<u8>>; CHUNKS as usize],
    mark: Stable<Option<Mark>>,
    names: Stable<Names>,
}

impl Disk {
    fn part(&self) -> Data {
        self.part.map(|chunk| chunk.now)
    }

    /// What is written to a partial that has its name meanwhile is in that file.
    fn write_through(&mut self, at: u8, version: u8) {
        let names = &mut self.names;
        if names.now.has_part {
            return;
        }
        for names in [&mut names.now, &mut names.synced] {
            if let Some(file) = names.files.iter_mut().rev().flatten().next() {
                file[usize::from(at)] = Some(version);
            }
        }
    }
}

/// What the server's process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Memory {
    /// The upload that is open or left, and whose turn it is.
    attempt: Option<(u8, u8)>,
    /// Chunks that are counted as durable.
    durable: u8,
    stored: Option<(u8, u8, Data)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Up {
    Put { id: u8 },
    Data { at: u8, version: u8 },
    End { root: Data },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Down {
    Ready { from: u8, prefix: Data },
    Durable(u8),
    Stored { root: Data },
    Failed,
}

/// What a session of the server is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Serving {
    #[default]
    Nothing,
    /// So many chunks were taken; a checkpoint of so many is at this step.
    Upload { id: u8, turn: u8, at: u8, checkpoint: Option<(u8, u8)> },
    /// The steps of a commit.
    Commit { id: u8, turn: u8, step: u8 },
    /// It refused, and takes no more.
    Over,
}

/// A connection and the server's session on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Session {
    up: Vec<Up>,
    down: Vec<Down>,
    serving: Serving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// Not connected, or nothing asked yet.
    Idle,
    Asked,
    /// So many chunks were sent, of the file that has this hash up to there.
    Sending {
        at: u8,
        read: Data,
    },
    Sent,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    faults: u8,
    changes: u8,
    /// The client: the version of its source, the id of its upload, and what it was told.
    version: u8,
    id: u8,
    durable: u8,
    phase: Phase,
    /// Of two sessions, the one that the client has; the other may be a ghost.
    session: Option<usize>,
    sessions: [Session; 2],
    memory: Memory,
    disk: Disk,
    /// Something that was durable is asked for again, or is not there.
    asked_again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Connect(usize),
    /// The client does what it can: asks, sends or hears.
    Client,
    /// The server hears what came in a session.
    Serve(usize),
    /// It goes on with what takes several steps.
    Step(usize),
    Checkpoint(usize),
    /// The link of the client is cut.
    Cut,
    /// The server's process ends and begins anew.
    Kill,
    /// The same by a power cut, where this part of what was not synced is there.
    PowerCut {
        part: [bool; CHUNKS as usize],
        mark: bool,
        names: bool,
    },
    /// The source changes, and nobody notices.
    Change,
}

struct Store {
    mistake: Mistake,
    faults: u8,
}

impl Store {
    fn hear(&self, state: &mut State, session: usize) {
        let message = state.sessions[session].up.remove(0);
        let (memory, disk) = (&mut state.memory, &mut state.disk);
        let answer = match (message, state.sessions[session].serving) {
            (Up::Put { id }, _) => match memory.stored {
                Some((stored, _, root)) if stored == id => {
                    state.sessions[session].serving = Serving::Nothing;
                    Some(Down::Stored { root })
                }
                // An upload that the client has given up has a partial of its own, which is left out.
                _ if memory.attempt.is_some_and(|(attempt, _)| attempt > id) => {
                    state.sessions[session].serving = Serving::Over;
                    None
                }
                _ => {
                    let known = memory.attempt.filter(|(attempt, _)| *attempt == id);
                    let (turn, from) = match known {
                        Some((_, turn)) => (turn + 1, memory.durable),
                        None => (memory.attempt.map_or(0, |(_, turn)| turn + 1), 0),
                    };
                    if known.is_none() {
                        // Another's rest is of no use, and of this a new partial is made.
                        disk.mark.set(None);
                        disk.mark.sync();
                        let names = Names { has_part: true, ..disk.names.now };
                        disk.names.set(names);
                        memory.durable = 0;
                    }
                    for chunk in &mut disk.part[from.into()..] {
                        chunk.set(None);
                    }
                    memory.attempt = Some((id, turn));
                    let upload = Serving::Upload { id, turn, at: from, checkpoint: None };
                    state.sessions[session].serving = upload;
                    let mut prefix = disk.part();
                    prefix[from.into()..].fill(None);
                    Some(Down::Ready { from, prefix })
                }
            },
            (Up::Data { at, version }, Serving::Upload { id, turn, checkpoint, .. }) => {
                if self.has_turn(memory, id, turn) {
                    disk.part[usize::from(at)].set(Some(version));
                    disk.write_through(at, version);
                    let upload = Serving::Upload { id, turn, at: at + 1, checkpoint };
                    state.sessions[session].serving = upload;
                    None
                } else {
                    state.sessions[session].serving = Serving::Over;
                    Some(Down::Failed)
                }
            }
            (Up::End { root }, Serving::Upload { id, turn, .. }) => {
                // The hash is of what was compared or came.
                if self.has_turn(memory, id, turn) && disk.part() == root {
                    state.sessions[session].serving = Serving::Commit { id, turn, step: 0 };
                    None
                } else {
                    state.sessions[session].serving = Serving::Over;
                    Some(Down::Failed)
                }
            }
            (_, _) => None,
        };
        state.sessions[session].down.extend(answer);
    }

    fn has_turn(&self, memory: &Memory, id: u8, turn: u8) -> bool {
        self.mistake == Mistake::NoTakeover || memory.attempt == Some((id, turn))
    }

    /// A step of a checkpoint or a commit.
    fn step(&self, state: &mut State, session: usize) {
        let (memory, disk) = (&mut state.memory, &mut state.disk);
        let serving = &mut state.sessions[session].serving;
        let mut answer = None;
        match *serving {
            Serving::Upload { id, turn, at, checkpoint: Some((chunks, step)) } => {
                let next = match step {
                    0 => {
                        if self.mistake != Mistake::NoSyncBeforeMark {
                            disk.part.iter_mut().for_each(Stable::sync);
                            disk.names.sync();
                        }
                        Some((chunks, 1))
                    }
                    1 if self.has_turn(memory, id, turn) => {
                        disk.mark.set(Some(Mark { id, chunks, placing: None }));
                        disk.mark.sync();
                        memory.durable = chunks;
                        Some((chunks, 2))
                    }
                    1 => None,
                    _ => {
                        answer = Some(Down::Durable(chunks));
                        None
                    }
                };
                *serving = Serving::Upload { id, turn, at, checkpoint: next };
            }
            Serving::Commit { id, turn, step } => {
                let is_taken = disk.names.now.files[0].is_some();
                let (suffix, data) = (u8::from(is_taken), disk.part());
                let is_looked_at =
                    step < 2 || step == 2 && self.mistake != Mistake::TakenWhilePlaced;
                match step {
                    _ if is_looked_at && !self.has_turn(memory, id, turn) => {
                        *serving = Serving::Over;
                        answer = Some(Down::Failed);
                    }
                    0 if self.mistake == Mistake::NoSyncBeforeRename => {}
                    0 => disk.part.iter_mut().for_each(Stable::sync),
                    1 if self.mistake == Mistake::NotAnnounced => {
                        disk.mark.set(None);
                        disk.mark.sync();
                    }
                    1 => {
                        // Where the partial is gone this will be taken for done.
                        if self.mistake != Mistake::PartialNotNamed {
                            disk.names.sync();
                        }
                        let placing = Some((suffix, data));
                        disk.mark.set(Some(Mark { id, chunks: memory.durable, placing }));
                        disk.mark.sync();
                    }
                    // The file is what was synced of the partial: of the rest a power cut may leave
                    // anything, which is as good as nothing here.
                    2 => {
                        let mut names = disk.names.now;
                        names.has_part = false;
                        names.files[usize::from(suffix)] =
                            Some(disk.part.map(|chunk| chunk.synced));
                        disk.names.set(names);
                        if self.mistake == Mistake::AnswerBeforeSync {
                            answer = Some(Down::Stored { root: data });
                        }
                    }
                    _ => {
                        disk.names.sync();
                        let suffix = disk.names.now.files.iter().rposition(Option::is_some);
                        let suffix = suffix.unwrap_or_default() as u8;
                        memory.stored = Some((id, suffix, data));
                        memory.attempt = None;
                        *serving = Serving::Nothing;
                        if self.mistake != Mistake::AnswerBeforeSync {
                            answer = Some(Down::Stored { root: data });
                        }
                    }
                }
                if let Serving::Commit { step, .. } = serving {
                    *step += 1;
                }
            }
            _ => {}
        }
        state.sessions[session].down.extend(answer);
    }

    fn client(&self, state: &mut State) -> Option<()> {
        let session = &mut state.sessions[state.session?];
        if !session.down.is_empty() {
            match session.down.remove(0) {
                Down::Durable(chunks) => state.durable = state.durable.max(chunks),
                Down::Ready { from, prefix } => {
                    let is_there = !prefix[..from.into()].contains(&None);
                    state.asked_again |= from < state.durable || !is_there;
                    let own = |chunk: &Option<u8>| *chunk == Some(state.version);
                    let is_same = prefix[..from.into()].iter().all(own);
                    if is_same || self.mistake == Mistake::PrefixNotCompared {
                        state.phase = Phase::Sending { at: from, read: prefix };
                    } else {
                        begin_anew(state);
                    }
                }
                Down::Stored { root } => {
                    let is_it = root == [Some(state.version); CHUNKS as usize];
                    let takes_it =
                        state.phase == Phase::Sent || self.mistake == Mistake::OutcomeNotCompared;
                    if is_it || takes_it {
                        state.phase = Phase::Done;
                        hang_up(state);
                    } else {
                        begin_anew(state);
                    }
                }
                Down::Failed => hang_up(state),
            }
            return Some(());
        }
        match &mut state.phase {
            Phase::Idle => {
                session.up.push(Up::Put { id: state.id });
                state.phase = Phase::Asked;
            }
            Phase::Sending { at: CHUNKS, read } => {
                session.up.push(Up::End { root: *read });
                state.phase = Phase::Sent;
            }
            Phase::Sending { at, read } => {
                session.up.push(Up::Data { at: *at, version: state.version });
                read[usize::from(*at)] = Some(state.version);
                *at += 1;
            }
            _ => return None,
        }
        Some(())
    }
}

/// The source is another: so is the upload.
fn begin_anew(state: &mut State) {
    state.id += 1;
    state.durable = 0;
    hang_up(state);
}

/// The client's link is gone. What it sent may be on its way yet.
fn hang_up(state: &mut State) {
    if let Some(session) = state.session.take() {
        state.sessions[session].down.clear();
    }
    if state.phase != Phase::Done {
        state.phase = Phase::Idle;
    }
}

/// The server begins, with what it finds.
fn start(state: &mut State, mistake: Mistake) {
    state.sessions = Default::default();
    let disk = &mut state.disk;
    if mistake != Mistake::NoSyncAtStart {
        disk.names.sync();
    }
    state.memory = Memory::default();
    match disk.mark.now {
        Some(Mark { id, placing: Some((suffix, data)), .. }) if !disk.names.now.has_part => {
            state.memory.stored = Some((id, suffix, data));
        }
        Some(Mark { id, chunks, .. }) if chunks > 0 && disk.names.now.has_part => {
            (state.memory.attempt, state.memory.durable) = (Some((id, 0)), chunks);
        }
        _ => {
            disk.mark.set(None);
            if mistake != Mistake::RemovedAtOnce {
                disk.mark.sync();
            }
            disk.names.set(Names { has_part: false, ..disk.names.now });
        }
    }
    if state.session.take().is_some() && state.phase != Phase::Done {
        state.phase = Phase::Idle;
    }
}

impl Model for Store {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            faults: self.faults,
            changes: 1,
            version: 0,
            id: 0,
            durable: 0,
            phase: Phase::Idle,
            session: None,
            sessions: Default::default(),
            memory: Memory::default(),
            disk: Disk::default(),
            asked_again: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What has its name is waited for. Of other uploads each has its own partial, which here is one.
        let waits = |put: u8| {
            state.sessions.iter().any(|session| match session.serving {
                Serving::Commit { id, step, .. } if id == put => {
                    step > 2 && self.mistake != Mistake::TakenWhilePlaced
                }
                Serving::Commit { .. } => true,
                _ => false,
            })
        };
        for (number, Session { up, serving, .. }) in state.sessions.iter().enumerate() {
            let is_clients = state.session == Some(number);
            // A commit goes on to its end, whoever waits for it.
            let is_free = !matches!(serving, Serving::Commit { .. });
            if state.session.is_none() && state.phase != Phase::Done && is_free {
                actions.push(Action::Connect(number));
            }
            match serving {
                Serving::Commit { .. } | Serving::Upload { checkpoint: Some(_), .. } => {
                    actions.push(Action::Step(number));
                }
                _ if matches!(up.first(), Some(Up::Put { id }) if waits(*id)) => {}
                _ if !up.is_empty() => actions.push(Action::Serve(number)),
                _ => {}
            }
            if let Serving::Upload { at, checkpoint: None, turn, id } = *serving
                && at > state.memory.durable
                && self.has_turn(&state.memory, id, turn)
            {
                actions.push(Action::Checkpoint(number));
            }
            if is_clients {
                actions.push(Action::Client);
            }
        }
        if state.changes > 0 && state.session.is_none() && state.phase != Phase::Done {
            actions.push(Action::Change);
        }
        if state.faults > 0 && state.phase != Phase::Done {
            if state.session.is_some() {
                actions.push(Action::Cut);
            }
            actions.push(Action::Kill);
            for luck in 0..16_u8 {
                let [first, second, mark, names] = [1, 2, 4, 8].map(|bit| luck & bit != 0);
                actions.push(Action::PowerCut { part: [first, second], mark, names });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Connect(number) => {
                // The seat of a ghost is free once the server has noticed.
                state.sessions[number] = Session::default();
                state.session = Some(number);
            }
            Action::Client => self.client(&mut state)?,
            Action::Serve(number) => self.hear(&mut state, number),
            Action::Step(number) => self.step(&mut state, number),
            Action::Checkpoint(number) => {
                if let Serving::Upload { at, checkpoint, .. } = &mut state.sessions[number].serving
                {
                    let more = u8::from(self.mistake == Mistake::CountOffByOne);
                    *checkpoint = Some(((*at + more).min(CHUNKS), 0));
                }
            }
            Action::Cut => {
                state.faults -= 1;
                hang_up(&mut state);
            }
            Action::Kill => {
                state.faults -= 1;
                start(&mut state, self.mistake);
            }
            Action::PowerCut { part, mark, names } => {
                state.faults -= 1;
                for (chunk, is_lucky) in state.disk.part.iter_mut().zip(part) {
                    chunk.cut(is_lucky);
                }
                state.disk.mark.cut(mark);
                state.disk.names.cut(names);
                start(&mut state, self.mistake);
            }
            Action::Change => {
                state.changes -= 1;
                state.version += 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("files are whole", |_, state: &State| {
                let files = state.disk.names.now.files.iter().flatten();
                files.into_iter().all(|file| file[0].is_some() && file[0] == file[1])
            }),
            Property::always("what is said to be stored is", |_, state: &State| {
                let wanted = Some([Some(state.version); CHUNKS as usize]);
                state.phase != Phase::Done || state.disk.names.synced.files.contains(&wanted)
            }),
            Property::always("it is stored once", |_, state: &State| {
                let is_twice = state.disk.names.now.files.iter().all(Option::is_some);
                // Each version may be stored.
                !is_twice || state.version > 0
            }),
            Property::always(
                "what was durable is there and not asked for again",
                |_, state: &State| !state.asked_again,
            ),
            Property::always("it goes on until it is done", |model, state: &State| {
                let mut actions = Vec::new();
                model.actions(state, &mut actions);
                let moves = |action: &Action| model.next_state(state, *action).is_some();
                state.phase == Phase::Done || actions.iter().any(moves)
            }),
            Property::sometimes("it is done", |_, state: &State| state.phase == Phase::Done),
        ]
    }
}

#[test]
fn all_holds_in_every_state() {
    let checker = Store { mistake: Mistake::None, faults: 2 }.checker().threads(2);
    let checker = checker.spawn_bfs().join();
    eprintln!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn every_mistake_is_found() {
    for mistake in MISTAKES {
        let checker = Store { mistake, faults: 2 }.checker().threads(2);
        let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let found = checker.discoveries();
        let found: Vec<_> = found.keys().filter(|name| **name != "it is done").collect();
        eprintln!("{mistake:?}: {found:?}");
        assert!(!found.is_empty(), "{mistake:?} is not found");
    }
}
