//! `kift ls`, `stat`, `rm`, `mv`, `mkdir` and `df`.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow, bail};
use indicatif::HumanBytes;
use kift_core::session::{Failure, Reply};
use kift_core::wire::{Digest, EntryKind, Meta, Request, Space, Timestamp};
use serde_json::{Value, json};

use super::args::{Df, Link, Ls, Mkdir, Mv, Rm, Stat};
use super::console::{Console, advice, advised};
use super::{Verdict, connect};
use crate::client::{Client, ClientError, Listing};
use crate::remote::Remote;

/// Asks one thing of the server, on a session of its own.
fn ask(remote: &Remote, link: &Link, place: Option<&Path>, request: &Request<'_>) -> Result<Reply> {
    let result = connect(remote, link, place)?.ask_last(request)?;
    result.map_err(|failure| failed(remote, failure))
}

/// A request about `what` failed.
pub(super) fn failed(what: &impl fmt::Display, failure: Failure) -> anyhow::Error {
    anyhow!(advised(format_args!("{what}: {failure}"), advice(failure)))
}

pub(super) fn ls(ls: &Ls, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let mut client = connect(&ls.remote, &ls.link, place)?;
    let listing = client.list(&ls.remote.path)?;
    client.finish()?;
    let listing = listing.map_err(|failure| failed(&ls.remote, failure))?;
    Ok(show_listing(&ls.remote, &listing, console))
}

/// Shows what is in the directory `what`.
pub(super) fn show_listing(
    what: &impl fmt::Display,
    listing: &Listing,
    console: &Console,
) -> Verdict {
    for entry in &listing.entries {
        if console.json {
            let mut object = object_of(&entry.meta);
            object["name"] = json!(entry.name);
            console.object(&object);
            continue;
        }
        let (size, slash) = match entry.meta.kind {
            EntryKind::File => (entry.meta.size.to_string(), ""),
            EntryKind::Directory => ("-".to_owned(), "/"),
        };
        let time = entry.meta.modified.map_or_else(|| "-".to_owned(), readable);
        console.result(format_args!("{size:>14}  {time:20}  {}{slash}", console.name(&entry.name)));
    }
    if listing.skipped > 0 {
        console.error(format_args!(
            "{what}: {} names are not UTF-8 or too long, and are left out",
            listing.skipped
        ));
        return Verdict::SomeFailed;
    }
    Verdict::AllDone
}

pub(super) fn stat(stat: &Stat, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let request = Request::Stat { path: &stat.remote.path, digest: stat.blake3 };
    let Reply::Stat { meta, digest } = ask(&stat.remote, &stat.link, place, &request)? else {
        bail!("{}: the answer is none to a stat", stat.remote);
    };
    show_stat(&stat.remote.path, &meta, digest, console);
    Ok(Verdict::AllDone)
}

/// Shows what is known of `path`.
pub(super) fn show_stat(path: &str, meta: &Meta, digest: Option<Digest>, console: &Console) {
    if console.json {
        let mut object = object_of(meta);
        object["path"] = json!(path);
        if let Some(digest) = digest {
            object["blake3"] = json!(digest.to_string());
        }
        return console.object(&object);
    }
    console.result(format_args!("path      {}", console.name(path)));
    console.result(format_args!("kind      {}", kind(meta.kind)));
    if meta.kind == EntryKind::File {
        console.result(format_args!("size      {} ({})", meta.size, HumanBytes(meta.size)));
    }
    if let Some(time) = meta.modified {
        console.result(format_args!("modified  {}", readable(time)));
    }
    if let Some(digest) = digest {
        console.result(format_args!("blake3    {digest}"));
    }
}

pub(super) fn rm(rm: &Rm, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let Some((first, others)) = rm.remotes.split_first() else { return Ok(Verdict::AllDone) };
    if let Some(other) = others.iter().find(|other| !other.same_server(first)) {
        bail!("{other} is not on {}: remove from one server at a time", first.address());
    }
    let mut client = connect(first, &rm.link, place)?;
    let paths = rm.remotes.iter().map(|remote| remote.path.as_str());
    let verdict = remove(&mut client, paths, console)?;
    client.finish()?;
    Ok(verdict)
}

/// Removes files and empty directories, and tells of each.
pub(super) fn remove<'a>(
    client: &mut Client,
    paths: impl Iterator<Item = &'a str>,
    console: &Console,
) -> Result<Verdict, ClientError> {
    let mut verdict = Verdict::AllDone;
    for path in paths {
        match client.ask(&Request::Delete { path })? {
            Ok(_) => {
                console.object(&json!({ "path": path, "removed": true }));
                console.detail(format_args!("removed {path:?}"));
            }
            Err(failure) => {
                verdict = Verdict::SomeFailed;
                console.error(format_args!("{}", failed(&console.name(path), failure)));
            }
        }
    }
    Ok(verdict)
}

pub(super) fn mv(mv: &Mv, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let to = mv.new.strip_prefix('/').unwrap_or(&mv.new);
    let request = Request::Rename { from: &mv.remote.path, to, replace: mv.replace };
    ask(&mv.remote, &mv.link, place, &request)
        .map_err(|error| error.context(format!("to {to:?}")))?;
    console.object(&json!({ "path": mv.remote.path, "renamed": to }));
    Ok(Verdict::AllDone)
}

pub(super) fn mkdir(mkdir: &Mkdir, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    ask(&mkdir.remote, &mkdir.link, place, &Request::MakeDirectory { path: &mkdir.remote.path })?;
    console.object(&json!({ "path": mkdir.remote.path, "made": true }));
    Ok(Verdict::AllDone)
}

pub(super) fn df(df: &Df, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let Reply::Space(space) = ask(&df.remote, &df.link, place, &Request::Space)? else {
        bail!("{}: the answer is none about space", df.remote);
    };
    show_space(&space, console);
    Ok(Verdict::AllDone)
}

/// Shows how much room there is.
pub(super) fn show_space(space: &Space, console: &Console) {
    if console.json {
        return console.object(&json!({
            "free": space.free, "total": space.total, "file_size_max": space.file_size_max,
        }));
    }
    let line = |name, bytes| {
        console.result(format_args!("{name:13} {bytes:>20}  {}", HumanBytes(bytes)));
    };
    line("free", space.free);
    line("total", space.total);
    line("largest file", space.file_size_max);
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
    }
}

fn object_of(meta: &Meta) -> Value {
    json!({
        "kind": kind(meta.kind),
        "size": meta.size,
        "modified": meta.modified.map(readable),
        "modified_ns": meta.modified.map(|time| time.0),
    })
}

/// RFC 3339 in UTC, to the second.
fn readable(time: Timestamp) -> String {
    let distance = Duration::from_nanos(time.0.unsigned_abs());
    // Times before 1970 are rare, and the formatter takes none.
    let time = if time.0 >= 0 { SystemTime::UNIX_EPOCH.checked_add(distance) } else { None };
    time.map_or_else(
        || "before 1970".to_owned(),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}
