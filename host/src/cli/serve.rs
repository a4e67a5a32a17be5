//! `kift serve`.

mod greeting;
mod log;
mod port_file;
mod signals;
mod supervisor;

use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kift_core::secure::SecretKey;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::Verdict;
use super::args::{Output, Serve};
use crate::access::{Accounts, first_user};
use crate::config::{Listen, Sandbox, server as config};
use crate::net::DEFAULT_PORT;
use crate::sandbox::{self, Room, Strength};
use crate::server::{self, Entrance, Live, Server};
use crate::state::State;
use crate::store::{Options, Root};
use greeting::greet;
use log::Log;
use port_file::{PortFile, directory_of};
use signals::Reload;
use supervisor::Pulse;

pub(super) fn run(serve: &Serve, place: Option<&Path>, output: &Output) -> Result<Verdict> {
    if serve.print_config {
        print!("{}", config::example()?);
        return Ok(Verdict::AllDone);
    }
    let (file, flags) = (serve.config.clone(), serve.settings());
    let settings = match &file {
        Some(file) => flags.clone().or(config::Settings::read(file)?),
        None => flags.clone(),
    };
    let is_plain = settings.plain.unwrap_or_default();
    let plain_admin = settings.plain_admin.unwrap_or_default();
    if plain_admin && !is_plain {
        bail!("--plain-admin is for --plain: over sealed links, those with the right admin manage");
    }
    let log = Log::start(output, &settings);
    let is_read_only = settings.read_only.unwrap_or_default();
    let allow_hardlinks = settings.allow_hardlinks.unwrap_or_default();
    let dir = settings.dir.as_deref().unwrap_or_else(|| Path::new("."));
    let root = Root::open(dir, Options { read_only: is_read_only, allow_hardlinks })?;
    let door = Door::open(is_plain, place.or(settings.state.as_deref()), &root)?;
    let limits = Live::new(settings.limits());
    let server =
        server::Settings { entrance: door.entrance(), limits: limits.clone(), plain_admin };
    let mut server = bind(settings.listen, is_plain, &root, &server)?;
    let address = server.local_address()?;
    if let Some(address) = settings.metrics {
        let listener = TcpListener::bind(address);
        let told = listener.and_then(|listener| server.tell_metrics_on(listener));
        told.with_context(|| format!("cannot tell metrics on {address}"))?;
    }
    // Before anybody can know that there is somebody to be stopped.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
    greet(is_read_only, &root, address, &door);
    let port_file = settings.port_file.as_deref();
    let _port_file = port_file.map(|file| PortFile::write(file, address.port())).transpose()?;
    let room = Room {
        root: root.path(),
        read_only: is_read_only,
        state: door.state(),
        port_file: port_file.map(directory_of),
        config: file.as_deref().map(directory_of),
    };
    enter_sandbox(settings.sandbox.unwrap_or_default(), &room)?;
    let output = output.clone();
    let reload = Reload { file, flags, settings, limits, log, output };
    signals::watch(signals, server.stop(), reload).context("cannot watch for signals")?;
    supervisor::ready();
    let pulse = Pulse::new();
    server.serve(|is_stopping| pulse.beat(is_stopping)).context("cannot wait for connections")?;
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
    fn open(is_plain: bool, place: Option<&Path>, root: &Root) -> Result<Self> {
        if is_plain {
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

/// Takes the socket that was handed over, or listens where it was told to, or else on every address
/// where links are sealed.
fn bind(
    listen: Option<Listen>,
    is_plain: bool,
    root: &Arc<Root>,
    settings: &server::Settings,
) -> Result<Server> {
    if let Some(listener) = supervisor::listener()? {
        let server = Server::on(listener, Arc::clone(root), settings.clone());
        return server.context("cannot listen on the socket that was handed over");
    }
    let at = |address| {
        Server::bind(address, Arc::clone(root), settings.clone())
            .with_context(|| format!("cannot listen on {address}"))
    };
    // An IPv6 socket takes IPv4 too; some systems have no IPv6.
    let everywhere = |port| {
        let any_v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        at(any_v6).or_else(|_| at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
    };
    match listen {
        Some(Listen::At(address)) => at(address),
        Some(Listen::Everywhere(port)) => everywhere(port),
        None if is_plain => at(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))),
        None => everywhere(DEFAULT_PORT),
    }
}

fn enter_sandbox(when: Sandbox, room: &Room<'_>) -> Result<()> {
    if when == Sandbox::Off {
        return Ok(());
    }
    let strength =
        sandbox::enter(room).context("cannot enter the sandbox (--sandbox off does without)")?;
    if strength == Strength::Full {
        debug!("the sandbox is {strength}");
    } else if when == Sandbox::Require {
        bail!("the sandbox is {strength}, and --sandbox require was given");
    } else {
        warn!("the sandbox is {strength}");
    }
    Ok(())
}
