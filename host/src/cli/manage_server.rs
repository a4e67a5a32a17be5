//! `kift status` and `kift stop`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use indicatif::{HumanBytes, HumanDuration};
use kift_core::session::Failure;
use kift_core::wire::{Code, Request};
use serde_json::{Value, json};

use super::args::{Status, Stop};
use super::console::{Console, advice, advised, printable};
use super::{Verdict, connect};
use crate::client::Client;
use crate::remote::Remote;

pub(super) fn status(status: &Status, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let mut client = connect(&status.remote, &status.link, place)?;
    let objects = objects(&mut client, &status.remote)?;
    client.finish()?;
    if console.json {
        objects.iter().for_each(|object| console.object(object));
        return Ok(Verdict::AllDone);
    }
    for object in &objects {
        if let Some(server) = object.get("server") {
            console.result(format_args!("{}", summary(server)));
        }
    }
    let rows: Vec<Row> = sessions(&objects).map(row).collect();
    for line in table(&rows) {
        console.result(format_args!("{line}"));
    }
    Ok(Verdict::AllDone)
}

pub(super) fn stop(stop: &Stop, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let mut client = connect(&stop.remote, &stop.link, place)?;
    let objects = objects(&mut client, &stop.remote)?;
    let running: Vec<&Value> = sessions(&objects).filter(|it| it["request"].is_string()).collect();
    let result = client.ask_last(&Request::Shutdown)?;
    result.map_err(|failure| refused(&stop.remote, failure))?;
    console.object(&json!({ "stopping": true, "running": running }));
    if console.json {
        return Ok(Verdict::AllDone);
    }
    console.result(format_args!("{} is stopping", stop.remote.address()));
    if !running.is_empty() {
        console.result(format_args!("it gives its grace time to what still runs:"));
        let rows: Vec<Row> = running.into_iter().map(row).collect();
        for line in table(&rows) {
            console.result(format_args!("{line}"));
        }
    }
    Ok(Verdict::AllDone)
}

/// What the server says of itself and its sessions.
fn objects(client: &mut Client, remote: &Remote) -> Result<Vec<Value>> {
    let text = match client.status()? {
        Ok(text) => text,
        Err(failure) => {
            client.finish()?;
            return Err(refused(remote, failure));
        }
    };
    let object = |line| serde_json::from_str(line);
    let objects: Result<_, _> = text.lines().map(object).collect();
    objects.with_context(|| format!("{}: what the server says is no JSON", remote.address()))
}

fn refused(remote: &Remote, failure: Failure) -> anyhow::Error {
    let advice = match failure {
        Failure::Peer(Code::Denied) => {
            "this needs the right admin there, as `kift user add USER rw,admin` gives it; over a \
             plain link, a server that was started with --plain-admin"
        }
        Failure::Peer(Code::Unsupported) => "it is no server of a host, or an older one",
        other => advice(other),
    };
    anyhow!(advised(format_args!("{}: {failure}", remote.address()), advice))
}

fn sessions(objects: &[Value]) -> impl Iterator<Item = &Value> {
    objects.iter().filter_map(|object| object.get("session"))
}

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_default()
}

fn summary(server: &Value) -> String {
    format!(
        "kift {}, up {}: sessions {}, files in {} ({}), out {} ({})",
        printable(server["version"].as_str().unwrap_or("?")),
        HumanDuration(Duration::from_secs(number(server, "uptime_s"))),
        number(server, "sessions"),
        number(server, "files_in"),
        HumanBytes(number(server, "bytes_in")),
        number(server, "files_out"),
        HumanBytes(number(server, "bytes_out")),
    )
}

const COLUMNS: usize = 7;

type Row = [String; COLUMNS];

const HEAD: [&str; COLUMNS] = ["ID", "USER", "FROM", "SINCE", "DOES", "DONE", "RATE"];

fn row(session: &Value) -> Row {
    let text = |key: &str| printable(session[key].as_str().unwrap_or("-"));
    let since = humantime::format_duration(Duration::from_secs(number(session, "since_s")));
    let (mut does, mut done, mut rate) = ("-".to_owned(), "-".to_owned(), "-".to_owned());
    if let Some(request) = session["request"].as_str() {
        does = printable(&format!("{request} {}", session["path"].as_str().unwrap_or_default()));
        let bytes = number(session, "done");
        done = match session["total"].as_u64() {
            Some(total) => {
                let percent = (bytes.saturating_mul(100)).checked_div(total).unwrap_or(100);
                format!("{percent} % of {}", HumanBytes(total))
            }
            None => HumanBytes(bytes).to_string(),
        };
        rate = format!("{}/s", HumanBytes(number(session, "rate")));
    }
    let id = number(session, "id").to_string();
    [id, text("user"), text("peer"), since.to_string(), does, done, rate]
}

/// Lines in which the columns stand below each other.
fn table(rows: &[Row]) -> Vec<String> {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: &[&str]| -> String {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(&row.each_ref().map(String::as_str)));
    std::iter::once(line(&HEAD)).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_row_that_tells_the_terminal_nothing() {
        let session = json!({
            "id": 3, "user": "anna", "peer": "192.0.2.1:5", "since_s": 61, "request": "put",
            "path": "a\u{1b}[2J", "done": 512, "total": 2048, "rate": 1024, "later": true,
        });
        let shown = row(&session);
        assert_eq!(shown[..4], ["3", "anna", "192.0.2.1:5", "1m 1s"]);
        assert_eq!(shown[4..], ["put a?[2J", "25 % of 2.00 KiB", "1.00 KiB/s"]);
        let idle = row(&json!({ "id": 4, "user": null, "peer": "x", "since_s": 0 }));
        assert_eq!((&*idle[1], &*idle[4]), ("-", "-"));
        let lines = table(&[shown, idle]);
        let column = |line: &String| line.find("192").or(line.find("FROM"));
        assert_eq!(column(&lines[0]), column(&lines[1]));
    }
}
