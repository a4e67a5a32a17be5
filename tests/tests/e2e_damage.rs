//! A bit that changes on its way, anywhere in a connection: the command fails, or it made no
//! difference. No wrong byte is ever stored.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kift_tests::files::{names, place, write_random};
use kift_tests::machine::{Ended, kift, wait_until};
use kift_tests::rng::{Case, Rng};
use kift_tests::serving::Server;

/// Sizes of the files that travel: no frame, one, some.
const SIZES: [u64; 3] = [0, 5000, 70_001];

/// Damaged connections for each command and direction.
const CASES: u64 = 40;

/// Who sends the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Client,
    Server,
}

/// Bit `bit` of byte `at` of what `from` sends.
#[derive(Debug, Clone, Copy)]
struct Flip {
    from: From,
    at: u64,
    bit: u8,
}

/// A connection through which a client speaks to a server.
#[derive(Debug, Default)]
struct Wire {
    flip: Option<Flip>,
    sent: [AtomicU64; 2],
    flipped: AtomicBool,
    over: AtomicBool,
    moved: Mutex<Option<Instant>>,
}

impl Wire {
    /// Where neither end says anything more after the damage, each waits for the other to its
    /// deadline, which is a minute. Somebody pulls the plug.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Carries one connection to the server's port, and gives its own port.
    fn lay(server: u16, flip: Option<Flip>) -> (u16, JoinHandle<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let carry = move || {
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let wire = Self { flip, ..Self::default() };
            thread::scope(|scope| {
                scope.spawn(|| wire.pump(From::Client, &client, &server));
                wire.pump(From::Server, &server, &client);
            });
            wire
        };
        (port, thread::spawn(carry))
    }

    fn pump(&self, side: From, mut from: &TcpStream, mut to: &TcpStream) {
        from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let sent = &self.sent[side as usize];
        let mut buf = [0; 4096];
        while !self.over.load(Ordering::Relaxed) {
            let n = match from.read(&mut buf) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let moved =
                        self.moved.lock().unwrap().get_or_insert_with(Instant::now).elapsed();
                    if self.flipped.load(Ordering::Relaxed) && moved > Self::PATIENCE {
                        self.over.store(true, Ordering::Relaxed);
                    }
                    continue;
                }
                Err(_) => break,
            };
            *self.moved.lock().unwrap() = Some(Instant::now());
            let before = sent.fetch_add(n as u64, Ordering::Relaxed);
            if let Some(flip) = self.flip.filter(|flip| flip.from == side)
                && let Some(byte) =
                    flip.at.checked_sub(before).and_then(|at| buf[..n].get_mut(at as usize))
            {
                *byte ^= 1 << flip.bit;
                self.flipped.store(true, Ordering::Relaxed);
            }
            if to.write_all(&buf[..n]).is_err() {
                break;
            }
        }
        let how = if self.over.load(Ordering::Relaxed) { Shutdown::Both } else { Shutdown::Write };
        let _ = to.shutdown(how);
    }
}

/// What is sent or fetched through the wire.
struct Command {
    server: Server,
    here: PathBuf,
    is_put: bool,
}

impl Command {
    /// Runs it once, into a directory of its own.
    fn run(&self, case: u64, flip: Option<Flip>) -> (Ended, Wire) {
        let to = self.target(case);
        fs::create_dir_all(&to).unwrap();
        let (port, wire) = Wire::lay(self.server.port(), flip);
        let mut args =
            vec![if self.is_put { "put" } else { "get" }.to_owned(), "--plain".to_owned()];
        for size in SIZES {
            let source = if self.is_put {
                self.here.to_str().unwrap().to_owned()
            } else {
                format!("127.0.0.1:{port}")
            };
            args.push(format!("{source}/{size}"));
        }
        args.push(if self.is_put {
            format!("127.0.0.1:{port}/{case}/")
        } else {
            to.to_str().unwrap().to_owned()
        });
        (kift(args), wire.join().unwrap())
    }

    fn target(&self, case: u64) -> PathBuf {
        if self.is_put {
            self.server.file(&case.to_string())
        } else {
            self.here.join(format!("fetched-{case}"))
        }
    }

    /// Every file that is there under its name is exact. Gives how many there are.
    fn check(&self, case: u64) -> usize {
        let expected =
            |name: &str| if self.is_put { self.here.join(name) } else { self.server.file(name) };
        let found = names(&self.target(case));
        for name in &found {
            assert!(SIZES.iter().any(|size| size.to_string() == *name), "{name:?} was never sent");
            kift_tests::files::assert_same(&self.target(case).join(name), &expected(name));
        }
        found.len()
    }
}

fn damage(is_put: bool, here: &Path) {
    let command = Command { server: Server::new(), here: here.to_owned(), is_put };
    for size in SIZES {
        let source = if is_put {
            here.join(size.to_string())
        } else {
            command.server.file(&size.to_string())
        };
        write_random(&source, size, size);
    }
    let (ended, wire) = command.run(9999, None);
    ended.ok();
    assert_eq!(command.check(9999), SIZES.len(), "without damage all is well");
    let sent = wire.sent.map(AtomicU64::into_inner);

    let (next, noticed, harmless) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let one = |case: u64| {
        let mut rng = Rng::new(case);
        let from = if case.is_multiple_of(2) { From::Client } else { From::Server };
        let len = sent[from as usize];
        // Half of them where frames are short and many: at the beginning and the end.
        let at = match case % 8 / 2 {
            0 => rng.below(300),
            1 => (len as usize).saturating_sub(1 + rng.below(300)),
            _ => rng.below(len as usize),
        };
        let flip = Flip { from, at: at as u64 % len, bit: rng.below(8) as u8 };
        let _case = Case(format!("{flip:?} of {len} bytes"));
        let (ended, wire) = command.run(case, Some(flip));
        assert!(wire.flipped.into_inner(), "the byte was sent");
        let stored = command.check(case);
        if ended.status.success() {
            assert_eq!(stored, SIZES.len(), "what succeeded is there");
            harmless.fetch_add(1, Ordering::Relaxed);
        } else {
            ended.fails(&["kift: "]);
            let told =
                ["checksum mismatch", "BLAKE3"].iter().any(|word| ended.stderr.contains(word));
            noticed.fetch_add(usize::from(told), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let case @ 0.. = next.fetch_add(1, Ordering::Relaxed)
                    && case < 2 * CASES
                {
                    one(case);
                }
            });
        }
    });
    let (noticed, harmless) = (noticed.into_inner(), harmless.into_inner());
    eprintln!("of {} damaged connections {noticed} say so, {harmless} do not mind", 2 * CASES);
    assert!(noticed >= CASES as usize, "most damage is called by its name");
    // Such as that of a goodbye, when all is there already.
    assert!(harmless < CASES as usize / 2, "little damage is harmless");
    wait_until("nothing is left", || command.server.partials().is_empty());
}

#[test]
fn no_changed_bit_is_ever_stored() {
    damage(true, place().path());
}

#[test]
fn no_changed_bit_is_ever_fetched() {
    damage(false, place().path());
}
