//! `kift serve`.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use super::Verdict;
use super::args::{Output, Serve};
use crate::server::{Server, Stop};
use crate::store::{Options, Root};

pub(super) fn run(serve: &Serve, output: &Output) -> Result<Verdict> {
    serve.link.check()?;
    log_to_standard_error(output);
    let options = Options { read_only: serve.read_only, allow_hardlinks: serve.allow_hardlinks };
    let root = Root::open(&serve.dir, options)?;
    let grace = Duration::from_secs(serve.grace);
    let server = Server::bind(serve.listen, root, serve.max_sessions, grace)
        .with_context(|| format!("cannot listen on {}", serve.listen))?;
    let address = server.local_address()?;
    stop_on_signals(server.stop()).context("cannot watch for signals")?;
    if let Some(file) = &serve.port_file {
        write_port(file, address.port())
            .with_context(|| format!("cannot write the port to {}", file.display()))?;
    }
    greet(serve, address);
    server.serve().context("cannot wait for connections")?;
    Ok(Verdict::AllDone)
}

/// The first signal stops the server gracefully, a second one at once.
fn stop_on_signals(stop: Stop) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("kift signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if stop.gracefully().swap(true, Ordering::Relaxed) {
                stop.at_once().store(true, Ordering::Relaxed);
            }
        }
    })?;
    Ok(())
}

fn log_to_standard_error(output: &Output) {
    let level = match (output.quiet, output.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_env("KIFT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .init();
}

/// A reader sees the whole port or no file.
fn write_port(file: &Path, port: u16) -> io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut partial = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(partial, "{port}")?;
    partial.persist(file)?;
    Ok(())
}

/// Says where the server listens and what a client types.
fn greet(serve: &Serve, address: SocketAddr) {
    let dir = fs::canonicalize(&serve.dir).unwrap_or_else(|_| serve.dir.clone());
    let host = if address.ip().is_unspecified() {
        format!("{}:{}", host_name(), address.port())
    } else {
        address.to_string()
    };
    let mut out = io::stdout().lock();
    // Whoever started the server and went away still has a server.
    let _ = writeln!(
        out,
        "serving {} on {address}{}\n\
         plain: nothing is encrypted, and whoever reaches this port may read{} files\n\
         \n  send:   kift put --plain FILE {host}/\n  list:   kift ls --plain {host}/\n  \
         fetch:  kift get --plain {host}/NAME\n\nstop with Ctrl-C",
        dir.display(),
        if serve.read_only { ", read-only" } else { "" },
        if serve.read_only { "" } else { ", write and delete" },
    );
    let _ = out.flush();
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
