//! `kift get`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kift_core::session::{Failure, Reply};
use kift_core::storage::RequestId;
use kift_core::wire::EntryKind;
use serde_json::json;

use super::args::Get;
use super::console::{Account, Console, advice, advised};
use super::{Verdict, connect, explain};
use crate::client::{Client, ClientError, Done, FileSink, Pipe, Sink};
use crate::remote::{Remote, join};

/// A file to be fetched.
#[derive(Debug, Clone)]
struct Item {
    remote: String,
    /// None for standard output.
    local: Option<PathBuf>,
}

/// What is being fetched, and what became of it.
struct Fetching<'a> {
    get: &'a Get,
    account: Account<'a>,
    open: HashMap<RequestId, Item>,
}

/// Where everything goes.
#[derive(Debug)]
enum Destination {
    StandardOutput,
    Directory(PathBuf),
    File(PathBuf),
}

pub(super) fn run(get: &Get, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let (remotes, destination) = split(&get.operands)?;
    let Some(first) = remotes.first() else { bail!("nothing to fetch is named") };
    let destination = destination_of(destination, remotes.len())?;
    let mut client = connect(first, &get.link, place)?;
    let meter = console.meter(None);
    let counter = meter.clone();
    client.on_bytes(move |n| counter.add(n));
    let account = Account::new(console, meter, 0);
    let mut fetching = Fetching { get, account, open: HashMap::new() };
    let result = fetching.fetch_all(&mut client, &remotes, &destination);
    let verdict = fetching.account.close();
    if let Err(error) = result {
        let files = fetching.account.files;
        return Err(explain(error)).with_context(|| format!("{files} files were fetched"));
    }
    Ok(verdict)
}

/// The sources, which are all on one server, and the place they go to.
fn split(operands: &[String]) -> Result<(Vec<Remote>, Option<&str>)> {
    let Some((first, rest)) = operands.split_first() else { return Ok((Vec::new(), None)) };
    let first: Remote = first.parse()?;
    let (rest, destination) = match rest.split_last() {
        Some((last, others)) => match last.parse::<Remote>() {
            Ok(remote) if remote.same_server(&first) => (rest, None),
            _ => (others, Some(last.as_str())),
        },
        None => (rest, None),
    };
    let mut remotes = vec![first];
    for text in rest {
        let remote: Remote = text.parse()?;
        if !remote.same_server(&remotes[0]) {
            bail!("{remote} is not on {}: fetch from one server at a time", remotes[0].address());
        }
        remotes.push(remote);
    }
    Ok((remotes, destination))
}

fn destination_of(text: Option<&str>, sources: usize) -> Result<Destination> {
    let text = text.unwrap_or(".");
    if text == "-" {
        if sources > 1 {
            bail!("standard output takes one file, and {sources} are named");
        }
        return Ok(Destination::StandardOutput);
    }
    let path = PathBuf::from(text);
    if path.is_dir() {
        return Ok(Destination::Directory(path));
    }
    if text.ends_with('/') || sources > 1 {
        bail!("{text:?} is not a directory here: make it first");
    }
    Ok(Destination::File(path))
}

impl Fetching<'_> {
    fn fetch_all(
        &mut self,
        client: &mut Client,
        remotes: &[Remote],
        destination: &Destination,
    ) -> Result<(), ClientError> {
        for remote in remotes {
            let own_name = remote.path.rsplit('/').next().unwrap_or_default();
            let local = match destination {
                Destination::StandardOutput => None,
                Destination::Directory(directory) => Some(directory.join(own_name)),
                Destination::File(path) => Some(path.clone()),
            };
            if self.get.recursive && self.is_directory(client, remote)? {
                match local {
                    Some(local) => self.fetch_tree(client, &remote.path, local)?,
                    None => self
                        .account
                        .fail(&format!("{remote}: a directory does not fit standard output")),
                }
            } else if remote.path.is_empty() {
                self.account
                    .fail(&format!("{remote}: names no file; use -r for all that is served"));
            } else {
                self.fetch(client, Item { remote: remote.path.clone(), local })?;
            }
        }
        let result = client.finish();
        while let Some(done) = client.take_done() {
            self.tell(done);
        }
        result
    }

    /// Answers of files under way may come first.
    fn drain(&mut self, client: &mut Client) -> Result<(), ClientError> {
        while let Some(done) = client.next_done()? {
            self.tell(done);
        }
        Ok(())
    }

    fn is_directory(&mut self, client: &mut Client, remote: &Remote) -> Result<bool, ClientError> {
        self.drain(client)?;
        // What is not there is told when it is fetched.
        Ok(client.stat(&remote.path)?.is_ok_and(|meta| meta.kind == EntryKind::Directory))
    }

    fn fetch_tree(
        &mut self,
        client: &mut Client,
        remote: &str,
        local: PathBuf,
    ) -> Result<(), ClientError> {
        let mut directories = vec![(remote.to_owned(), local)];
        while let Some((remote, local)) = directories.pop() {
            self.drain(client)?;
            let listing = match client.list(&remote)? {
                Ok(listing) => listing,
                Err(failure) => {
                    self.account
                        .fail(&advised(format_args!("{remote}: {failure}"), advice(failure)));
                    continue;
                }
            };
            if let Err(error) = make_directory(&local) {
                self.account.fail(&format!("{}: cannot make it: {error}", local.display()));
                continue;
            }
            if listing.skipped > 0 {
                self.account.fail(&format!(
                    "{remote}: {} names are not UTF-8 or too long, and are left out",
                    listing.skipped
                ));
            }
            for entry in listing.entries {
                let path = join(&remote, &entry.name);
                let local = local.join(&entry.name);
                match entry.meta.kind {
                    EntryKind::Directory => directories.push((path, local)),
                    EntryKind::File => {
                        self.fetch(client, Item { remote: path, local: Some(local) })?;
                    }
                }
            }
        }
        Ok(())
    }

    fn fetch(&mut self, client: &mut Client, item: Item) -> Result<(), ClientError> {
        self.account.meter.show(&item.remote);
        let sink: Box<dyn Sink> = match &item.local {
            None => Box::new(Pipe(io::stdout())),
            Some(local) if local.is_dir() => {
                self.account.fail(&format!(
                    "{}: is a directory here: name another destination",
                    local.display()
                ));
                return Ok(());
            }
            Some(local) => Box::new(FileSink::new(local.clone(), self.get.on_conflict.into())),
        };
        match client.get(&item.remote, sink)? {
            Ok(id) => {
                self.open.insert(id, item);
            }
            Err(code) => self.tell_failure(&item, Failure::Local(code), None),
        }
        while let Some(done) = client.take_done() {
            self.tell(done);
        }
        Ok(())
    }

    fn tell(&mut self, done: Done) {
        let Some(item) = self.open.remove(&done.request) else { return };
        match done.result {
            Ok(Reply::Got { size, root, suffix }) => {
                self.account.add(size);
                let blake3 = root.to_string();
                let Some(local) = &item.local else { return };
                let stored = match local.file_name().and_then(|name| name.to_str()) {
                    Some(name) if suffix > 0 => {
                        local.with_file_name(kift_core::wire::suffixed(name, suffix).as_str())
                    }
                    _ => local.clone(),
                };
                self.account.meter.aside(|| {
                    self.account.console.object(&json!({
                        "path": item.remote, "file": stored, "size": size, "blake3": blake3,
                    }));
                    self.account
                        .console
                        .detail(format_args!("fetched {stored:?}, {size} bytes, blake3 {blake3}"));
                    if suffix > 0 && !self.account.console.json {
                        self.account
                            .console
                            .summary(format_args!("{local:?} was there: stored as {stored:?}"));
                    }
                });
            }
            Ok(_) => {}
            Err(failure) => self.tell_failure(&item, failure, done.reason),
        }
    }

    fn tell_failure(&mut self, item: &Item, failure: Failure, reason: Option<io::Error>) {
        let message = match (reason, &item.local) {
            (Some(error), Some(local)) if error.kind() == io::ErrorKind::AlreadyExists => format!(
                "{}: already exists: use --on-conflict replace or keep-both",
                local.display()
            ),
            (Some(error), Some(local)) => {
                format!("{}: cannot write {}: {error}", item.remote, local.display())
            }
            (Some(error), None) => {
                format!("{}: cannot write standard output: {error}", item.remote)
            }
            (None, _) => advised(format_args!("{}: {failure}", item.remote), advice(failure)),
        };
        self.account.fail(&message);
    }
}

/// Makes a directory, which may be there already.
fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(operands: &[&str]) -> (Vec<String>, Option<String>) {
        let operands: Vec<String> = operands.iter().map(|&text| text.to_owned()).collect();
        let (remotes, destination) = split(&operands).unwrap();
        (remotes.iter().map(|r| r.path.clone()).collect(), destination.map(ToOwned::to_owned))
    }

    #[test]
    fn the_last_operand_is_a_destination_unless_it_is_on_the_same_server() {
        assert_eq!(texts(&["h/a"]), (vec!["a".into()], None));
        assert_eq!(texts(&["h/a", "b"]), (vec!["a".into()], Some("b".into())));
        assert_eq!(texts(&["h/a", "h/b"]), (vec!["a".into(), "b".into()], None));
        assert_eq!(texts(&["h/a", "h/b", "-"]), (vec!["a".into(), "b".into()], Some("-".into())));
        assert_eq!(texts(&["h/a", "h:1/b"]), (vec!["a".into()], Some("h:1/b".into())));
        assert_eq!(texts(&["h/a", "./h/b"]), (vec!["a".into()], Some("./h/b".into())));
    }

    #[test]
    fn sources_are_on_one_server() {
        let operands: Vec<String> = ["h/a", "g/b", "c"].map(Into::into).into();
        assert!(split(&operands).unwrap_err().to_string().contains("one server"));
    }
}
