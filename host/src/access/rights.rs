//! What somebody may do to files.

use std::fmt;

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// To fetch files, and to ask about one.
    pub const READ: Self = Self(1);
    /// To send files that are new, and to make directories.
    pub const WRITE: Self = Self(2);
    /// To list directories.
    pub const LIST: Self = Self(4);
    /// To remove and rename, and to send a file in place of another.
    pub const DELETE: Self = Self(8);
    /// To manage the server.
    pub const ADMIN: Self = Self(16);
    /// `ro`.
    pub const READ_ONLY: Self = Self::READ.and(Self::LIST);
    /// `rw`.
    pub const READ_WRITE: Self = Self::READ_ONLY.and(Self::WRITE).and(Self::DELETE);
    /// Every right.
    pub const ALL: Self = Self::READ_WRITE.and(Self::ADMIN);

    /// The words of the options; those that stand for several rights first.
    const WORDS: [(&'static str, Self); 7] = [
        ("rw", Self::READ_WRITE),
        ("ro", Self::READ_ONLY),
        ("read", Self::READ),
        ("write", Self::WRITE),
        ("list", Self::LIST),
        ("delete", Self::DELETE),
        ("admin", Self::ADMIN),
    ];

    /// The rights that a word of the options stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, rights)| *rights)
    }

    /// These rights and `other` ones.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of these rights that are also among `other`.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The fewest words of the options, with commas between them.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = *self;
        for (word, rights) in Self::WORDS {
            if left.contains(rights) {
                let comma = if left == *self { "" } else { "," };
                write!(f, "{comma}{word}")?;
                left = Self(left.0 & !rights.0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_has_a_text_that_stands_for_it() {
        for bits in 1..=Rights::ALL.0 {
            let text = Rights(bits).to_string();
            let words = text.split(',').map(|word| Rights::from_word(word).unwrap());
            assert_eq!(words.fold(Rights::NONE, Rights::and), Rights(bits), "{text}");
        }
        assert_eq!(Rights::READ_WRITE.and(Rights::ADMIN).to_string(), "rw,admin");
        assert_eq!(Rights::READ_ONLY.and(Rights::WRITE).to_string(), "ro,write");
        assert_eq!(Rights::READ.to_string(), "read");
        assert_eq!(Rights::NONE.to_string(), "");
        assert_eq!(Rights::from_word("root"), None);
    }

    #[test]
    fn sets_are_compared_whole() {
        assert!(Rights::READ_WRITE.contains(Rights::READ_ONLY));
        assert!(!Rights::READ_ONLY.contains(Rights::READ_WRITE));
        assert!(!Rights::READ_WRITE.contains(Rights::ADMIN));
        assert_eq!(Rights::READ_WRITE.within(Rights::READ.and(Rights::ADMIN)), Rights::READ);
    }
}
