//! A few files that are offered to whoever may have them, and what became of each.
//!
//! They are opened when they are offered, so that what is received is what was offered, whatever
//! happens to their names. Nothing can be written.

mod visitor;

use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use kift_core::secure::{Fingerprint, NoEntropy, SecretKey, Token};
use kift_core::wire::{self, EntryKind, Meta};
use rustix::fs::OFlags;

use crate::client::timestamp;
use crate::secure::{HostNoise, SystemRandom};
use visitor::Visitor;

/// Whom an offer is for.
#[derive(Debug, Clone)]
pub enum For {
    /// Whoever comes, over a plain link.
    Anybody,
    /// Who has the token, as often as they like.
    Bearer {
        /// Who the offering side is.
        key: SecretKey,
        /// What both must know.
        token: Token,
    },
    /// Those with one of these keys.
    Keys {
        /// Who the offering side is.
        key: SecretKey,
        /// Theirs.
        keys: Vec<Fingerprint>,
    },
}

/// Files to be had.
#[derive(Debug)]
pub struct Offer {
    files: Vec<Offered>,
    whom: For,
    /// A single receiver is to have them: set while one takes them, and when one has.
    once: Option<AtomicBool>,
    news: Mutex<Sender<News>>,
}

/// One of them.
#[derive(Debug)]
pub struct Offered {
    /// What it is called there.
    pub name: String,
    /// Size and time, as they were when it was offered.
    pub meta: Meta,
    file: File,
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Who was there.
    pub peer: SocketAddr,
    /// What they did.
    pub what: What,
}

/// What a receiver did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// They say that they have stored this file, and all of it was sent to them.
    Received {
        /// Which file, by its place in the offer.
        file: usize,
    },
    /// All of it was sent, and they left without a word about it.
    Unconfirmed {
        /// Which file.
        file: usize,
    },
    /// They left, or it failed, before all of it was sent.
    BrokenOff {
        /// Which file.
        file: usize,
        /// Bytes that were sent.
        sent: u64,
    },
    /// They left without taking anything.
    Declined,
    /// They left.
    Left,
}

impl Offered {
    /// Opens a file that is to be offered.
    ///
    /// # Errors
    /// It cannot be read, is no file, or its name cannot be sent.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        // Opening a pipe would wait for its writer.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        let flags = i32::try_from(flags).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.with_context(|| format!("cannot read {shown}"))?;
        let found = file.metadata().with_context(|| format!("cannot read {shown}"))?;
        if found.is_dir() {
            bail!("{shown} is a directory\noffer the files in it, or serve it: kift serve {shown}");
        }
        if !found.is_file() {
            bail!("{shown} is no regular file");
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| wire::Path::named(name).is_ok()) else {
            bail!(
                "the name of {shown} cannot be sent\ngive it one that is UTF-8 and at most 255 bytes"
            );
        };
        let modified = found.modified().ok().and_then(timestamp);
        let meta = Meta { kind: EntryKind::File, size: found.len(), modified };
        Ok(Self { name: name.to_owned(), meta, file })
    }

    /// Whether the file is not any more what was offered, as far as one can tell.
    fn is_changed(&self) -> bool {
        self.file.metadata().map_or(true, |now| {
            now.len() != self.meta.size
                || now.modified().ok().and_then(timestamp) != self.meta.modified
        })
    }
}

impl Offer {
    /// Offers `files`, `once` to a single receiver. What becomes of them comes over the channel.
    ///
    /// # Errors
    /// Two of them have the same name.
    pub fn new(mut files: Vec<Offered>, whom: For, once: bool) -> Result<(Self, Receiver<News>)> {
        // As listings go.
        files.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = files.windows(2).find(|pair| pair[0].name == pair[1].name) {
            bail!("two of the files are called {:?}\noffer one of them alone", pair[0].name);
        }
        let (news, told) = channel();
        let once = once.then(AtomicBool::default);
        Ok((Self { files, whom, once, news: Mutex::new(news) }, told))
    }

    /// The files, in the order of their names.
    #[must_use]
    pub fn files(&self) -> &[Offered] {
        &self.files
    }

    /// How the link of one who comes is protected.
    pub(crate) fn noise(&self) -> Result<HostNoise, NoEntropy> {
        match &self.whom {
            For::Anybody => Ok(HostNoise::plain(crc32c::crc32c)),
            For::Bearer { key, token } => {
                HostNoise::new(key.clone(), Some(token.clone()), &mut SystemRandom)
            }
            For::Keys { key, .. } => HostNoise::new(key.clone(), None, &mut SystemRandom),
        }
    }

    /// Shows it to one who comes.
    pub(crate) fn show(self: &Arc<Self>, peer: SocketAddr) -> Visitor {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Visitor::new(Arc::clone(self), peer, news)
    }
}

/// A read that failed, for the peer.
fn code_of(error: &io::Error) -> wire::Code {
    match error.kind() {
        io::ErrorKind::PermissionDenied => wire::Code::Denied,
        _ => wire::Code::Io,
    }
}
