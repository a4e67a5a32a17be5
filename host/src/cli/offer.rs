//! `kift offer`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::HumanBytes;
use kift_core::secure::{Fingerprint, Token};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::warn;

use super::Verdict;
use super::args::{self, Output, Whom};
use super::console::{Console, printable};
use super::serve::{Log, Posted, listen, reached_at, watch};
use crate::access::keys;
use crate::config::Level;
use crate::config::server::Settings;
use crate::directory;
use crate::offer::{For, News, Offer, Offered, What};
use crate::sandbox::{self, Room};
use crate::secure::SystemRandom;
use crate::server::{self, Behind, Server, Stop};
use crate::state::State;

pub(super) fn run(
    args: &args::Offer,
    place: Option<&Path>,
    output: &Output,
    console: &Console,
) -> Result<Verdict> {
    let files = args.files.iter().map(|path| Offered::open(path)).collect::<Result<Vec<_>>>()?;
    let whom = whom(args, place)?;
    let (offer, news) = Offer::new(files, whom.clone(), args.once)?;
    let offer = Arc::new(offer);
    let names: Vec<_> =
        offer.files().iter().map(|file| (file.name.clone(), file.meta.size)).collect();
    let listener = listen(args.listen, 0, args.plain)?;
    let address = listener.local_addr()?;
    let mut server = Server::new(server::Settings::default());
    // Before anybody can know that there is somebody to be stopped.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
    let posted = post(args, &whom, address)?;
    greet(args, &offer, &whom, address, console);
    server.open_door(listener, Behind::Offer(offer))?;
    let quiet = Settings { log_level: Some(Level::Warn), ..Settings::default() };
    Log::start(output, &quiet);
    enter_sandbox(args);
    watch(signals, server.stop(), None).context("cannot watch for signals")?;
    let told = {
        let (stop, console) = (args.once.then(|| server.stop()), console.clone());
        let tell = move || tell(&news, &names, stop.as_ref(), &console);
        thread::Builder::new().name("kift news".to_owned()).spawn(tell)
    };
    let told = told.context("cannot start a thread")?;
    server.serve(|_| {}).context("cannot wait for connections")?;
    drop(posted);
    let received = told.join().map_err(|_| anyhow!("the thread that tells ended"))?;
    if received == 0 {
        console.error(format_args!("nothing was received"));
        return Ok(Verdict::SomeFailed);
    }
    Ok(Verdict::AllDone)
}

fn whom(args: &args::Offer, place: Option<&Path>) -> Result<For> {
    if args.plain {
        return Ok(For::Anybody);
    }
    let state = State::open(place)?;
    let (key, _) = state.key_or_new()?;
    if args.to.is_empty() {
        return Ok(For::Bearer { key, token: Token::generate(&mut SystemRandom)? });
    }
    let mut keys = Vec::new();
    for to in &args.to {
        match to {
            Whom::Key(key) => keys.push(*key),
            Whom::User(user) => keys.extend(keys_of(user, &state)?),
        }
    }
    Ok(For::Keys { key, keys })
}

fn keys_of(user: &str, state: &State) -> Result<Vec<Fingerprint>> {
    let all = keys::list(state)?.into_iter();
    let theirs: Vec<_> =
        all.filter(|key| key.user == user).map(|key| key.key.fingerprint()).collect();
    if theirs.is_empty() {
        bail!(
            "no key is known here to be {user}'s\nlet one in by `kift authorize {user} KEY`, or name the key"
        );
    }
    Ok(theirs)
}

/// Writes down how the offer is reached, where that is wanted.
fn post(args: &args::Offer, whom: &For, address: SocketAddr) -> Result<Vec<Posted>> {
    let mut posted = Vec::new();
    if let (Some(file), For::Bearer { token, .. }) = (&args.token_file, whom) {
        posted.push(Posted::write(file, token.as_text().unwrap_or_default())?);
    }
    if let Some(file) = &args.port_file {
        posted.push(Posted::write(file, &address.port().to_string())?);
    }
    Ok(posted)
}

/// Says what is offered, and what the other side types.
fn greet(args: &args::Offer, offer: &Offer, whom: &For, address: SocketAddr, console: &Console) {
    let is_shown = args.token_file.is_none();
    let token = match whom {
        For::Bearer { token, .. } if is_shown => token.as_text(),
        _ => None,
    };
    let key = match whom {
        For::Anybody => None,
        For::Bearer { key, .. } | For::Keys { key, .. } => Some(key.public().fingerprint()),
    };
    if console.json {
        let files =
            offer.files().iter().map(|file| json!({"name": file.name, "size": file.meta.size}));
        console.object(&json!({ "offer": {
            "files": files.collect::<Vec<_>>(), "address": address.to_string(),
            "key": key.map(|key| key.to_string()), "token": token,
        }}));
        return;
    }
    for file in offer.files() {
        let size = HumanBytes(file.meta.size);
        console.result(format_args!("offering {}, {size}", printable(&file.name)));
    }
    let mut how = String::new();
    match (whom, key) {
        (For::Anybody, _) | (_, None) => how += "--plain ",
        (For::Bearer { .. }, _) => {}
        (For::Keys { .. }, Some(key)) => how += &format!("--server-key {key} "),
    }
    console.result(format_args!(
        "\n  the other side types:  kift receive {how}{}",
        reached_at(&address)
    ));
    if let Some(token) = token {
        console.result(format_args!("  and gives this token:  {token}"));
    }
    console.result(format_args!("\nstop with Ctrl-C"));
}

/// All that is needed is open already.
fn enter_sandbox(args: &args::Offer) {
    let posted = args.token_file.iter().chain(&args.port_file);
    let directories: Vec<_> = posted.map(|file| directory::above(file)).collect();
    let room = Room { roots: &[], state: None, port_files: &directories, config: None };
    match sandbox::enter(&room) {
        Ok(sandbox::Strength::Full) => {}
        Ok(strength) => warn!("the sandbox is {strength}"),
        Err(error) => warn!("cannot enter the sandbox: {error:#}"),
    }
}

/// Tells what becomes of the files, until nobody can come any more. Gives how many were received. With
/// `stop`, the first who has received any and leaves was the last.
fn tell(
    news: &Receiver<News>,
    files: &[(String, u64)],
    stop: Option<&Stop>,
    console: &Console,
) -> u64 {
    let mut received = 0;
    for News { peer, what } in news {
        let file = |file: usize| files.get(file).map_or(("", 0), |(name, size)| (name, *size));
        let (object, line) = match what {
            What::Received { file: at } => {
                received += 1;
                let (name, size) = file(at);
                let (shown, bytes) = (printable(name), HumanBytes(size));
                let line = format!("received whole by {peer}: {shown}, {bytes}");
                (json!({ "received": name, "size": size }), line)
            }
            What::Unconfirmed { file: at } => {
                let (name, _) = file(at);
                let line = format!("sent to {peer}, who did not confirm it: {}", printable(name));
                (json!({ "unconfirmed": name }), line)
            }
            What::BrokenOff { file: at, sent } => {
                let (name, size) = file(at);
                let (shown, sent_bytes, bytes) =
                    (printable(name), HumanBytes(sent), HumanBytes(size));
                let line =
                    format!("broken off by {peer}: {shown}, {sent_bytes} of {bytes} were sent");
                (json!({ "broken_off": name, "sent": sent, "size": size }), line)
            }
            What::Declined => {
                (json!({ "declined": true }), format!("{peer} looked, and took nothing"))
            }
            What::Left => {
                if let Some(stop) = stop.filter(|_| received > 0) {
                    stop.gracefully().store(true, Ordering::Relaxed);
                }
                continue;
            }
        };
        if console.json {
            let mut object = object;
            object["by"] = json!(peer.to_string());
            console.object(&object);
        } else {
            console.result(format_args!("{line}"));
        }
    }
    received
}
