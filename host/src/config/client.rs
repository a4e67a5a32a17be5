//! The settings file of a client: servers by names of the user's own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use kift_core::wire::is_user_name;
use serde::Deserialize;

use crate::remote::Remote;

/// Where the file is, if not at its usual place; empty for none.
pub const VARIABLE: &str = "KIFT_CONFIG";

/// A file to begin with.
pub const EXAMPLE: &str = "\
# Settings of kift's client, in config.toml in the directory kift of your configuration, or wherever
# KIFT_CONFIG says. `kift put FILE lab:in/` then means this server. What the command line or the
# environment says comes before what stands here.
#
#[server.lab]
# Its address, with the port where that is not 5438.
#address = \"192.0.2.7:5438\"
# The user to log in as; without one, this machine's key says who it is.
#user = \"anna\"
# A file whose first line is the user's password. Without one, a person is asked.
#password_file = \"/home/anna/.config/kift/lab.password\"
# The key that the server must have, or its fingerprint. Without one, it is the one that is known.
#server_key = \"SHA256:...\"
# Plain links, without any protection: for closed networks, and without all of the above but the address.
#plain = false
";

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Servers by their names.
    #[serde(default)]
    pub server: BTreeMap<String, Server>,
}

/// A server that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// Who logs in there.
    pub user: Option<String>,
    /// Where the password is.
    pub password_file: Option<PathBuf>,
    /// Which key it has.
    pub server_key: Option<String>,
    /// Links to it are plain.
    #[serde(default)]
    pub plain: bool,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    /// A name or an address, IPv6 without its brackets.
    pub host: String,
    /// The TCP port, where it is not the usual one.
    pub port: Option<u16>,
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let remote: Remote = text.parse().map_err(|error| format!("{error}"))?;
        if remote.user.is_some() || !remote.path.is_empty() {
            return Err(format!("{text:?} is more than HOST or HOST:PORT"));
        }
        Ok(Self { host: remote.host, port: remote.port })
    }
}

impl Settings {
    /// What the user's file says; nothing where there is none.
    ///
    /// # Errors
    /// It cannot be read, others may write to it, or it is wrong: the message names the line, and what
    /// may stand there.
    pub fn load() -> Result<Self> {
        let Some((path, must_exist)) = place() else { return Ok(Self::default()) };
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
                Ok(Self::default())
            }
            Err(error) => Err(error)
                .with_context(|| format!("cannot read the settings in {}", path.display())),
            Ok(text) => {
                check(&path)?;
                Self::parse(&text).with_context(|| path.display().to_string())
            }
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            anyhow!(
                "{}\n`kift config --example` shows what may stand there",
                error.to_string().trim_end()
            )
        })?;
        for (name, server) in &settings.server {
            let of = format!("[server.{name}]");
            if name.is_empty() || name.contains(['/', ':', '@', '[', ']']) {
                bail!("{of}: no server can be named like that: it could be taken for an address");
            }
            if let Some(user) = server.user.as_ref().filter(|user| !is_user_name(user)) {
                bail!("{of}: {user:?} is no user's name");
            }
            if server.password_file.is_some() && server.user.is_none() {
                bail!("{of}: a password is a user's\nsay whose: user = \"NAME\"");
            }
            let is_sealed = server.user.is_some() || server.server_key.is_some();
            if server.plain && is_sealed {
                bail!(
                    "{of}: plain links have neither users nor keys\nleave out plain, or all but the address"
                );
            }
        }
        Ok(settings)
    }
}

/// Where the file is, and whether it is an error that it is not there.
#[must_use]
pub fn place() -> Option<(PathBuf, bool)> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return (!path.is_empty()).then(|| (PathBuf::from(path), true));
    }
    // One that is not absolute counts for nothing, as the specification has it.
    let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    let directory = given.or_else(|| home().map(|home| home.join(".config")))?;
    Some((directory.join("kift/config.toml"), false))
}

/// Who may write there decides whom this user trusts.
fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    let mode =
        fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.permissions().mode();
    if mode & 0o022 != 0 {
        bail!(
            "others than its owner may write to {shown}\nrun `chmod go-w {shown}`, once you know what it says"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example, with everything in force that it shows.
    fn shown() -> String {
        let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_sets_nothing_and_shows_everything() {
        assert_eq!(Settings::parse(EXAMPLE).unwrap(), Settings::default());
        let settings = Settings::parse(&shown()).unwrap();
        let Server { address, user, password_file, server_key, plain } = &settings.server["lab"];
        assert_eq!((address.host.as_str(), address.port), ("192.0.2.7", Some(5438)));
        assert!(user.is_some() && password_file.is_some() && server_key.is_some() && !plain);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("[server.lab]\nadress = \"a\"", ["line 2", "unknown field `adress`", "--example"]),
            ("[server.lab]\nuser = \"a\"", ["missing field `address`", "line 1", "--example"]),
            ("[server.lab]\naddress = \"a:b:c\"", ["line 2", "brackets", "--example"]),
            ("[server.lab]\naddress = \"a/b\"", ["line 2", "more than HOST", "--example"]),
            ("[server.\"a:b\"]\naddress = \"a\"", ["a:b", "named", "address"]),
            ("[server.a]\naddress = \"a\"\nuser = \"/\"", ["[server.a]", "\"/\"", "user"]),
            (
                "[server.a]\naddress = \"a\"\npassword_file = \"/x\"",
                ["[server.a]", "whose", "user"],
            ),
            (
                "[server.a]\naddress = \"a\"\nuser = \"u\"\nplain = true",
                ["[server.a]", "plain", "keys"],
            ),
        ] {
            let error = format!("{:#}", Settings::parse(text).unwrap_err());
            for word in words {
                assert!(error.contains(word), "no {word:?} in {error}");
            }
        }
    }
}
