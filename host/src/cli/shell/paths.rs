//! Paths as they are typed in the shell, which has a directory that it is in, here and there.

use globset::{GlobBuilder, GlobMatcher};

/// The path that `text` means in `directory`, from the root on. `..` is dealt with here: it is never
/// sent, and nothing is above the root.
pub(in crate::cli) fn resolve(directory: &str, text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    if !text.starts_with('/') {
        parts.extend(directory.split('/').filter(|part| !part.is_empty()));
    }
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The names in a directory, and which are directories.
pub(super) type Names = Vec<(String, bool)>;

/// What fits `pattern`, as it would be typed, in the order of names; `list` gives what is in a
/// directory, named likewise. Names that begin with a dot fit only what begins with one.
pub(super) fn expand<E>(
    pattern: &str,
    mut list: impl FnMut(&str) -> Result<Names, E>,
) -> Result<Vec<String>, E> {
    let (mut found, rest) = match pattern.strip_prefix('/') {
        Some(rest) => (vec!["/".to_owned()], rest),
        None => (vec![String::new()], pattern),
    };
    let mut parts = rest.split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let plain = plain(part);
        let matcher = if plain.is_none() { matcher(part) } else { None };
        let mut next = Vec::new();
        for directory in found {
            if let Some(name) = &plain {
                next.push(below(&directory, name));
                continue;
            }
            let Some(matcher) = &matcher else { continue };
            let shown = if directory.is_empty() { "." } else { directory.as_str() };
            let mut names = list(shown)?;
            names.sort();
            let fits = names.into_iter().filter(|(name, is_directory)| {
                (is_last || *is_directory)
                    && (part.starts_with('.') || !name.starts_with('.'))
                    && matcher.is_match(name)
            });
            next.extend(fits.map(|(name, _)| below(&directory, &name)));
        }
        found = next;
    }
    Ok(found)
}

fn below(directory: &str, name: &str) -> String {
    match directory {
        // A name that begins with a dash is to be no option.
        "" if name.starts_with('-') => format!("./{name}"),
        "" => name.to_owned(),
        "/" => format!("/{name}"),
        directory => format!("{directory}/{name}"),
    }
}

/// A part of a pattern that is a name, with its backslashes taken off.
fn plain(part: &str) -> Option<String> {
    let mut name = String::new();
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return None,
            '\\' => name.extend(chars.next()),
            c => name.push(c),
        }
    }
    Some(name)
}

fn matcher(part: &str) -> Option<GlobMatcher> {
    let glob = GlobBuilder::new(part).literal_separator(true).backslash_escape(true).build();
    glob.ok().map(|glob| glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_resolved_here() {
        for (directory, text, path) in [
            ("", "", ""),
            ("", "a", "a"),
            ("a/b", "c", "a/b/c"),
            ("a/b", "/c", "c"),
            ("a/b", "..", "a"),
            ("a/b", "../..", ""),
            ("a/b", "../../../../c/./d/", "c/d"),
            ("a", "b//c", "a/b/c"),
            ("a", "...", "a/..."),
        ] {
            assert_eq!(resolve(directory, text), path, "{directory} {text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_resolved_is_a_legal_path(directory in "[a-c./]{0,12}", text in "[a-c./]{0,12}") {
            let path = resolve(&resolve("", &directory), &text);
            prop_assert!(kift_core::wire::Path::new(&path).is_ok(), "{path:?}");
        }
    }

    fn found(pattern: &str) -> Vec<String> {
        let list = |directory: &str| -> Result<Names, ()> {
            let names: &[(&str, bool)] = match directory {
                "." | "/" => &[
                    ("b.log", false),
                    ("a.log", false),
                    ("sub", true),
                    (".h", false),
                    ("-x", false),
                ],
                "sub" | "/sub" => &[("c.log", false), ("a[1]", false), ("deep", true)],
                _ => &[],
            };
            Ok(names.iter().map(|&(name, is)| (name.to_owned(), is)).collect())
        };
        expand(pattern, list).unwrap()
    }

    #[test]
    fn patterns_are_expanded_part_by_part() {
        assert_eq!(found("*.log"), ["a.log", "b.log"]);
        assert_eq!(found("*"), ["./-x", "a.log", "b.log", "sub"]);
        assert_eq!(found(".*"), [".h"]);
        assert_eq!(found("s*/*.log"), ["sub/c.log"]);
        assert_eq!(found("/s*/d*"), ["/sub/deep"]);
        assert_eq!(found("a*/x*"), [""; 0], "a.log is no directory");
        assert_eq!(found("sub/a\\[?\\]"), ["sub/a[1]"]);
        assert_eq!(found("[ab].log"), ["a.log", "b.log"]);
        assert!(found("*.zip").is_empty());
    }
}
