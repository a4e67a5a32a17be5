//! A server that knows its users, and clients that have keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kift_core::secure::SecretKey;
use tempfile::TempDir;

use crate::files::place;
use crate::machine::{Ended, kift};
use crate::serving::{Serve, Server};

/// A sealed server with its state, and the states of clients, each under a name of its own.
#[derive(Debug)]
pub struct Estate {
    // Ended before its directories go.
    server: Server,
    place: TempDir,
}

impl Default for Estate {
    fn default() -> Self {
        Self::with(&[])
    }
}

impl Estate {
    /// A server whose first user has this machine's own key: that of the client `""`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with further arguments of `kift serve`.
    ///
    /// # Panics
    /// Where the server does not start.
    #[must_use]
    pub fn with(args: &[&str]) -> Self {
        let place = place();
        let state = place.path().join("server");
        let server = Server::start(Serve { state: Some(&state), args, ..Serve::default() });
        Self { server, place }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The server, to do something to it.
    pub fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Where the server keeps what it remembers.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.place.path().join("server")
    }

    /// Where the client `who` keeps what it remembers; the server itself where it has no name.
    #[must_use]
    pub fn state_of(&self, who: &str) -> PathBuf {
        if who.is_empty() { self.state() } else { self.place.path().join("clients").join(who) }
    }

    /// How the server's key is shown.
    ///
    /// # Panics
    /// Where the server does not show it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let greeting = self.server.greeting();
        let (_, behind) = greeting.split_once("its key is ").expect("a key");
        behind.split_whitespace().next().expect("a key").to_owned()
    }

    /// Runs `kift` with what the client `who` remembers.
    pub fn kift(&self, who: &str, args: &[&str]) -> Ended {
        let state = self.state_of(who);
        kift(args.iter().copied().chain(["--state", state.to_str().expect("UTF-8")]))
    }

    /// Runs `kift` with what the server remembers, and expects success.
    #[track_caller]
    pub fn admin(&self, args: &[&str]) -> String {
        self.kift("", args).ok()
    }

    /// Makes a user, with `password`, or without one where it is empty.
    #[track_caller]
    pub fn user(&self, name: &str, options: &str, password: &str) {
        if password.is_empty() {
            self.admin(&["user", "add", name, options, "--no-password"]);
        } else {
            let file = self.secret("password", password);
            let file = file.to_str().expect("UTF-8");
            self.admin(&["user", "add", name, options, "--password-file", file]);
        }
    }

    /// Makes `key` one of `user`'s.
    #[track_caller]
    pub fn admit(&self, key: &SecretKey, user: &str, options: &str) {
        let key = key.public().to_string();
        let operands = ["authorize", user, &key, options];
        // Options that are none are left out.
        self.admin(if options.is_empty() { &operands[..3] } else { &operands });
    }

    /// Gives `who` a key, which the server knows as `user`'s, with these of the user's rights, and
    /// lets it know the server.
    #[track_caller]
    pub fn authorize(&self, who: &str, user: &str, rights: &str) {
        let key = self.key_of(who);
        let operands = ["authorize", user, &key, rights];
        // Rights that are not named are all of them.
        self.admin(if rights.is_empty() { &operands[..3] } else { &operands });
        self.introduce(who);
    }

    /// The public key of the client `who`, which has one from now on.
    #[track_caller]
    fn key_of(&self, who: &str) -> String {
        let (_, made) = (self.kift(who, &["key", "gen"]), self.kift(who, &["key", "show"]).ok());
        made.trim().strip_prefix("x25519 ").expect("a key").to_owned()
    }

    /// Lets the client `who` know the server, and nobody else.
    ///
    /// # Panics
    /// Where its state cannot be written.
    pub fn introduce(&self, who: &str) {
        // The state is made, and by kift, which is particular about its permissions.
        self.key_of(who);
        let key = self.key_of("");
        let line = format!("127.0.0.1:{} x25519 {key}\n", self.server.port());
        fs::write(self.state_of(who).join("known_hosts"), line).expect("a file");
    }

    /// A file with a secret in it.
    ///
    /// # Panics
    /// Where it cannot be written.
    #[must_use]
    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        let file = self.place.path().join(name);
        fs::write(&file, format!("{text}\n")).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permissions");
        file
    }

    /// A directory for whatever a test needs.
    #[must_use]
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// How a client names a path on the server.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        self.server.at(path)
    }

    /// The same as a user who logs in.
    #[must_use]
    pub fn at_as(&self, user: &str, path: &str) -> String {
        format!("kift://{user}@{}", self.server.at(path))
    }
}
