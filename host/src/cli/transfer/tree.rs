//! What is in a local directory, and what of it is to be sent.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::account::Account;
use super::filter::Filter;

/// A file or directory below the top of a tree.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) local: PathBuf,
    /// Its path from the top on, in UTF-8; empty for the top.
    pub(super) below: String,
    /// None for a directory.
    pub(super) file: Option<Metadata>,
}

/// All that is in `top` and to be moved, directories before what is in them, in the order of names.
/// What cannot be is told at once. No link is followed.
pub(super) fn branches(top: &Path, filter: &Filter, account: &mut Account<'_>) -> Vec<Branch> {
    let mut branches = Vec::new();
    let mut walk = WalkDir::new(top).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(top).display().to_string();
                account.fail(&format!("{path}: {error}"));
                continue;
            }
        };
        let (local, kind) = (entry.path(), entry.file_type());
        let Some(below) = local.strip_prefix(top).ok().and_then(Path::to_str) else {
            account.fail(&format!("{}: {NOT_UTF8}", local.display()));
            if kind.is_dir() {
                walk.skip_current_dir();
            }
            continue;
        };
        if !below.is_empty() && filter.leaves_out(below, kind.is_dir()) {
            account.add_left_out(below);
            if kind.is_dir() {
                walk.skip_current_dir();
            }
            continue;
        }
        let file = match entry.metadata() {
            Ok(_) if kind.is_dir() => None,
            Ok(meta) if kind.is_file() => Some(meta),
            Ok(_) => {
                let local = local.display();
                account.fail(&format!("{local}: skipped: neither a regular file nor a directory"));
                continue;
            }
            Err(error) => {
                account.fail(&format!("{}: {error}", local.display()));
                continue;
            }
        };
        branches.push(Branch { local: local.to_path_buf(), below: below.to_owned(), file });
    }
    branches
}

/// Why something local is not sent.
pub(super) const NOT_UTF8: &str = "the name is not UTF-8, as names on the wire must be";
