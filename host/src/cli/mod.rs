//! The `kift` command: arguments, what they do, and what the user sees.

mod args;
mod authorize;
mod console;
mod demo;
mod get;
mod key;
mod manage;
mod pair;
mod password;
mod put;
mod serve;
mod user;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser as _;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::client::{Client, ClientError};
use crate::remote::Remote;
use crate::state::State;
use args::{Args, Command, Link};
use console::{Console, advice_on_end};

/// Exit code after an interrupt, as shells give it.
const INTERRUPTED: u8 = 130;

/// What a command that ran to its end came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    AllDone,
    /// Something was not done; the user was told what and why.
    SomeFailed,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    let console = Console::new(&args.output);
    let state = || State::open(args.state.as_deref());
    let result = match args.command {
        Command::Serve(serve) => serve::run(&serve, &args.output),
        Command::Put(put) => put::run(&put, &console),
        Command::Get(get) => get::run(&get, &console),
        Command::Ls(ls) => manage::ls(&ls, &console),
        Command::Stat(stat) => manage::stat(&stat, &console),
        Command::Rm(rm) => manage::rm(&rm, &console),
        Command::Mv(mv) => manage::mv(&mv, &console),
        Command::Mkdir(mkdir) => manage::mkdir(&mkdir, &console),
        Command::Df(df) => manage::df(&df, &console),
        Command::Key(key) => state().and_then(|state| key::run(&key, &state, &console)),
        Command::User(user) => state().and_then(|state| user::run(&user, &state, &console)),
        Command::Authorize(authorize) => {
            state().and_then(|state| authorize::run(&authorize, &state, &console))
        }
        Command::Pair(pair) => state().and_then(|state| pair::run(&pair, &state, &console)),
        Command::Demo(demo) => demo::run(&demo),
    };
    match result {
        Ok(Verdict::AllDone) => ExitCode::SUCCESS,
        Ok(Verdict::SomeFailed) => ExitCode::FAILURE,
        Err(error) => {
            console.error(format_args!("{error:#}"));
            match error.downcast_ref() {
                Some(ClientError::Interrupted) => ExitCode::from(INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The end of a session, with what the user can do about it.
fn explain(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Session(end) => anyhow!("{end}{}", advice_on_end(end)),
        other => other.into(),
    }
}

/// A session with the server, that an interrupt ends.
fn connect(remote: &Remote, link: &Link) -> Result<Client> {
    link.check()?;
    if let Some(user) = &remote.user {
        bail!("plain links have no login: leave {:?} out", format!("{user}@"));
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second signal ends the process as usual.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .context("cannot watch for signals")?;
    }
    let mut client = Client::connect(remote)?;
    client.interrupt_by(interrupted);
    Ok(client)
}
