//! `kift demo`: the main job on this machine, shown with the commands that do it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::Verdict;
use super::args::Demo;
use super::console::Console;

/// The server, ended when the demonstration is.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

pub(super) fn run(demo: &Demo, console: &Console) -> Result<Verdict> {
    let kift = std::env::current_exe().context("cannot find the kift program itself")?;
    let file = demo.file.clone().unwrap_or_else(|| kift.clone());
    let file = fs::canonicalize(&file).with_context(|| format!("{}", file.display()))?;
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        bail!("{} has no name that can be sent", file.display());
    };
    let place = tempfile::tempdir().context("cannot make a directory for the demonstration")?;
    let (served, fetched) = (place.path().join("served"), place.path().join("fetched"));
    // Keys of its own, of which nothing is left.
    let state = place.path().join("state");
    let kift = |command: &str| {
        let mut kift = Command::new(&kift);
        kift.arg(command).arg("--state").arg(&state);
        kift
    };
    fs::create_dir(&served)?;
    fs::create_dir(&fetched)?;
    let port_file = place.path().join("port");

    console
        .say(format_args!("1. A server for an empty directory, on a free port of this machine:\n"));
    let mut serve = kift("serve");
    serve.args(["--quiet", "--listen", "127.0.0.1:0", "--port-file"]).arg(&port_file).arg(&served);
    show(console, &serve);
    let _server = Server(serve.stdout(Stdio::null()).spawn().context("cannot start the server")?);
    let address = format!("127.0.0.1:{}", wait_for_port(&port_file)?);

    console.say(format_args!("\n2. Send {name} ({} bytes):\n", fs::metadata(&file)?.len()));
    step(console, kift("put").arg("-v").arg(&file).arg(format!("{address}/")))?;
    console.say(format_args!("\n3. List what the server has:\n"));
    step(console, kift("ls").arg(format!("{address}/")))?;
    console.say(format_args!("\n4. Fetch it back:\n"));
    step(console, kift("get").arg("-v").arg(format!("{address}/{name}")).arg(&fetched))?;

    let same = same_bytes(&file, &fetched.join(name))?;
    ensure!(same, "the file that came back is not the file that was sent");
    console.say(format_args!("\n5. Compared byte by byte with the original: equal.\n"));
    console.say(format_args!(
        "All of it was encrypted, and each end knew the other's key. Between two machines:\n\n  \
         there:  kift serve DIRECTORY\n\nwhich prints the commands for here."
    ));
    Ok(Verdict::AllDone)
}

/// Runs a command, shown as a user would type it.
fn step(console: &Console, command: &mut Command) -> Result<()> {
    show(console, command);
    let status = command.status().context("cannot run kift")?;
    ensure!(status.success(), "that failed");
    Ok(())
}

fn show(console: &Console, command: &Command) {
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    console.say(format_args!("   $ kift {}", args.join(" ")));
}

fn wait_for_port(file: &Path) -> Result<u16> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Ok(text) = fs::read_to_string(file) {
            return text.trim().parse().context("the port file holds no port");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("the server did not start within ten seconds")
}

fn same_bytes(a: &PathBuf, b: &PathBuf) -> Result<bool> {
    let open = |path: &PathBuf| -> Result<_> {
        Ok(BufReader::with_capacity(64 * 1024, fs::File::open(path)?))
    };
    let (mut a, mut b) = (open(a)?, open(b)?);
    loop {
        let (left, right) = (a.fill_buf()?, b.fill_buf()?);
        let n = left.len().min(right.len());
        if n == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left[..n] != right[..n] {
            return Ok(false);
        }
        a.consume(n);
        b.consume(n);
    }
}
