//! Files of entries, a line each, which people edit as well.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::state::entries;

/// Every entry of `text`, by `parse`. An error names the line of the `file`.
pub(super) fn parse<T>(
    text: &str,
    file: &Path,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<Vec<T>> {
    entries(text)
        .map(|(number, line)| {
            parse(line).with_context(|| format!("{}, line {number}", file.display()))
        })
        .collect()
}

/// `text` with `change` made to its entries, which may drop some; comments stay.
pub(super) fn change(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let mut changed = String::with_capacity(text.len());
    for line in text.lines() {
        let kept = match entries(line).next() {
            Some((_, entry)) => change(entry),
            None => Some(line.to_owned()),
        };
        if let Some(line) = kept {
            changed.push_str(&line);
            changed.push('\n');
        }
    }
    changed
}

/// A user's name, as a login has room for it.
///
/// # Errors
/// The message says what a name is. It does not say what was there instead: in a line that somebody
/// broke that may be a password's hash.
pub(super) fn name(text: &str) -> Result<&str> {
    let is_name = matches!(text.len(), 1..=32)
        && text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
        && !text.starts_with(['.', '-']);
    if !is_name {
        bail!("a user's name is up to 32 of a-z, 0-9, _, . and -, the first not . or -");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stay_and_entries_change() {
        let text = "# one\n\n a b \nc d\n  # two\n\te";
        let upper = change(text, |entry| (entry != "c d").then(|| entry.to_uppercase()));
        assert_eq!(upper, "# one\n\nA B\n  # two\nE\n");
        assert_eq!(change("", |_| None), "");
    }

    #[test]
    fn an_error_names_file_and_line() {
        let parse = |text| {
            parse(text, Path::new("/a/users"), |line| {
                line.parse::<u32>().with_context(|| format!("{line:?} is no number"))
            })
        };
        assert_eq!(parse("1\n# x\n2").unwrap(), [1, 2]);
        let error = format!("{:#}", parse("1\n\n# x\nx").unwrap_err());
        assert!(error.starts_with("/a/users, line 4: \"x\" is no number"), "{error}");
    }

    #[test]
    fn names() {
        for good in ["a", "anna", "_x", "0", "a.b-c_d", &"x".repeat(32)] {
            assert_eq!(name(good).unwrap(), good);
        }
        let long = "x".repeat(33);
        for bad in ["", ".a", "-a", "A", "a b", "a@b", "a/b", "a:b", "ä", "a\0", "#a", &long] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
