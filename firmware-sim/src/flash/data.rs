//! Bytes of files on the flash, of any length.

use super::Flash;

/// Bytes of the largest word that a flash reads or programs at a time.
const WORD_LEN_MAX: usize = 32;

/// Bytes that are read back at a time.
const PIECE_LEN: usize = 256;

/// Programs `data` at `offset`, which is a word's, and reads them back: whether they are there. What
/// lacks of the last word stays blank.
pub(super) fn program<F: Flash>(flash: &mut F, offset: u32, data: &[u8]) -> Result<bool, F::Error> {
    const { assert!(F::WRITE_SIZE <= WORD_LEN_MAX && F::READ_SIZE <= WORD_LEN_MAX) }
    let (words, tail) = data.split_at(data.len() - data.len() % F::WRITE_SIZE);
    if !words.is_empty() {
        flash.write(offset, words)?;
    }
    if !tail.is_empty() {
        let mut word = [0xff; WORD_LEN_MAX];
        let (word, _) = word.split_at_mut(F::WRITE_SIZE.min(WORD_LEN_MAX));
        word.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        flash.write(offset.saturating_add(words.len() as u32), word)?;
    }
    let mut at = offset;
    for piece in data.chunks(PIECE_LEN) {
        let mut back = [0; PIECE_LEN];
        let Some(back) = back.get_mut(..piece.len()) else { return Ok(false) };
        read(flash, at, back)?;
        if back != piece {
            return Ok(false);
        }
        at = at.saturating_add(PIECE_LEN as u32);
    }
    Ok(true)
}

/// Fills `buf` from `offset` on, which is a word's.
pub(super) fn read<F: Flash>(flash: &mut F, offset: u32, buf: &mut [u8]) -> Result<(), F::Error> {
    let whole = buf.len() - buf.len() % F::READ_SIZE;
    let (words, tail) = buf.split_at_mut(whole);
    if !words.is_empty() {
        flash.read(offset, words)?;
    }
    if !tail.is_empty() {
        let mut word = [0; WORD_LEN_MAX];
        let (word, _) = word.split_at_mut(F::READ_SIZE.min(WORD_LEN_MAX));
        flash.read(offset.saturating_add(whole as u32), word)?;
        tail.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
    }
    Ok(())
}
