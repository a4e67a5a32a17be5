//! A file on a server, as the device is told it: it knows addresses and no host names.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::string::String;

use std::borrow::ToOwned as _;

use kift_core::wire::Path;

/// The port that kift serves on unless told otherwise.
const DEFAULT_PORT: u16 = 5438;

/// Where a file is, or is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// Empty, or ending in a slash, for a directory.
    pub(super) path: String,
}

impl Target {
    /// The path of a file that is to keep its own name where only a directory is named.
    pub(super) fn path_for(&self, name: &str) -> String {
        if self.path.is_empty() || self.path.ends_with('/') {
            self.path.clone() + name.rsplit('/').next().unwrap_or(name)
        } else {
            self.path.clone()
        }
    }

    /// The last component, which is the name of a file.
    pub(super) fn name(&self) -> Option<&str> {
        self.path.rsplit('/').next().filter(|name| !name.is_empty())
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let address = match (host.parse(), bare.parse::<IpAddr>()) {
            (Ok(address), _) => address,
            (_, Ok(ip)) => SocketAddr::new(ip, DEFAULT_PORT),
            _ => {
                return Err("an address is needed, as 192.168.69.1/file or [fd00::1]:5438/file: \
                            the device cannot look up names");
            }
        };
        if Path::new(path.strip_suffix('/').unwrap_or(path)).is_err() {
            return Err("the path behind the address is not one that kift takes");
        }
        Ok(Self { address, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths() {
        let target = |text: &str| text.parse::<Target>();
        let v4 = SocketAddr::from(([192, 168, 69, 1], 5438));
        let v6 = |port| SocketAddr::new("fd00::1".parse().unwrap(), port);
        assert_eq!(target("192.168.69.1/a/b").unwrap(), Target { address: v4, path: "a/b".into() });
        assert_eq!(target("192.168.69.1").unwrap().path, "");
        assert_eq!(target("[fd00::1]/a").unwrap().address, v6(5438));
        assert_eq!(target("[fd00::1]:99/a").unwrap().address, v6(99));
        for wrong in ["", "host/a", "192.168.69.1//a", "192.168.69.1/../a", "192.168.69.1:x/a"] {
            assert!(target(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_of_files_in_directories() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        assert_eq!(target("10.0.0.1").path_for("log/today"), "today");
        assert_eq!(target("10.0.0.1/in/").path_for("log"), "in/log");
        assert_eq!(target("10.0.0.1/in/x").path_for("log"), "in/x");
        assert_eq!(target("10.0.0.1/in/x").name(), Some("x"));
        assert_eq!(target("10.0.0.1/in/").name(), None);
    }
}
