//! Several links of one session, with the real client and server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kift_core::wire::{
    Answer, Ask, Close, Code, Conflict, Put, Request, Run, RunLen, Ticket, TransferId,
};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, assert_same, place, random, write_random};
use kift_tests::machine::{Running, Signal, command, kift, wait_until};
use kift_tests::memory::value;
use kift_tests::raw::{Frame, digest};
use kift_tests::sealed::key;
use kift_tests::serving::Server;

const M: u64 = 1 << 20;
const TRANSFER: TransferId = TransferId([9; 16]);

/// The links that joined others, by the log.
fn joined(server: &Server) -> usize {
    server.log().matches("logged in by ticket").count()
}

fn put_request(size: u64) -> Request<'static> {
    let put = Put {
        path: "file",
        transfer: TRANSFER,
        size: Some(size),
        modified: None,
        conflict: Conflict::Replace,
        ask: Ask::Now,
    };
    Request::BeginPut { put, runs: RunLen::MIN }
}

fn runs(data: &[u8]) -> Vec<Run> {
    (0..).map_while(|number| RunLen::MIN.run(number, data.len() as u64)).collect()
}

/// Begins a run and sends the first `chunks` of it.
fn begin_run(dial: &mut Dial, run: Run, data: &[u8], chunks: usize) -> u16 {
    let number = dial.request(&Request::PutRun { transfer: TRANSFER, run });
    let part = &data[run.offset() as usize..][..run.size as usize];
    for (index, chunk) in (run.first..).zip(part.chunks(1024).take(chunks)) {
        dial.tell(&Frame::data(number, index, chunk));
    }
    number
}

fn put_run(dial: &mut Dial, run: Run, data: &[u8]) -> Answer {
    let number = begin_run(dial, run, data, usize::MAX);
    let part = &data[run.offset() as usize..][..run.size as usize];
    dial.tell(&Frame::close(number, &Close::End { size: run.size, root: value(run, part) }));
    dial.answer(number)
}

fn ticket(dial: &mut Dial) -> Ticket {
    let Answer::Ticket(ticket) = dial.ask(&Request::Ticket) else { panic!("no ticket") };
    ticket
}

/// A link that joins the session of `control`.
fn attached(server: &Server, control: &mut Dial) -> Dial {
    let ticket = ticket(control);
    let mut data = Dial::open(server);
    assert_eq!(data.ask(&Request::Attach { ticket }), Answer::Done);
    data
}

#[test]
fn a_large_file_goes_both_ways_over_any_number_of_links() {
    let estate = Estate::new();
    estate.user("anna", "rw", "correct horse");
    estate.user("bert", "rw", "");
    estate.authorize("bert", "bert", "rw");
    estate.introduce("anna");
    let password = estate.secret("anna's", "correct horse");
    let by_password = ["--password-file", password.to_str().unwrap()];
    let plain = Server::new();
    let here = place();
    let local = here.path().join("file");
    write_random(&local, 21 * M + 77, 3);
    let local_name = local.to_str().unwrap();
    let cases = [
        ("", vec!["--plain"], plain.at("file"), plain.file("file")),
        ("bert", vec![], estate.at("file"), estate.server().file("file")),
        (
            "anna",
            by_password.to_vec(),
            estate.at_as("anna", "other"),
            estate.server().file("other"),
        ),
    ];
    for links in [1, 2, 4] {
        for (who, options, remote, stored) in &cases {
            let count = links.to_string();
            let options = [&options[..], &["--links", &count, "-v"]].concat();
            let put = [&["put"], &options[..], &[local_name, remote]].concat();
            estate.kift(who, &put).ok();
            assert_same(&local, stored);
            let back = here.path().join("back");
            let get = [&["get"], &options[..], &[remote, back.to_str().unwrap()]].concat();
            estate.kift(who, &get).ok();
            assert_same(&local, &back);
            fs::remove_file(back).unwrap();
        }
    }
    assert_eq!(joined(estate.server()), 2 * 2 * (1 + 2 + 4));
    assert!(estate.server().partials().is_empty() && plain.partials().is_empty());
}

#[test]
fn what_is_printed_is_the_hash_of_the_whole() {
    let (server, here) = (Server::new(), place());
    let bytes = random(17 * M as usize + 1, 4);
    let local = here.path().join("file");
    fs::write(&local, &bytes).unwrap();
    let args =
        ["put", "--plain", "--json", "--links", "2", local.to_str().unwrap(), &server.at("")];
    let moved = kift(args).moved();
    assert_eq!(moved[0]["blake3"], digest(&bytes).to_string());
    assert_eq!(moved[0]["size"], bytes.len());
    let to = here.path().join("back");
    let args =
        ["get", "--plain", "--json", "--links", "2", &server.at("file"), to.to_str().unwrap()];
    assert_eq!(kift(args).moved()[0]["blake3"], digest(&bytes).to_string());
}

#[test]
fn trees_with_large_and_small_files() {
    let (server, here) = (Server::new(), place());
    let tree = here.path().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    for n in 0..200 {
        fs::write(tree.join(format!("sub/{n}")), random(n * 37, n as u64)).unwrap();
    }
    for n in 0..3 {
        write_random(&tree.join(format!("large{n}")), 16 * M + n, n);
    }
    let tree_name = tree.to_str().unwrap();
    kift(["put", "--plain", "-r", "--links", "3", tree_name, &server.at("")]).ok();
    let back = here.path().join("back");
    fs::create_dir(&back).unwrap();
    let back_name = back.to_str().unwrap();
    kift(["sync", "--plain", "--links", "3", &server.at("tree"), back_name]).ok();
    for n in 0..200 {
        assert_same(&tree.join(format!("sub/{n}")), &back.join(format!("sub/{n}")));
    }
    for n in 0..3 {
        assert_same(&tree.join(format!("large{n}")), &back.join(format!("large{n}")));
    }
    // What is there already is not moved, large or not.
    let summary = kift([
        "put",
        "--plain",
        "-r",
        "--checksum",
        "--json",
        "--links",
        "3",
        tree_name,
        &server.at(""),
    ]);
    let summary = summary.objects().pop().unwrap();
    assert_eq!(summary["summary"]["unchanged"], 203, "{summary}");
}

/// Carries connections to `server`, and cuts each of those whose number is in `cut` when it has
/// carried so many bytes of the client's.
fn cutting(server: u16, cut: Vec<usize>, after: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server)))
            else {
                return;
            };
            let most = if cut.contains(&number) { after } else { usize::MAX };
            let carried = Arc::new(AtomicUsize::new(0));
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let carried = Arc::clone(&carried);
                thread::spawn(move || carry(&from, &to, &carried, most));
            }
        }
    });
    port
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, carried: &AtomicUsize, most: usize) {
    let mut buf = [0; 1 << 14];
    while let Ok(n @ 1..) = from.read(&mut buf) {
        if carried.fetch_add(n, Ordering::Relaxed) + n > most || to.write_all(&buf[..n]).is_err() {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
    // The other direction goes on: what is on its way there would be lost.
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_link_that_is_lost_leaves_its_runs_to_others() {
    let (server, here) = (Server::new(), place());
    let local = here.path().join("file");
    write_random(&local, 40 * M + 5, 5);
    let back = here.path().join("back");
    // Connection 0 is the control link. With all data links gone, it takes the file alone.
    for cut in [vec![1], vec![1, 2], vec![2, 3]] {
        for after in [20_000, 5 * M as usize] {
            let put_at = format!("127.0.0.1:{}/file", cutting(server.port(), cut.clone(), after));
            kift(["put", "--plain", "--links", "2", local.to_str().unwrap(), &put_at]).ok();
            assert_same(&local, &server.file("file"));
            let get_at = format!("127.0.0.1:{}/file", cutting(server.port(), cut.clone(), after));
            kift(["get", "--plain", "--links", "2", &get_at, back.to_str().unwrap()]).ok();
            assert_same(&local, &back);
            fs::remove_file(&back).unwrap();
        }
    }
    wait_until("nothing is left", || server.partials().is_empty());
}

#[test]
fn without_the_control_link_nothing_is_stored() {
    let (server, here) = (Server::new(), place());
    let local = here.path().join("file");
    write_random(&local, 40 * M, 5);
    let at = format!("127.0.0.1:{}/file", cutting(server.port(), vec![0], 200));
    kift(["put", "--plain", "--links", "2", local.to_str().unwrap(), &at]).fails(&["lost"]);
    assert_eq!(server.names(), [""; 0]);
    wait_until("nothing is left", || server.partials().is_empty());
}

#[test]
fn a_server_with_no_room_for_data_links() {
    let (server, here) = (Server::with(&["--max-sessions", "2"]), place());
    let local = here.path().join("file");
    write_random(&local, 20 * M, 6);
    let put = ["put", "--plain", "-v", "--links", "4", local.to_str().unwrap(), &server.at("")];
    let put = kift(put);
    assert!(put.stderr.contains("a data link cannot be had"), "{}", put.stderr);
    put.ok();
    assert_same(&local, &server.file("file"));
}

#[test]
fn commands_are_answered_while_a_run_is_under_way() {
    let server = Server::new();
    let data = random(3 * M as usize, 7);
    let all = runs(&data);
    let mut control = Dial::open(&server);
    let mut links = [attached(&server, &mut control), attached(&server, &mut control)];
    assert_eq!(control.ask(&put_request(3 * M)), Answer::Done);
    let open: Vec<u16> =
        links.iter_mut().zip(&all).map(|(link, run)| begin_run(link, *run, &data, 100)).collect();
    for n in 0..50 {
        let path = format!("directory{n}");
        assert_eq!(control.ask(&Request::MakeDirectory { path: &path }), Answer::Done);
        assert!(matches!(
            control.ask(&Request::Stat { path: &path, digest: false }),
            Answer::Stat { .. }
        ));
    }
    // A run has one writer.
    assert_eq!(put_run(&mut control, all[0], &data), Answer::Failed(Code::Busy));
    assert_eq!(server.names().len(), 50);
    for ((link, run), number) in links.iter_mut().zip(&all).zip(open) {
        let part = &data[run.offset() as usize..][..run.size as usize];
        for (index, chunk) in (run.first..).zip(part.chunks(1024)).skip(100) {
            link.tell(&Frame::data(number, index, chunk));
        }
        let (size, root) = (run.size, value(*run, part));
        link.tell(&Frame::close(number, &Close::End { size, root }));
        assert_eq!(link.answer(number), Answer::Stored { size, root, suffix: 0 });
    }
    let commit = Request::Commit { transfer: TRANSFER, size: 3 * M, root: digest(&data) };
    assert!(matches!(put_run(&mut control, all[2], &data), Answer::Stored { .. }));
    assert!(matches!(control.ask(&commit), Answer::Stored { .. }));
    assert_holds(&server.file("file"), &data);
    assert_eq!(control.ask(&commit), Answer::Failed(Code::NotFound));
}

#[test]
fn what_is_missing_or_wrong_is_not_stored() {
    let server = Server::new();
    let data = random(2 * M as usize + 9, 8);
    let all = runs(&data);
    let size = data.len() as u64;
    let commit = |root| Request::Commit { transfer: TRANSFER, size, root };
    for missing in 0..3 {
        let mut control = Dial::open(&server);
        assert_eq!(control.ask(&put_request(size)), Answer::Done);
        for run in all.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, run)| run) {
            assert!(matches!(put_run(&mut control, *run, &data), Answer::Stored { .. }));
        }
        let answer = control.ask(&commit(digest(&data)));
        assert_eq!(answer, Answer::Failed(Code::SizeMismatch));
    }
    let mut control = Dial::open(&server);
    assert_eq!(control.ask(&put_request(size)), Answer::Done);
    for run in &all {
        assert!(matches!(put_run(&mut control, *run, &data), Answer::Stored { .. }));
    }
    assert_eq!(control.ask(&commit(digest(b""))), Answer::Failed(Code::HashMismatch));
    assert_eq!(server.names(), [""; 0]);
    wait_until("nothing is left", || server.partials().is_empty());
}

#[test]
fn a_session_ends_with_its_control_link() {
    let server = Server::new();
    let data = random(2 * M as usize, 9);
    let mut control = Dial::open(&server);
    let mut links = [attached(&server, &mut control), attached(&server, &mut control)];
    assert_eq!(control.ask(&put_request(2 * M)), Answer::Done);
    begin_run(&mut links[0], runs(&data)[0], &data, 10);
    assert_eq!(server.partials().len(), 1);
    let late = ticket(&mut control);
    drop(control);
    for link in &mut links {
        assert_eq!(link.closed(), Code::ShuttingDown);
    }
    wait_until("the upload is dropped", || server.partials().is_empty());
    let answer = Dial::open(&server).ask(&Request::Attach { ticket: late });
    assert_eq!(answer, Answer::Failed(Code::Denied));
    assert_eq!(server.names(), [""; 0]);
}

#[test]
fn a_ticket_is_for_whoever_asked_for_it() {
    let estate = Estate::new();
    let server = estate.server();
    estate.user("anna", "rw,path=anna", "");
    estate.user("eve", "rw,path=eve", "");
    estate.admit(&key(1), "anna", "");
    estate.admit(&key(2), "eve", "");
    let denied = Answer::Failed(Code::Denied);
    let mut anna = Dial::sealed(server, &key(1));
    // Somebody else has it, and it is used up all the same.
    let stolen = Request::Attach { ticket: ticket(&mut anna) };
    assert_eq!(Dial::sealed(server, &key(2)).ask(&stolen), denied);
    assert_eq!(Dial::sealed(server, &key(1)).ask(&stolen), denied);
    // It was used.
    let used = Request::Attach { ticket: ticket(&mut anna) };
    let mut data = Dial::sealed(server, &key(1));
    assert_eq!(data.ask(&used), Answer::Done);
    assert_eq!(Dial::sealed(server, &key(1)).ask(&used), denied);
    // It was never made.
    let guessed = Request::Attach { ticket: Ticket([0; 16]) };
    assert_eq!(Dial::sealed(server, &key(1)).ask(&guessed), denied);
    // It comes behind something else.
    let late = Request::Attach { ticket: ticket(&mut anna) };
    let mut other = Dial::sealed(server, &key(1));
    assert!(matches!(other.ask(&Request::Space), Answer::Space(_)));
    assert_eq!(other.ask(&late), denied);
    // What belongs to a session is not there for others.
    assert_eq!(anna.ask(&put_request(2 * M)), Answer::Done);
    let bytes = random(2 * M as usize, 1);
    let run = runs(&bytes)[0];
    for mut stranger in [other, Dial::sealed(server, &key(2))] {
        let number = begin_run(&mut stranger, run, &bytes, 0);
        assert_eq!(stranger.answer(number), Answer::Failed(Code::NotFound));
    }
    assert!(matches!(put_run(&mut data, run, &bytes), Answer::Stored { .. }));
    assert!(estate.server().file("anna").is_dir());
}

#[test]
fn quotas_and_rights_hold_over_all_links() {
    let estate = Estate::new();
    let server = estate.server();
    estate.user("small", "rw,path=small,quota=3M", "");
    estate.user("reads", "ro,path=small", "");
    estate.admit(&key(1), "small", "");
    estate.admit(&key(2), "reads", "");
    let mut small = Dial::sealed(server, &key(1));
    assert_eq!(small.ask(&put_request(4 * M)), Answer::Failed(Code::NoSpace));
    assert_eq!(small.ask(&put_request(2 * M)), Answer::Done);
    // It counts from its beginning, whatever came of it, and no more once it is dropped.
    let Answer::Space(space) = small.ask(&Request::Space) else { panic!("no space") };
    assert_eq!(space.free, M);
    assert_eq!(small.ask(&Request::Release { transfer: TRANSFER }), Answer::Done);
    let Answer::Space(space) = small.ask(&Request::Space) else { panic!("no space") };
    assert_eq!(space.free, 3 * M);

    let mut reads = Dial::sealed(server, &key(2));
    let ticket = ticket(&mut reads);
    let mut data = Dial::sealed(server, &key(2));
    assert_eq!(data.ask(&Request::Attach { ticket }), Answer::Done);
    for link in [&mut reads, &mut data] {
        assert_eq!(link.ask(&put_request(2 * M)), Answer::Failed(Code::Denied));
    }
}

#[test]
fn whose_rights_are_taken_loses_all_links() {
    let estate = Estate::new();
    let server = estate.server();
    estate.user("anna", "rw,path=anna", "");
    estate.admit(&key(1), "anna", "");
    let mut control = Dial::sealed(server, &key(1));
    let ticket = ticket(&mut control);
    let mut data = Dial::sealed(server, &key(1));
    assert_eq!(data.ask(&Request::Attach { ticket }), Answer::Done);
    assert_eq!(control.ask(&put_request(2 * M)), Answer::Done);
    estate.admin(&["user", "rm", "anna"]);
    assert_eq!(control.closed(), Code::Denied);
    // Of both reasons it is told one.
    assert!(matches!(data.closed(), Code::Denied | Code::ShuttingDown));
    wait_until("the upload is dropped", || server.partials().is_empty());
}

#[test]
fn a_client_that_is_killed_or_interrupted_leaves_no_file() {
    let (server, here) = (Server::new(), place());
    let local = here.path().join("file");
    write_random(&local, 256 * M, 5);
    for signal in [Signal::KILL, Signal::INT] {
        let args = ["put", "--plain", "--links", "2", local.to_str().unwrap(), &server.at("")];
        let client = Running::start(command(args));
        wait_until("some of it is there", || server.partial_len() > M);
        client.signal(signal);
        let _ = client.end();
        server.wait_until_idle();
        // Runs from the first on can be gone on with, if two are there.
        kift(["partials", "--plain", "--discard-all", &server.at("")]).ok();
        assert!(server.partials().is_empty());
        assert!(
            server.names().is_empty() || server.file("file").metadata().unwrap().len() == 256 * M
        );
        let _ = fs::remove_file(server.file("file"));
    }
}

#[test]
fn a_server_that_is_stopped_ends_all_links() {
    let (mut server, here) = (Server::with(&["--grace", "1"]), place());
    let data = random(2 * M as usize, 9);
    let mut control = Dial::open(&server);
    let mut link = attached(&server, &mut control);
    assert_eq!(control.ask(&put_request(2 * M)), Answer::Done);
    begin_run(&mut link, runs(&data)[0], &data, 10);
    server.signal(Signal::TERM);
    assert_eq!(control.closed(), Code::ShuttingDown);
    assert_eq!(link.closed(), Code::ShuttingDown);
    assert!(server.wait().success());
    assert!(server.partials().is_empty() && server.names().is_empty());
    drop(here);
}

/// Says that `put_request(size)` is to go on in one stream, and gives from where.
fn ready(dial: &mut Dial, size: u64) -> u32 {
    let Request::BeginPut { put, .. } = put_request(size) else { unreachable!() };
    match dial.ask(&Request::Put(Put { ask: Ask::Ready, ..put })) {
        Answer::Ready { from, .. } => from,
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn runs_from_the_first_on_are_kept_and_no_others() {
    let server = Server::new();
    let data = random(5 * M as usize, 10);
    let all = runs(&data);
    let mut times_kept = 0;
    // The runs that come, and how many MiB are there afterwards. A single one has no value.
    for (come, kept) in [
        (&[0, 1, 2][..], 3),
        (&[2, 1, 0], 3),
        (&[0, 1, 3], 2),
        (&[0, 2, 3], 0),
        (&[1, 2, 3], 0),
        // Again, which may be because a link was lost.
        (&[0, 1, 2, 1], 3),
    ] {
        let mut control = Dial::open(&server);
        assert_eq!(control.ask(&put_request(5 * M)), Answer::Done);
        for run in come {
            assert!(matches!(put_run(&mut control, all[*run], &data), Answer::Stored { .. }));
        }
        control.hang_up();
        times_kept += usize::from(kept > 0);
        // All is in order by then: a server that is stopped ends when its sessions are over.
        server.wait_until_idle();
        assert_eq!(server.partials().is_empty(), kept == 0, "{come:?}");
        let log = server.log();
        assert_eq!(log.matches("kept an upload").count(), times_kept);
        assert!(log.lines().last().unwrap().contains("connection lost"), "{log}");
        let mut next = Dial::open(&server);
        assert_eq!(ready(&mut next, 5 * M), kept * 1024, "{come:?}");
        let number = next.last;
        for (index, chunk) in (0..).zip(data.chunks(1024)).skip(kept as usize * 1024) {
            next.tell(&Frame::data(number, index, chunk));
        }
        next.tell(&Frame::end(number, &data));
        assert!(matches!(next.answer(number), Answer::Stored { .. }));
        assert_holds(&server.file("file"), &data);
        // As its outcome is remembered it would not begin anew.
        fs::remove_file(server.file("file")).unwrap();
    }
}

/// Nobody may go on behind what is being written over.
#[test]
fn a_run_that_comes_again_is_not_counted_until_it_is_whole() {
    let server = Server::new();
    let (data, other) = (random(4 * M as usize, 11), random(4 * M as usize, 12));
    let all = runs(&data);
    let mut control = Dial::open(&server);
    assert_eq!(control.ask(&put_request(4 * M)), Answer::Done);
    for run in &all[..3] {
        assert!(matches!(put_run(&mut control, *run, &data), Answer::Stored { .. }));
    }
    begin_run(&mut control, all[1], &other, 100);
    control.hang_up();
    wait_until("it is over", || server.partials().is_empty());
    assert_eq!(ready(&mut Dial::open(&server), 4 * M), 0);
}
