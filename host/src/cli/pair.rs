//! `kift pair`.

use anyhow::{Result, bail};
use serde_json::json;

use super::Verdict;
use super::args::Pair;
use super::console::Console;
use crate::access::token::{self, OpenToken};
use crate::access::{Auth, users};
use crate::state::State;

pub(super) fn run(pair: &Pair, state: &State, console: &Console) -> Result<Verdict> {
    match &pair.user {
        Some(user) => open(user, pair, state, console)?,
        None => cancel(state, console)?,
    }
    Ok(Verdict::AllDone)
}

fn open(user: &str, pair: &Pair, state: &State, console: &Console) -> Result<()> {
    let open = OpenToken::new(user, pair.options.clone().unwrap_or_default(), pair.lasts)?;
    let locked = state.lock()?;
    if users::find(state, user)?.options.auth == Some(Auth::Password) {
        bail!("{user} logs in by password alone (auth=password), so a key would be of no use");
    }
    let replaced = token::open(&locked, &open)?;
    let text = open.token.as_text().unwrap_or_default();
    if console.json {
        let expires = humantime::format_rfc3339_seconds(open.expires).to_string();
        console.object(&json!({ "token": text, "user": user, "expires": expires }));
        return Ok(());
    }
    console.result(format_args!("{text}"));
    console.summary(format_args!(
        "This token works once, within {}: whoever connects with it first is {user} from then on.\n\
         Give it to the device or client that is to be paired, which takes it by --token-file if it \
         is kift, and show it to nobody else.",
        humantime::format_duration(pair.lasts)
    ));
    if replaced {
        console.summary(format_args!("The token that was open before works no more."));
    }
    Ok(())
}

fn cancel(state: &State, console: &Console) -> Result<()> {
    let was_open = token::cancel(&state.lock()?)?;
    console.object(&json!({ "cancelled": was_open }));
    let what = if was_open { "the token works no more" } else { "there was no token open" };
    console.summary(format_args!("{what}"));
    Ok(())
}
