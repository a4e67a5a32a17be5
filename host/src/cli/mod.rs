//! The `kift` command: arguments, what they do, and what the user sees.

mod args;
mod authorize;
mod connect;
mod console;
mod demo;
mod key;
mod manage;
mod manage_server;
mod pair;
mod password;
mod serve;
mod shell;
mod transfer;
mod user;

use std::process::ExitCode;

use clap::Parser as _;

use crate::client::ClientError;
use crate::state::State;
use args::{Args, Command};
use connect::connect;
use console::Console;

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
    let place = args.state.as_deref();
    let state = || State::open(place);
    let result = match args.command {
        Command::Serve(serve) => serve::run(&serve, place, &args.output),
        Command::Put(put) => transfer::put(&put, place, &console),
        Command::Get(get) => transfer::get(&get, place, &console),
        Command::Sync(sync) => transfer::sync(&sync, place, &console),
        Command::Cat(cat) => transfer::cat(&cat, place, &console),
        Command::Shell(shell) => shell::run(&shell, place, &console),
        Command::Ls(ls) => manage::ls(&ls, place, &console),
        Command::Stat(stat) => manage::stat(&stat, place, &console),
        Command::Rm(rm) => manage::rm(&rm, place, &console),
        Command::Mv(mv) => manage::mv(&mv, place, &console),
        Command::Mkdir(mkdir) => manage::mkdir(&mkdir, place, &console),
        Command::Df(df) => manage::df(&df, place, &console),
        Command::Status(status) => manage_server::status(&status, place, &console),
        Command::Stop(stop) => manage_server::stop(&stop, place, &console),
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
            console.tell(&error);
            match error.downcast_ref() {
                Some(ClientError::Interrupted) => ExitCode::from(INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
