//! A server's disk.

use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use kift_core::wire::{Answer, Ask, CHUNK, Conflict, Put, Request, TransferId};
use kift_tests::disk::{Disk, Faults, Luck, Mount, Wreck};
use kift_tests::files::place;
use kift_tests::machine::wait_until;
use kift_tests::raw::digest;
use kift_tests::rng::contents;
use kift_tests::serving::{Serve, Server};

use crate::promises::{Contents, Promises, lying, visible};
use crate::session::Session;
use crate::{Found, can_mount, cut_everywhere};

/// A server makes a checkpoint at least as often while data come.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// Where on the disk the served directory is.
const SERVED: &str = "served";

/// An upload that was told to be stored.
#[derive(Debug, Clone)]
struct Upload {
    path: &'static str,
    id: u8,
    conflict: Conflict,
    data: Vec<u8>,
    suffix: u32,
    asked: usize,
    done: usize,
}

impl Upload {
    fn put(&self) -> Put<'static> {
        Put {
            path: self.path,
            transfer: TransferId([self.id; 16]),
            size: Some(self.data.len() as u64),
            modified: None,
            conflict: self.conflict,
            ask: Ask::Ready,
        }
    }
}

/// What was done, and what was promised by that.
#[derive(Debug, Default)]
struct Story {
    disk: Disk,
    /// Operations before it began.
    begun: usize,
    promises: Promises,
    uploads: Vec<Upload>,
    /// Of an upload so many chunks were told to be durable after so many operations.
    durable: Vec<(usize, u8, u32)>,
}

impl Story {
    /// Has a server on a new directory do what `first` says, and then store a large file.
    fn told(faults: Faults, first: impl FnOnce(&mut Self, &mut Session)) -> Self {
        let mut story = Self::default();
        let mount = Mount::new(&story.disk).expect("a mount");
        let root = mount.path().join(SERVED);
        fs::create_dir(&root).expect("a directory");
        File::open(mount.path()).and_then(|folder| folder.sync_all()).expect("a sync");
        // What is durable is told with every grant.
        let args = ["--window", "32"];
        let server = Server::start(Serve { root: Some(&root), args: &args, ..Serve::default() });
        story.disk.set_faults(faults);
        story.begun = story.disk.operations();
        let mut session = Session::new(&server);
        first(&mut story, &mut session);
        story.go_on(session, &server);
        story
    }

    /// Stores and changes small files in all ways.
    fn many_things(&mut self, session: &mut Session) {
        self.store(session, "f", Conflict::Replace, contents(3000, 1), "f");
        self.store(session, "f", Conflict::Replace, contents(5000, 2), "f");
        self.store(session, "g", Conflict::Refuse, contents(2000, 3), "g");
        self.store(session, "g", Conflict::KeepBoth, contents(2500, 4), "g_1");
        self.change(session, &Request::MakeDirectory { path: "d" }, &[]);
        self.store(session, "d/in", Conflict::Replace, contents(1, 5), "d/in");
        let rename = Request::Rename { from: "d/in", to: "d/out", replace: false };
        self.change(session, &rename, &[("d/in", None), ("d/out", Some(contents(1, 5)))]);
        let over = Request::Rename { from: "d/out", to: "f", replace: true };
        self.change(session, &over, &[("d/out", None), ("f", Some(contents(1, 5)))]);
        self.change(session, &Request::Delete { path: "g" }, &[("g", None)]);
    }

    /// Stores small files that the server may make durable together.
    fn many_at_once(&mut self, session: &mut Session) {
        let asked = self.disk.operations();
        for conflict in [Conflict::Refuse, Conflict::Replace] {
            let names: Vec<_> = (0..6_u8).map(|n| (n, format!("m{n}"))).collect();
            let files = names.iter().map(|(n, path)| {
                let transfer = TransferId([100 + n + 6 * conflict as u8; 16]);
                let (size, modified, ask) = (None, None, Ask::Now);
                let put = Put { path, transfer, size, modified, conflict, ask };
                (put, contents(900 * (usize::from(*n) + 1), u64::from(*n) + 10))
            });
            let files: Vec<_> = files.collect();
            session.send_together(&files);
            for (Put { path, .. }, data) in files {
                let Answer::Stored { suffix: 0, .. } = session.answer() else { panic!("{path}") };
                self.promises.add(path, Some(data), asked, self.disk.operations());
            }
        }
    }

    fn change(&mut self, session: &mut Session, request: &Request<'_>, to: &[(&str, Contents)]) {
        let asked = self.disk.operations();
        session.ask(request).expect("a change");
        let done = self.disk.operations();
        for (path, contents) in to {
            self.promises.add(path, contents.clone(), asked, done);
        }
    }

    fn upload(&self, path: &'static str, conflict: Conflict, data: Vec<u8>) -> Upload {
        let id = self.uploads.len() as u8 + 1;
        let asked = self.disk.operations();
        Upload { path, id, conflict, data, suffix: 0, asked, done: usize::MAX }
    }

    fn store(
        &mut self,
        session: &mut Session,
        path: &'static str,
        conflict: Conflict,
        data: Vec<u8>,
        becomes: &str,
    ) {
        let upload = self.upload(path, conflict, data);
        self.finish(session, upload, becomes);
    }

    fn finish(&mut self, session: &mut Session, mut upload: Upload, becomes: &str) {
        let from = session.begin(&upload.put()).expect("not stored");
        session.send(&upload.data, from);
        session.end(&upload.data);
        let Answer::Stored { suffix, .. } = session.answer() else { panic!("{becomes}") };
        (upload.suffix, upload.done) = (suffix, self.disk.operations());
        let data = Some(upload.data.clone());
        self.promises.add(becomes, data, upload.asked, upload.done);
        self.uploads.push(upload);
    }

    /// A large upload, whose session ends twice.
    fn go_on(&mut self, mut session: Session, server: &Server) {
        let large = self.upload("large", Conflict::Refuse, contents((7 << 19) + 100, 6));
        let mut lost = 0;
        for end in [9 << 18, 13 << 18] {
            let from = session.begin(&large.put()).expect("not stored");
            let mut at = from;
            if from > 0 {
                at = send_until_checkpoint(&mut session, &large.data[..end], from);
                self.durable.push((self.disk.operations(), large.id, session.durable));
            }
            session.send(&large.data[..end], at);
            wait_until("all of it came", || server.partial_len() == end as u64);
            drop(session);
            wait_until("the server knows", || {
                server.log().matches("connection lost").count() > lost
            });
            lost += 1;
            // What was durable is told to whoever goes on.
            session = Session::new(server);
            let from = session.begin(&large.put()).expect("not stored");
            assert!(from as usize * CHUNK > end - (1 << 20), "{from}");
            self.durable.push((self.disk.operations(), large.id, from));
            drop(session);
            lost += 1;
            session = Session::new(server);
        }
        self.finish(&mut session, large, "large");
    }

    /// A server goes on with what is left: what was told to be stored was, what was durable is not asked
    /// for again, and the rest can be sent. Then all is as if the power had not been cut.
    fn complaint_of_server(&self, cut: usize, wreck: &Wreck) -> Option<String> {
        let place = place();
        wreck.lay_out(place.path()).expect("a tree");
        let root = place.path().join(SERVED);
        let mut server = Server::start(Serve { root: Some(&root), ..Serve::default() });
        let mut session = Session::new(&server);
        // What replaced another file and was stored may have been replaced since.
        let again = |upload: &&Upload| {
            upload.asked <= cut && (cut < upload.done || upload.conflict != Conflict::Replace)
        };
        let complaint = self
            .uploads
            .iter()
            .filter(again)
            .find_map(|upload| self.complaint_of_upload(cut, upload, &mut session));
        server.kill();
        let under_way = self.uploads.iter().filter(|upload| upload.asked <= cut);
        let done = under_way.map(|upload| upload.done).max().unwrap_or(0);
        complaint.or_else(|| self.promises.complaint(cut.max(done), &lying(&root)))
    }

    fn complaint_of_upload(
        &self,
        cut: usize,
        upload: &Upload,
        session: &mut Session,
    ) -> Option<String> {
        let Upload { path, id, data, done, .. } = upload;
        let promised = self.durable.iter().rfind(|(at, of, _)| *at <= cut && of == id);
        let from = match session.begin(&upload.put()) {
            Err(answer) => return complaint_of_answer(answer, upload),
            Ok(_) if *done <= cut => return Some(format!("{path} was stored, and is forgotten")),
            Ok(from) => from,
        };
        if promised.is_some_and(|(.., durable)| from < *durable) {
            return Some(format!("{path} goes on from {from} of {promised:?}"));
        }
        session.send(data, from);
        session.end(data);
        complaint_of_answer(session.answer(), upload)
    }

    fn cut_everywhere(&self) -> Found {
        cut_everywhere(&self.disk, self.begun, 4, |cut, luck, wreck| {
            let complaint = self.promises.complaint(cut, &visible(wreck, SERVED));
            // A server takes a while, so not every state gets one.
            let has_server = luck == Luck::Bad || cut.is_multiple_of(4);
            complaint.or_else(|| has_server.then(|| self.complaint_of_server(cut, wreck))?)
        })
    }
}

/// Sends `data` from chunk `from` on until more is told to be durable, and gives the chunk that is next.
fn send_until_checkpoint(session: &mut Session, data: &[u8], from: u32) -> u32 {
    session.durable = from;
    // Then one is due with the next MiB.
    thread::sleep(CHECKPOINT_EVERY);
    let mut at = from + 1024;
    session.send(&data[..at as usize * CHUNK], from);
    while session.durable == from {
        let next = at + 8;
        assert!(next as usize * CHUNK <= data.len(), "no checkpoint");
        session.send(&data[..next as usize * CHUNK], at);
        at = next;
        thread::sleep(Duration::from_millis(20));
    }
    at
}

fn complaint_of_answer(answer: Answer, upload: &Upload) -> Option<String> {
    let Upload { path, data, suffix, .. } = upload;
    let stored = Answer::Stored { size: data.len() as u64, root: digest(data), suffix: *suffix };
    (answer != stored).then(|| format!("{path}: {answer:?}"))
}

#[test]
fn it_keeps_what_was_promised() {
    if can_mount("it_keeps_what_was_promised") {
        Story::told(Faults::default(), Story::many_things).cut_everywhere().assert_nothing();
    }
}

#[test]
fn so_it_does_where_nothing_was_before() {
    if can_mount("so_it_does_where_nothing_was_before") {
        Story::told(Faults::default(), |_, _| {}).cut_everywhere().assert_nothing();
    }
}

#[test]
fn so_it_does_where_files_are_made_durable_together() {
    if can_mount("so_it_does_where_files_are_made_durable_together") {
        Story::told(Faults::default(), Story::many_at_once).cut_everywhere().assert_nothing();
        for faults in [
            Faults { forgets_syncs: true, ..Faults::default() },
            Faults { renames_first: true, ..Faults::default() },
        ] {
            Story::told(faults, Story::many_at_once).cut_everywhere().assert_something();
        }
    }
}

#[test]
fn a_sync_that_was_left_out_is_found() {
    if can_mount("a_sync_that_was_left_out_is_found") {
        let faults = Faults { forgets_syncs: true, ..Faults::default() };
        Story::told(faults, Story::many_things).cut_everywhere().assert_something();
    }
}

#[test]
fn a_rename_before_the_sync_is_found() {
    if can_mount("a_rename_before_the_sync_is_found") {
        let faults = Faults { renames_first: true, ..Faults::default() };
        Story::told(faults, Story::many_things).cut_everywhere().assert_something();
    }
}
