//! `kift shell`: one session, and one command after the other, from a person or from a script.
//!
//! | module | does |
//! | --- | --- |
//! | `words` | takes a line apart |
//! | `orders` | the commands |
//! | `paths` | paths as they are typed, and patterns of them |
//! | `there` | the session: where it is, what is there, and that it stays alive |
//! | `jobs` | transfers in the background |
//! | `editor` | the prompt, with history and completion |

mod editor;
mod jobs;
mod orders;
mod paths;
mod there;
mod words;

use std::fs;
use std::io::{self, BufRead, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, anyhow, bail};
use kift_core::session::Reply;
use kift_core::wire::{Code, Request};

use super::Verdict;
use super::args;
use super::connect::{Interrupts, connect_watched};
use super::console::Console;
use super::manage::{failed, remove, show_listing, show_space, show_stat};
use super::transfer::{Choices, Destination, Mover, Target};
use crate::client::{Client, ClientError, Listing, RemoteEntry};
pub(super) use editor::{Answer, Editor, Typed};
use jobs::{Jobs, Moves};
pub(super) use orders::Operands;
use orders::{Order, operands};
pub(super) use paths::resolve;
use paths::{Names, expand};
pub(super) use there::There;
use words::{Command, Line, Word};

/// Where commands come from.
enum Source {
    Person(Box<Editor>),
    Script(Box<dyn BufRead>),
}

/// A shell at work.
struct Shell<'a> {
    args: &'a args::Shell,
    place: Option<&'a Path>,
    console: &'a Console,
    interrupts: Interrupts,
    there: Arc<There>,
    source: Source,
    jobs: Jobs,
    verdict: Verdict,
}

/// What comes after a command.
enum Then {
    Next(Verdict),
    End,
}

pub(super) fn run(args: &args::Shell, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let interrupts = Interrupts::default();
    interrupts.watch(&interrupts.stop)?;
    let there = There::new(args.remote.path.clone());
    let source = match &args.command {
        Some(commands) => Source::Script(Box::new(io::Cursor::new(commands.clone()))),
        None if io::stdin().is_terminal() => {
            Source::Person(Box::new(Editor::new(Arc::clone(&there), place)?))
        }
        None => Source::Script(Box::new(io::stdin().lock())),
    };
    let verdict = Verdict::AllDone;
    let jobs = Jobs::default();
    let shell = Shell { args, place, console, interrupts, there, source, jobs, verdict };
    shell.connect()?;
    There::keep_alive(&shell.there).context("cannot start a thread")?;
    shell.run()
}

impl Shell<'_> {
    fn connect(&self) -> Result<()> {
        let Self { args, place, interrupts, .. } = self;
        // There is nothing yet that would have to end in good order.
        let connect = || connect_watched(&args.remote, &args.link, *place, interrupts);
        let mut client = interrupts.ask(connect)?;
        client.stop_by(Arc::clone(&interrupts.stop));
        self.there.connect(client);
        Ok(())
    }

    fn run(mut self) -> Result<Verdict> {
        if let Source::Person(_) = self.source {
            let address = &self.args.remote;
            self.console
                .say(format_args!("Connected to {address}. `help` shows what can be done."));
        }
        while let Some(line) = self.next_line()? {
            for command in line.commands {
                match self.execute(command)? {
                    Then::Next(Verdict::AllDone) => {}
                    Then::Next(Verdict::SomeFailed) => {
                        if self.is_script() {
                            self.verdict = Verdict::SomeFailed;
                            if !self.args.keep_going {
                                self.jobs.cancel_all();
                                return self.leave();
                            }
                        }
                        // What was written behind it in one line may rely on it.
                        break;
                    }
                    Then::End if self.may_leave()? => return self.leave(),
                    Then::End => {}
                }
            }
        }
        self.leave()
    }

    /// What goes on in the background ends with the session: a person is asked, and a script waits.
    fn may_leave(&mut self) -> Result<bool> {
        let running = self.jobs.running();
        let Source::Person(editor) = &mut self.source else { return Ok(true) };
        if running == 0 {
            return Ok(true);
        }
        let question = format!("Stop what goes on in the background ({running})? [y/N] ");
        if !editor.agrees(&question, false)? {
            return Ok(false);
        }
        self.jobs.cancel_all();
        Ok(true)
    }

    fn leave(mut self) -> Result<Verdict> {
        let ended = self.jobs.wait(None, &self.interrupts.stop, self.console)?;
        if self.is_script() && ended == Verdict::SomeFailed {
            self.verdict = ended;
        }
        self.there.with(Client::finish)??;
        Ok(self.verdict)
    }

    fn is_script(&self) -> bool {
        matches!(self.source, Source::Script(_))
    }

    /// The next line that has a command in it, or none where there is no more.
    fn next_line(&mut self) -> Result<Option<Line>> {
        loop {
            let ended = self.jobs.tell_ended(self.console);
            if self.is_script() && ended == Verdict::SomeFailed {
                self.verdict = ended;
            }
            let text = match &mut self.source {
                Source::Person(editor) => {
                    let host = &self.args.remote.host;
                    let directory = self.there.directory();
                    let prompt =
                        format!("kift {host}:/{}> ", super::console::printable(&directory));
                    match self.interrupts.ask(|| editor.line(&prompt))? {
                        Answer::Line(text) => text,
                        Answer::Interrupted => continue,
                        Answer::End if self.may_leave()? => return Ok(None),
                        Answer::End => continue,
                    }
                }
                Source::Script(script) => {
                    let mut text = String::new();
                    if script.read_line(&mut text).context("cannot read the script")? == 0 {
                        return Ok(None);
                    }
                    self.console.detail(format_args!("{}", text.trim_end()));
                    text
                }
            };
            let line = Line::new(&text);
            match line.open {
                None => return Ok(Some(line)),
                Some(quote) => {
                    let what = if quote == '\\' { "the line ends in" } else { "not closed:" };
                    self.console.error(format_args!("{what} {quote}"));
                    if self.is_script() {
                        bail!("the script has a line that is none");
                    }
                }
            }
        }
    }

    /// Does one command. An error ends the shell.
    fn execute(&mut self, command: Command) -> Result<Then> {
        self.interrupts.stop.store(false, Ordering::Relaxed);
        let background = command.is_background.then(|| command.to_string());
        let result = self.order(command.words).and_then(|order| match order {
            None => Ok(Then::Next(Verdict::AllDone)),
            Some(Order::Logout) => Ok(Then::End),
            Some(order) => self.act(order, background).map(Then::Next),
        });
        let was_stopped = self.interrupts.stop.swap(false, Ordering::Relaxed);
        if was_stopped && self.is_script() {
            return Err(ClientError::Interrupted.into());
        }
        let is_over = self.there.is_over();
        match result {
            Ok(then) if !is_over => return Ok(then),
            Ok(_) => self.console.error(format_args!("the connection was lost")),
            Err(error) if is_over && self.is_script() => return Err(error),
            Err(error) => self.console.tell(&error),
        }
        if is_over {
            self.connect_again()?;
        }
        Ok(Then::Next(Verdict::SomeFailed))
    }

    /// Asks a person whether to go on with another session.
    fn connect_again(&mut self) -> Result<()> {
        loop {
            let Source::Person(editor) = &mut self.source else { bail!("the session is over") };
            if !editor.agrees("Connect again? [Y/n] ", true)? {
                bail!("the session is over");
            }
            match self.connect() {
                Ok(()) => return Ok(()),
                Err(error) => self.console.tell(&error),
            }
        }
    }

    /// What the words are to have done; none where they ask for help and were told.
    fn order(&self, words: Vec<Word>) -> Result<Option<Order>> {
        let name = words.first().map(|word| word.text.clone()).unwrap_or_default();
        let mut texts = Vec::new();
        for word in words {
            let Some(pattern) = &word.pattern else {
                texts.push(word.text);
                continue;
            };
            let found = match operands(&name) {
                Operands::Here => expand(pattern, names_here)?,
                Operands::There => expand(pattern, |directory| self.there.names(directory))?,
            };
            if found.is_empty() {
                bail!("nothing fits {:?}", word.text);
            }
            texts.extend(found);
        }
        match Order::parse(texts) {
            Ok(order) => Ok(Some(order)),
            Err(told) if !told.use_stderr() => {
                self.console.result(format_args!("{}", told.to_string().trim_end()));
                Ok(None)
            }
            Err(told) => {
                let told = told.to_string();
                let told = told.trim_end().strip_prefix("error: ").unwrap_or(&told);
                Err(anyhow!("{told}"))
            }
        }
    }

    /// Does it; in the background where it has a name there.
    fn act(&mut self, order: Order, background: Option<String>) -> Result<Verdict> {
        let there = Arc::clone(&self.there);
        let console = self.console;
        let resolved = |text: &str| resolve(&there.directory(), text);
        if background.is_some() && !matches!(order, Order::Upload { .. } | Order::Download { .. }) {
            bail!("only what uploads or downloads can go on in the background");
        }
        match order {
            Order::List { paths } => self.list(&paths),
            Order::Upload { files, how } => {
                let directory = there.directory();
                // In the background the directory here may be another one by then.
                let files = files.iter().map(|file| match &background {
                    Some(_) => std::path::absolute(file),
                    None => Ok(file.clone()),
                });
                let files = files.collect::<io::Result<Vec<_>>>().context("where is this?")?;
                let choices = how.choices()?;
                let moves: Moves = Box::new(move |mover| {
                    let name = how.name.as_deref();
                    mover.send(&files, Target { path: &directory, is_directory: true, name })
                });
                self.transfer(choices, how.links, moves, background)
            }
            Order::Download { paths, how } => {
                let paths: Vec<String> = paths.iter().map(|path| resolved(path)).collect();
                let here = match background {
                    Some(_) => std::env::current_dir().context("cannot tell where this is")?,
                    None => ".".into(),
                };
                let choices = how.choices()?;
                let destination = match how.name {
                    Some(_) if paths.len() != 1 => bail!("--name is for a single file"),
                    Some(name) => Destination::File(here.join(name)),
                    None => Destination::Directory(here),
                };
                let moves: Moves = Box::new(move |mover| Ok(mover.fetch(&paths, &destination)));
                self.transfer(choices, how.links, moves, background)
            }
            Order::Cat { paths } => {
                let paths: Vec<String> = paths.iter().map(|path| resolved(path)).collect();
                let choices = Choices::default();
                there.with(|client| {
                    let mut mover = Mover::new(client, &choices, console);
                    let queued = mover.fetch(&paths, &Destination::StandardOutput);
                    mover.settle(queued)
                })?
            }
            Order::Delete { paths, yes } => {
                let paths: Vec<String> = paths.iter().map(|path| resolved(path)).collect();
                if let (Source::Person(editor), false, true) =
                    (&mut self.source, yes, paths.len() > 1)
                    && !editor.agrees(&format!("Remove {} files? [y/N] ", paths.len()), false)?
                {
                    console.say(format_args!("nothing was removed"));
                    return Ok(Verdict::AllDone);
                }
                Ok(there
                    .with(|client| remove(client, paths.iter().map(String::as_str), console))??)
            }
            Order::Rename { from, to, replace } => {
                let (from, to) = (resolved(&from), resolved(&to));
                self.ask(&from, &Request::Rename { from: &from, to: &to, replace })?;
                Ok(Verdict::AllDone)
            }
            Order::Mkdir { paths } => {
                for path in paths.iter().map(|path| resolved(path)) {
                    self.ask(&path, &Request::MakeDirectory { path: &path })?;
                }
                Ok(Verdict::AllDone)
            }
            Order::Stat { paths, blake3 } => {
                for path in paths.iter().map(|path| resolved(path)) {
                    let request = Request::Stat { path: &path, digest: blake3 };
                    if let Reply::Stat { meta, digest } = self.ask(&path, &request)? {
                        show_stat(&path, &meta, digest, console);
                    }
                }
                Ok(Verdict::AllDone)
            }
            Order::Df => {
                if let Reply::Space(space) = self.ask("df", &Request::Space)? {
                    show_space(&space, console);
                }
                Ok(Verdict::AllDone)
            }
            Order::Cd { path } => there.change_directory(&path.unwrap_or_else(|| "/".to_owned())),
            Order::Pwd => {
                console.result(format_args!("/{}", console.name(&there.directory())));
                Ok(Verdict::AllDone)
            }
            Order::Lcd { path } => {
                let path =
                    path.or_else(std::env::home_dir).context("there is no home directory")?;
                std::env::set_current_dir(&path)
                    .with_context(|| format!("cannot go to {}", path.display()))?;
                Ok(Verdict::AllDone)
            }
            Order::Lpwd => {
                let here = std::env::current_dir().context("cannot tell where this is")?;
                console.result(format_args!("{}", here.display()));
                Ok(Verdict::AllDone)
            }
            Order::Jobs => {
                self.jobs.show(console);
                Ok(Verdict::AllDone)
            }
            Order::Cancel { number } => {
                self.jobs.cancel(number)?;
                // That it stopped is no failure.
                self.jobs.wait(Some(number), &self.interrupts.stop, console)?;
                Ok(Verdict::AllDone)
            }
            Order::Wait { number } => self.jobs.wait(number, &self.interrupts.stop, console),
            Order::Lls { path } => list_here(path.as_deref().unwrap_or(Path::new(".")), console),
            // It ends the shell.
            Order::Logout => Ok(Verdict::AllDone),
        }
    }

    /// Moves files, in the background where that has a name there.
    fn transfer(
        &mut self,
        choices: Choices,
        links: Option<u8>,
        moves: Moves,
        background: Option<String>,
    ) -> Result<Verdict> {
        let console = self.console;
        let Some(what) = background else {
            return self.there.with(|client| {
                let mut mover = Mover::new(client, &choices, console);
                mover.gather(links)?;
                let queued = moves(&mut mover)?;
                mover.settle(queued)
            })?;
        };
        let invitation = self.there.with(|client| client.invite())??;
        let invitation = invitation.map_err(|failure| failed(&"a link of its own", failure))?;
        let moves: Moves = Box::new(move |mover| {
            mover.gather(links)?;
            moves(mover)
        });
        let number = self.jobs.begin(what, invitation, choices, moves, console);
        let number = number.context("cannot start a thread")?;
        console.summary(format_args!("[{number}]"));
        Ok(Verdict::AllDone)
    }

    /// Asks one thing about `what`.
    fn ask(&self, what: &str, request: &Request<'_>) -> Result<Reply> {
        let result = self.there.with(|client| client.ask(request))??;
        result.map_err(|failure| failed(&self.console.name(what), failure))
    }

    fn list(&self, paths: &[String]) -> Result<Verdict> {
        let directory = self.there.directory();
        let here = [String::new()];
        let paths = if paths.is_empty() { &here[..] } else { paths };
        let mut verdict = Verdict::AllDone;
        for text in paths {
            let path = resolve(&directory, text);
            let shown = self.console.name(&path);
            let listing = match self.there.with(|client| client.list(&path))?? {
                Ok(listing) => {
                    if paths.len() > 1 {
                        self.console.result(format_args!("{shown}:"));
                    }
                    listing
                }
                Err(failure) if failure.code() == Code::NotDirectory => {
                    let request = Request::Stat { path: &path, digest: false };
                    let Reply::Stat { meta, .. } = self.ask(&path, &request)? else { continue };
                    let entry = RemoteEntry { name: text.clone(), meta };
                    Listing { entries: vec![entry], skipped: 0 }
                }
                Err(failure) => {
                    self.console.error(format_args!("{}", failed(&shown, failure)));
                    verdict = Verdict::SomeFailed;
                    continue;
                }
            };
            if show_listing(&shown, &listing, self.console) == Verdict::SomeFailed {
                verdict = Verdict::SomeFailed;
            }
        }
        Ok(verdict)
    }
}

/// What is in a directory here.
fn names_here(directory: &str) -> Result<Names> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {directory}"))?;
    let names = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        // It may be a link to one.
        let is_directory = entry.path().is_dir();
        Some((entry.file_name().into_string().ok()?, is_directory))
    });
    Ok(names.collect())
}

fn list_here(path: &Path, console: &Console) -> Result<Verdict> {
    let context = || format!("cannot list {}", path.display());
    let entries = fs::read_dir(path).with_context(context)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (size, slash) = match path.metadata() {
            Ok(meta) if meta.is_dir() => ("-".to_owned(), "/"),
            Ok(meta) => (meta.len().to_string(), ""),
            Err(_) => ("?".to_owned(), ""),
        };
        console.result(format_args!("{size:>14}  {}{slash}", console.name(&name)));
    }
    Ok(Verdict::AllDone)
}
