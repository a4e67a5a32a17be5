//! The storage port as a session uses it, for tests of the store on flash.

use std::collections::BTreeMap;
use std::task::Poll;

use kift_core::storage::{Outcome, Page, RequestId, Store};
use kift_core::wire::{Ask, Code, Conflict, Entry, EntryKind, Meta, Path, Put, Space, TransferId};
use kift_firmware_sim::disk::Disk;

use crate::memory::Memory;
use crate::raw::digest;
use crate::rng::{Case, Rng, contents};

/// Every file with its contents, and every directory with none.
pub type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// Every operation is of this request: the store does not look at it.
pub const REQUEST: RequestId = RequestId(1);

/// How often an operation is offered, at most.
const PATIENCE: usize = 10_000;

/// Offers an operation until it is done.
///
/// # Errors
/// Its own.
///
/// # Panics
/// Where it is pending for ever.
pub fn complete<T>(mut operation: impl FnMut() -> Outcome<T>) -> Result<T, Code> {
    for _ in 0..PATIENCE {
        if let Poll::Ready(result) = operation() {
            return result;
        }
    }
    panic!("still pending after {PATIENCE} times");
}

fn path(path: &str) -> Result<Path<'_>, Code> {
    Path::new(path)
}

/// An upload of `size` bytes.
#[must_use]
pub const fn request(path: &str, size: Option<u64>, conflict: Conflict) -> Put<'_> {
    let transfer = TransferId([0; 16]);
    Put { path, transfer, size, modified: None, conflict, ask: Ask::Now }
}

/// Uploads `data`, and gives the suffix.
///
/// # Errors
/// The store's; the upload is then aborted, as a session does.
pub fn put(
    store: &mut impl Store,
    name: &str,
    data: &[u8],
    conflict: Conflict,
) -> Result<u32, Code> {
    upload(store, &request(name, Some(data.len() as u64), conflict), data)
}

/// Uploads `data` as `put` says, and gives the suffix.
///
/// # Errors
/// The store's; the upload is then aborted, as a session does.
pub fn upload(store: &mut impl Store, put: &Put<'_>, data: &[u8]) -> Result<u32, Code> {
    let place = path(put.path)?;
    complete(|| store.begin(REQUEST, place, put))?;
    write(store, 0, data)?;
    complete(|| store.commit(REQUEST, data.len() as u64, digest(data)))
}

/// Writes `data` to the upload that is open, chunk by chunk, from byte `from` on.
///
/// # Errors
/// The store's; the upload is then aborted, as a session does.
pub fn write(store: &mut impl Store, from: u64, data: &[u8]) -> Result<(), Code> {
    let mut at = from;
    for chunk in data.chunks(1024) {
        complete(|| store.write(REQUEST, at, chunk)).inspect_err(|_| store.abort(REQUEST))?;
        at += chunk.len() as u64;
    }
    Ok(())
}

/// The contents of a file.
///
/// # Errors
/// The store's.
pub fn get(store: &mut impl Store, name: &str) -> Result<Vec<u8>, Code> {
    let place = path(name)?;
    let meta = complete(|| store.open(REQUEST, place))?;
    let data = read(store, 0);
    store.close(REQUEST);
    let data = data?;
    assert_eq!(data.len() as u64, meta.size, "size of {name}");
    Ok(data)
}

/// What follows of the source that is open, from byte `from` on.
///
/// # Errors
/// The store's.
pub fn read(store: &mut impl Store, from: u64) -> Result<Vec<u8>, Code> {
    let mut data = Vec::new();
    let mut buf = [0; 1024];
    loop {
        let n = complete(|| store.read(REQUEST, from + data.len() as u64, &mut buf))?;
        data.extend_from_slice(&buf[..n]);
        if n < buf.len() {
            return Ok(data);
        }
    }
}

/// What is at `name`.
///
/// # Errors
/// The store's.
pub fn stat(store: &mut impl Store, name: &str) -> Result<Meta, Code> {
    let place = path(name)?;
    complete(|| store.stat(REQUEST, place))
}

/// The entries of a directory in the order told, on pages of `page_len` bytes.
///
/// # Errors
/// The store's.
///
/// # Panics
/// Where an entry is no entry.
pub fn list(
    store: &mut impl Store,
    name: &str,
    after: &str,
    page_len: usize,
) -> Result<Vec<(String, Meta)>, Code> {
    let place = path(name)?;
    complete(|| store.open_directory(REQUEST, place, after))?;
    let mut entries = Vec::new();
    let mut buf = vec![0; page_len];
    loop {
        let mut used = 0;
        let more = complete(|| {
            let mut page = Page::new(&mut buf);
            let outcome = store.read_directory(REQUEST, &mut page);
            used = page.len();
            outcome
        });
        let more = more.inspect_err(|_| _ = store.close_directory(REQUEST))?;
        let mut page = &buf[..used];
        while !page.is_empty() {
            let (Entry { name, meta }, rest) = Entry::decode(page).expect("an entry");
            entries.push((name.to_owned(), meta));
            page = rest;
        }
        if !more {
            store.close_directory(REQUEST);
            return Ok(entries);
        }
    }
}

/// Removes a file or directory.
///
/// # Errors
/// The store's.
pub fn delete(store: &mut impl Store, name: &str) -> Result<(), Code> {
    let place = path(name)?;
    complete(|| store.delete(REQUEST, place))
}

/// Gives a file or directory another name.
///
/// # Errors
/// The store's.
pub fn rename(store: &mut impl Store, from: &str, to: &str, replace: bool) -> Result<(), Code> {
    let (from, to) = (path(from)?, path(to)?);
    complete(|| store.rename(REQUEST, from, to, replace))
}

/// Makes a directory.
///
/// # Errors
/// The store's.
pub fn make_directory(store: &mut impl Store, name: &str) -> Result<(), Code> {
    let place = path(name)?;
    complete(|| store.make_directory(REQUEST, place))
}

/// How much room there is.
///
/// # Errors
/// The store's.
pub fn space(store: &mut impl Store) -> Result<Space, Code> {
    complete(|| store.space(REQUEST))
}

/// All that is in the store.
///
/// # Errors
/// The store's.
pub fn tree(store: &mut impl Store) -> Result<Tree, Code> {
    let mut tree = Tree::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for (name, meta) in list(store, &folder, "", 1024)? {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let data = match meta.kind {
                EntryKind::File => Some(get(store, &path)?),
                EntryKind::Directory => {
                    folders.push(path.clone());
                    None
                }
            };
            tree.insert(path, data);
        }
    }
    Ok(tree)
}

/// The same operations on a disk and on the store that the tests of the core use; now and then the disk
/// is `mounted_again`, as after a reset.
///
/// # Panics
/// Where they differ.
#[must_use]
pub fn does_what_the_store_in_memory_does<D: Disk>(
    seed: u64,
    mut device: D,
    mut mounted_again: impl FnMut(D) -> D,
) -> D {
    let (mut rng, mut memory) = (Rng::new(seed), Memory::default());
    for turn in 0..150 {
        let _case = Case(format!("seed {seed}, turn {turn}"));
        let mut files = ["a", "b", "c.txt", "d/a", "d/b"];
        files.rotate_left(rng.below(5));
        let [name, other, ..] = files;
        let folder = ["d", "e"][rng.below(2)];
        let what = rng.below(10);
        let data = contents(rng.below(10_000), rng.bits());
        let conflict = match rng.below(10) {
            0 => Conflict::KeepBoth,
            1..4 => Conflict::Refuse,
            _ => Conflict::Replace,
        };
        macro_rules! both {
            ($operation:ident($($argument:expr),*)) => {
                assert_eq!(
                    $operation(&mut device.handle(0) $(, $argument)*),
                    $operation(&mut memory $(, $argument)*)
                )
            };
        }
        match what {
            0..4 => both!(put(name, &data, conflict)),
            4 => both!(delete(name)),
            5 => both!(rename(name, other, turn % 2 == 0)),
            6 => both!(make_directory(folder)),
            7 => both!(delete(folder)),
            8 => both!(stat(name)),
            _ => device = mounted_again(device),
        }
        if turn % 10 == 0 {
            both!(tree());
        }
    }
    device
}
