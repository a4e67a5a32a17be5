//! The `kift` command: arguments, what they do, and what the user sees.

mod args;
mod authorize;
mod config;
mod connect;
mod console;
mod demo;
mod key;
mod manage;
mod manage_server;
mod menu;
mod meter;
mod named;
mod offer;
mod pages;
mod pair;
mod partials;
mod password;
mod receive;
mod serve;
mod shell;
mod transfer;
mod user;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _};
use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;

use crate::client::ClientError;
use crate::state::State;
use args::{Args, Command};
use connect::connect;
use console::Console;

/// Exit code after an interrupt, as shells give it.
const INTERRUPTED: u8 = 130;

/// Exit code for a command line that is none, as clap gives it.
const USAGE: u8 = 2;

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
    // A file that is to grow beyond the process's limit is an error like any other, and not its end.
    let _ = flag::register(SIGXFSZ, Arc::default());
    let args = Args::parse();
    let console = Console::new(&args.output);
    let place = args.state.as_deref();
    let state = || State::open(place);
    let Some(command) = args.command else { return without_command(place, &console) };
    let result = match command {
        Command::Serve(serve) if serve.print_config => serve::print_config(&console),
        Command::Serve(serve) => serve::run(&serve, place, &args.output),
        Command::Put(put) => transfer::put(&put, place, &console),
        Command::Get(get) => transfer::get(&get, place, &console),
        Command::Sync(sync) => transfer::sync(&sync, place, &console),
        Command::Offer(offer) => offer::run(&offer, place, &args.output, &console),
        Command::Receive(receive) => receive::run(&receive, place, &console),
        Command::Cat(cat) => transfer::cat(&cat, place, &console),
        Command::Shell(shell) => shell::run(&shell, place, &console),
        Command::Ls(ls) => manage::ls(&ls, place, &console),
        Command::Stat(stat) => manage::stat(&stat, place, &console),
        Command::Rm(rm) => manage::rm(&rm, place, &console),
        Command::Mv(mv) => manage::mv(&mv, place, &console),
        Command::Mkdir(mkdir) => manage::mkdir(&mkdir, place, &console),
        Command::Df(df) => manage::df(&df, place, &console),
        Command::Partials(of) => partials::run(&of, place, &console),
        Command::Status(status) => manage_server::status(&status, place, &console),
        Command::Stop(stop) => manage_server::stop(&stop, place, &console),
        Command::Key(key) => state().and_then(|state| key::run(&key, &state, &console)),
        Command::User(user) => state().and_then(|state| user::run(&user, &state, &console)),
        Command::Authorize(authorize) => {
            state().and_then(|state| authorize::run(&authorize, &state, &console))
        }
        Command::Pair(pair) => state().and_then(|state| pair::run(&pair, &state, &console)),
        Command::Config(config) => config::run(&config, &console),
        Command::Completions(shell) => pages::completions(&shell),
        Command::Man(man) => pages::man(&man),
        Command::Demo(demo) => demo::run(&demo, &console),
    };
    exit_code(result, &console)
}

/// A person who does not say what to do is asked; a program is told how to.
fn without_command(place: Option<&Path>, console: &Console) -> ExitCode {
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return exit_code(menu::run(place, console), console);
    }
    let _ = writeln!(io::stderr(), "{}", Args::command().render_help());
    ExitCode::from(USAGE)
}

fn exit_code(result: Result<Verdict>, console: &Console) -> ExitCode {
    let code = code_of(result, console);
    let Some(error) = console.unwritten() else { return code };
    console.error(format_args!("cannot write standard output: {error}"));
    if code == ExitCode::SUCCESS { ExitCode::FAILURE } else { code }
}

fn code_of(result: Result<Verdict>, console: &Console) -> ExitCode {
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
