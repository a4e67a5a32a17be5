//! Where passwords come from: a person at a terminal, or a file, and never an argument, which
//! everybody on the machine could see.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::SIGINT;
use signal_hook::{flag, low_level};
use zeroize::Zeroizing;

use super::args::PasswordSource;
use crate::access::{PASSWORD_LEN_MAX, check_password};
use crate::client::ClientError;

/// A password that is to be somebody's from now on.
pub(super) fn new(source: &PasswordSource, user: &str) -> Result<Zeroizing<String>> {
    let password = match &source.password_file {
        Some(file) => of_file(file)?,
        None => {
            let password = ask(&format!("New password for {user}: "))?;
            // Before it is typed again.
            check_password(&password)?;
            if ask("The same again: ")? != password {
                bail!("these are two different passwords: nothing was changed");
            }
            password
        }
    };
    check_password(&password)?;
    Ok(password)
}

/// What a person types, unseen.
pub(super) fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the password at\ngive --password-file FILE");
    }
    // Ctrl-C ends the question, which gives the terminal back, and not the process in the midst of it.
    let context = "cannot read the password";
    let pressed = flag::register(SIGINT, Arc::default()).context(context)?;
    let password = rpassword::prompt_password(prompt).map(Zeroizing::new);
    low_level::unregister(pressed);
    match password {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            Err(ClientError::Interrupted.into())
        }
        password => password.context(context),
    }
}

/// What stands in `file`, but for the end of its line.
pub(super) fn of_file(file: &Path) -> Result<Zeroizing<String>> {
    let shown = file.display();
    let context = || format!("cannot read the password in {shown}");
    let opened = File::open(file).with_context(context)?;
    if opened.metadata().with_context(context)?.permissions().mode() & 0o077 != 0 {
        bail!("others than its owner may read or write {shown}\nrun `chmod 600 {shown}`");
    }
    // Room beforehand: text that grew would leave copies behind in memory.
    let len_max = PASSWORD_LEN_MAX + "\r\n".len();
    let mut text = Zeroizing::new(String::with_capacity(2 * len_max));
    opened.take(len_max as u64 + 1).read_to_string(&mut text).with_context(context)?;
    let line =
        text.strip_suffix('\n').map_or(&**text, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.contains('\n') {
        bail!("there is more than one line in {shown}");
    }
    Ok(Zeroizing::new(line.to_owned()))
}
