//! `kift authorize`.

use anyhow::{Result, bail};
use kift_core::secure::PublicKey;
use serde_json::json;

use super::Verdict;
use super::args::Authorize;
use super::console::Console;
use crate::access::keys::{self, AuthorizedKey, KIND};
use crate::access::users;
use crate::state::State;

pub(super) fn run(authorize: &Authorize, state: &State, console: &Console) -> Result<Verdict> {
    match &authorize.remove {
        Some(key) => remove(key, state, console)?,
        None => add(&line(&authorize.operands)?, state, console)?,
    }
    Ok(Verdict::AllDone)
}

/// The operands are the words of a line, but that a key's kind need not be named.
fn line(operands: &[String]) -> Result<AuthorizedKey> {
    let mut words: Vec<&str> =
        operands.iter().flat_map(|operand| operand.split_whitespace()).collect();
    if words.get(1).is_some_and(|word| *word != KIND) {
        words.insert(1, KIND);
    }
    words.join(" ").parse()
}

fn add(key: &AuthorizedKey, state: &State, console: &Console) -> Result<()> {
    let locked = state.lock()?;
    users::find(state, &key.user)?;
    if !keys::add(&locked, key)? {
        bail!(
            "the key is {}'s already: change its options in {}, or remove it first by \
             `kift authorize --remove {}`",
            key.user,
            state.file(keys::FILE).display(),
            key.key
        );
    }
    let fingerprint = key.key.fingerprint().to_string();
    console.object(&json!({ "user": key.user, "fingerprint": fingerprint, "added": true }));
    console.summary(format_args!("{fingerprint} is {} from now on", key.user));
    Ok(())
}

fn remove(key: &PublicKey, state: &State, console: &Console) -> Result<()> {
    let count = keys::remove(&state.lock()?, |line| line.key == *key)?;
    if count == 0 {
        bail!("the key is not in {}", state.file(keys::FILE).display());
    }
    let fingerprint = key.fingerprint().to_string();
    console.object(&json!({ "fingerprint": fingerprint, "removed": count }));
    console.summary(format_args!("{fingerprint} lets nobody in any more"));
    Ok(())
}
