//! A network of its own, which loses packets.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::machine::Running;
use crate::serving::Serve;
use crate::stage::Stage;

/// What a packet filter says of packets that come in, of which so many in a thousand are lost.
fn rules(lost: u32) -> String {
    let which =
        if lost < 1000 { format!("numgen random mod 1000 < {lost} ") } else { String::new() };
    format!(
        "flush ruleset
table inet kift {{
    chain input {{
        type filter hook input priority 0;
        {which}drop
    }}
}}
"
    )
}

/// A network namespace with nothing but a loopback. It ends with this.
#[derive(Debug)]
pub struct Lossy {
    holder: Child,
}

impl Lossy {
    /// One that loses nothing yet.
    ///
    /// # Panics
    /// Where it cannot be had: [`why_not`] says so.
    #[must_use]
    pub fn new() -> Self {
        Self::try_new().expect("a network namespace")
    }

    fn try_new() -> Result<Self, String> {
        // Lives until its input ends.
        let script = "ip link set lo up && echo && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut ready = [0];
        let answer = holder.stdout.as_mut().map(|stdout| stdout.read_exact(&mut ready));
        let this = Self { holder };
        match answer {
            Some(Ok(())) => this.try_lose(0).map(|()| this),
            _ => Err("no network namespace".to_owned()),
        }
    }

    /// What a command has before it to run in there.
    fn under(&self) -> [String; 4] {
        let pid = self.holder.id().to_string();
        ["nsenter", "--target", &pid, "--net"].map(str::to_owned)
    }

    /// Starts a command in there.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn start(&self, command: &Command) -> Running {
        let [program, args @ ..] = self.under();
        let mut within = Command::new(program);
        within.args(args).arg(command.get_program()).args(command.get_args());
        within.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = command.get_current_dir() {
            within.current_dir(dir);
        }
        Running::start(within)
    }

    /// A stage whose server is in there; its client is to be [started](Self::start) there, too.
    #[must_use]
    pub fn stage(&self, window: &'static str, args: &[&str]) -> Stage {
        let under = self.under();
        let under: Vec<_> = under.iter().map(String::as_str).collect();
        Stage::with(window, Serve { under: &under, args, ..Serve::default() })
    }

    /// From now on so many packets in a thousand are lost.
    ///
    /// # Panics
    /// Where that fails.
    pub fn lose(&self, lost: u32) {
        self.try_lose(lost).expect("a packet filter");
    }

    fn try_lose(&self, lost: u32) -> Result<(), String> {
        let [program, args @ ..] = self.under();
        let mut filter = Command::new(program)
            .args(args)
            .args(["nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("nsenter: {error}"))?;
        let mut stdin = filter.stdin.take().ok_or("no input")?;
        let written = stdin.write_all(rules(lost).as_bytes());
        drop(stdin);
        let output = filter.wait_with_output().map_err(|error| error.to_string())?;
        match (written, output.status.success()) {
            (Ok(()), true) => Ok(()),
            _ => Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

impl Default for Lossy {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Why there can be none here, if so.
pub fn why_not() -> Option<&'static str> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    WHY.get_or_init(|| Lossy::try_new().err()).as_deref()
}
