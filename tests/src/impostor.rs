//! A listener that is no `kift serve`: it says what the test has it say, and keeps what it hears.

use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::machine::PATIENCE;
use crate::raw::next_record;

/// Answers a record with bytes.
pub type Voice = Box<dyn FnMut(&[u8]) -> Vec<u8>>;

/// A listening socket of the test's own.
#[derive(Debug)]
pub struct Impostor {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Impostor {
    /// Listens. Each connection gets a new voice, and is over when the client closes it.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn start(mut voice: impl FnMut() -> Voice + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener of ours");
        let port = listener.local_addr().expect("an address").port();
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut heard = Vec::new();
            loop {
                // Before the look, so that no connection made until then is missed.
                let is_last = stopped.load(Ordering::Relaxed);
                match listener.accept() {
                    Ok((stream, _)) => heard.push(converse(&stream, voice())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock && is_last => return heard,
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self { port, stop, thread }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How a client names a path on it.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("127.0.0.1:{}/{path}", self.port)
    }

    /// Listens no more. Gives all that was heard, connection by connection.
    ///
    /// # Panics
    /// Where what was heard are no records.
    #[must_use]
    pub fn end(self) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("records")
    }
}

fn converse(mut stream: &TcpStream, mut voice: Voice) -> Vec<u8> {
    stream.set_nonblocking(false).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut heard = Vec::new();
    // A client that resets the connection has said all that it will.
    while let Ok(Some(record)) = next_record(&mut stream) {
        heard.extend_from_slice(&record);
        let _ = stream.write_all(&voice(&record));
    }
    heard
}
