//! How a command comes to a session: whom it trusts, and who it says it is.
//!
//! Whatever a person is asked is asked between two links, and never while one waits: its deadlines
//! are for machines.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Clock};
use std::{fmt, thread};

use anyhow::{Context as _, Result, anyhow, bail};
use kift_core::secure::{Fingerprint, PublicKey, SecretKey, Token};
use kift_core::wire::{Code, Request};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::args::{Link as LinkArgs, Retry, ServerKey};
use super::console::Console;
use super::named::resolve;
use super::password;
use crate::client::{Client, ClientError, Expect, Link, is_passing, wait};
use crate::net::{TICK, WINDOW};
use crate::remote::Remote;
use crate::state::State;
use crate::trust;

/// Times that a person is asked for a password.
const PASSWORDS_MAX: u32 = 3;

/// A session with the server, in which the user is logged in, and that an interrupt ends. What this
/// machine remembers is in `place`, or where it usually is.
pub(super) fn connect(remote: &Remote, args: &LinkArgs, place: Option<&Path>) -> Result<Client> {
    let interrupts = Interrupts::default();
    interrupts.watch(&interrupts.end)?;
    connect_watched(remote, args, place, &interrupts)
}

/// The same, which is tried again as often as `retry` says where the server cannot be reached, and goes on
/// in another session when the link is lost.
pub(super) fn connect_patiently(
    remote: &Remote,
    args: &LinkArgs,
    retry: Retry,
    place: Option<&Path>,
    console: &Console,
) -> Result<Client> {
    let interrupts = Interrupts::default();
    interrupts.watch(&interrupts.end)?;
    let times = retry.retry;
    let mut attempt = 0;
    loop {
        let error = match connect_watched(remote, args, place, &interrupts) {
            Ok(mut client) => {
                if times > 0 {
                    client.retry(times);
                }
                return Ok(client);
            }
            Err(error) => error,
        };
        let is_worth_it = error.downcast_ref::<ClientError>().is_some_and(is_passing);
        if attempt == times || !is_worth_it {
            return Err(error);
        }
        let wait = wait(attempt);
        console.summary(format_args!("{}", again(&error, wait)));
        let began = Clock::now();
        while began.elapsed() < wait {
            if interrupts.end.load(Ordering::Relaxed) {
                return Err(ClientError::Interrupted.into());
            }
            thread::sleep(TICK);
        }
        attempt += 1;
    }
}

/// How it is told that something is tried again.
pub(super) fn again(why: &impl fmt::Display, wait: Duration) -> String {
    format!("{why}; trying again in {:.1} s", wait.as_secs_f64())
}

/// The same, for whoever watches for interrupts already.
pub(super) fn connect_watched(
    remote: &Remote,
    args: &LinkArgs,
    place: Option<&Path>,
    interrupts: &Interrupts,
) -> Result<Client> {
    let (remote, args) = &resolve(remote, args)?;
    let dial = Dial::new(remote, args, interrupts);
    if args.plain {
        if let Some(user) = &remote.user {
            bail!("plain links have no login\nleave {:?} out", format!("{user}@"));
        }
        return Ok(dial.open(Link::Plain)?);
    }
    let state = State::open(place)?;
    let (key, _) = state.key_or_new()?;
    if let Some(file) = &args.token_file {
        let token = password::of_file(file)?.parse();
        let token: Token = token.with_context(|| format!("{}", file.display()))?;
        return dial.pair(&state, key, token);
    }
    let (client, link) = dial.meet(&state, key, args.server_key.as_ref())?;
    match (&remote.user, &args.password_file) {
        (None, None) => Ok(client),
        (None, Some(_)) => bail!("a password is a user's\nwrite kift://USER@{}", remote.address()),
        (Some(user), Some(file)) => dial.log_in(client, user, &password::of_file(file)?),
        (Some(user), None) => dial.introduce(client, user, &link),
    }
}

/// A session with whoever offers something: by the token that they show, which a person is asked for,
/// unless something else is said.
pub(super) fn connect_to_offer(
    remote: &Remote,
    args: &LinkArgs,
    place: Option<&Path>,
    interrupts: &Interrupts,
) -> Result<Client> {
    let (remote, args) = &resolve(remote, args)?;
    let is_asked = !args.plain && args.server_key.is_none() && remote.user.is_none();
    let token = match &args.token_file {
        Some(file) => Some(password::of_file(file)?),
        None if is_asked && io::stdin().is_terminal() => {
            let question = "Token that is shown there (Enter if this machine's key will do): ";
            Some(interrupts.ask_unseen(|| password::ask(question))?)
        }
        None => None,
    };
    match token.as_ref().map(|token| token.trim()) {
        None | Some("") => connect_watched(remote, args, place, interrupts),
        Some(token) => {
            let token = token.parse().context("what was typed is no token")?;
            let (key, _) = State::open(place)?.key_or_new()?;
            Dial::new(remote, args, interrupts).by_token(key, token)
        }
    }
}

/// What signals of the user's lead to.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    /// Sessions end in good order.
    pub(super) end: Arc<AtomicBool>,
    /// What is under way is stopped, and sessions go on.
    pub(super) stop: Arc<AtomicBool>,
    /// A person is being asked something: there is nothing to end in good order.
    asking: Arc<AtomicBool>,
}

impl Interrupts {
    /// From now on Ctrl-C sets `flag`, which is one of these, and SIGTERM the one that ends sessions.
    /// A second signal, before the flag was taken back, ends the process as usual.
    pub(super) fn watch(&self, flag: &Arc<AtomicBool>) -> Result<()> {
        let watch = |signal, set: &Arc<AtomicBool>| -> io::Result<()> {
            flag::register_conditional_default(signal, Arc::clone(&self.asking))?;
            flag::register_conditional_default(signal, Arc::clone(set))?;
            flag::register(signal, Arc::clone(set))?;
            Ok(())
        };
        watch(SIGINT, flag)
            .and_then(|()| watch(SIGTERM, &self.end))
            .context("cannot watch for signals")
    }

    /// Runs `question`, which a signal ends together with the process.
    pub(super) fn ask<T>(&self, question: impl FnOnce() -> T) -> T {
        self.while_asking(true, question)
    }

    /// Runs `question`, which itself ends at Ctrl-C: it has hidden what is typed, and must live to show
    /// it again.
    fn ask_unseen<T>(&self, question: impl FnOnce() -> T) -> T {
        // An earlier Ctrl-C would make this one the second.
        self.stop.store(false, Ordering::Relaxed);
        self.while_asking(false, question)
    }

    fn while_asking<T>(&self, asking: bool, question: impl FnOnce() -> T) -> T {
        let was_asking = self.asking.swap(asking, Ordering::Relaxed);
        let answer = question();
        self.asking.store(was_asking, Ordering::Relaxed);
        answer
    }
}

/// A server that is to be reached.
struct Dial<'a> {
    remote: &'a Remote,
    /// Chunks that are taken before any is acknowledged.
    window: u32,
    interrupts: &'a Interrupts,
}

impl<'a> Dial<'a> {
    fn new(remote: &'a Remote, args: &LinkArgs, interrupts: &'a Interrupts) -> Self {
        Self { remote, window: args.window.map_or(WINDOW, NonZeroU32::get), interrupts }
    }

    /// A session whose server is known to be the right one.
    fn open(&self, link: Link) -> Result<Client, ClientError> {
        // The system does not let itself be interrupted at it.
        let connect = || Client::connect_with(self.remote, link, self.window);
        let mut client = self.interrupts.ask(connect)?;
        client.interrupt_by(Arc::clone(&self.interrupts.end));
        client.open()?;
        Ok(client)
    }

    /// A session with a server that is known, or that a person knows.
    fn meet(
        &self,
        state: &State,
        key: SecretKey,
        pin: Option<&ServerKey>,
    ) -> Result<(Client, Link)> {
        let address = self.remote.address();
        let known = trust::known(state, &address)?;
        let server = match pin {
            Some(ServerKey::Fingerprint(fingerprint)) => Expect::Fingerprint(*fingerprint),
            Some(ServerKey::Key(key)) => Expect::Keys(vec![*key]),
            // Who has this machine's own secret is this machine.
            None => Expect::Keys(known.iter().chain([key.public()]).copied().collect()),
        };
        let link = Link::Sealed { key: key.clone(), server };
        let shown = match self.open(link.clone()) {
            Ok(client) => return Ok((client, link)),
            Err(ClientError::Stranger(shown)) => shown,
            Err(error) => return Err(error.into()),
        };
        if let Some(pin) = pin {
            return Err(not_the_one(&address, pin, &shown));
        }
        if !known.is_empty() {
            return Err(changed(&address, &known, &shown));
        }
        self.interrupts.ask(|| ask_about(&address, &shown))?;
        trust::remember(state, &address, &shown)?;
        let link = Link::Sealed { key, server: Expect::Keys(vec![shown]) };
        Ok((self.open(link.clone())?, link))
    }

    /// A first contact by a token. The server is known when its first answer has come: only who has
    /// the token too could make one.
    fn pair(&self, state: &State, key: SecretKey, token: Token) -> Result<Client> {
        if let Some(user) = &self.remote.user {
            bail!("the token says which user this is\nleave {:?} out", format!("{user}@"));
        }
        let client = self.by_token(key, token)?;
        let Some(server) = client.server() else { bail!("the server has shown no key") };
        trust::remember(state, &self.remote.address(), &server)?;
        let _ = writeln!(
            io::stderr(),
            "paired with {}: its key {} is known from now on",
            self.remote.address(),
            server.fingerprint()
        );
        Ok(client)
    }

    /// A session that the token alone lets in.
    fn by_token(&self, key: SecretKey, token: Token) -> Result<Client> {
        let mut client = self.open(Link::Pairing { key, token })?;
        match client.ask(&Request::Space) {
            // What it answers does not matter, but that it does.
            Ok(_) => Ok(client),
            Err(error @ ClientError::Session(_)) => {
                Err(anyhow!(error).context("the token is not the one that is good there, it seems"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says who the user is, by this machine's key alone if that will do, else by a password that a
    /// person is asked for.
    fn introduce(&self, mut client: Client, user: &str, link: &Link) -> Result<Client> {
        match log_in(&mut client, user, "")? {
            Ok(()) => return Ok(client),
            Err(Code::LoginRequired) => {}
            Err(code) => return Err(refused(user, code)),
        }
        client.finish()?;
        for _ in 0..PASSWORDS_MAX {
            let question = format!("password of {user} at {}: ", self.remote.address());
            let password = self.interrupts.ask_unseen(|| password::ask(&question))?;
            let mut client = self.open(link.clone())?;
            match log_in(&mut client, user, &password)? {
                Ok(()) => return Ok(client),
                Err(Code::LoginFailed) => {
                    let _ = writeln!(io::stderr(), "wrong user or password");
                }
                Err(code) => return Err(refused(user, code)),
            }
        }
        Err(refused(user, Code::LoginFailed))
    }

    fn log_in(&self, mut client: Client, user: &str, password: &str) -> Result<Client> {
        match log_in(&mut client, user, password)? {
            Ok(()) => Ok(client),
            Err(code) => Err(refused(user, code)),
        }
    }
}

fn log_in(client: &mut Client, user: &str, password: &str) -> Result<Result<(), Code>> {
    match client.log_in(user, password)? {
        Err(Code::Malformed) => bail!("a password has at most 128 bytes, and no NUL among them"),
        Err(Code::BadName) => bail!("{user:?} is no user's name"),
        result => Ok(result),
    }
}

fn refused(user: &str, code: Code) -> anyhow::Error {
    anyhow!("cannot log in as {user:?}: {code}")
}

/// Asks a person whether the server is the right one. An error says that it is not, or that nobody
/// is there to be asked.
fn ask_about(address: &str, shown: &PublicKey) -> Result<()> {
    let fingerprint = shown.fingerprint();
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!(
            "the server {address} is not known here; it shows the key {fingerprint}\nif that is what \
             it printed when it started, say so: --server-key {fingerprint}"
        );
    }
    let mut err = io::stderr();
    write!(
        err,
        "The server {address} is not known here. It shows the key\n\n  {fingerprint}\n\nIs that what \
         it printed when it started? [yes/no] "
    )?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("the server {address} is not trusted, and nothing was said to it");
    }
    Ok(())
}

fn not_the_one(address: &str, pin: &ServerKey, shown: &PublicKey) -> anyhow::Error {
    let wanted: Fingerprint = match pin {
        ServerKey::Fingerprint(fingerprint) => *fingerprint,
        ServerKey::Key(key) => key.fingerprint(),
    };
    anyhow!(
        "the server {address} is not the one that --server-key names, and nothing was said to it\n  \
         named:  {wanted}\n  shown:  {}",
        shown.fingerprint()
    )
}

fn changed(address: &str, known: &[PublicKey], shown: &PublicKey) -> anyhow::Error {
    let known: Vec<String> = known.iter().map(|key| key.fingerprint().to_string()).collect();
    anyhow!(
        "THE SERVER {address} SHOWS ANOTHER KEY THAN BEFORE. Somebody may be pretending to be it. \
         Nothing was said to it.\n  known:  {}\n  shown:  {}\nif you know that it has a new key, \
         because whoever runs it says so, forget the old one: kift key forget {address}",
        known.join(", "),
        shown.fingerprint()
    )
}
