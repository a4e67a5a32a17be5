//! A server takes from itself what it does not need, so that a fault in it is worth little.
//!
//! Landlock leaves the process the served directory and its state, and no way to start a program,
//! to connect to anybody or to listen anew. It holds for threads that start afterwards, so it is to
//! be entered before the first one.

use std::fmt;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};

/// The newest set of rights that is known here; the kernel takes those of them that it knows.
const RIGHTS: ABI = ABI::V6;

/// How much of the sandbox the kernel provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// All of it.
    Full,
    /// The kernel is too old for some of it: files, or files and TCP, are restricted.
    Partial,
    /// Nothing: the kernel has no Landlock, or it is switched off.
    None,
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "in force",
            Self::Partial => "in force in part: the kernel is older than Linux 6.12",
            Self::None => {
                "not in force: the kernel has no Landlock (Linux 5.13 and newer can have it)"
            }
        })
    }
}

/// What is left to a server.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// The served directories, each with whether it is not to be written to.
    pub roots: &'a [(&'a Path, bool)],
    /// The directory of its keys and users.
    pub state: Option<&'a Path>,
    /// The directories of the files with its ports, which it is to remove.
    pub port_files: &'a [&'a Path],
    /// The directory of its settings, which it is to read again.
    pub config: Option<&'a Path>,
}

/// Leaves this thread, and those that it starts, nothing but `room`.
///
/// # Errors
/// A directory cannot be opened, or the kernel refuses what it said it can do.
pub fn enter(room: &Room<'_>) -> anyhow::Result<Strength> {
    let kept = reading() | writing();
    let rights = AccessFs::from_all(RIGHTS);
    let ruleset = Ruleset::default()
        .handle_access(rights)?
        .handle_access(AccessNet::from_all(RIGHTS))?
        .scope(Scope::from_all(RIGHTS))?
        .create()?;
    let others = [(room.state, kept), (room.config, AccessFs::ReadFile.into())];
    let served = |read_only| if read_only { reading() } else { reading() | writing() };
    let roots = room.roots.iter().map(|(root, read_only)| (Some(*root), served(*read_only)));
    let port_files = room.port_files.iter().map(|dir| (Some(*dir), AccessFs::RemoveFile.into()));
    let mut ruleset = ruleset;
    for (directory, rights) in roots.chain(others).chain(port_files) {
        if let Some(directory) = directory {
            ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(directory)?, rights))?;
        }
    }
    let status = ruleset.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Strength::Full,
        RulesetStatus::PartiallyEnforced => Strength::Partial,
        RulesetStatus::NotEnforced => Strength::None,
    })
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// What makes, changes and removes files and directories, and nothing else.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    use super::*;

    /// Where the test that runs inside the sandbox finds what it may use.
    const PLACE: &str = "KIFT_TEST_SANDBOX";

    #[test]
    fn what_is_left_inside() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("served")).unwrap();
        fs::create_dir(place.path().join("state")).unwrap();
        fs::write(place.path().join("beside"), "secret").unwrap();
        // In a process of its own: there is no way out.
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sandbox::tests::inside", "--include-ignored", "--nocapture"])
            .env(PLACE, place.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }

    #[test]
    #[ignore = "ends in a sandbox: run by the test above"]
    fn inside() {
        let place = std::path::PathBuf::from(std::env::var_os(PLACE).unwrap());
        let (served, state) = (place.join("served"), place.join("state"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(TcpStream::connect(address).unwrap());
        assert!(fs::read("/etc/passwd").is_ok());
        assert!(Command::new("/bin/true").status().is_ok());

        let strength = enter(&Room {
            roots: &[(&served, false)],
            state: Some(&state),
            port_files: &[],
            config: None,
        })
        .unwrap();
        assert_ne!(strength, Strength::None, "this kernel has no Landlock");

        for dir in [&served, &state] {
            fs::create_dir(dir.join("a")).unwrap();
            fs::write(dir.join("a/file"), "data").unwrap();
            fs::rename(dir.join("a/file"), dir.join("file")).unwrap();
            assert_eq!(fs::read(dir.join("file")).unwrap(), b"data");
            assert_eq!(fs::read_dir(dir).unwrap().count(), 2);
            fs::remove_file(dir.join("file")).unwrap();
            fs::remove_dir(dir.join("a")).unwrap();
            std::os::unix::fs::symlink("/etc", dir.join("link")).unwrap_err();
        }
        let denied = |error: std::io::Error| {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
        };
        denied(fs::read("/etc/passwd").unwrap_err());
        denied(fs::read("/proc/self/environ").unwrap_err());
        denied(fs::read(place.join("beside")).unwrap_err());
        denied(fs::write(place.join("new"), "x").unwrap_err());
        denied(fs::read_dir("/").unwrap_err());
        denied(Command::new("/bin/true").status().unwrap_err());
        if strength == Strength::Full {
            denied(TcpStream::connect(address).unwrap_err());
            denied(TcpListener::bind("127.0.0.1:0").unwrap_err());
        }
    }
}
