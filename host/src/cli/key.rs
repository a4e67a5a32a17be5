//! `kift key`.

use anyhow::{Context as _, Result, bail};
use kift_core::secure::PublicKey;
use serde_json::json;

use super::Verdict;
use super::args::{Key, Link};
use super::console::Console;
use super::named::resolve;
use crate::access::keys::KIND;
use crate::state::State;
use crate::trust;

pub(super) fn run(key: &Key, state: &State, console: &Console) -> Result<Verdict> {
    match key {
        Key::Gen { replace } => {
            let key = *state.new_key(*replace)?.public();
            console.summary(format_args!("the key is in {}", state.path().display()));
            show(&key, &key.fingerprint(), console);
        }
        Key::Show => {
            let key = public(state)?;
            show(&key, &format_args!("{KIND} {key}"), console);
        }
        Key::Fingerprint { key } => {
            let key = key.map_or_else(|| public(state), Ok)?;
            show(&key, &key.fingerprint(), console);
        }
        Key::Forget { server } => {
            let (server, _) = resolve(server, &Link::default())?;
            forget(&server.address(), state, console)?;
        }
    }
    Ok(Verdict::AllDone)
}

fn public(state: &State) -> Result<PublicKey> {
    let key = state.key()?.with_context(|| {
        format!("there is no key in {}: `kift key gen` makes one", state.path().display())
    })?;
    Ok(*key.public())
}

fn forget(server: &str, state: &State, console: &Console) -> Result<()> {
    let keys = trust::forget(state, server)?;
    if keys == 0 {
        bail!(
            "the server {server} is not known here: {} says who is",
            trust::file(state).display()
        );
    }
    console.object(&json!({ "server": server, "forgotten": keys }));
    console.summary(format_args!("{server} is not known any more"));
    Ok(())
}

fn show(key: &PublicKey, text: &dyn std::fmt::Display, console: &Console) {
    if console.json {
        let (key, fingerprint) = (key.to_string(), key.fingerprint().to_string());
        console.object(&json!({ "kind": KIND, "key": key, "fingerprint": fingerprint }));
    } else {
        console.result(format_args!("{text}"));
    }
}
