//! The command line.

mod args;
mod flash;
mod shelf;
mod target;
mod units;

use std::borrow::ToOwned as _;
use std::eprintln;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::string::String;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use smoltcp::wire::{Ipv4Cidr, Ipv6Cidr};

use super::link::Wire;
use super::nor::Times;
use super::run::{self, Flash, Kind, Plan, Rounds, Seal, Task};
use crate::net::Address;
use args::{Args, Board, Command};
use target::Target;

/// The name of the log that a serving device writes.
const LOG: &str = "device.log";

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Args::parse().command {
        Command::Serve(serve) => plan(Task::Serve(serve.port), LOG, serve.board).and_then(run::run),
        Command::Push(push) => {
            let remote = push.remote.path_for(&push.local);
            let name = push.local.clone();
            let rounds = rounds(Kind::Push, push.local, push.remote.address, remote, push.rounds);
            plan(Task::Errand(rounds), &name, push.board).and_then(run::run)
        }
        Command::Fetch(fetch) => fetched(fetch).and_then(run::run),
        Command::Flash(command) => flash::run(command).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("kift-firmware-sim: {error:#}");
        ExitCode::FAILURE
    })
}

fn fetched(fetch: args::Fetch) -> Result<Plan> {
    let own = fetch.remote.name().map(str::to_owned);
    let local = fetch.local.or(own).context("the name of a file is needed behind the address")?;
    let Target { address, path } = fetch.remote;
    let rounds = rounds(Kind::Fetch, local, address, path, fetch.rounds);
    plan(Task::Errand(rounds), LOG, fetch.board)
}

fn rounds(
    kind: Kind,
    local: String,
    address: SocketAddr,
    remote: String,
    rounds: args::Rounds,
) -> Rounds {
    let times = rounds.times.unwrap_or(if rounds.every.is_some() { u64::MAX } else { 1 });
    Rounds { kind, local, address, remote, every: rounds.every.unwrap_or_default(), times }
}

/// Checks what the user wrote.
fn plan(task: Task, log: &str, board: Board) -> Result<Plan> {
    let Board { network, .. } = board;
    Ok(Plan {
        task,
        seal: if board.plain { Seal::Plain } else { Seal::Sealed(board.pair) },
        log: board.log.map(|size| (log.to_owned(), size)),
        machine: run::choose(board.buffers, board.sessions, board.ram)?,
        flash: Flash {
            image: board.flash,
            size: board.flash_size,
            times: Times { erase: board.erase_time, program: board.program_time, ..Times::NONE },
            cut: board.cut_after.map(|nth| (nth, network.seed)),
        },
        address: address(&network.ip, network.gateway)?,
        tap: network.tap,
        wire: Wire {
            rate: network.bandwidth,
            latency: network.latency,
            loss: network.loss,
            corruption: network.corrupt,
            seed: network.seed,
        },
        pcap: network.pcap,
        run_time: board.run_time,
        peer: board.peer,
    })
}

/// The device's addresses: one of each kind, or DHCP's.
fn address(texts: &[String], gateway: Option<IpAddr>) -> Result<Address> {
    if texts == ["dhcp"] {
        return Ok(Address::Dhcp);
    }
    let (mut v4, mut v6) = (None, None);
    for text in texts {
        if let Ok(cidr) = text.parse::<Ipv4Cidr>()
            && v4.is_none()
        {
            v4 = Some(cidr);
        } else if let Ok(cidr) = text.parse::<Ipv6Cidr>()
            && v6.is_none()
        {
            v6 = Some(cidr);
        } else {
            bail!(
                "--ip {text}: an address with its prefix length, as 192.168.69.2/24, one of each \
                 kind; or dhcp alone"
            );
        }
    }
    Ok(Address::Static { v4, v6, gateway })
}
