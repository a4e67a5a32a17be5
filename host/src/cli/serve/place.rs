//! The directories that are served, and where.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::config::Listen;
use crate::config::server::Settings;
use crate::net::DEFAULT_PORT;
use crate::store::{Options, Root};

/// A directory, and the door to it.
pub(super) struct Place {
    pub(super) root: Arc<Root>,
    pub(super) is_read_only: bool,
    pub(super) port_file: Option<PathBuf>,
    listen: Option<Listen>,
}

impl Place {
    /// Opens all that are to be served: the main one first.
    pub(super) fn open_all(settings: &Settings) -> Result<Vec<Self>> {
        let dir = settings.dir.as_deref().unwrap_or_else(|| Path::new("."));
        let options = Options {
            read_only: settings.read_only.unwrap_or_default(),
            allow_hardlinks: settings.allow_hardlinks.unwrap_or_default(),
        };
        let mut places =
            vec![Self::open(dir, options, settings.listen, settings.port_file.as_ref())?];
        for further in settings.root.iter().flatten() {
            let options =
                Options { read_only: further.read_only, allow_hardlinks: further.allow_hardlinks };
            let (listen, port_file) = (Some(further.listen), further.port_file.as_ref());
            places.push(Self::open(&further.dir, options, listen, port_file)?);
        }
        Ok(places)
    }

    fn open(
        dir: &Path,
        options: Options,
        listen: Option<Listen>,
        port_file: Option<&PathBuf>,
    ) -> Result<Self> {
        let root = Root::open(dir, options)?;
        Ok(Self { root, is_read_only: options.read_only, port_file: port_file.cloned(), listen })
    }

    /// Listens where it was told to.
    pub(super) fn listen(&self, is_plain: bool) -> Result<TcpListener> {
        listen(self.listen, DEFAULT_PORT, is_plain)
    }
}

/// Listens there, or else at the port `usual`: on every address where links are sealed, and where they
/// are not on this machine alone.
pub(in crate::cli) fn listen(
    there: Option<Listen>,
    usual: u16,
    is_plain: bool,
) -> Result<TcpListener> {
    match there {
        Some(Listen::At(address)) => at(address),
        Some(Listen::Everywhere(port)) => everywhere(port),
        None if is_plain => at(SocketAddr::from((Ipv4Addr::LOCALHOST, usual))),
        None => everywhere(usual),
    }
}

fn at(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}

/// An IPv6 socket takes IPv4 too; some systems have no IPv6.
fn everywhere(port: u16) -> Result<TcpListener> {
    at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .or_else(|_| at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
}
