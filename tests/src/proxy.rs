//! Somebody between a client and a server, who reads all records that pass, and may do to them what
//! can be done without a key.

use std::io::{self, ErrorKind, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::raw::next_record;

/// Where neither end says anything more after what was done, each may wait for the other to its
/// deadline, which is a minute. Somebody pulls the plug.
const SILENCE: Duration = Duration::from_secs(3);

/// Who sends a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The client.
    Client,
    /// The server.
    Server,
}

impl From {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];
}

/// What becomes of a record that does not simply pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fate {
    /// What goes on to the other end.
    pub on: Vec<u8>,
    /// What goes back to its sender.
    pub back: Vec<u8>,
    /// Whether the connection is cut behind that.
    pub cut: bool,
}

/// Decides about the record of that number from that end, counted from 0 in each connection. None:
/// it passes.
pub type Meddle = Box<dyn Fn(From, usize, &[u8]) -> Option<Fate> + Send + Sync>;

/// What somebody in between has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections.
    pub connections: usize,
    /// The records of each end as they were sent.
    pub records: [Vec<Vec<u8>>; 2],
    /// Whether anything was done.
    pub meddled: bool,
    /// Whether the ends had to be told that it was over.
    pub unplugged: bool,
}

impl Seen {
    /// The records of one end.
    #[must_use]
    pub fn of(&self, from: From) -> &[Vec<u8>] {
        &self.records[from as usize]
    }
}

/// A listening socket in front of a server.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Proxy {
    /// Carries connections, one after the other, to the server at `server`.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn lay(server: u16, meddle: Meddle) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener of ours");
        let port = listener.local_addr().expect("an address").port();
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            loop {
                let is_last = stopped.load(Ordering::Relaxed);
                match listener.accept() {
                    Ok((client, _)) => {
                        seen.connections += 1;
                        carry(&client, server, &meddle, &mut seen).expect("a connection");
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock && is_last => return seen,
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

    /// How a client names a path on the server behind it.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("127.0.0.1:{}/{path}", self.port)
    }

    /// Takes no more connections.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Takes no more connections, and tells what was seen.
    ///
    /// # Panics
    /// Where it saw no records.
    #[must_use]
    pub fn end(self) -> Seen {
        self.close();
        self.thread.join().expect("records")
    }
}

/// One connection.
struct Wire<'a> {
    ends: [(&'a TcpStream, Mutex<()>); 2],
    meddle: &'a Meddle,
    meddled: AtomicBool,
    moved: Mutex<Instant>,
    over: AtomicUsize,
}

fn carry(client: &TcpStream, server: u16, meddle: &Meddle, seen: &mut Seen) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server))?;
    client.set_nonblocking(false)?;
    for end in [client, &server] {
        end.set_nodelay(true)?;
    }
    let wire = Wire {
        ends: [(client, Mutex::default()), (&server, Mutex::default())],
        meddle,
        meddled: AtomicBool::default(),
        moved: Mutex::new(Instant::now()),
        over: AtomicUsize::default(),
    };
    let [from_client, from_server] = &mut seen.records;
    thread::scope(|scope| {
        scope.spawn(|| wire.pump(From::Client, from_client));
        scope.spawn(|| wire.pump(From::Server, from_server));
        while wire.over.load(Ordering::Relaxed) < 2 {
            let silent = wire.moved.lock().expect("held briefly").elapsed();
            if wire.meddled.load(Ordering::Relaxed) && silent > SILENCE {
                seen.unplugged = true;
                wire.cut();
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    seen.meddled |= wire.meddled.into_inner();
    Ok(())
}

impl Wire<'_> {
    fn cut(&self) {
        for (end, _) in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn pump(&self, side: From, seen: &mut Vec<Vec<u8>>) {
        let mut from = self.ends[side as usize].0;
        let mut number = 0;
        // What an end that is gone would still have said is nobody's concern.
        while let Ok(Some(record)) = next_record(&mut from) {
            *self.moved.lock().expect("held briefly") = Instant::now();
            let fate = (self.meddle)(side, number, &record);
            number += 1;
            self.meddled.fetch_or(fate.is_some(), Ordering::Relaxed);
            let is_cut = fate.as_ref().is_some_and(|fate| fate.cut);
            let (on, back) = match &fate {
                Some(fate) => (&fate.on, &fate.back[..]),
                None => (&record, &[][..]),
            };
            let gone = self.say(1 - side as usize, on).and(self.say(side as usize, back));
            seen.push(record);
            if is_cut {
                self.cut();
            }
            if gone.is_err() {
                // As the system would tell an end whose peer is not there any more.
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
        }
        let _ = self.ends[1 - side as usize].0.shutdown(Shutdown::Write);
        self.over.fetch_add(1, Ordering::Relaxed);
    }

    fn say(&self, end: usize, bytes: &[u8]) -> io::Result<()> {
        let &(mut stream, ref lock) = &self.ends[end];
        // A record that comes back must not fall into the middle of another.
        let _whole = lock.lock().expect("held briefly");
        stream.write_all(bytes)
    }
}
