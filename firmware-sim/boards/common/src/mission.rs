//! What the device is told at its start.
//!
//! ```text
//! serve                              the files on its disk
//! push FILE ADDRESS:PORT/PATH        a file from its disk to a server
//! fetch ADDRESS:PORT/PATH FILE       a file from a server to its disk
//!
//! ip=ADDRESS/PREFIX gateway=ADDRESS
//! seed=64 HEXADECIMAL DIGITS         for a disk that is blank: it is formatted, and keeps this
//! pair=TOKEN                         become known to a peer that has it too
//! ```

use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

use kift_core::secure::Token;
use kift_firmware_sim::device::ask::Errand;
use kift_firmware_sim::net::Ipv4Cidr;

/// What the device is to do, and with what.
pub(crate) struct Mission<'a> {
    pub(crate) task: Task<'a>,
    pub(crate) address: Ipv4Cidr,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) seed: Option<[u8; 32]>,
    pub(crate) token: Option<Token>,
}

/// What the device is to do.
#[derive(Clone, Copy)]
pub(crate) enum Task<'a> {
    Serve,
    Ask(SocketAddrV4, Errand<'a>),
}

/// The words are no mission.
pub(crate) enum Mistake<'a> {
    /// This one is not understood.
    Word(&'a str),
    /// There is no task, or it lacks something.
    NoTask,
}

impl fmt::Display for Mistake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "not understood: {word}"),
            Self::NoTask => f.write_str(
                "nothing to do: serve, push FILE ADDRESS:PORT/PATH or fetch ADDRESS:PORT/PATH FILE",
            ),
        }
    }
}

impl<'a> Mission<'a> {
    /// The mission that these words are.
    pub(crate) fn parse(words: impl Iterator<Item = &'a str>) -> Result<Self, Mistake<'a>> {
        let mut mission = Self {
            task: Task::Serve,
            // As QEMU's user network has it.
            address: Ipv4Cidr::new(Ipv4Addr::new(10, 0, 2, 15), 24),
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            seed: None,
            token: None,
        };
        let mut task = [""; 3];
        let mut place = task.iter_mut();
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => mission.set(name, value).ok_or(Mistake::Word(word))?,
                None => *place.next().ok_or(Mistake::Word(word))? = word,
            }
        }
        mission.task = match task {
            ["serve", "", ""] => Task::Serve,
            ["push", local, target] if !target.is_empty() => {
                let (server, remote) = target_of(target).ok_or(Mistake::Word(target))?;
                Task::Ask(server, Errand::Push { local, remote })
            }
            ["fetch", target, local] if !local.is_empty() => {
                let (server, remote) = target_of(target).ok_or(Mistake::Word(target))?;
                Task::Ask(server, Errand::Fetch { remote, local })
            }
            _ => return Err(Mistake::NoTask),
        };
        Ok(mission)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "ip" => {
                let (address, prefix) = value.split_once('/')?;
                let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
                self.address = Ipv4Cidr::new(address.parse().ok()?, prefix);
                // The one that was is of another network.
                self.gateway = None;
            }
            "gateway" => self.gateway = Some(value.parse().ok()?),
            "seed" => self.seed = Some(seed_of(value)?),
            "pair" => self.token = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

/// A server, and a path on it.
fn target_of(target: &str) -> Option<(SocketAddrV4, &str)> {
    let (server, path) = target.split_once('/')?;
    Some((server.parse().ok()?, path))
}

/// The bytes of a seed.
fn seed_of(text: &str) -> Option<[u8; 32]> {
    let (digits, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut seed = [0; 32];
    if digits.len() != seed.len() {
        return None;
    }
    for (byte, [high, low]) in seed.iter_mut().zip(digits) {
        let value = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = (value(high)? << 4 | value(low)?) as u8;
    }
    Some(seed)
}
