//! `kift partials`: what servers keep of uploads that were interrupted.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{HumanBytes, HumanDuration};
use kift_core::session::Failure;
use kift_core::wire::{Request, TransferId};
use serde_json::Value;
use std::time::Duration;

use super::args::Partials;
use super::console::{Console, advice, advised};
use super::{Verdict, connect};

pub(super) fn run(of: &Partials, place: Option<&Path>, console: &Console) -> Result<Verdict> {
    let mut client = connect(&of.remote, &of.link, place)?;
    let text = client.partials()?.map_err(|failure| told("cannot list uploads", failure))?;
    let partials: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    let mut partials = partials
        .with_context(|| format!("{}: what the server says is no JSON", of.remote.address()))?;
    if let Some(id) = &of.discard {
        partials.retain(|partial| partial["transfer"] == **id);
        if partials.is_empty() {
            bail!("no upload of yours that was interrupted has the id {id:?}");
        }
    }
    let discards = of.discard.is_some() || of.discard_all;
    for partial in &partials {
        if discards {
            let id = partial["transfer"].as_str().and_then(|id| u128::from_str_radix(id, 16).ok());
            let transfer = TransferId(id.context("the server names no id")?.to_be_bytes());
            let result = client.ask(&Request::Discard { transfer })?;
            result.map_err(|failure| told("cannot forget an upload", failure))?;
        }
        if console.json {
            console.object(partial);
        } else {
            console.result(format_args!("{}", console.name(&line(partial))));
        }
    }
    client.finish()?;
    if discards {
        console.summary(format_args!("forgot {}", partials.len()));
    }
    Ok(Verdict::AllDone)
}

/// `0123...  96.00 MiB of 1.00 GiB  2 hours  dir/name`.
fn line(partial: &Value) -> String {
    let text = |key: &str| partial[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| partial[key].as_u64();
    let durable = HumanBytes(number("durable").unwrap_or(0));
    let size = number("size").map(|size| format!(" of {}", HumanBytes(size)));
    let age = HumanDuration(Duration::from_secs(number("age_s").unwrap_or(0)));
    let size = size.unwrap_or_default();
    format!("{}  {durable}{size}  {age} ago  {}", text("transfer"), text("path"))
}

fn told(what: &str, failure: Failure) -> anyhow::Error {
    anyhow!(advised(format_args!("{what}: {failure}"), advice(failure)))
}
