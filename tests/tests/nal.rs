//! Files through an `embedded_nal` stack: what a device's firmware has for a network.

use std::fs;
use std::io::Cursor;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use embedded_nal::TcpClientStack;
use kift::client::{Client, ClientError, Done, FileSink, Link, Upload, new_transfer_id};
use kift::net::WINDOW;
use kift_core::driver::{Blocking, NalError, NalStream, Step};
use kift_core::session::{Config, Failure, Reply, RequestError, Requester, Side};
use kift_core::wire::{Ask, Code, Conflict, Role, Timestamp};
use kift_tests::app::{App, Job};
use kift_tests::files::{assert_holds, place, random};
use kift_tests::serving::Server;
use std_embedded_nal::Stack;

/// A tick of a tenth of a second.
fn wait(waits: u32) -> bool {
    thread::sleep(Duration::from_millis(1));
    waits < 100
}

type Stream<S> = NalStream<S, fn(u32) -> bool>;

fn connect<S: TcpClientStack>(stack: S, server: &Server) -> Client<Stream<S>> {
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    let stream = NalStream::connect(stack, address, wait as fn(u32) -> bool);
    let driver = Blocking::new(stream.expect("a connection"));
    Client::over(driver, Link::Plain, WINDOW).expect("a plain link needs nothing")
}

fn next<S: TcpClientStack>(client: &mut Client<Stream<S>>) -> Done {
    client.next_done().expect("the session goes on").expect("a request is open")
}

#[test]
fn files_go_there_and_back_over_a_nal_stack() {
    let (server, here) = (Server::new(), place());
    let mut stack = Stack;
    let mut client = connect(&mut stack, &server);
    for len in [0, 1, 1024, 1025, 3_000_001] {
        let (name, bytes) = (format!("{len}.bin"), random(len, len as u64));
        let upload = Upload {
            transfer: new_transfer_id(),
            path: &name,
            size: (len % 2 == 0).then_some(len as u64),
            modified: Some(Timestamp(1_000_000_007)),
            conflict: Conflict::Refuse,
            ask: Ask::Now,
            source: Box::new(Cursor::new(bytes.clone())),
        };
        client.put(upload).unwrap().unwrap();
        let stored = next(&mut client).result.unwrap();
        let digest = blake3::hash(&bytes);
        assert!(
            matches!(stored, Reply::Stored { size, root, suffix: 0 }
                if size == len as u64 && root.0 == *digest.as_bytes()),
            "{stored:?}"
        );
        assert_holds(&server.file(&name), &bytes);

        let fetched = here.path().join(&name);
        let sink = FileSink::new(fetched.clone(), Conflict::Refuse);
        client.get(&name, Box::new(sink)).unwrap().unwrap();
        assert!(matches!(next(&mut client).result, Ok(Reply::Got { .. })));
        assert_holds(&fetched, &bytes);
        let modified = fetched.metadata().unwrap().modified().unwrap();
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(since, Duration::from_nanos(1_000_000_007));
    }
    let missing = client.stat("missing").unwrap();
    assert_eq!(missing, Err(Failure::Peer(Code::NotFound)));
    assert_eq!(client.list("").unwrap().unwrap().entries.len(), 5);
    client.finish().unwrap();
}

/// As a device does it: the core alone, over two static buffers of one chunk each.
#[test]
fn two_buffers_of_one_chunk_are_enough() {
    let server = Server::new();
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    let mut driver = Blocking::new(NalStream::connect(Stack, address, wait).unwrap());
    let config = Config::small(Side::Dialler, 4);
    let mut session = Requester::<_, 4>::new([0; 1052], [0; 1052], &config).unwrap();
    let (mut app, began) = (App::default(), Instant::now());
    let bytes = random(50_003, 1);
    let jobs = [Job::put("a", bytes.clone()), Job::get("a"), Job::stat("a", true), Job::Goodbye];
    let mut jobs = jobs.iter().peekable();
    let ended = loop {
        if let Some(&job) = jobs.peek() {
            match session.request(&job.request()) {
                Ok(id) => app.accepted(id, jobs.next().unwrap()),
                Err(error) => assert_eq!(error, RequestError::Later),
            }
        }
        let now = kift_core::time::Instant::from_millis(began.elapsed().as_millis() as u64);
        if let Step::Closed(ended) = driver.step(&mut session, &mut app, now) {
            break ended;
        }
    };
    assert_eq!(ended, Ok(()));
    assert_eq!(app.hello.unwrap().role, Role::Responder);
    assert!(app.results.len() == 4 && app.results.values().all(Result::is_ok), "{:?}", app.results);
    assert_holds(&server.file("a"), &bytes);
    assert_eq!(app.got.pop_last().unwrap().1, bytes);
}

#[test]
fn two_sessions_share_a_stack() {
    let server = Server::new();
    let stack = embedded_nal::SharableStack::new(Stack);
    let mut clients = [connect(stack.acquire(), &server), connect(stack.acquire(), &server)];
    for (at, client) in clients.iter_mut().enumerate() {
        let upload = Upload {
            transfer: new_transfer_id(),
            path: if at == 0 { "a" } else { "b" },
            size: None,
            modified: None,
            conflict: Conflict::Refuse,
            ask: Ask::Now,
            source: Box::new(Cursor::new(random(100_000, at as u64))),
        };
        client.put(upload).unwrap().unwrap();
    }
    for client in &mut clients {
        assert!(matches!(next(client).result, Ok(Reply::Stored { .. })));
        client.finish().unwrap();
    }
    assert_holds(&server.file("a"), &random(100_000, 0));
    assert_holds(&server.file("b"), &random(100_000, 1));
}

#[test]
fn a_server_that_is_not_there_or_goes_away_is_told() {
    let mut server = Server::new();
    let mut client = connect(Stack, &server);
    fs::write(server.file("file"), "file").unwrap();
    assert!(client.stat("file").unwrap().is_ok());
    server.kill();
    assert!(matches!(client.stat("file"), Err(ClientError::Session(_))));

    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    let again = NalStream::connect(Stack, address, wait as fn(u32) -> bool);
    assert!(matches!(again, Err(NalError::Stack(_))));
}
