//! `kift user`.

use anyhow::{Result, bail};
use serde_json::json;

use super::args::{self, PasswordSource};
use super::console::Console;
use super::{Verdict, password};
use crate::access::users::{self, User};
use crate::access::{Hash, Options, keys, token};
use crate::state::State;

pub(super) fn run(user: &args::User, state: &State, console: &Console) -> Result<Verdict> {
    match user {
        args::User::Add { name, options, password, no_password } => {
            let password = (!no_password).then_some(password);
            add(name, options, password, state, console)?;
        }
        args::User::Set { name, options } => set(name, options, state, console)?,
        args::User::Passwd { name, password } => passwd(name, password, state, console)?,
        args::User::Rm { name } => rm(name, state, console)?,
        args::User::Ls => ls(state, console)?,
    }
    Ok(Verdict::AllDone)
}

fn add(
    name: &str,
    options: &Options,
    source: Option<&PasswordSource>,
    state: &State,
    console: &Console,
) -> Result<()> {
    let mut user = User::new(name, options.clone())?;
    // Before somebody types a password for nothing.
    users::check_new(state, name)?;
    match source {
        None if options.auth.unwrap_or_default().needs_password() => bail!(
            "{name} could never log in: auth=password and auth=both need a password, so leave \
             --no-password out"
        ),
        None => {}
        Some(source) => user.hash = Some(Hash::new(&password::new(source, name)?)?),
    }
    users::add(&state.lock()?, &user)?;
    console.object(&json!({ "user": name, "added": true }));
    console.summary(format_args!("{name} may log in from now on"));
    Ok(())
}

fn set(name: &str, options: &Options, state: &State, console: &Console) -> Result<()> {
    let locked = state.lock()?;
    let hash = users::find(state, name)?.hash;
    if hash.is_none() && options.auth.unwrap_or_default().needs_password() {
        bail!(
            "{name} could never log in: auth=password and auth=both need a password, which \
             `kift user passwd {name}` gives first"
        );
    }
    let user = User { hash, ..User::new(name, options.clone())? };
    users::set(&locked, name, Some(&user))?;
    console.object(&json!({ "user": name, "options": options.to_string(), "changed": true }));
    console.summary(format_args!("{name} may do that from now on: {options}"));
    Ok(())
}

fn passwd(name: &str, source: &PasswordSource, state: &State, console: &Console) -> Result<()> {
    users::find(state, name)?;
    let hash = Hash::new(&password::new(source, name)?)?;
    let locked = state.lock()?;
    let user = User { hash: Some(hash), ..users::find(state, name)? };
    users::set(&locked, name, Some(&user))?;
    console.object(&json!({ "user": name, "changed": true }));
    console.summary(format_args!("the password is changed; sessions by the old one end"));
    Ok(())
}

fn rm(name: &str, state: &State, console: &Console) -> Result<()> {
    let locked = state.lock()?;
    // First what the rest depends on.
    users::set(&locked, name, None)?;
    let keys = keys::remove(&locked, |key| key.user == name)?;
    if token::find(state)?.is_some_and(|open| open.user == name) {
        token::cancel(&locked)?;
    }
    console.object(&json!({ "user": name, "removed": true, "keys": keys }));
    console.summary(format_args!("{name} is removed, with {}", count(keys, "key")));
    Ok(())
}

fn ls(state: &State, console: &Console) -> Result<()> {
    let keys = keys::list(state)?;
    for user in users::list(state)? {
        let keys = keys.iter().filter(|key| key.user == user.name).count();
        let (name, options, has_password) = (&user.name, &user.options, user.hash.is_some());
        if console.json {
            console.object(&json!({
                "user": name, "options": options.to_string(), "password": has_password, "keys": keys,
            }));
            continue;
        }
        let password = if has_password { "password, " } else { "" };
        console.result(format_args!("{name:16}  {options}  ({password}{})", count(keys, "key")));
    }
    Ok(())
}

fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
