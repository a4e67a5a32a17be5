//! A store without a device: its operations, waited for.

use std::collections::BTreeMap;
use std::string::String;
use std::task::Poll;
use std::vec;
use std::vec::Vec;

use anyhow::{Result, anyhow, bail};
use kift_core::secure::{PublicKey, SecretKey};
use kift_core::storage::{Files as _, Outcome, Page, RequestId, Store as _};
use kift_core::wire::{
    Ask, CHUNK, Code, Conflict, Digest, Entry, EntryKind, Path, Put, Space, TransferId,
};

use crate::board::nor::Nor;
use crate::disk::{PEERS_MAX, PeerRole, Vault as _};
use crate::flash::{FileInfo, MountError, Store};

const ID: RequestId = RequestId(1);

pub(super) struct Shelf(Store<Nor, 1>);

impl Shelf {
    pub(super) fn mount(nor: Nor) -> Result<Self> {
        match Store::mount(nor) {
            Ok(store) => Ok(Self(store)),
            Err(MountError::Blank) => bail!("it is not formatted: use `flash format`"),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn nor(&mut self) -> &mut Nor {
        self.0.flash()
    }

    pub(super) fn space(&mut self) -> Result<Space> {
        done(|| self.0.handle(0).space(ID))
    }

    /// Who the device is, if it has a key.
    pub(super) fn public_key(&mut self) -> Result<Option<PublicKey>> {
        let secret = done(|| self.0.identity())?;
        Ok(secret.map(|secret| *SecretKey::from_bytes(&secret).public()))
    }

    /// The peers that the device knows.
    pub(super) fn peers(&mut self) -> Result<Vec<(PublicKey, PeerRole)>> {
        let mut peers = Vec::new();
        for place in 0..PEERS_MAX {
            peers.extend(done(|| self.0.peer(place))?);
        }
        Ok(peers)
    }

    pub(super) fn trust(&mut self, key: &PublicKey, role: PeerRole) -> Result<()> {
        let there = self.peers()?;
        if there.len() == PEERS_MAX && there.iter().all(|(known, _)| known != key) {
            bail!("the device knows {PEERS_MAX} peers already: `flash forget` one of them");
        }
        done(|| self.0.keep_peer(key, role))
    }

    pub(super) fn forget(&mut self, key: &PublicKey) -> Result<()> {
        match done(|| self.0.forget_peer(key))? {
            true => Ok(()),
            false => bail!("the device does not know {key}"),
        }
    }

    /// Every file and directory by its path; of a directory nothing more is known.
    pub(super) fn items(&mut self) -> Result<BTreeMap<String, Option<FileInfo>>> {
        let mut items = BTreeMap::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for (name, kind) in self.entries(&folder)? {
                let path = if folder.is_empty() { name } else { folder.clone() + "/" + &name };
                let info = match kind {
                    EntryKind::File => Some(done(|| self.0.info(legal(&path)?))?),
                    EntryKind::Directory => {
                        folders.push(path.clone());
                        None
                    }
                };
                items.insert(path, info);
            }
        }
        Ok(items)
    }

    fn entries(&mut self, folder: &str) -> Result<Vec<(String, EntryKind)>> {
        let mut handle = self.0.handle(0);
        done(|| handle.open_directory(ID, legal(folder)?, ""))?;
        let mut entries = Vec::new();
        let mut buf = [0; CHUNK];
        let mut more = true;
        while more {
            let mut page = Page::new(&mut buf);
            more = done(|| handle.read_directory(ID, &mut page))?;
            let len = page.len();
            let mut rest = &buf[..len];
            while !rest.is_empty() {
                let (entry, tail) = Entry::decode(rest)?;
                entries.push((entry.name.into(), entry.meta.kind));
                rest = tail;
            }
        }
        handle.close_directory(ID);
        Ok(entries)
    }

    /// Stores a file, in the place of one that may be there.
    pub(super) fn put(&mut self, name: &str, contents: &[u8]) -> Result<()> {
        let put = Put {
            path: name,
            transfer: TransferId([0; 16]),
            size: Some(contents.len() as u64),
            modified: None,
            conflict: Conflict::Replace,
            ask: Ask::Now,
        };
        let mut handle = self.0.handle(0);
        done(|| handle.begin(ID, legal(name)?, &put))?;
        for (at, chunk) in (0..).step_by(CHUNK).zip(contents.chunks(CHUNK)) {
            done(|| handle.write(ID, at, chunk))?;
        }
        let root = Digest(*blake3::hash(contents).as_bytes());
        done(|| handle.commit(ID, contents.len() as u64, root))?;
        Ok(())
    }

    /// Reads a file and gives it away piece by piece.
    pub(super) fn read(
        &mut self,
        name: &str,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut handle = self.0.handle(0);
        let mut left = done(|| handle.open(ID, legal(name)?))?.size;
        let (mut at, mut buf) = (0, [0; CHUNK]);
        while left > 0 {
            let piece = &mut buf[..left.min(CHUNK as u64) as usize];
            let n = done(|| handle.read(ID, at, piece))?;
            if n < piece.len() {
                bail!("the file ends early");
            }
            take(piece)?;
            at += n as u64;
            left -= n as u64;
        }
        handle.close(ID);
        Ok(())
    }
}

fn legal(path: &str) -> Result<Path<'_>, Code> {
    Path::new(path)
}

/// Offers an operation until it is done.
fn done<T>(mut operation: impl FnMut() -> Outcome<T>) -> Result<T> {
    loop {
        if let Poll::Ready(result) = operation() {
            return result.map_err(|code| anyhow!("{code}"));
        }
    }
}
