//! `kift serve`.

mod greeting;
mod log;
mod place;
mod posted;
mod signals;
mod supervisor;

use std::io::{self, IsTerminal as _};
use std::net::{SocketAddr, TcpListener};
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
use super::console::Console;
use crate::access::{Accounts, first_user};
use crate::config::{Sandbox, server as config};
use crate::directory;
use crate::sandbox::{self, Room, Strength};
use crate::server::{self, Behind, Live, Server};
use crate::state::State;
use crate::store::Root;
use greeting::greet;
pub(super) use greeting::reached_at;
pub(super) use log::Log;
use place::Place;
pub(super) use place::listen;
pub(super) use posted::Posted;
use signals::Reload;
pub(super) use signals::watch;
use supervisor::Pulse;

/// Prints a settings file with every key.
pub(super) fn print_config(console: &Console) -> Result<Verdict> {
    console.result(format_args!("{}", config::example()?.trim_end()));
    Ok(Verdict::AllDone)
}

pub(super) fn run(serve: &Serve, place: Option<&Path>, output: &Output) -> Result<Verdict> {
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
    let places = Place::open_all(&settings)?;
    let door = Door::open(is_plain, place.or(settings.state.as_deref()), &places)?;
    let limits = Live::new(settings.limits());
    let mut server = Server::new(server::Settings { limits: limits.clone(), plain_admin });
    let addresses = open_doors(&mut server, &places, &door)?;
    if let Some(address) = settings.metrics {
        let listener = TcpListener::bind(address);
        let told = listener.and_then(|listener| server.tell_metrics_on(listener));
        told.with_context(|| format!("cannot tell metrics on {address}"))?;
    }
    // Before anybody can know that there is somebody to be stopped.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
    greet(&places, &addresses, &door);
    let mut port_files = Vec::new();
    for (place, address) in places.iter().zip(&addresses) {
        if let Some(file) = &place.port_file {
            port_files.push(Posted::write(file, &address.port().to_string())?);
        }
    }
    enter_sandbox(settings.sandbox.unwrap_or_default(), &places, &door, file.as_deref())?;
    let output = output.clone();
    let reload = file.map(|file| Reload { file, flags, settings, limits, log, output });
    watch(signals, server.stop(), reload).context("cannot watch for signals")?;
    supervisor::ready();
    let pulse = Pulse::new();
    server.serve(|is_stopping| pulse.beat(is_stopping)).context("cannot wait for connections")?;
    Ok(Verdict::AllDone)
}

/// Opens a door to each of the places, by the sockets that were handed over, as far as they go. Gives
/// their addresses, with the ports that were taken where 0 was asked for.
fn open_doors(server: &mut Server, places: &[Place], door: &Door) -> Result<Vec<SocketAddr>> {
    let is_plain = matches!(door, Door::Plain);
    let mut handed = supervisor::listeners()?.into_iter();
    let mut addresses = Vec::new();
    for place in places {
        let listener = handed.next().map_or_else(|| place.listen(is_plain), Ok)?;
        addresses.push(listener.local_addr()?);
        server.open_door(listener, door.behind(&place.root))?;
    }
    Ok(addresses)
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
    fn open(is_plain: bool, place: Option<&Path>, places: &[Place]) -> Result<Self> {
        if is_plain {
            return Ok(Self::Plain);
        }
        let state = State::open(place)?;
        if places.iter().any(|place| state.path().starts_with(place.root.path())) {
            bail!(
                "the keys are kept in {}, which lies in the directory that is to be served: whoever \
                 may read it could take them\nserve another directory, or keep the keys elsewhere \
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

    /// The door to a directory.
    fn behind(&self, root: &Arc<Root>) -> Behind {
        let root = Arc::clone(root);
        match self {
            Self::Plain => Behind::Plain(root),
            Self::Sealed { key, accounts, .. } => {
                Behind::Sealed { root, key: key.clone(), accounts: Arc::clone(accounts) }
            }
        }
    }
}

fn enter_sandbox(
    when: Sandbox,
    places: &[Place],
    door: &Door,
    config: Option<&Path>,
) -> Result<()> {
    if when == Sandbox::Off {
        return Ok(());
    }
    let roots: Vec<_> =
        places.iter().map(|place| (place.root.path(), place.is_read_only)).collect();
    let port_files: Vec<_> = places
        .iter()
        .filter_map(|place| place.port_file.as_deref().map(directory::above))
        .collect();
    let room = Room {
        roots: &roots,
        state: door.state(),
        port_files: &port_files,
        config: config.map(directory::above),
    };
    let strength =
        sandbox::enter(&room).context("cannot enter the sandbox (--sandbox off does without)")?;
    if strength == Strength::Full {
        debug!("the sandbox is {strength}");
    } else if when == Sandbox::Require {
        bail!("the sandbox is {strength}, and --sandbox require was given");
    } else {
        warn!("the sandbox is {strength}");
    }
    Ok(())
}
