//! A client that remembers, and a server: one file goes from here to there, or back.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::files::{assert_same, names, place};
use crate::machine::{Running, command};
use crate::serving::{Serve, Server};

/// Which way the file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Put,
    /// From it.
    Get,
}

impl Way {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Put, Self::Get];
}

/// A directory of the client's, and the server. The file is called `file` at both.
#[derive(Debug)]
pub struct Stage {
    /// The server.
    pub server: Server,
    /// Where the client is at work, and what it remembers.
    pub here: TempDir,
    window: &'static str,
}

impl Stage {
    /// With so many chunks on their way at most: few, so that something can happen meanwhile.
    #[must_use]
    pub fn new(window: &'static str) -> Self {
        Self::with(window, Serve::default())
    }

    /// The same with a server that is started in some way.
    #[must_use]
    pub fn with(window: &'static str, serve: Serve<'_>) -> Self {
        let args = [serve.args, &["--window", window]].concat();
        Self { server: Server::start(Serve { args: &args, ..serve }), here: place(), window }
    }

    /// What `name` is called here.
    #[must_use]
    pub fn local(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    /// A command line of the client.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.env("KIFT_STATE", self.local("state")).current_dir(self.here.path());
        command
    }

    /// The command that has the file go, with further arguments.
    #[must_use]
    pub fn transfer(&self, way: Way, more: &[&str]) -> Command {
        self.transfer_by(way, &self.server.at("file"), more)
    }

    /// The same where the server's file is reached at `at`.
    #[must_use]
    pub fn transfer_by(&self, way: Way, at: &str, more: &[&str]) -> Command {
        let line: &[&str] = match way {
            Way::Put => &["put", "--plain", "-v", "--json", "file", at],
            Way::Get => &["get", "--plain", "-v", "--json", "--window", self.window, at],
        };
        self.command(&[line, more].concat())
    }

    /// The file that goes.
    #[must_use]
    pub fn source(&self, way: Way) -> PathBuf {
        if way == Way::Put { self.local("file") } else { self.server.file("file") }
    }

    /// What becomes of it.
    #[must_use]
    pub fn target(&self, way: Way) -> PathBuf {
        if way == Way::Put { self.server.file("file") } else { self.local("file") }
    }

    /// Bytes that came of what is not whole.
    #[must_use]
    pub fn came(&self, way: Way) -> u64 {
        if way == Way::Put {
            return self.server.partial_len();
        }
        let parts = names(self.here.path()).into_iter();
        let parts = parts.filter(|name| name.starts_with(".kift-") && name.ends_with(".part"));
        parts.map(|name| self.local(&name).metadata().map_or(0, |meta| meta.len())).sum()
    }

    /// Bytes of an upload that the server says it keeps.
    #[must_use]
    pub fn kept(&self) -> u64 {
        let line = ["partials", "--plain", "--json", &self.server.at("")];
        let shown = Running::start(self.command(&line)).end().objects();
        shown.iter().filter_map(|partial| partial["durable"].as_u64()).sum()
    }

    /// The file is at both, and nothing else is left.
    ///
    /// # Panics
    /// Where it is not so.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_same(&self.local("file"), &self.server.file("file"));
        assert_eq!(self.server.names(), ["file"]);
        assert!(self.server.partials().is_empty());
        let hidden = names(self.here.path()).into_iter().filter(|name| name.starts_with('.'));
        assert_eq!(hidden.collect::<Vec<_>>(), [""; 0]);
    }
}
