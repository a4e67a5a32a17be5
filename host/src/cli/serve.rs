//! `kift serve`.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kift_core::secure::SecretKey;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{debug, warn};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use super::Verdict;
use super::args::{Listen, LogFormat, Output, Sandbox, Serve};
use crate::access::{Accounts, first_user};
use crate::net::DEFAULT_PORT;
use crate::sandbox::{self, Room, Strength};
use crate::server::{Entrance, Limits, Live, Server, Settings, Stop};
use crate::state::State;
use crate::store::{Options, Root};

pub(super) fn run(serve: &Serve, place: Option<&Path>, output: &Output) -> Result<Verdict> {
    log_to_standard_error(output, serve.log_format);
    let options = Options { read_only: serve.read_only, allow_hardlinks: serve.allow_hardlinks };
    let root = Root::open(&serve.dir, options)?;
    let door = Door::open(serve, place, &root)?;
    let settings = Settings {
        entrance: door.entrance(),
        limits: Live::new(Limits {
            sessions_max: serve.max_sessions,
            grace: Duration::from_secs(serve.grace),
            ..Limits::default()
        }),
        plain_admin: serve.plain_admin,
    };
    let mut server = bind(serve, &root, &settings)?;
    let address = server.local_address()?;
    if let Some(address) = serve.metrics {
        let listener = TcpListener::bind(address);
        let told = listener.and_then(|listener| server.tell_metrics_on(listener));
        told.with_context(|| format!("cannot tell metrics on {address}"))?;
    }
    // Before anybody can know that there is somebody to be stopped.
    let signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
    greet(serve, &root, address, &door);
    let _port_file = serve.port_file.as_deref().map(|file| PortFile::write(file, address.port()));
    let _port_file = _port_file.transpose()?;
    enter_sandbox(serve, &root, door.state())?;
    stop_on_signals(signals, server.stop()).context("cannot watch for signals")?;
    server.serve(|| {}).context("cannot wait for connections")?;
    Ok(Verdict::AllDone)
}

/// Who is let in, and what the user is to be told of it.
enum Door {
    Plain,
    Sealed {
        state: State,
        key: SecretKey,
        accounts: Arc<Accounts>,
        /// The user that was made because there was none, and the password, where a person reads it.
        first: Option<(String, Option<Zeroizing<String>>)>,
    },
}

impl Door {
    fn open(serve: &Serve, place: Option<&Path>, root: &Root) -> Result<Self> {
        if serve.plain {
            return Ok(Self::Plain);
        }
        let state = State::open(place)?;
        if state.path().starts_with(root.path()) {
            bail!(
                "the keys are kept in {}, which lies in the directory that is to be served: whoever \
                 may read it could take them. Serve another directory, or keep the keys elsewhere \
                 by --state",
                state.path().display()
            );
        }
        let (key, _) = state.key_or_new()?;
        // For a person to read, and for no log.
        let is_read = io::stdout().is_terminal();
        let first = first_user(&state)?.map(|(name, password)| (name, is_read.then_some(password)));
        let accounts = Arc::new(Accounts::open(state.clone())?);
        Ok(Self::Sealed { state, key, accounts, first })
    }

    fn state(&self) -> Option<&Path> {
        match self {
            Self::Plain => None,
            Self::Sealed { state, .. } => Some(state.path()),
        }
    }

    fn entrance(&self) -> Entrance {
        match self {
            Self::Plain => Entrance::Plain,
            Self::Sealed { key, accounts, .. } => {
                Entrance::Sealed { key: key.clone(), accounts: Arc::clone(accounts) }
            }
        }
    }
}

/// Listens where it was told to, or else on every address where links are sealed.
fn bind(serve: &Serve, root: &Arc<Root>, settings: &Settings) -> Result<Server> {
    let at = |address| {
        Server::bind(address, Arc::clone(root), settings.clone())
            .with_context(|| format!("cannot listen on {address}"))
    };
    // An IPv6 socket takes IPv4 too; some systems have no IPv6.
    let everywhere = |port| {
        let any_v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        at(any_v6).or_else(|_| at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
    };
    match serve.listen {
        Some(Listen::At(address)) => at(address),
        Some(Listen::Everywhere(port)) => everywhere(port),
        None if serve.plain => at(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))),
        None => everywhere(DEFAULT_PORT),
    }
}

fn enter_sandbox(serve: &Serve, root: &Root, state: Option<&Path>) -> Result<()> {
    if serve.sandbox == Sandbox::Off {
        return Ok(());
    }
    let port_file = serve.port_file.as_deref().map(directory_of);
    let strength =
        sandbox::enter(&Room { root: root.path(), read_only: serve.read_only, state, port_file })
            .context("cannot enter the sandbox (--sandbox off does without)")?;
    if strength == Strength::Full {
        debug!("the sandbox is {strength}");
    } else if serve.sandbox == Sandbox::Require {
        bail!("the sandbox is {strength}, and --sandbox require was given");
    } else {
        warn!("the sandbox is {strength}");
    }
    Ok(())
}

/// The first signal stops the server gracefully, a second one at once.
fn stop_on_signals(mut signals: Signals, stop: Stop) -> io::Result<()> {
    thread::Builder::new().name("kift signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if stop.gracefully().swap(true, Ordering::Relaxed) {
                stop.at_once().store(true, Ordering::Relaxed);
            }
        }
    })?;
    Ok(())
}

fn log_to_standard_error(output: &Output, format: LogFormat) {
    let level = match (output.quiet, output.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_env("KIFT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// A file with the port in it, which goes when the server does.
struct PortFile<'a> {
    path: &'a Path,
    text: String,
}

impl<'a> PortFile<'a> {
    /// A reader sees the whole port or no file; one that a killed server left gives way.
    fn write(path: &'a Path, port: u16) -> Result<Self> {
        let text = format!("{port}\n");
        let write = || {
            let mut partial = tempfile::NamedTempFile::new_in(directory_of(path))?;
            partial.write_all(text.as_bytes())?;
            partial.persist(path)?;
            io::Result::Ok(())
        };
        write().with_context(|| format!("cannot write the port to {}", path.display()))?;
        Ok(Self { path, text })
    }
}

impl Drop for PortFile<'_> {
    fn drop(&mut self) {
        // It may be another server's by now. The sandbox lets nobody read it, but lets us remove it.
        if fs::read_to_string(self.path).is_ok_and(|text| text != self.text) {
            return;
        }
        if let Err(error) = fs::remove_file(self.path) {
            debug!(%error, file = ?self.path, "cannot remove the file with the port");
        }
    }
}

/// The directory in which a file lies.
fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Says where the server listens and what a client types.
fn greet(serve: &Serve, root: &Root, address: SocketAddr, door: &Door) {
    let host = if address.ip().is_unspecified() {
        format!("{}:{}", host_name(), address.port())
    } else {
        address.to_string()
    };
    let read_only = if serve.read_only { ", read-only" } else { "" };
    let mut text = format!("serving {} on {address}{read_only}\n", root.path().display());
    match door {
        Door::Plain => {
            let or_write = if serve.read_only { "" } else { ", write and delete" };
            text += &format!(
                "plain: nothing is encrypted, and whoever reaches this port may read{or_write} files\n\n  \
                 send:   kift put --plain FILE {host}/\n  list:   kift ls --plain {host}/\n  \
                 fetch:  kift get --plain {host}/NAME\n"
            );
        }
        Door::Sealed { key, first, .. } => {
            let key = key.public().fingerprint();
            text += &format!("its key is {key}\n");
            let user = match first {
                Some((name, Some(password))) => {
                    text += &format!(
                        "made the user {name}, with the password {}, which is shown only now\n",
                        **password
                    );
                    name
                }
                Some((name, None)) => {
                    text += &format!(
                        "made the user {name}, for this machine's own key; a password for others: \
                         kift user passwd {name}\n"
                    );
                    name
                }
                None => "USER",
            };
            let there = format!("--server-key {key}");
            text += &format!(
                "\n  from another machine:\n    send:   kift put {there} FILE kift://{user}@{host}/\n    \
                 list:   kift ls {there} kift://{user}@{host}/\n    \
                 fetch:  kift get {there} kift://{user}@{host}/NAME\n"
            );
            if first.is_some() {
                let port = address.port();
                text += &format!("  from this one, as {user}:  kift put FILE localhost:{port}/\n");
            }
        }
    }
    // Whoever started the server and went away still has a server.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}\nstop with Ctrl-C");
    let _ = out.flush();
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
