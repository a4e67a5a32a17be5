//! What stands behind a user's name or key: rights, and the bounds they end at.
//!
//! | option | means |
//! | --- | --- |
//! | `ro` | `read,list` |
//! | `rw` | `read,list,write,delete` |
//! | `read`, `write`, `list`, `delete`, `admin` | one right |
//! | `path=DIR` | the directory, beneath the root or the user's own, that is all they see |
//! | `quota=SIZE` | bytes that may be stored in it |
//! | `largest=SIZE` | bytes of the largest file that they may send |
//! | `from=ADDR[/BITS][;...]` | addresses that they may come from |
//! | `expires=YYYY-MM-DD[THH:MM:SSZ]` | when all of this ends, at midnight UTC where no time is given |
//! | `auth=key\|password\|any\|both` | of a user: what they log in with; `any` unless given |
//!
//! They are written with commas between them and no space. A SIZE is in bytes, or with K, M, G or T in
//! units of 1024 and its powers.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Error, Result, bail};
use kift_core::wire::Path;

use super::network::Network;
use super::rights::Rights;

/// Options, as they were written. What is absent bounds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// What they may do. Of a key: all that its user may, where it is absent.
    pub rights: Option<Rights>,
    /// A legal path, not the root.
    pub path: Option<String>,
    /// Bytes.
    pub quota: Option<u64>,
    /// Bytes.
    pub largest: Option<u64>,
    /// Where they may come from: anywhere, where it is empty.
    pub from: Vec<Network>,
    /// From then on none of it counts.
    pub expires: Option<SystemTime>,
    /// Of users only.
    pub auth: Option<Auth>,
}

/// What a user logs in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// A key of theirs.
    Key,
    /// Their password.
    Password,
    /// Either.
    #[default]
    Any,
    /// Their password, over a link that is made with a key of theirs.
    Both,
}

impl Auth {
    const WORDS: [(&'static str, Self); 4] = [
        ("key", Self::Key),
        ("password", Self::Password),
        ("any", Self::Any),
        ("both", Self::Both),
    ];

    /// Whether nobody gets in without a password.
    #[must_use]
    pub const fn needs_password(self) -> bool {
        matches!(self, Self::Password | Self::Both)
    }

    /// Whether a key alone is enough.
    #[must_use]
    pub const fn takes_keys(self) -> bool {
        matches!(self, Self::Key | Self::Any)
    }

    /// Whether a password is any good.
    #[must_use]
    pub const fn takes_passwords(self) -> bool {
        !matches!(self, Self::Key)
    }
}

impl Options {
    /// Whether somebody may come from `address` at the time `now`.
    #[must_use]
    pub fn admit(&self, address: IpAddr, now: SystemTime) -> bool {
        let fits = self.from.is_empty() || self.from.iter().any(|from| from.contains(address));
        fits && self.expires.is_none_or(|expires| now < expires)
    }

    /// Refuses what belongs to users only.
    pub(super) fn of_a_key(self) -> Result<Self> {
        if self.auth.is_some() {
            bail!("auth= is the user's: it goes into users, and not behind a key");
        }
        Ok(self)
    }

    fn set(&mut self, option: &str) -> Result<()> {
        let Some((name, value)) = option.split_once('=') else {
            let Some(rights) = Rights::from_word(option) else {
                bail!(
                    "there is no such option; there are ro, rw, read, write, list, delete, admin, \
                     path=, quota=, largest=, from=, expires= and auth="
                );
            };
            self.rights = Some(self.rights.unwrap_or_default().and(rights));
            return Ok(());
        };
        match name {
            "path" => once(&mut self.path, path(value)?),
            "quota" => once(&mut self.quota, size(value)?),
            "largest" => once(&mut self.largest, size(value)?),
            "expires" => once(&mut self.expires, time(value)?),
            "auth" => {
                let auth = Auth::WORDS.iter().find(|(word, _)| *word == value);
                let (_, auth) = auth.context("it is key, password, any or both")?;
                once(&mut self.auth, *auth)
            }
            "from" if self.from.is_empty() => {
                self.from = value.split(';').map(str::parse).collect::<Result<_>>()?;
                Ok(())
            }
            "from" => bail!("it is given twice: put all addresses into one, with ; between them"),
            _ => bail!("there is no such option"),
        }
    }
}

fn once<T>(option: &mut Option<T>, value: T) -> Result<()> {
    if option.replace(value).is_some() {
        bail!("it is given twice");
    }
    Ok(())
}

/// Also refuses what would end the option, or the line.
fn path(text: &str) -> Result<String> {
    let path = Path::named(text)
        .context("a directory is written as clients see it, without a slash at either end")?;
    if text.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
        bail!("neither spaces nor commas can be in it");
    }
    Ok(path.as_str().to_owned())
}

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

fn size(text: &str) -> Result<u64> {
    let unit = UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(*unit)?, *shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    // The parser takes a sign.
    let number = if digits.starts_with('+') { None } else { digits.parse::<u64>().ok() };
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .context("a size is a number, in bytes or with K, M, G or T behind it")
}

fn show_size(size: u64) -> String {
    let whole = |(_, shift): &&(char, u32)| size != 0 && size.is_multiple_of(1 << shift);
    match UNITS.iter().find(whole) {
        Some((unit, shift)) => format!("{}{unit}", size >> shift),
        None => size.to_string(),
    }
}

const MIDNIGHT: &str = "T00:00:00Z";

pub(super) fn time(text: &str) -> Result<SystemTime> {
    let whole = if text.len() == 10 { format!("{text}{MIDNIGHT}") } else { text.to_owned() };
    // The parser takes fractions of a second, and a `T` in lower case.
    let time = humantime::parse_rfc3339(&whole).ok().filter(|time| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.is_ok_and(|since| since.subsec_nanos() == 0)
    });
    time.filter(|time| show_seconds(*time) == whole)
        .context("a time is written YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ")
}

pub(super) fn show_time(time: SystemTime) -> String {
    let text = show_seconds(time);
    text.strip_suffix(MIDNIGHT).map_or(text.clone(), str::to_owned)
}

fn show_seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// `time` without its fraction of a second, which has no text.
pub(super) fn to_the_second(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

impl FromStr for Options {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut options = Self::default();
        for option in text.split(',') {
            options.set(option).with_context(|| format!("option {option:?}"))?;
        }
        Ok(options)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        if let Some(rights) = self.rights {
            write!(text, ",{rights}")?;
        }
        if let Some(path) = &self.path {
            write!(text, ",path={path}")?;
        }
        if let Some(quota) = self.quota {
            write!(text, ",quota={}", show_size(quota))?;
        }
        if let Some(largest) = self.largest {
            write!(text, ",largest={}", show_size(largest))?;
        }
        let mut before = ",from=";
        for from in &self.from {
            write!(text, "{before}{from}")?;
            before = ";";
        }
        if let Some(expires) = self.expires {
            write!(text, ",expires={}", show_time(expires))?;
        }
        if let Some((word, _)) = Auth::WORDS.iter().find(|(_, auth)| Some(*auth) == self.auth) {
            write!(text, ",auth={word}")?;
        }
        f.write_str(text.strip_prefix(',').unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error:#}"))
    }

    #[test]
    fn every_option_has_a_text_and_back() {
        for text in [
            "ro",
            "rw",
            "rw,admin",
            "read",
            "ro,delete",
            "path=a/b",
            "rw,path=anna,quota=10G,largest=1025K,from=10.0.0.0/8;2001:db8::1,expires=2030-01-02,auth=both",
            "quota=0",
            "largest=1025",
            "expires=2030-01-02T03:04:05Z",
            "auth=key",
            "auth=password",
            "auth=any",
        ] {
            assert_eq!(options(text).to_string(), text);
        }
        assert_eq!(Options::default().to_string(), "");
        for (text, shown) in [
            ("list,read", "ro"),
            ("path=x,ro", "ro,path=x"),
            ("ro,write,delete", "rw"),
            ("quota=1024", "quota=1K"),
            ("expires=2030-01-02T00:00:00Z", "expires=2030-01-02"),
            ("from=10.1.1.1/8", "from=10.0.0.0/8"),
        ] {
            assert_eq!(options(text).to_string(), shown);
            assert_eq!(options(shown), options(text));
        }
    }

    #[test]
    fn values() {
        let all = options("rw,path=a/b,quota=3T,largest=7,expires=1970-01-02");
        assert_eq!(all.rights, Some(Rights::READ_WRITE));
        assert_eq!(all.path.as_deref(), Some("a/b"));
        assert_eq!((all.quota, all.largest), (Some(3 << 40), Some(7)));
        assert_eq!(all.expires, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400)));
        assert_eq!(options("largest=2K").largest, Some(2048));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("", "there is no such option"),
            ("ro,", "there is no such option"),
            ("ro rw", "ro rw"),
            ("RO", "RO"),
            ("root=1", "root=1"),
            ("path=a,path=b", "twice"),
            ("quota=1,quota=1", "twice"),
            ("from=::1,from=::2", "twice"),
            ("path=", "path="),
            ("path=/a", "path=/a"),
            ("path=a/", "path=a/"),
            ("path=../a", "path=../a"),
            ("path=a b", "spaces"),
            ("path=a\tb", "spaces"),
            ("quota=", "a size is"),
            ("quota=-1", "a size is"),
            ("quota=+1", "a size is"),
            ("quota=1.5G", "a size is"),
            ("quota=1g", "a size is"),
            ("quota=16777216T", "a size is"),
            ("from=", "no IP address"),
            ("from=::1;", "no IP address"),
            ("from=10.0.0.0/33", "up to 32"),
            ("expires=tomorrow", "a time is"),
            ("expires=2030-02-30", "a time is"),
            ("expires=2030-01-02T03:04:05", "a time is"),
            ("expires=2030-01-02T03:04:05.5Z", "a time is"),
            ("expires=2030-01-02 03:04:05Z", "a time is"),
            ("auth=none", "key, password, any or both"),
        ] {
            let error = text.parse::<Options>().expect_err(text);
            let shown = format!("{error:#}");
            assert!(shown.contains(words), "{text:?}: {shown}");
        }
        assert!(options("ro,auth=any").of_a_key().is_err());
        assert!(options("ro,from=::1").of_a_key().is_ok());
    }

    #[test]
    fn time_and_address_admit() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let (inside, outside) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([11, 0, 0, 1]));
        let bounded = options("from=::1;10.0.0.0/8,expires=1970-01-01T00:01:40Z");
        assert!(bounded.admit(inside, at(99)));
        assert!(!bounded.admit(inside, at(100)));
        assert!(!bounded.admit(outside, at(99)));
        assert!(options("ro").admit(outside, at(u32::MAX.into())));
    }
}
