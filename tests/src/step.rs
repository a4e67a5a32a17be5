//! What happens to a device's disk at once or not at all, whichever disk it is; and all that is there.

use kift_core::secure::{Peer, PublicKey, Token};
use kift_core::storage::Files as _;
use kift_core::wire::{Code, Conflict};
use kift_firmware_sim::disk::{Disk, PEERS_MAX, PeerRole};

use crate::flash::{self, Tree, complete};
use crate::raw::digest;
use crate::rng::contents;

/// Something that happens at once, or not at all.
#[derive(Debug, Clone)]
pub enum Step {
    /// A file is stored.
    Put(&'static str, Vec<u8>, Conflict),
    /// A file or an empty directory goes.
    Delete(&'static str),
    /// One gets another name, and may take the place of a file there.
    Rename(&'static str, &'static str, bool),
    /// A directory is made.
    MakeDirectory(&'static str),
    /// Of what the device keeps of its own.
    Own(Own),
}

/// Of what the device keeps of its own: keys, seeds and tokens are one byte repeated.
#[derive(Debug, Clone, Copy)]
pub enum Own {
    /// It gets this key.
    Identity(u8),
    /// And this seed.
    Seed(u8),
    /// A peer is known.
    Know(u8, PeerRole),
    /// And no more.
    Forget(u8),
    /// A peer with this key comes with this token.
    Pair(u8, u8),
}

/// The tokens that peers come with.
const TOKENS: [u8; 3] = [1, 2, 3];

/// A file of `len` bytes is stored, in the place of one that is there.
#[must_use]
pub fn put(name: &'static str, len: usize, seed: u64) -> Step {
    Step::Put(name, contents(len, seed), Conflict::Replace)
}

impl Step {
    /// Takes the step.
    ///
    /// # Errors
    /// The disk's.
    pub fn run(&self, disk: &mut impl Disk) -> Result<(), Code> {
        match *self {
            Self::Put(name, ref data, conflict) => {
                flash::put(&mut disk.handle(0), name, data, conflict).map(|_| ())
            }
            Self::Delete(name) => flash::delete(&mut disk.handle(0), name),
            Self::Rename(from, to, replace) => {
                flash::rename(&mut disk.handle(0), from, to, replace)
            }
            Self::MakeDirectory(name) => flash::make_directory(&mut disk.handle(0), name),
            Self::Own(own) => own.run(disk),
        }
    }
}

impl Own {
    fn run(self, disk: &mut impl Disk) -> Result<(), Code> {
        let key = |number: u8| PublicKey([number; 32]);
        match self {
            Self::Identity(number) => complete(|| disk.set_identity(&[number; 32])),
            Self::Seed(number) => complete(|| disk.set_seed(&[number; 32])),
            Self::Know(number, role) => complete(|| disk.keep_peer(&key(number), role)),
            Self::Forget(number) => complete(|| disk.forget_peer(&key(number))).map(drop),
            Self::Pair(number, token) => {
                complete(|| disk.begin_pairing(&Token([token; 32])))?;
                let peer = Peer { key: key(number), pairing: true };
                complete(|| disk.handle(0).admit(&peer))
            }
        }
    }
}

/// All that is on the disk; what is the device's own by names that no file has.
///
/// # Errors
/// The disk's.
pub fn tree(disk: &mut impl Disk) -> Result<Tree, Code> {
    let mut tree = flash::tree(&mut disk.handle(0))?;
    let secrets =
        [("/identity", complete(|| disk.identity())?), ("/seed", complete(|| disk.seed())?)];
    for (name, secret) in secrets {
        tree.extend(secret.map(|secret| (name.to_owned(), Some(secret.to_vec()))));
    }
    for place in 0..PEERS_MAX {
        let peer = complete(|| disk.peer(place))?;
        tree.extend(peer.map(|(key, role)| (format!("/peer {key} {role:?}"), None)));
    }
    for token in TOKENS {
        if !complete(|| disk.begin_pairing(&Token([token; 32])))? {
            tree.insert(format!("/token {token}"), None);
        }
    }
    Ok(tree)
}

/// A tree, as a test that fails shows it.
#[must_use]
pub fn summary(tree: &Tree) -> String {
    let of = |(name, data): (&String, &Option<Vec<u8>>)| match data {
        Some(data) => format!("{name} ({} bytes, {})", data.len(), digest(data)),
        None => format!("{name}/"),
    };
    tree.iter().map(of).collect::<Vec<_>>().join(", ")
}
