//! What is compared: programs that copy a file from one process to another.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const KIFT: &str = env!("CARGO_BIN_EXE_kift");
const SSHD: &str = "/usr/sbin/sshd";
const BARE_BUFFER: usize = 256 * 1024;

/// A program that copies files.
pub(crate) trait Peer {
    fn name(&self) -> &'static str;

    /// The process whose time is counted besides this one's.
    fn server(&self) -> Option<u32>;

    /// Where the server puts what it is sent, if not where it is told to.
    fn stored(&self) -> Option<PathBuf> {
        None
    }

    /// Sends `file`, which the server stores as `copy`, or where it says.
    fn put(&self, file: &Path, copy: &Path) -> io::Result<()>;

    /// Fetches `file` from the server, or its own copy of that, to `copy`.
    fn get(&self, file: &Path, copy: &Path) -> io::Result<()>;
}

/// No protocol at all: this process sends, another receives.
pub(crate) struct Bare;

impl Peer for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn server(&self) -> Option<u32> {
        None
    }

    fn put(&self, file: &Path, to: &Path) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let receiver = std::env::current_exe()?;
        let mut receiver =
            Command::new(receiver).args(["bare-receiver", &address]).arg(to).spawn()?;
        let (mut stream, _) = listener.accept()?;
        copy(&mut File::open(file)?, &mut stream)?;
        drop(stream);
        assert!(receiver.wait()?.success(), "the bare receiver failed");
        Ok(())
    }

    fn get(&self, file: &Path, to: &Path) -> io::Result<()> {
        self.put(file, to)
    }
}

/// What the receiver of a bare copy does.
pub(crate) fn receive(address: &str, file: &str) -> io::Result<()> {
    copy(&mut TcpStream::connect(address)?, &mut File::create(file)?)
}

/// Not `io::copy`, which would have the kernel move the bytes.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BARE_BUFFER];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

/// A server, ended when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.stdin(Stdio::null()).status()?;
    assert!(status.success(), "{command:?} failed");
    Ok(())
}

/// kift, with links as `args` say.
pub(crate) struct Kift {
    name: &'static str,
    args: &'static [&'static str],
    state: PathBuf,
    served: PathBuf,
    address: String,
    server: Server,
}

impl Kift {
    /// A server of a directory of its own in `place`, with a copy of `file` in it.
    pub(crate) fn start(
        name: &'static str,
        args: &'static [&'static str],
        place: &Path,
        file: &Path,
    ) -> io::Result<Self> {
        let (state, served) = (place.join(format!("{name}-state")), place.join(name));
        fs::create_dir(&served)?;
        fs::copy(file, served.join("file"))?;
        let port_file = place.join(format!("{name}-port"));
        let child = Command::new(KIFT)
            .args(["serve", "--quiet", "--listen", "127.0.0.1:0", "--port-file"])
            .arg(&port_file)
            .args(args)
            .env("KIFT_STATE", &state)
            .arg(&served)
            .stdout(Stdio::null())
            .spawn()?;
        let server = Server(child);
        let mut kift = Self { name, args, state, served, address: String::new(), server };
        for _ in 0..1000 {
            if let Ok(port) = fs::read_to_string(&port_file) {
                kift.address = format!("127.0.0.1:{}", port.trim());
                return Ok(kift);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the server did not start"))
    }

    /// Where its server is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// `kift` as a client that its server knows.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut kift = Command::new(KIFT);
        kift.arg(command).args(self.args).env("KIFT_STATE", &self.state);
        kift
    }
}

impl Peer for Kift {
    fn name(&self) -> &'static str {
        self.name
    }

    fn server(&self) -> Option<u32> {
        Some(self.server.0.id())
    }

    fn stored(&self) -> Option<PathBuf> {
        Some(self.served.join("stored"))
    }

    fn put(&self, file: &Path, _: &Path) -> io::Result<()> {
        run(self.command("put").arg(file).arg(format!("{}/stored", self.address)))
    }

    fn get(&self, _: &Path, copy: &Path) -> io::Result<()> {
        run(self.command("get").arg(format!("{}/file", self.address)).arg(copy))
    }
}

/// scp with keys of its own, and a server of its own.
pub(crate) struct Scp {
    place: tempfile::TempDir,
    port: u16,
    server: Server,
}

impl Scp {
    /// None where there is no server to start.
    pub(crate) fn start() -> io::Result<Option<Self>> {
        if !Path::new(SSHD).exists() {
            return Ok(None);
        }
        let place = tempfile::tempdir()?;
        let file = |name: &str| place.path().join(name);
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file(name)))?;
        }
        // Free a moment ago, which will do.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // It wants this directory even where it separates nothing in it.
        fs::create_dir_all("/run/sshd")?;
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n",
            file("host").display(),
            file("user.pub").display(),
        );
        fs::write(file("config"), config)?;
        let host = fs::read_to_string(file("host.pub"))?;
        fs::write(file("known"), format!("[127.0.0.1]:{port} {host}"))?;
        let child = Command::new(SSHD).args(["-D", "-q", "-f"]).arg(file("config")).spawn()?;
        let scp = Self { server: Server(child), place, port };
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(Some(scp));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("sshd did not start"))
    }

    fn command(&self) -> Command {
        let file = |name: &str| self.place.path().join(name);
        let mut scp = Command::new("scp");
        scp.args(["-q", "-F", "none", "-c", "aes256-gcm@openssh.com", "-o", "BatchMode=yes"]);
        scp.arg("-o").arg(format!("UserKnownHostsFile={}", file("known").display()));
        scp.arg("-i").arg(file("user")).arg("-P").arg(self.port.to_string());
        scp
    }
}

impl Peer for Scp {
    fn name(&self) -> &'static str {
        "scp"
    }

    fn server(&self) -> Option<u32> {
        Some(self.server.0.id())
    }

    fn put(&self, file: &Path, copy: &Path) -> io::Result<()> {
        run(self.command().arg(file).arg(format!("127.0.0.1:{}", copy.display())))
    }

    fn get(&self, file: &Path, copy: &Path) -> io::Result<()> {
        run(self.command().arg(format!("127.0.0.1:{}", file.display())).arg(copy))
    }
}
