//! The device's own log file: something to fetch from it, or to send.

use blake3::Hasher;
use kift_core::storage::{RequestId, Store};
use kift_core::wire::{Ask, CHUNK, Code, Conflict, Digest, EntryKind, Path, Put, TransferId};

use super::platform::{Platform, settle};

/// Bytes of a line, its end included. Lines of one length make any chunk computable by itself.
const LINE_LEN: usize = 64;

/// Bytes of the number that a line begins with.
const NUMBER_LEN: usize = 10;

const TEXT: &[u8; LINE_LEN - NUMBER_LEN] =
    b" device: tick, all is well, supply 3.30 V, core 41 C.\n";

const ID: RequestId = RequestId(1);

/// Makes sure that the store has a log of `size` bytes at `path`, written through the same port as
/// any upload.
///
/// # Errors
/// The store's.
#[inline(never)]
pub fn keep(
    store: &mut impl Store,
    path: &str,
    size: u64,
    board: &impl Platform,
) -> Result<(), Code> {
    let path = Path::named(path)?;
    let there = settle(board, || store.stat(ID, path));
    if there.is_ok_and(|meta| meta.kind == EntryKind::File && meta.size == size) {
        return Ok(());
    }
    let put = Put {
        path: path.as_str(),
        transfer: TransferId([0; 16]),
        size: Some(size),
        modified: None,
        conflict: Conflict::Replace,
        ask: Ask::Now,
    };
    settle(board, || store.begin(ID, path, &put))?;
    match write(store, size, board) {
        Ok(root) => settle(board, || store.commit(ID, size, root)).map(|_| ()),
        Err(code) => {
            store.abort(ID);
            Err(code)
        }
    }
}

fn write(store: &mut impl Store, size: u64, board: &impl Platform) -> Result<Digest, Code> {
    let mut hasher = Hasher::new();
    let mut chunk = [0; CHUNK];
    let mut at = 0;
    while at < size {
        let len = size.saturating_sub(at).min(CHUNK as u64) as usize;
        let data = chunk.get_mut(..len).unwrap_or_default();
        fill(at, data);
        hasher.update(data);
        settle(board, || store.write(ID, at, data))?;
        at = at.saturating_add(len as u64);
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// The log's bytes from `at` on, where a line begins.
fn fill(at: u64, buf: &mut [u8]) {
    let first = at / LINE_LEN as u64;
    for (number, line) in (first..).zip(buf.chunks_mut(LINE_LEN)) {
        let mut text = [b'0'; LINE_LEN];
        let (digits, rest) = text.split_at_mut(NUMBER_LEN);
        rest.copy_from_slice(TEXT);
        let mut left = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0'.wrapping_add((left % 10) as u8);
            left /= 10;
        }
        for (byte, value) in line.iter_mut().zip(text) {
            *byte = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn any_chunk_can_be_computed_by_itself() {
        let mut whole = vec![0; 3 * CHUNK + 100];
        fill(0, &mut whole);
        let mut piece = [0; 130];
        fill(2 * CHUNK as u64, &mut piece);
        assert_eq!(piece[..], whole[2 * CHUNK..2 * CHUNK + 130]);
        assert!(whole.is_ascii());
        let second = std::str::from_utf8(&whole[LINE_LEN..2 * LINE_LEN]).unwrap();
        assert!(second.starts_with("0000000001 device: ") && second.ends_with('\n'), "{second:?}");
    }
}
