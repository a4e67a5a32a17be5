//! Which of the files in a directory are moved: `--include` and `--exclude`.
//!
//! The order of the options does not matter: what is excluded stays out, and where something is
//! included, so does every file that is not. Directories are left out only by being excluded, since
//! what is included may be in any of them.

use anyhow::{Result, anyhow};
use globset::{GlobBuilder, GlobMatcher};

/// One pattern of the user's.
///
/// One without a slash is of a name in any directory, one with a slash of a path from the top of what
/// is moved. With a slash at its end it is of directories alone. `*` and `?` stop at slashes, `**`
/// does not.
#[derive(Debug, Clone)]
struct Pattern {
    matcher: GlobMatcher,
    is_of_paths: bool,
    is_of_directories: bool,
}

/// The patterns of a command. Without any, everything is moved.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Filter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Pattern {
    fn new(text: &str) -> Result<Self> {
        let (glob, is_of_directories) = match text.strip_suffix('/') {
            Some(glob) => (glob, true),
            None => (text, false),
        };
        let is_of_paths = glob.contains('/');
        let glob = glob.strip_prefix('/').unwrap_or(glob);
        let matcher = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|error| anyhow!("{text:?} is no pattern: {}", error.kind()))?
            .compile_matcher();
        Ok(Self { matcher, is_of_paths, is_of_directories })
    }

    fn fits(&self, path: &str, is_directory: bool) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        let text = if self.is_of_paths { path } else { name };
        (is_directory || !self.is_of_directories) && self.matcher.is_match(text)
    }
}

impl Filter {
    /// The patterns as they were written.
    ///
    /// # Errors
    /// One of them is none.
    pub(in crate::cli) fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let parse = |texts: &[String]| -> Result<Vec<Pattern>> {
            texts.iter().map(|text| Pattern::new(text)).collect()
        };
        Ok(Self { include: parse(include)?, exclude: parse(exclude)? })
    }

    /// Whether what is at `path`, from the top of what is moved on, stays where it is.
    pub(super) fn leaves_out(&self, path: &str, is_directory: bool) -> bool {
        let fits = |pattern: &Pattern| pattern.fits(path, is_directory);
        let is_included = self.include.is_empty() || self.include.iter().any(fits);
        self.exclude.iter().any(fits) || !(is_directory || is_included)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let texts = |texts: &[&str]| -> Vec<String> { texts.iter().map(|&t| t.into()).collect() };
        Filter::new(&texts(include), &texts(exclude)).unwrap()
    }

    #[test]
    fn without_patterns_all_is_moved() {
        assert!(!Filter::default().leaves_out("a/b", false));
        assert!(!Filter::default().leaves_out("a", true));
    }

    #[test]
    fn names_are_meant_everywhere_and_paths_from_the_top() {
        let names = filter(&[], &["*.o", "tmp/"]);
        assert!(names.leaves_out("x.o", false) && names.leaves_out("a/b/x.o", false));
        assert!(names.leaves_out("a/tmp", true) && !names.leaves_out("a/tmp", false));
        assert!(!names.leaves_out("x.c", false));
        let paths = filter(&[], &["a/*.log", "/top", "deep/**/x"]);
        assert!(paths.leaves_out("a/1.log", false) && !paths.leaves_out("b/a/1.log", false));
        assert!(!paths.leaves_out("a/b/1.log", false), "an asterisk stops at a slash");
        assert!(paths.leaves_out("top", false) && !paths.leaves_out("a/top", false));
        assert!(paths.leaves_out("deep/a/b/x", false));
    }

    #[test]
    fn what_is_excluded_stays_out_though_it_is_included() {
        let both = filter(&["*.bin", "*.txt"], &["old*"]);
        assert!(!both.leaves_out("a/new.bin", false) && both.leaves_out("a/old.bin", false));
        assert!(both.leaves_out("a/new.c", false), "it is not included");
        assert!(!both.leaves_out("a", true), "something in it may be");
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let error = Filter::new(&["a[".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.starts_with("\"a[\" is no pattern"), "{error}");
    }
}
