//! Images of a flash, and what is made of them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use arbitrary::{Result, Unstructured};
use embedded_storage_async::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use kift_core::crc32c;
use kift_core::wire::Conflict;
use kift_firmware_sim::board::nor::{BLOCK_LEN, Nor, Times};
use kift_firmware_sim::disk::{PeerRole, Vault as _};
use kift_firmware_sim::flash::Store;
use kift_tests::flash::{complete, delete, make_directory, put, rename};
use kift_tests::raw::digest;
use kift_tests::rng::{Rng, contents};
use kift_tests::sealed::key;
use sequential_storage::cache::Cache;
use sequential_storage::map::{MapConfig, MapStorage};

/// Ten of journal and table, the rest of data.
pub(crate) const BLOCKS: usize = 20;

/// Those of the table.
const TABLE: std::ops::Range<usize> = 2..10;

/// What images are made of: blank flash, stores that were used, and one whose power went.
static BASES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let len = BLOCKS * BLOCK_LEN;
    let mut nor = Nor::blank(len as u32, Times::NONE);
    Store::<_, 1>::format(&mut nor).expect("a format");
    let formatted = nor.image().to_vec();
    use_it(&mut nor, 1);
    let used = nor.image().to_vec();
    use_it(&mut nor, 60);
    let worn = nor.image().to_vec();
    nor.cut_after(300, 1);
    use_it(&mut nor, 60);
    vec![vec![0xff; len], vec![0; len], formatted, used, worn, nor.image().to_vec()]
});

/// Does all sorts of things, as long as the power lasts.
fn use_it(nor: &mut Nor, rounds: u64) {
    let Ok(mut device) = Store::<_, 1>::mount(nor) else { return };
    for round in 0..rounds {
        let port = &mut device.handle(0);
        // Some of it is refused from the second round on.
        let _ = make_directory(port, "folder");
        for (name, len) in [("a", 100), ("folder/b", 5000), ("c", 0)] {
            let _ = put(port, name, &contents(len, round), Conflict::Replace);
        }
        let _ = rename(port, "c", "a", true);
        let _ = delete(port, "folder/b");
        let _ = put(port, "folder/b", &contents(4096, round), Conflict::KeepBoth);
        let _ = complete(|| device.set_identity(&[round as u8; 32]));
        let _ = complete(|| device.keep_peer(key(1).public(), PeerRole::Both));
    }
}

/// An image, changed in a few places, and in how many.
///
/// # Errors
/// The input ends.
pub fn any_image(u: &mut Unstructured<'_>) -> Result<(Vec<u8>, usize)> {
    let mut image = u.choose(&BASES)?.clone();
    let changes = u.int_in_range(0..=9)?;
    for _ in 0..changes {
        change(&mut image, u)?;
    }
    Ok((image, changes))
}

fn change(image: &mut [u8], u: &mut Unstructured<'_>) -> Result<()> {
    let how = u.int_in_range(0..=9)?;
    let block = u.int_in_range(0..=BLOCKS - 1)?;
    let at = block * BLOCK_LEN;
    let start = at + usize::from(u.arbitrary::<u16>()?) % BLOCK_LEN;
    let len = usize::from(u.arbitrary::<u8>()?);
    let end = (start + len).min(at + BLOCK_LEN);
    if std::env::var_os("KIFT_SHOW").is_some() {
        eprintln!("change {how}: block {block}, {start:#x}..{end:#x}, len {len}");
    }
    match how {
        0 => {
            let bytes = u.bytes(len.min(u.len()).min(end - start))?;
            image[start..start + bytes.len()].copy_from_slice(bytes);
        }
        1 => image[start..end].fill(u.arbitrary()?),
        2 => {
            let mask = u.arbitrary::<u8>()?;
            image[start..end].iter_mut().for_each(|byte| *byte &= mask);
        }
        3 => image[start] ^= 1 << (len % 8),
        4 => image[start..at + BLOCK_LEN].fill(0xff),
        5 => image[at..start].fill(0xff),
        6 => image[at..at + BLOCK_LEN].copy_from_slice(&Rng::new(len as u64).bytes(BLOCK_LEN)),
        7 => {
            let to = u.int_in_range(0..=BLOCKS - 1)? * BLOCK_LEN;
            image.copy_within(at..at + BLOCK_LEN, to);
        }
        8 => announce(image, block % 2, start % BLOCK_LEN / 8, u.int_in_range(0..=40)?),
        _ => {
            let item = any_item(u)?;
            store(image, block as u16, &item);
        }
    }
    Ok(())
}

/// An entry of the journal that was not struck out.
fn announce(image: &mut [u8], block: usize, entry: usize, page: u16) {
    // Behind the pages that there are, a format.
    let page = if page < 32 { page } else { 0x464b };
    let mut bytes = [page.to_le_bytes(), (!page).to_le_bytes()].concat();
    bytes.extend(crc32c(&bytes).to_le_bytes());
    image[block * BLOCK_LEN + entry * 8..][..8].copy_from_slice(&bytes);
}

/// An item that the table takes for one of its own, whatever it says.
fn any_item(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut item = vec![u.int_in_range(0..=4)?];
    match item[0] {
        // The volume: a version, and how often it was mounted.
        0 => item.extend([u.int_in_range(0..=2)?, u.arbitrary::<u8>()? & 127]),
        1 => any_record(u, &mut item)?,
        _ => {
            let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
            item.extend(u.bytes(len)?);
        }
    }
    Ok(item)
}

fn any_record(u: &mut Unstructured<'_>, item: &mut Vec<u8>) -> Result<()> {
    const PARENTS: [u16; 6] = [u16::MAX, u16::MAX, 0, 1, 2, 63];
    const NAMES: [&str; 8] = ["a", "b", "folder", "new", "", "..", "a/b", "日本語"];
    varint(item, (*u.choose(&PARENTS)?).into());
    let name = u.choose(&NAMES)?;
    varint(item, name.len() as u64);
    item.extend(name.bytes());
    varint(item, u.arbitrary::<u32>()?.into());
    match u.int_in_range(0..=5)? {
        slot @ 0..=2 => item.extend([1, slot]),
        _ => item.push(0),
    }
    item.push(0);
    if u.arbitrary()? {
        // A directory.
        item.push(0);
        return Ok(());
    }
    item.push(1);
    varint(item, (*u.choose(&[0, 1, 4096, 5000, u32::MAX])?).into());
    item.extend(digest(b"").0);
    let extents = u.int_in_range(0..=3)?;
    item.push(extents);
    for _ in 0..extents {
        varint(item, u.int_in_range(0..=12)?);
        varint(item, (*u.choose(&[0, 1, 2, u16::MAX])?).into());
    }
    Ok(())
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        to.push(value as u8 | 128);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Has the table store an item under `key`, if it can.
fn store(image: &mut [u8], key: u16, item: &[u8]) {
    let keys = [0, 1, 2, 3, 62, 63, u16::MAX, u16::MAX - 1, u16::MAX - 2, u16::MAX - 3];
    let range = (TABLE.start * BLOCK_LEN) as u32..(TABLE.end * BLOCK_LEN) as u32;
    let Ok(config) = MapConfig::try_new(range) else { return };
    let mut map = MapStorage::new(Memory(image), config, Cache::new_uncached());
    let mut scratch = [0; 512];
    let key = keys[usize::from(key) % keys.len()];
    let storing = pin!(map.store_item(&mut scratch, &key, &item));
    let Poll::Ready(_) = storing.poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("memory is always ready")
    };
}

/// A flash that is memory.
struct Memory<'a>(&'a mut [u8]);

#[derive(Debug)]
struct Never(Infallible);

impl NorFlashError for Never {
    fn kind(&self) -> NorFlashErrorKind {
        match self.0 {}
    }
}

impl ErrorType for Memory<'_> {
    type Error = Never;
}

impl ReadNorFlash for Memory<'_> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> std::result::Result<(), Never> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Memory<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK_LEN;

    async fn erase(&mut self, from: u32, to: u32) -> std::result::Result<(), Never> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> std::result::Result<(), Never> {
        let stored = &mut self.0[offset as usize..][..bytes.len()];
        stored.iter_mut().zip(bytes).for_each(|(stored, byte)| *stored &= byte);
        Ok(())
    }
}

impl MultiwriteNorFlash for Memory<'_> {}
