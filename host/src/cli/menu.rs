//! `kift` alone on a terminal: a numbered menu, for people who will not read any help.
//!
//! Whatever is typed is checked at once, and asked for again with what was wrong. Ctrl-C and Ctrl-D
//! go back where there is something to go back to, and end the menu where there is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use kift_core::session::{Error, Failure};
use kift_core::wire::{Code, Conflict, is_user_name};

use super::Verdict;
use super::args;
use super::connect::{Interrupts, connect_watched};
use super::console::Console;
use super::manage::{failed, remove, show_listing};
use super::named::is_named;
use super::shell::{Answer, Editor, Operands, There, Typed, resolve};
use super::transfer::{Choices, Destination, Mover, Target};
use crate::client::{Client, ClientError};
use crate::remote::Remote;

const CHOICES: &str = "
  1  upload a file
  2  download a file
  3  list files
  4  delete a file
  5  exit
";

/// A menu at work.
struct Menu<'a> {
    place: Option<&'a Path>,
    console: &'a Console,
    interrupts: Interrupts,
    there: Arc<There>,
    editor: Editor,
}

/// What a person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Upload,
    Download,
    List,
    Delete,
    Exit,
}

impl Choice {
    /// The number that stands before it, or what it is called.
    fn of(text: &str) -> Result<Self> {
        Ok(match text.to_lowercase().as_str() {
            "1" | "upload" => Self::Upload,
            "2" | "download" => Self::Download,
            "3" | "list" => Self::List,
            "4" | "delete" => Self::Delete,
            "5" | "exit" => Self::Exit,
            "" => bail!("choose a number from 1 to 5"),
            _ => bail!("{text:?} is no number from 1 to 5"),
        })
    }
}

pub(super) fn run(place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let interrupts = Interrupts::default();
    interrupts.watch(&interrupts.stop)?;
    let there = There::new(String::new());
    let editor = Editor::new(Arc::clone(&there), place)?;
    There::keep_alive(&there).context("cannot start a thread")?;
    console.say(format_args!(
        "kift moves files between this machine and a server. `kift --help` shows all that it does."
    ));
    Menu { place, console, interrupts, there, editor }.run()
}

impl Menu<'_> {
    fn run(mut self) -> Result<Verdict> {
        while self.connect()? {
            if self.serve()? {
                self.there.with(Client::finish)??;
                break;
            }
            self.console.error(format_args!("the connection was lost"));
        }
        Ok(Verdict::AllDone)
    }

    /// Asks where to connect to, until that works. False where a person wants nothing of that.
    fn connect(&mut self) -> Result<bool> {
        loop {
            let Some(remote) = self.ask_remote()? else { return Ok(false) };
            match self.reach(&remote) {
                Ok(true) => {
                    let address = remote.address();
                    self.console.say(format_args!("Connected to {address}."));
                    return Ok(true);
                }
                Ok(false) => {}
                Err(error) => self.console.tell(&error),
            }
        }
    }

    fn ask_remote(&mut self) -> Result<Option<Remote>> {
        let Some(remote) = self.ask("Address of the server", "127.0.0.1", |text| {
            let remote: Remote = text.parse()?;
            if !remote.path.is_empty() {
                bail!("only the address, without {:?}", format!("/{}", remote.path));
            }
            Ok(remote)
        })?
        else {
            return Ok(None);
        };
        if is_named(&remote)? {
            return Ok(Some(remote));
        }
        let usual = remote.port().to_string();
        let Some(port) = self.ask("Port", &usual, |text| match text.parse() {
            Ok(0) | Err(_) => bail!("{text:?} is no number from 1 to 65535"),
            Ok(port) => Ok(port),
        })?
        else {
            return Ok(None);
        };
        let usual = remote.user.clone().unwrap_or_default();
        let Some(user) = self.ask("User", &usual, |text| match text {
            "" => Ok(None),
            name if is_user_name(name) => Ok(Some(name.to_owned())),
            name => bail!("{name:?} is no user's name"),
        })?
        else {
            return Ok(None);
        };
        Ok(Some(Remote { user, port: Some(port), ..remote }))
    }

    /// Connects. False where a person does not want it so.
    fn reach(&mut self, remote: &Remote) -> Result<bool> {
        let mut link = args::Link::default();
        let Self { place, interrupts, .. } = self;
        // There is nothing yet that would have to end in good order.
        let connect = |remote, link: &args::Link| {
            interrupts.ask(|| connect_watched(remote, link, *place, interrupts))
        };
        let mut client = match connect(remote, &link) {
            Err(error) if is_plain_only(&error) => {
                self.console.say(format_args!(
                    "Whoever is there speaks plain only: anybody on the way could read and change \
                     everything, and nobody logs in."
                ));
                if !self.editor.agrees("Go on without any protection? [y/N] ", false)? {
                    return Ok(false);
                }
                link.plain = true;
                let remote = Remote { user: None, ..remote.clone() };
                connect(&remote, &link)?
            }
            result => result?,
        };
        client.stop_by(Arc::clone(&self.interrupts.stop));
        self.there.connect(client);
        Ok(true)
    }

    /// Does what is chosen, until that is the end. False where the session was lost.
    fn serve(&mut self) -> Result<bool> {
        loop {
            self.console.say(format_args!("{CHOICES}"));
            let choice = self.ask("Choose 1 to 5", "", Choice::of)?;
            self.interrupts.stop.store(false, Ordering::Relaxed);
            let result = match choice {
                None | Some(Choice::Exit) => return Ok(true),
                Some(Choice::Upload) => self.upload(),
                Some(Choice::Download) => self.download(),
                Some(Choice::List) => self.list(),
                Some(Choice::Delete) => self.delete(),
            };
            if let Err(error) = result {
                self.console.tell(&error);
            }
            if self.there.is_over() {
                return Ok(false);
            }
        }
    }

    fn upload(&mut self) -> Result<()> {
        let Some(file) = self.ask_name("File to upload", Operands::Here)? else { return Ok(()) };
        let file = PathBuf::from(file);
        let meta = file.metadata().with_context(|| format!("cannot read {}", file.display()))?;
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
            bail!("{} has no name that can be sent", file.display());
        };
        let is_there = self.there.with(|client| client.stat(name))??.is_ok();
        let Some(conflict) = self.ask_conflict(name, is_there && meta.is_file())? else {
            return Ok(());
        };
        let choices = Choices { recursive: meta.is_dir(), conflict, ..Choices::default() };
        let console = self.console;
        self.there.with(|client| {
            let mut mover = Mover::new(client, &choices, console);
            let target = Target { path: "", is_directory: true, name: None };
            let queued = mover.send(std::slice::from_ref(&file), target)?;
            mover.settle(queued)
        })??;
        Ok(())
    }

    fn download(&mut self) -> Result<()> {
        let Some(path) = self.ask_name("File to download", Operands::There)? else {
            return Ok(());
        };
        let path = resolve("", &path);
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(conflict) = self.ask_conflict(name, Path::new(name).is_file())? else {
            return Ok(());
        };
        let choices = Choices { recursive: true, conflict, ..Choices::default() };
        let console = self.console;
        self.there.with(|client| {
            let mut mover = Mover::new(client, &choices, console);
            let queued =
                mover.fetch(std::slice::from_ref(&path), &Destination::Directory(".".into()));
            mover.settle(queued)
        })??;
        Ok(())
    }

    fn list(&mut self) -> Result<()> {
        let listing = self.there.with(|client| client.list(""))??;
        let listing = listing.map_err(|failure| failed(&"/", failure))?;
        if listing.entries.is_empty() {
            self.console.say(format_args!("There are no files."));
        }
        show_listing(&"/", &listing, self.console);
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        let Some(path) = self.ask_name("File to delete", Operands::There)? else { return Ok(()) };
        let path = resolve("", &path);
        let shown = self.console.name(&path);
        let found = self.there.with(|client| client.stat(&path))??;
        if let Err(failure @ Failure::Peer(Code::NotFound)) = found {
            return Err(failed(&shown, failure));
        }
        if !self.editor.agrees(&format!("Delete {shown} there for good? [y/N] "), false)? {
            self.console.say(format_args!("Nothing was deleted."));
            return Ok(());
        }
        let console = self.console;
        let verdict =
            self.there.with(|client| remove(client, std::iter::once(&*path), console))??;
        if verdict == Verdict::AllDone {
            self.console.say(format_args!("Deleted {shown}."));
        }
        Ok(())
    }

    /// What is to become of a file where its name is taken; none where it is to stay as it is.
    fn ask_conflict(&mut self, name: &str, is_taken: bool) -> Result<Option<Conflict>> {
        if !is_taken {
            return Ok(Some(Conflict::Refuse));
        }
        let question = format!("{:?} is there already. Replace it, keep both, or leave it", name);
        let conflict = self.ask(&question, "leave", |text| {
            Ok(match text.to_lowercase().as_str() {
                "r" | "replace" => Some(Conflict::Replace),
                "k" | "keep" | "both" | "keep both" => Some(Conflict::KeepBoth),
                "l" | "leave" => None,
                _ => bail!("say replace, keep or leave"),
            })
        })?;
        Ok(conflict.flatten())
    }

    /// Asks for the name of a file, which Tab completes; Enter alone shows those that are there.
    fn ask_name(&mut self, question: &str, names: Operands) -> Result<Option<String>> {
        let prompt = match names {
            Operands::Here => format!("{question} (Tab completes): "),
            Operands::There => format!("{question} (Tab completes, Enter lists): "),
        };
        loop {
            let Answer::Line(line) = self.editor.ask(&prompt, Typed::Name(names))? else {
                return Ok(None);
            };
            match (line.trim(), names) {
                ("", Operands::There) => self.list()?,
                ("", Operands::Here) => return Ok(None),
                // What is completed ends in a slash where it is a directory.
                (name, _) => return Ok(Some(name.trim_end_matches('/').to_owned())),
            }
        }
    }

    /// Asks until the answer can be used; none where a person wants to go back. `usual` is what Enter
    /// alone says.
    fn ask<T>(
        &mut self,
        question: &str,
        usual: &str,
        parse: impl Fn(&str) -> Result<T>,
    ) -> Result<Option<T>> {
        let prompt = match usual {
            "" => format!("{question}: "),
            usual => format!("{question} [{usual}]: "),
        };
        loop {
            let Answer::Line(line) = self.editor.ask(&prompt, Typed::Words)? else {
                return Ok(None);
            };
            let text = match line.trim() {
                "" => usual,
                text => text,
            };
            match parse(text) {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => self.console.tell(&error),
            }
        }
    }
}

/// Whether a server refused because it does not speak sealed.
fn is_plain_only(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Session(Error::PeerClosed(Code::PlainOnly))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_choose() {
        for (text, choice) in [
            ("1", Choice::Upload),
            ("Download", Choice::Download),
            ("LIST", Choice::List),
            ("4", Choice::Delete),
            ("exit", Choice::Exit),
        ] {
            assert_eq!(Choice::of(text).unwrap(), choice, "{text}");
        }
        for text in ["", "0", "6", "11", "-1", "up"] {
            assert!(Choice::of(text).unwrap_err().to_string().contains("from 1 to 5"), "{text}");
        }
    }
}
