//! How a user names a server and what is on it: `kift://[user@]host[:port][/path]`.

use std::fmt;
use std::str::FromStr;

use kift_core::wire::Path;

use crate::net::DEFAULT_PORT;

/// A server, and a path on it. The path is taken as it is: nothing in it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The user to log in as, where one was named.
    pub user: Option<String>,
    /// A name or an address, IPv6 without its brackets.
    pub host: String,
    /// The TCP port, where one was written: [`port`](Self::port) is the one that is meant.
    pub port: Option<u16>,
    /// Without leading and trailing slashes; empty for the root.
    pub path: String,
    /// Whether the path was written with a slash at its end, or left out: a directory is meant.
    pub is_directory: bool,
}

/// Why a text is no [`Remote`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: {}\na remote is written host[:port][/path], [ipv6][:port][/path] or \
             kift://[user@]host[:port][/path]",
            self.text, self.reason
        )
    }
}

impl std::error::Error for RemoteError {}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        let error = |reason| RemoteError { text: text.to_owned(), reason };
        let rest = match text.split_once("://") {
            Some(("kift", rest)) => rest,
            Some((scheme, _)) if !scheme.contains('/') => {
                return Err(error("the scheme is not kift"));
            }
            _ => text,
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path),
            None => (rest, ""),
        };
        let (user, address) = match authority.rsplit_once('@') {
            Some(("", _)) => return Err(error("the user before @ is empty")),
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, authority),
        };
        let (host, port) = split_address(address).map_err(error)?;
        let is_directory = path.is_empty() || path.ends_with('/');
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Err(code) = Path::new(path) {
            return Err(error(match code {
                kift_core::wire::Code::NameTooLong => {
                    "a name in the path is longer than 255 bytes, or the path than 480"
                }
                _ => "the path has an empty name, `.` or `..`",
            }));
        }
        Ok(Self { user, host: host.to_owned(), port, path: path.to_owned(), is_directory })
    }
}

fn split_address(address: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) =
            rest.split_once(']').ok_or("the bracket of the address is not closed")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("behind the bracket only :port may follow"),
        }
    } else if address.matches(':').count() > 1 {
        return Err("an IPv6 address needs brackets around it");
    } else {
        match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        }
    };
    if host.is_empty() {
        return Err("the host is empty");
    }
    let port = match port {
        // As in `name:/path`.
        None | Some("") => None,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("the port is not a number from 1 to 65535"),
            Ok(port) => Some(port),
        },
    };
    Ok((host, port))
}

impl Remote {
    /// Whether both are on the same server, as the same user.
    #[must_use]
    pub fn same_server(&self, other: &Self) -> bool {
        (&self.user, &self.host, self.port) == (&other.user, &other.host, other.port)
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    /// The server as `host:port`, brackets where they belong.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port())
        } else {
            format!("{}:{}", self.host, self.port())
        }
    }

    /// The path of `name` in the directory that this names.
    #[must_use]
    pub fn join(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(_) => write!(f, "{}/{}", self.address(), self.path),
            None if self.host.contains(':') => write!(f, "[{}]/{}", self.host, self.path),
            None => write!(f, "{}/{}", self.host, self.path),
        }
    }
}

/// The path of `name` in `directory`, where either may be empty.
#[must_use]
pub fn join(directory: &str, name: &str) -> String {
    match (directory, name) {
        ("", path) | (path, "") => path.to_owned(),
        (directory, name) => format!("{directory}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, String, u16, String, bool) {
        let r: Remote = text.parse().unwrap();
        let port = r.port();
        (r.user, r.host, port, r.path, r.is_directory)
    }

    fn of(
        user: Option<&str>,
        host: &str,
        port: u16,
        path: &str,
        directory: bool,
    ) -> (Option<String>, String, u16, String, bool) {
        (user.map(Into::into), host.into(), port, path.into(), directory)
    }

    #[test]
    fn every_form() {
        assert_eq!(parts("lab"), of(None, "lab", 5438, "", true));
        assert_eq!(parts("lab/"), of(None, "lab", 5438, "", true));
        assert_eq!(parts("lab:/in/"), of(None, "lab", 5438, "in", true));
        assert_eq!(parts("lab:99/a/b.bin"), of(None, "lab", 99, "a/b.bin", false));
        assert_eq!(parts("kift://me@lab/in/"), of(Some("me"), "lab", 5438, "in", true));
        assert_eq!(parts("[::1]"), of(None, "::1", 5438, "", true));
        assert_eq!(parts("[fe80::1]:7/x"), of(None, "fe80::1", 7, "x", false));
        assert_eq!(parts("127.0.0.1:5438/a b/%20"), of(None, "127.0.0.1", 5438, "a b/%20", false));
        assert_eq!(parts("h/a@b:c"), of(None, "h", 5438, "a@b:c", false));
        assert_eq!(parts("h/a://b/c".replace("//b", "b").as_str()).3, "a:b/c");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, part) in [
            ("", "host is empty"),
            (":1/a", "host is empty"),
            ("http://x/", "scheme"),
            ("h:0", "port"),
            ("h:65536", "port"),
            ("h:x", "port"),
            ("::1", "brackets"),
            ("[::1", "not closed"),
            ("[::1]x", "only :port"),
            ("@h", "user"),
            ("h/../x", "`..`"),
            ("h//x", "empty name"),
        ] {
            let message = text.parse::<Remote>().unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
