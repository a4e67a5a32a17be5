//! A network of our own, in which nothing of the machine's is touched.

use std::fs::write;
use std::io::{self, ErrorKind};
use std::process::Command;
use std::string::String;

use anyhow::{Context as _, Result, bail};
use rustix::process::{getgid, getuid};
use rustix::thread::UnshareFlags;

use super::sys;
use super::tap::Tap;

/// The addresses of the machine, at its end of the wire.
const HOST_ADDRESSES: [&str; 2] = ["192.168.69.1/24", "fd00:6b69::1/64"];

/// A network namespace that this process has entered. Its children are in it, too, and it goes
/// with the last of them.
#[derive(Debug)]
pub struct Namespace(());

impl Namespace {
    /// Enters a new network namespace, and where that takes it a new user namespace.
    ///
    /// # Errors
    /// Neither may be made; or another thread runs already.
    pub fn enter() -> Result<Self> {
        let (user, group) = (getuid(), getgid());
        match sys::unshare(UnshareFlags::NEWNET) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                sys::unshare(UnshareFlags::NEWNET | UnshareFlags::NEWUSER)
                    .and_then(|()| map_to_root(user.as_raw(), group.as_raw()))
                    .context(
                        "a network namespace takes root or user namespaces: run as root, or allow \
                         them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)",
                    )?;
            }
            result => result.context("cannot enter a network namespace")?,
        }
        Ok(Self(()))
    }

    /// Makes the TAP interface `name`, with the machine's end of the wire at 192.168.69.1 and
    /// fd00:6b69::1.
    ///
    /// # Errors
    /// What is missing.
    pub fn tap(&self, name: &str) -> Result<Tap> {
        let tap = Tap::make(name)?;
        ip(&["link", "set", "lo", "up"])?;
        for address in HOST_ADDRESSES {
            // Without a wait for somebody who might have the address already.
            ip(&["address", "add", address, "dev", name, "nodad"])?;
        }
        ip(&["link", "set", name, "up"])?;
        Ok(tap)
    }
}

/// Makes the user and the group root in the user namespace that was entered.
fn map_to_root(user: u32, group: u32) -> io::Result<()> {
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", std::format!("0 {user} 1"))?;
    write("/proc/self/gid_map", std::format!("0 {group} 1"))
}

fn ip(args: &[&str]) -> Result<()> {
    let output = match Command::new("ip").args(args).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("the program ip is not there: install iproute2")
        }
        output => output.context("cannot run ip")?,
    };
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
