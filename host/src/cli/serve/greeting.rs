//! What a server tells whoever started it.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use super::Door;
use super::place::Place;

/// Says where the server listens and what a client types.
pub(super) fn greet(places: &[Place], addresses: &[SocketAddr], door: &Door) {
    let mut doors = places.iter().zip(addresses);
    let Some((place, address)) = doors.next() else { return };
    let host = reached_at(address);
    let mut text = serving(place, address);
    text.extend(doors.map(|(place, address)| serving(place, address)));
    match door {
        Door::Plain => {
            let or_write = if place.is_read_only { "" } else { ", write and delete" };
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

fn serving(place: &Place, address: &SocketAddr) -> String {
    let read_only = if place.is_read_only { ", read-only" } else { "" };
    format!("serving {} on {address}{read_only}\n", place.root.path().display())
}

/// How others name a server that listens at `address`.
pub(in crate::cli) fn reached_at(address: &SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let system = rustix::system::uname();
    format!("{}:{}", system.nodename().to_string_lossy(), address.port())
}
