//! `kift config`.

use anyhow::Result;
use serde_json::json;

use super::Verdict;
use super::args::Config;
use super::console::{Console, printable};
use crate::config::client::{EXAMPLE, Settings, place};
use crate::remote::Remote;

pub(super) fn run(config: &Config, console: &Console) -> Result<Verdict> {
    if config.example {
        console.result(format_args!("{}", EXAMPLE.trim_end()));
        return Ok(Verdict::AllDone);
    }
    let settings = Settings::load()?;
    if !console.json {
        match place() {
            Some((path, _)) if path.exists() => {
                console.result(format_args!("settings in {}", path.display()));
            }
            Some((path, _)) => console.result(format_args!(
                "no settings: they would be in {}\n`kift config --example` shows what may stand there",
                path.display()
            )),
            None => console.result(format_args!("no settings")),
        }
    }
    for (name, server) in settings.server {
        let address = server.address;
        let remote = Remote {
            user: server.user,
            host: address.host,
            port: address.port,
            path: String::new(),
            is_directory: true,
        };
        if console.json {
            console.object(&json!({
                "name": name, "address": remote.address(), "user": remote.user,
                "server_key": server.server_key, "password_file": server.password_file,
                "plain": server.plain,
            }));
            continue;
        }
        let user = remote.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let how = if server.plain { "  (plain)" } else { "" };
        let address = remote.address();
        console.result(format_args!("{:16} {user}{address}{how}", printable(&name)));
    }
    Ok(Verdict::AllDone)
}
