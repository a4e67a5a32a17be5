//! Names: up to eight characters, and up to three behind a dot.

use heapless::String;
use kift_core::wire::Code;

/// Bytes of the longest name of a file or directory.
pub const NAME_LEN_MAX: usize = 12;

const STEM_LEN: usize = 8;
const EXTENSION_LEN: usize = 3;

/// In the byte of an entry that says so: the stem, or the extension, is in lower case.
const LOWER_STEM: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// What a name may have beside letters and digits.
const SIGNS: &[u8] = b"!#$%&'()-@^_`{}~";

/// What a name is that some computers take for a device.
const DEVICES: [&[u8; 3]; 6] = [b"CON", b"PRN", b"AUX", b"NUL", b"COM", b"LPT"];

/// A name as an entry has it: in upper case, padded with spaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub bytes: [u8; 11],
    /// Which of its parts are in lower case.
    pub case: u8,
}

impl Name {
    /// A name that can be kept.
    ///
    /// # Errors
    /// [`Code::NameTooLong`] or [`Code::BadName`].
    pub(super) fn new(name: &str) -> Result<Self, Code> {
        let mut parts = name.split('.');
        let stem = parts.next().unwrap_or("");
        let extension = parts.next();
        if stem.is_empty() || extension == Some("") || parts.next().is_some() {
            return Err(Code::BadName);
        }
        let extension = extension.unwrap_or("");
        let is_lower = [part_case(stem)?, part_case(extension)?];
        if stem.len() > STEM_LEN || extension.len() > EXTENSION_LEN {
            return Err(Code::NameTooLong);
        }
        let mut bytes = [b' '; 11];
        let (left, right) = bytes.split_at_mut(STEM_LEN);
        for (place, part) in [(left, stem), (right, extension)] {
            let upper = part.bytes().map(|byte| byte.to_ascii_uppercase());
            place.iter_mut().zip(upper).for_each(|(to, from)| *to = from);
        }
        if is_device(&bytes) {
            return Err(Code::BadName);
        }
        let case = if is_lower[0] { LOWER_STEM } else { 0 }
            | if is_lower[1] { LOWER_EXTENSION } else { 0 };
        Ok(Self { bytes, case })
    }

    /// A name that may be there: one that none can have is of no file.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub(super) fn sought(name: &str) -> Result<Self, Code> {
        let mut upper = String::<NAME_LEN_MAX>::new();
        for character in name.chars() {
            upper.push(character.to_ascii_uppercase()).map_err(|_| Code::NotFound)?;
        }
        Self::new(&upper).map_err(|_| Code::NotFound)
    }

    /// The name as it is told, if it is one that can be kept.
    pub(super) fn told(self) -> Option<String<NAME_LEN_MAX>> {
        let mut name = String::new();
        let (stem, extension) = self.bytes.split_at(STEM_LEN);
        for (part, lower) in [(stem, LOWER_STEM), (extension, LOWER_EXTENSION)] {
            let len = part.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            if lower == LOWER_EXTENSION && len > 0 {
                name.push('.').ok()?;
            }
            for byte in part.iter().take(len) {
                let is_lower = self.case & lower != 0;
                let byte = if is_lower { byte.to_ascii_lowercase() } else { *byte };
                name.push(byte.into()).ok()?;
            }
        }
        Self::new(&name).ok().map(|_| name)
    }
}

/// Whether the letters of a part are in lower case. They are all alike.
fn part_case(part: &str) -> Result<bool, Code> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || SIGNS.contains(&byte);
    let is_lower = part.bytes().any(|byte| byte.is_ascii_lowercase());
    let is_mixed = is_lower && part.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_mixed || !part.bytes().all(is_known) { Err(Code::BadName) } else { Ok(is_lower) }
}

fn is_device(name: &[u8; 11]) -> bool {
    let (stem, _) = name.split_at(STEM_LEN);
    DEVICES.iter().any(|device| {
        stem.strip_prefix(device.as_slice()).is_some_and(|rest| match device[2] {
            b'M' | b'T' => matches!(rest, [b'1'..=b'9', b' ', ..]),
            _ => rest.iter().all(|byte| *byte == b' '),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_again_and_nothing_else_is_kept() {
        for name in ["a", "A.B", "boot.LOG", "LOG_01.txt", "12345678.123", "x~1.c", "conf.sys"] {
            assert_eq!(Name::new(name).unwrap().told().unwrap(), *name);
            assert_eq!(Name::sought(name).unwrap().bytes, Name::new(name).unwrap().bytes);
        }
        for name in ["123456789", "a.1234", "123456789.log"] {
            assert_eq!(Name::new(name).unwrap_err(), Code::NameTooLong, "{name}");
        }
        let bad = ["", ".a", "a.", "a.b.c", "Ab", "a b", "a+b", "ä", "con", "COM1.TXT", "nul.x"];
        for name in bad {
            assert_eq!(Name::new(name).unwrap_err(), Code::BadName, "{name}");
        }
        assert_eq!(Name::sought("ReadMe.Txt").unwrap().bytes, *b"README  TXT");
        assert_eq!(Name::sought("a long name of a file").unwrap_err(), Code::NotFound);
        assert_eq!(Name { bytes: *b"A\xc4      TXT", case: 0 }.told(), None);
    }
}
