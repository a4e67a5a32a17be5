//! Names. `core/PROTOCOL.md`, section 6.

use core::fmt::{self, Write as _};

use heapless::String;

use super::Code;

/// Bytes of the longest path.
pub const PATH_LEN_MAX: usize = 480;

/// Bytes of the longest component of a path.
pub const NAME_LEN_MAX: usize = 255;

/// A legal path: UTF-8, `/`-separated, relative to the responder's root, without empty, `.` or
/// `..` components and without NUL. The empty path is the root itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    /// The responder's root.
    pub const ROOT: Self = Self("");

    /// Checks `path`.
    ///
    /// # Errors
    /// [`Code::NameTooLong`] or [`Code::BadName`].
    pub fn new(path: &'a str) -> Result<Self, Code> {
        if path.is_empty() {
            return Ok(Self::ROOT);
        }
        if path.len() > PATH_LEN_MAX {
            return Err(Code::NameTooLong);
        }
        for name in path.split('/') {
            if name.len() > NAME_LEN_MAX {
                return Err(Code::NameTooLong);
            }
            if name.is_empty() || name == "." || name == ".." || name.bytes().any(|b| b == 0) {
                return Err(Code::BadName);
            }
        }
        Ok(Self(path))
    }

    /// As [`new`](Self::new), and not the root: for requests that need a name.
    ///
    /// # Errors
    /// [`Code::NameTooLong`] or [`Code::BadName`].
    pub fn named(path: &'a str) -> Result<Self, Code> {
        if path.is_empty() { Err(Code::BadName) } else { Self::new(path) }
    }

    /// As [`named`](Self::named), and a single component: an entry of a directory.
    ///
    /// # Errors
    /// [`Code::NameTooLong`] or [`Code::BadName`].
    pub fn name(name: &'a str) -> Result<Self, Code> {
        let path = Self::named(name)?;
        if path.split().0.is_root() { Ok(path) } else { Err(Code::BadName) }
    }

    /// The path as text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub const fn is_root(self) -> bool {
        self.0.is_empty()
    }

    /// The components, from the root down.
    pub fn components(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The folder and the last component; the root's are both empty.
    #[must_use]
    pub fn split(self) -> (Self, &'a str) {
        match split_at_last(self.0, b'/') {
            Some((folder, name)) => (Self(folder), name.get(1..).unwrap_or("")),
            None => (Self::ROOT, self.0),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The name that keeps a file beside an earlier one: `name.ext`, `name_1.ext`, `name_2.ext` and so
/// on. `suffix` 0 is the name itself. Where the result would pass 255 bytes the stem is shortened,
/// at a character boundary. The extension begins at the last dot, unless that is the first byte.
///
/// Both ends use this rule, so an answer carries the number alone.
#[must_use]
pub fn suffixed(name: &str, suffix: u32) -> String<NAME_LEN_MAX> {
    let mut result = String::new();
    if suffix == 0 {
        let _ = result.push_str(shortened(name, NAME_LEN_MAX));
        return result;
    }
    let mut number = String::<11>::new();
    let _ = write!(number, "_{suffix}");
    let (stem, extension) = match split_at_last(name, b'.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    };
    // An extension that leaves no room for a stem is no extension.
    let (stem, extension) =
        if extension.len() + number.len() < NAME_LEN_MAX { (stem, extension) } else { (name, "") };
    let room = NAME_LEN_MAX.saturating_sub(number.len() + extension.len());
    let _ = result.push_str(shortened(stem, room));
    let _ = result.push_str(&number);
    let _ = result.push_str(extension);
    result
}

/// What comes before the last `separator` of `text`, and what begins with it.
///
/// `str::rfind` would do, but it can panic as far as a linker can tell.
fn split_at_last(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|byte| byte == separator)?;
    text.split_at_checked(at)
}

/// The longest prefix of `text` with at most `len` bytes that ends at a character boundary.
fn shortened(text: &str, len: usize) -> &str {
    let mut end = len.min(text.len());
    loop {
        match text.get(..end) {
            Some(prefix) => return prefix,
            None => end = end.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::{String as Text, ToString};

    #[test]
    fn legal_paths() {
        for path in ["", "a", "a/b", "-rf", "a b/\"c'", "..a", "...", "日本語/файл", "a\\b", ".x"]
        {
            assert_eq!(Path::new(path).map(Path::as_str), Ok(path));
        }
        let longest = "x".repeat(255);
        assert!(Path::new(&longest).is_ok());
    }

    #[test]
    fn illegal_paths() {
        for path in ["/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b"] {
            assert_eq!(Path::new(path), Err(Code::BadName), "{path:?}");
        }
        assert_eq!(Path::new(&"x".repeat(256)), Err(Code::NameTooLong));
        assert_eq!(Path::new(&"x/".repeat(240)[..479]).map(|_| ()), Ok(()));
        assert_eq!(Path::new(&"x/".repeat(241)[..481]), Err(Code::NameTooLong));
        assert_eq!(Path::named(""), Err(Code::BadName));
    }

    #[test]
    fn split_and_components() {
        let path = Path::new("a/b/c").unwrap();
        assert_eq!(path.split(), (Path::new("a/b").unwrap(), "c"));
        assert_eq!(path.components().collect::<std::vec::Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(Path::ROOT.components().count(), 0);
        assert_eq!(Path::new("c").unwrap().split(), (Path::ROOT, "c"));
    }

    #[test]
    fn suffixes() {
        let of = |name: &str, n| -> Text { suffixed(name, n).to_string() };
        assert_eq!(of("a.txt", 0), "a.txt");
        assert_eq!(of("a.txt", 1), "a_1.txt");
        assert_eq!(of("a", 12), "a_12");
        assert_eq!(of(".profile", 1), ".profile_1");
        assert_eq!(of("a.tar.gz", 3), "a.tar_3.gz");
        assert_eq!(of("a.", 1), "a_1.");
    }

    #[test]
    fn suffix_shortens_the_stem_at_a_character_boundary() {
        let name = "é".repeat(125) + ".txt"; // 254 bytes
        let kept = suffixed(&name, 10);
        assert!(kept.ends_with("_10.txt") && kept.len() <= 255);
        assert_eq!(kept.len(), 124 * 2 + 7);
        let all_extension = ".".to_string() + &"x".repeat(254);
        assert_eq!(suffixed(&all_extension, 1).len(), 255);
        let long_extension = "a.".to_string() + &"x".repeat(253);
        assert!(suffixed(&long_extension, u32::MAX).ends_with("_4294967295"));
    }
}
