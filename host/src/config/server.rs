//! The settings file of a server.
//!
//! Every setting stands once, in the list below: the parser, the file that `--print-config` shows and
//! what a reload compares are made from it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::{Level, Listen, LogFormat, Sandbox, Span, Timeout};
use crate::net::DEFAULT_PORT;
use crate::server::Limits;

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $key:ident: $kind:ty = $shown:expr;)+) => {
        /// What is set, by a file or otherwise; what is not has its default.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $key: Option<$kind>,)+
        }

        impl Settings {
            /// These, and where there is nothing, `others`.
            #[must_use]
            pub fn or(self, others: Self) -> Self {
                Self { $($key: self.$key.or(others.$key),)+ }
            }

            /// The names of those that are not as in `others`.
            #[must_use]
            pub fn unlike(&self, others: &Self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$key != others.$key {
                    names.push(stringify!($key));
                })+
                names
            }
        }

        /// A file with every setting and its default, all of it in comments.
        ///
        /// # Errors
        /// A default cannot be written down.
        pub fn example() -> Result<String> {
            let mut text = HEAD.to_owned();
            $(
                text += "\n";
                $(writeln!(text, "#{}", $doc)?;)+
                let value: $kind = $shown;
                writeln!(text, "#{} = {}", stringify!($key), toml::Value::try_from(value)?)?;
            )+
            Ok(text)
        }
    };
}

/// What the example begins with.
const HEAD: &str = "\
# Settings of `kift serve --config FILE`. What is commented out is the default, or an example where
# there is none. The command line comes before the environment, and that before this file. SIGHUP has
# the server read it again: log_level and all limits change at once, the rest at the next start. For
# that the server may read what lies in the directory of this file: give it one of its own.
";

/// What changes while a server runs.
const AT_ONCE: [&str; 12] = [
    "log_level",
    "max_sessions",
    "max_strangers",
    "max_strangers_per_address",
    "handshake_timeout",
    "login_timeout",
    "idle_timeout",
    "stall_timeout",
    "stall_bytes",
    "window",
    "password_tries",
    "grace",
];

settings! {
    /// The directory to serve; the current one unless given.
    dir: PathBuf = PathBuf::from("/srv/kift");
    /// Where to listen: ADDR:PORT, or :PORT for every address; port 0 takes a free one. With plain, only
    /// 127.0.0.1 unless given. A socket that systemd hands over takes its place.
    listen: Listen = Listen::Everywhere(DEFAULT_PORT);
    /// Where the keys and users are kept; kift in the user's state directory unless given.
    state: PathBuf = PathBuf::from("/var/lib/kift");
    /// The port is written to this file once the server listens. The server may remove files in its
    /// directory: give it one of its own.
    port_file: PathBuf = PathBuf::from("/run/kift/port");
    /// Links are not encrypted, and whoever reaches the port may do everything with the files.
    plain: bool = false;
    /// Whoever reaches the port of a plain server may see who is there, and stop it.
    plain_admin: bool = false;
    /// What to do where the kernel cannot keep the server to its directories: auto, require or off.
    sandbox: Sandbox = Sandbox::Auto;
    /// Serve files and take none.
    read_only: bool = false;
    /// Serve files that have more than one hard link.
    allow_hardlinks: bool = false;
    /// Further directories, each at a port of its own, for the same users. As tables they are written
    /// `[[root]]`. Each may have port_file, read_only and allow_hardlinks, too.
    root: Vec<Further> = vec![Further::example()];
    /// How the log is written: text or json.
    log_format: LogFormat = LogFormat::Text;
    /// How much is logged: error, warn, info, debug or trace. KIFT_LOG, -q and -v come before it.
    log_level: Level = Level::Info;
    /// Where Prometheus asks, by plain HTTP and without login; nowhere unless given. Best on 127.0.0.1.
    metrics: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9438));
    /// Sessions at once; further clients are told to come later.
    max_sessions: NonZeroUsize = limit(Limits::default().sessions_max)?;
    /// Connections at once on which nobody is known yet.
    max_strangers: NonZeroUsize = limit(Limits::default().strangers_max)?;
    /// Those of them that come from one address, or one IPv6 network of 64 bits.
    max_strangers_per_address: NonZeroUsize = limit(Limits::default().strangers_per_address_max)?;
    /// From a connection to the peer's hello.
    handshake_timeout: Timeout = Timeout(Limits::default().handshake);
    /// From there to a login.
    login_timeout: Timeout = Timeout(Limits::default().login);
    /// Without any request.
    idle_timeout: Timeout = Timeout(Limits::default().idle);
    /// In which stall_bytes must move, while something is under way. Whoever works on something says so
    /// every two seconds: with less than a few of them the busy are taken for the gone.
    stall_timeout: Timeout = Timeout(Limits::default().stall);
    /// The fewest bytes that are a sign of life.
    stall_bytes: NonZeroU32 = limit(Limits::default().stall_len)?;
    /// Chunks of 1024 bytes that are taken before any is acknowledged. With 1 a sender stops and waits
    /// after each.
    window: NonZeroU32 = limit(Limits::default().window)?;
    /// Wrong passwords after which a link is closed.
    password_tries: NonZeroU32 = limit(Limits::default().password_tries)?;
    /// What running transfers get when the server is stopped.
    grace: Span = Span(Limits::default().grace);
}

/// A further directory that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in the settings")]
pub struct Further {
    pub dir: PathBuf,
    pub listen: Listen,
    pub port_file: Option<PathBuf>,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub allow_hardlinks: bool,
}

impl Further {
    fn example() -> Self {
        Self {
            dir: PathBuf::from("/srv/public"),
            listen: Listen::Everywhere(DEFAULT_PORT + 1),
            port_file: None,
            read_only: true,
            allow_hardlinks: false,
        }
    }
}

fn limit<N, L: TryFrom<N>>(limit: N) -> Result<L> {
    L::try_from(limit).map_err(|_| anyhow!("a default is 0"))
}

impl Settings {
    /// What the file `path` sets.
    ///
    /// # Errors
    /// It cannot be read, or is wrong: the message names the line, and what may stand there.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the settings in {}", path.display()))?;
        toml::from_str(&text).map_err(|error| {
            let said = error.to_string();
            anyhow!(
                "{}: {}\n`kift serve --print-config` shows every setting and what it may be",
                path.display(),
                said.trim_end()
            )
        })
    }

    /// The limits, with defaults where nothing is set.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let usual = Limits::default();
        let time = |set: Option<Timeout>, usual| set.map_or(usual, |set| set.0);
        let count = |set: Option<NonZeroUsize>, usual| set.map_or(usual, NonZeroUsize::get);
        let number = |set: Option<NonZeroU32>, usual| set.map_or(usual, NonZeroU32::get);
        Limits {
            sessions_max: count(self.max_sessions, usual.sessions_max),
            strangers_max: count(self.max_strangers, usual.strangers_max),
            strangers_per_address_max: count(
                self.max_strangers_per_address,
                usual.strangers_per_address_max,
            ),
            handshake: time(self.handshake_timeout, usual.handshake),
            login: time(self.login_timeout, usual.login),
            idle: time(self.idle_timeout, usual.idle),
            stall: time(self.stall_timeout, usual.stall),
            stall_len: number(self.stall_bytes, usual.stall_len),
            window: number(self.window, usual.window),
            password_tries: number(self.password_tries, usual.password_tries),
            grace: self.grace.map_or(usual.grace, |set| set.0),
        }
    }

    /// The names of settings that are not as in `others`, and change only when a server starts.
    #[must_use]
    pub fn waiting(&self, others: &Self) -> Vec<&'static str> {
        let mut names = self.unlike(others);
        names.retain(|name| !AT_ONCE.contains(name));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example, with everything in force that it shows.
    fn shown() -> String {
        let example = example().unwrap();
        let lines = example.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn parse(text: &str) -> Result<Settings> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::read(file.path())
    }

    #[test]
    fn the_example_sets_nothing_and_shows_everything_with_its_default() {
        assert_eq!(parse(&example().unwrap()).unwrap(), Settings::default());
        let all = parse(&shown()).unwrap();
        assert_eq!(all.limits(), Limits::default());
        assert_eq!(Settings::default().limits(), Limits::default());
        let names = all.unlike(&Settings::default());
        assert_eq!(names.len(), shown().lines().filter(|line| line.contains(" = ")).count());
        assert!(AT_ONCE.iter().all(|name| names.contains(name)));
        assert_eq!(all.waiting(&Settings::default()).len(), names.len() - AT_ONCE.len());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_what_may_be_there() {
        for (text, words) in [
            ("read_only = true\nlisen = \":1\"\n", ["line 2", "unknown field `lisen`", "`listen`"]),
            ("listen = \"here\"", ["line 1", ":PORT for every address", "--print-config"]),
            ("max_sessions = 0", ["line 1", "max_sessions = 0", "nonzero"]),
            ("\nlog_level = \"loud\"", ["line 2", "`loud`", "`debug`"]),
            ("idle_timeout = \"0s\"", ["line 1", "from 1s", "5m"]),
            ("[[root]]\ndir = \"/a\"", ["line 1", "missing field `listen`", "--print-config"]),
            ("plain = 1", ["line 1", "integer `1`", "boolean"]),
            ("dir = \"a", ["line 1", "string", "--print-config"]),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            for word in words {
                assert!(error.contains(word), "no {word:?} in {error}");
            }
        }
    }

    #[test]
    fn what_comes_first_holds() {
        let first = parse("max_sessions = 1").unwrap();
        let both = first.or(parse("max_sessions = 2\nread_only = true").unwrap());
        assert_eq!((both.limits().sessions_max, both.read_only), (1, Some(true)));
    }
}
