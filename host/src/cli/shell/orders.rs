//! The commands of the shell, as they are typed.

use std::path::PathBuf;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::cli::args::{OnConflict, Selection};
use crate::cli::transfer::Choices;
use crate::client::LINKS_MAX;

/// A command with its operands.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_help_flag = true,
    infer_subcommands = false,
    help_template = "{subcommands}\n\nhelp COMMAND says more. Paths there are relative to pwd, paths here to lpwd; \
                     quote names with spaces; * and ? stand for names. What ends in & goes on in the background.",
    max_term_width = 100
)]
struct Words {
    #[command(subcommand)]
    order: Order,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
#[command(subcommand_help_heading = "Commands")]
pub(super) enum Order {
    /// List a directory there
    #[command(visible_aliases = ["ls", "dir"])]
    List {
        /// What to list; the directory that the shell is in unless given
        paths: Vec<String>,
    },
    /// Send files from here
    #[command(visible_alias = "put")]
    Upload {
        /// What to send into the directory that the shell is in
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Fetch files from there
    #[command(visible_alias = "get")]
    Download {
        /// What to fetch into the directory here
        #[arg(required = true)]
        paths: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Show files as they are
    Cat {
        /// Which
        #[arg(required = true)]
        paths: Vec<String>,
    },
    /// Remove files and empty directories there
    #[command(visible_aliases = ["rm", "del"])]
    Delete {
        /// Which
        #[arg(required = true)]
        paths: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Give a file or directory there another name
    #[command(visible_alias = "mv")]
    Rename {
        /// Its name
        from: String,
        /// Its new one
        to: String,
        /// Let a file that has the new name give way
        #[arg(long)]
        replace: bool,
    },
    /// Make directories there
    Mkdir {
        /// Which
        #[arg(required = true)]
        paths: Vec<String>,
    },
    /// Show size, time and, if asked, BLAKE3 of files there
    Stat {
        /// Of what
        #[arg(required = true)]
        paths: Vec<String>,
        /// Have the server read whole files for their BLAKE3
        #[arg(long)]
        blake3: bool,
    },
    /// Show how much room there is
    Df,
    /// Go to another directory there
    Cd {
        /// Which; the root unless given
        path: Option<String>,
    },
    /// Show which directory there the shell is in
    Pwd,
    /// Go to another directory here
    Lcd {
        /// Which; your home unless given
        path: Option<PathBuf>,
    },
    /// Show which directory here the shell is in
    Lpwd,
    /// List a directory here
    Lls {
        /// Which; the one that the shell is in unless given
        path: Option<PathBuf>,
    },
    /// Show what goes on in the background
    Jobs,
    /// Stop what goes on in the background
    Cancel {
        /// Its number
        #[arg(value_name = "JOB")]
        number: u32,
    },
    /// Wait for what goes on in the background
    Wait {
        /// Its number; all unless given
        #[arg(value_name = "JOB")]
        number: Option<u32>,
    },
    /// End the session
    #[command(visible_aliases = ["exit", "quit", "bye"])]
    Logout,
}

/// How files are moved.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Directories too, with all that is in them
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// The name that a single file gets
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Send or fetch large files over this many links at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(LINKS_MAX)))]
    pub(super) links: Option<u8>,
    /// What to do where a name is taken
    #[arg(long, value_enum, default_value = "refuse")]
    pub(super) on_conflict: OnConflict,
    #[command(flatten)]
    pub(super) selection: Selection,
}

impl How {
    /// As the engine that moves them wants to be told.
    ///
    /// # Errors
    /// A pattern is none.
    pub(super) fn choices(&self) -> Result<Choices> {
        Ok(Choices {
            recursive: self.recursive,
            conflict: self.on_conflict.into(),
            filter: self.selection.filter()?,
            skip: self.selection.skip(),
            dry_run: self.selection.dry_run,
        })
    }
}

/// Where the operands of a command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Operands {
    Here,
    There,
}

/// Where the operands of the command `name` are, by any of its names.
pub(super) fn operands(name: &str) -> Operands {
    match name.to_ascii_lowercase().as_str() {
        "upload" | "put" | "lcd" | "lls" => Operands::Here,
        _ => Operands::There,
    }
}

/// The names of all commands, their other names too.
pub(super) fn names() -> Vec<String> {
    let mut names = vec!["help".to_owned()];
    for command in Words::command().get_subcommands() {
        names.push(command.get_name().to_owned());
        names.extend(command.get_visible_aliases().map(ToOwned::to_owned));
    }
    names.sort();
    names
}

impl Order {
    /// The command that `words` are, in any letter case.
    ///
    /// # Errors
    /// What is wrong with it, or the help that was asked for.
    pub(super) fn parse(mut words: Vec<String>) -> Result<Self, clap::Error> {
        let is_help = words.first().is_some_and(|first| first.eq_ignore_ascii_case("help"));
        // Of `help` the operand is a command too.
        for word in words.iter_mut().take(if is_help { 2 } else { 1 }) {
            word.make_ascii_lowercase();
        }
        if words.first().is_some_and(|first| first == "?") {
            words = vec!["help".to_owned()];
        }
        Words::try_parse_from(words).map(|words| words.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Order, clap::Error> {
        Order::parse(line.split(' ').map(ToOwned::to_owned).collect())
    }

    #[test]
    fn any_letter_case_and_every_other_name() {
        Words::command().debug_assert();
        for line in ["LIST", "Ls a", "dir", "UpLoad A", "PUT -r a", "DownLoad a", "get a", "rm a"] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in ["BYE", "exit", "quit", "Logout"] {
            assert!(matches!(parse(line), Ok(Order::Logout)), "{line}");
        }
        let Ok(Order::Upload { files, .. }) = parse("PUT Name.TXT") else { panic!("an upload") };
        assert_eq!(files, [PathBuf::from("Name.TXT")], "operands keep their case");
    }

    #[test]
    fn what_is_no_command_is_told() {
        for (line, words) in [("frob", "unrecognized"), ("upload", "required"), ("cd a b", "b")] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
        for line in ["help", "HELP Upload", "?"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn every_command_is_completed() {
        let names = names();
        for name in ["help", "list", "ls", "upload", "logout", "lcd"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
