//! How often a transfer waits for the other side: what a far server costs.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kift_tests::estate::Estate;
use kift_tests::files::random;
use kift_tests::serving::Server;

/// Silence after which a side has said all that it says without an answer.
const QUIET: Duration = Duration::from_millis(400);

/// Which way bytes went, each way once as long as nothing came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    Up,
    Down,
}

/// Carries one connection to `port`, holding back what one side says until it is quiet. Gives its
/// own port, and the flights in the end.
fn hold_back(port: u16) -> (u16, JoinHandle<Vec<Flight>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let carried = thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut flights = Vec::new();
        loop {
            for (from, to, way) in
                [(&client, &server, Flight::Up), (&server, &client, Flight::Down)]
            {
                match all_until_quiet(from) {
                    Some(bytes) if !bytes.is_empty() => {
                        if flights.last() != Some(&way) {
                            flights.push(way);
                        }
                        if (&mut &*to).write_all(&bytes).is_err() {
                            return flights;
                        }
                    }
                    Some(_) => {}
                    None => return flights,
                }
            }
        }
    });
    (own, carried)
}

/// What comes until nothing does; none at the end of the stream.
fn all_until_quiet(mut from: &TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
    let mut last = Instant::now();
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while last.elapsed() < QUIET {
        match from.read(&mut buffer) {
            Ok(0) => return (!bytes.is_empty()).then_some(bytes),
            Ok(n) => {
                bytes.extend_from_slice(&buffer[..n]);
                last = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    Some(bytes)
}

/// Round trips of a connection with these flights, that of TCP itself included.
fn round_trips(flights: &[Flight]) -> usize {
    1 + flights.iter().filter(|flight| **flight == Flight::Down).count()
}

fn count(server: &Server, run: impl FnOnce(&str)) -> usize {
    let (port, carried) = hold_back(server.port());
    run(&format!("127.0.0.1:{port}"));
    round_trips(&carried.join().unwrap())
}

#[test]
fn a_file_takes_three_round_trips_where_the_key_is_known() {
    let estate = Estate::new();
    let file = estate.place().join("file");
    fs::write(&file, random(1024, 1)).unwrap();
    let file = file.to_str().unwrap();
    // The server's own machine knows the key: it has the same one.
    let put = count(estate.server(), |at| {
        estate.kift("", &["put", file, &format!("{at}/")]).ok();
    });
    assert_eq!(put, 3);
    let copy = estate.place().join("copy");
    let get = count(estate.server(), |at| {
        let copy = copy.to_str().unwrap();
        estate.kift("", &["get", &format!("{at}/file"), copy]).ok();
    });
    assert_eq!(get, 3);
    assert_eq!(fs::read(copy).unwrap(), fs::read(file).unwrap());
}

#[test]
fn a_login_takes_one_more() {
    let estate = Estate::new();
    let secret = estate.secret("password", "correct horse");
    let secret = secret.to_str().unwrap();
    estate.admin(&["user", "add", "anna", "rw", "--password-file", secret]);
    let fingerprint = estate.fingerprint();
    let put = count(estate.server(), |at| {
        let remote = format!("kift://anna@{at}/");
        let login = ["--server-key", &fingerprint, "--password-file", secret];
        estate.kift("guest", &[&["put", secret, &remote], &login[..]].concat()).ok();
    });
    assert_eq!(put, 4);
}
